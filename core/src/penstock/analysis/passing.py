"""One pass over some logs, by this process or by several."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from penstock.analysis.accumulating import Accumulator, Limits, LogCount
from penstock.analysis.naming import TooManyNamesError
from penstock.analysis.pool import NotDivisibleError, Pool
from penstock.analysis.values import Selection
from penstock.oplog.columnar import ColumnLog

__all__ = ["LARGE", "LARGE_PACKED", "LogResult", "Pass"]

#: Bytes of a log, and of a compressed one, from which on it is worth while to start workers.
LARGE: Final = 64 << 20
LARGE_PACKED: Final = 12 << 20


@attrs.frozen(kw_only=True)
class LogResult:
    """What one log turned out to be."""

    columns: tuple[str, ...]
    bad_rows: int
    cut_off: bool


@attrs.frozen(kw_only=True)
class Pass:
    """How logs are read. ``progress`` hears of bytes that were read."""

    paths: Sequence[str]
    selection: Selection
    workers: int
    skip_bad_rows: bool
    progress: Callable[[int], None]

    def read(self, limits: Limits | None) -> tuple[Accumulator, list[LogResult]]:
        """Read all of them. ``limits`` None: only to see when their calls were made. Raises OpLogError."""
        if self.workers > 1 and any(map(_is_large, self.paths)):
            try:
                with Pool(self.workers, self.selection, limits) as pool:
                    return self._read(pool.accumulator, pool)
            except (NotDivisibleError, TooManyNamesError):
                pass
        return self._read(Accumulator(self.selection, limits), None)

    def _read(self, accumulator: Accumulator, pool: Pool | None) -> tuple[Accumulator, list[LogResult]]:
        results = []
        for number, path in enumerate(self.paths):
            accumulator.logs[number] = LogCount()
            log = ColumnLog(path, skip_bad_rows=self.skip_bad_rows)
            try:
                if pool is not None and log.divisible and _is_large(path):
                    bad_rows = pool.read(log, number, skip_bad_rows=self.skip_bad_rows, progress=self.progress)
                else:
                    bad_rows = self._read_alone(log, number, accumulator)
                results.append(LogResult(columns=log.columns, bad_rows=bad_rows, cut_off=log.truncated))
            finally:
                log.close()
        if pool is not None:
            pool.finish()
        accumulator.settle()
        return accumulator, results

    def _read_alone(self, log: ColumnLog, number: int, accumulator: Accumulator) -> int:
        before = 0
        for columns in log:
            accumulator.add(number, columns)
            self.progress(log.position - before)
            before = log.position
        return log.bad_rows


def _is_large(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.path.getsize(path) >= (LARGE_PACKED if path.endswith(".zst") else LARGE)
    except OSError:
        return False
