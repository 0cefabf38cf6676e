"""What is wrong with a log."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

from penstock.oplog.reader import Reader, read
from penstock.oplog.rows import Row, UnknownOperation

__all__ = ["PROBLEMS", "Finding", "Verdict", "validate_log"]

#: Every kind of problem, and what it means.
PROBLEMS: Final = {
    "malformed": "rows that can't be read",
    "unknown_operation": "rows of an operation that no log has",
    "order": "rows that started before the one above them",
    "gap": "numbers that are left out in idx",
    "repeat": "rows whose idx does not rise",
    "end_before_start": "rows that ended before they started",
    "duration": "rows whose duration is not that between their times",
    "first_byte": "rows whose first or last byte came before their start or after their end",
    "cut_off": "the log ends in the middle of a row or of its compression",
}

#: Programs that write microseconds round each time on its own.
_ROUNDING_NS: Final = 1000


@attrs.frozen(slots=True)
class Finding:
    """One problem: its kind, one of :data:`PROBLEMS`, the line in the file, and what is wrong there."""

    kind: str
    line: int
    text: str


@attrs.frozen(slots=True)
class Verdict:
    """What validating a log found. ``counts`` has each kind that occurred; ``findings`` holds the first few of each.

    For ``gap`` the missing numbers are counted, for the others rows.
    """

    path: str
    rows: int
    columns: tuple[str, ...]
    counts: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        """Nothing is wrong."""
        return not self.counts


def validate_log(path: str | os.PathLike[str], *, any_order: bool = False, most: int = 10) -> Verdict:
    """Read all of a log and say what is wrong with it. ``most`` findings of a kind are listed, all are counted.

    A log that isn't sorted yet is in the order in which calls were recorded; ``any_order`` allows that. Raises
    OpLogError when the file can't be read, or holds no log.
    """
    check = _Check(most, any_order=any_order)
    with read(path, skip_bad_rows=True, on_bad_row=check.bad) as reader:
        check.numbered = "idx" in reader.columns
        check.timed = {"end", "duration_ns"} <= set(reader.columns)
        for row in reader:
            check.row(row, reader)
        if reader.truncated:
            check.found("cut_off", reader.line, "the log was cut off here")
        return Verdict(reader.name, reader.count, reader.columns, dict(check.counts), tuple(check.findings))


class _Check:
    def __init__(self, most: int, *, any_order: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = []
        #: Whether rows say their number; whether they say both their end and their duration.
        self.numbered = self.timed = True
        self._most = most
        self._listed: Counter[str] = Counter()
        self._any_order = any_order
        self._latest: int | None = None
        self._expected = 0

    def bad(self, line: int, error: ValueError) -> None:
        self.found("unknown_operation" if isinstance(error, UnknownOperation) else "malformed", line, str(error))
        # Its number is not known, so the next row may have any.
        self._expected = -1

    def row(self, row: Row, reader: Reader) -> None:
        def found(kind: str, text: str, count: int = 1) -> None:
            self.found(kind, reader.line, text, count)

        if self.numbered:
            self._check_number(row.idx, found)
        if not self._any_order:
            if self._latest is not None and row.start_ns < self._latest:
                found("order", f"started {self._latest - row.start_ns} ns before the row above it")
            self._latest = row.start_ns
        took = row.end_ns - row.start_ns
        if took < 0:
            found("end_before_start", f"ended {-took} ns before it started")
        elif row.duration_ns < 0 or (self.timed and abs(row.duration_ns - took) > _ROUNDING_NS):
            found("duration", f"duration_ns is {row.duration_ns}, and from start to end it is {took} ns")
        for name, at in (("first_byte", row.first_byte_ns), ("last_byte", row.last_byte_ns)):
            if took >= 0 and at is not None and not row.start_ns - _ROUNDING_NS <= at <= row.end_ns + _ROUNDING_NS:
                found("first_byte", f"{name} is {at - row.start_ns} ns after the start of a call of {took} ns")

    def found(self, kind: str, line: int, text: str, count: int = 1) -> None:
        self.counts[kind] += count
        self._listed[kind] += 1
        if self._listed[kind] <= self._most:
            self.findings.append(Finding(kind, line, text))

    def _check_number(self, idx: int, found: Callable[[str, str, int], None]) -> None:
        expected = idx if self._expected < 0 else self._expected
        if idx > expected:
            found("gap", f"idx is {idx} where {expected} was due", idx - expected)
        elif idx < expected:
            found("repeat", f"idx is {idx} where {expected} was due", 1)
            return
        self._expected = idx + 1
