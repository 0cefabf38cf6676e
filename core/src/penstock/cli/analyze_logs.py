"""Finding logs and reading them, with progress on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from penstock.cli.common import warn
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.analysis.values import Analysis, LogFacts, Selection

__all__ = ["find_logs", "read_logs"]

_RESULT: Final = "result.json"
_LOG: Final = "op-log.tsv.zst"


def find_logs(path: str) -> list[str]:
    """A log as it is, ``-`` being standard input; of a result directory its op-log, or the parts of one that was never
    joined.

    Raises UsageError where there is none.
    """
    from penstock.oplog import part_paths

    if not os.path.isdir(path):
        return ["/dev/stdin" if path == "-" else path]
    named = _named_log(path)
    inside = os.path.join(path, _LOG)
    for candidate in (inside, named):
        if candidate is not None and os.path.exists(candidate):
            return [candidate]
    for candidate in (inside, named):
        if candidate is not None and (parts := part_paths(candidate)):
            return parts
    if os.path.exists(os.path.join(path, _RESULT)):
        gone = f"; its op-log {named} is gone" if named else " and was measured without one"
        raise UsageError(
            f"{path} holds no op-log{gone}; measure with op_log: true, or see what it holds with penstock report {path}"
        )
    raise UsageError(f"{path} is a directory without an op-log and no result of penstock; name a log")


def _named_log(path: str) -> str | None:
    """The log that a result says it has, elsewhere."""
    try:
        with open(os.path.join(path, _RESULT), encoding="utf-8") as file:
            found: Any = json.load(file)
        named = found["op_log"]["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return named if isinstance(named, str) else None


def read_logs(paths: Sequence[str], chosen: Selection, *, workers: int | None, skip_bad_rows: bool) -> Analysis:
    """Analyse logs, and say on standard error what was wrong with them."""
    from penstock.analysis.analyzing import analyze

    with _shown() as progress:
        found = analyze(paths, chosen, workers=workers, skip_bad_rows=skip_bad_rows, progress=progress)
    for log in found.logs:
        _say_what_is_wrong(log)
    return found


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error when that is a terminal, which goes when all is read."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _say_what_is_wrong(log: LogFacts) -> None:
    if log.bad_rows:
        warn(f"{log.path}: {log.bad_rows:,} malformed {'row was' if log.bad_rows == 1 else 'rows were'} skipped")
    if log.cut_off:
        warn(f"{log.path} is cut off; its {log.rows:,} whole rows were read")
