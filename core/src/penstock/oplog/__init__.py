"""Operation logs: one row per logical call on a store, in the text format that storage tools share.

:class:`OpLog` records a program's calls, :class:`OpLogWriter` writes rows that somebody else collected,
:func:`join_parts` makes one log of the parts that several processes wrote, and :func:`read` reads any of them,
and what other programs write, row by row.

:func:`start` and :func:`stop` record what this process does on its stores, :func:`capture` a job of several processes.
The environment does it too: with ``PENSTOCK_OPLOG=log.tsv.zst`` each process that opens a store writes a part of its
own beside that file, which :func:`collect` makes a log of.

:func:`sort_log`, :func:`merge_logs`, :func:`convert_log` and :func:`anonymize_log` make logs of logs, of any size in
bounded memory, and :func:`validate_log` says what is wrong with one.
"""

from __future__ import annotations

from penstock.oplog.anonymizing import anonymize_log
from penstock.oplog.capturing import Captured, Counts, capture, collect, part_paths, start, stop
from penstock.oplog.columns import COLUMNS, OPERATIONS
from penstock.oplog.converting import convert_log
from penstock.oplog.join import Joined, join_parts
from penstock.oplog.merging import Part, merge_logs
from penstock.oplog.reader import Reader, read
from penstock.oplog.recorder import OpLog, OpLogOptions
from penstock.oplog.rows import Row
from penstock.oplog.sorting import Changed, sort_log
from penstock.oplog.validating import Finding, Verdict, validate_log
from penstock.oplog.writer import OpLogWriter

__all__ = [
    "COLUMNS",
    "OPERATIONS",
    "Captured",
    "Changed",
    "Counts",
    "Finding",
    "Joined",
    "OpLog",
    "OpLogOptions",
    "OpLogWriter",
    "Part",
    "Reader",
    "Row",
    "Verdict",
    "anonymize_log",
    "capture",
    "collect",
    "convert_log",
    "join_parts",
    "merge_logs",
    "part_paths",
    "read",
    "sort_log",
    "start",
    "stop",
    "validate_log",
]
