"""One log of several: of the processes and hosts of a job, each perhaps with a clock of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import attrs

from penstock.errors import OpLogError
from penstock.oplog.chunks import Chunk
from penstock.oplog.logtext import LogText, union
from penstock.oplog.sorting import ROWS_IN_MEMORY, Changed, Sorter, merge_runs, write_ordered
from penstock.oplog.target import Target
from penstock.oplog.threads import Threads

__all__ = ["Part", "merge_logs"]


@attrs.frozen(slots=True)
class Part:
    """A log to merge. ``offset_ns`` is added to its times, as a function that of a row by when it started;
    ``client_id`` replaces what it says, None leaves that.
    """

    path: str
    offset_ns: int | Callable[[int], int] = 0
    client_id: str | None = None


def merge_logs(
    parts: Sequence[Part],
    target: str | os.PathLike[str],
    *,
    is_sorted: bool = False,
    rows_in_memory: int = ROWS_IN_MEMORY,
    level: int = 1,
    skip_bad_rows: bool = False,
    folder: str | os.PathLike[str] | None = None,
) -> Changed:
    """Write the rows of all parts to ``target`` in the order in which they started, numbered anew.

    Of rows that started together the earlier part's come first. The target has every column that a part has; where
    a part lacks it, the row holds its default. A thread whose number one of another part has, of the same client, gets
    another number; ``Changed.renumbered`` tells which. With ``is_sorted`` nothing is held or sorted: every part must
    be in order. Raises OpLogError, also when one isn't; ``target`` is untouched then.
    """
    if not parts:
        raise OpLogError("there are no logs to merge; name one at least")
    with contextlib.ExitStack() as stack:
        logs: list[LogText] = []
        for part in parts:
            logs.append(LogText(part.path, skip_bad_rows=skip_bad_rows))
            stack.callback(logs[-1].close)
        added = ["client_id"] if any(part.client_id is not None for part in parts) else []
        columns = union([*(log.columns for log in logs), added])
        out = stack.enter_context(Target(target, columns, level=level))
        threads = Threads(columns)
        runs = [
            threads.distinct(log.chunks(columns, offset_ns=part.offset_ns, client_id=part.client_id), at)
            for at, (log, part) in enumerate(zip(logs, parts, strict=True))
        ]
        if is_sorted:
            checked = [_in_order(run, log.name) for run, log in zip(runs, logs, strict=True)]
            rows = write_ordered(merge_runs(checked), out)
        else:
            where = os.fspath(folder) if folder is not None else os.path.dirname(os.fspath(target)) or "."
            sorter = stack.enter_context(Sorter(where, rows_in_memory))
            for run in runs:
                for chunk in run:
                    sorter.add(chunk)
            rows = write_ordered(sorter.ordered(), out)
    cut_off = tuple(log.name for log in logs if log.truncated)
    return Changed(rows, sum(log.bad_rows for log in logs), cut_off, threads.renumbered([log.name for log in logs]))


def _in_order(run: Iterator[Chunk], name: str) -> Iterator[Chunk]:
    last: int | None = None
    rows = 0
    for chunk in run:
        keys = chunk.keys
        late = keys[1:] < keys[:-1]
        if last is not None and keys[0] < last:
            place = 0
        elif late.any():
            place = int(late.argmax()) + 1
        else:
            last = int(keys[-1])
            rows += len(chunk)
            yield chunk
            continue
        raise OpLogError(f"{name}: row {rows + place + 1} started before the one above it; merge without --sorted")
