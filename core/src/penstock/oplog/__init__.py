"""Operation logs: one row per logical call on a store, in the text format that storage tools share.

:class:`OpLog` records a program's calls, :class:`OpLogWriter` writes rows that somebody else collected,
:func:`join_parts` makes one log of the parts that several processes wrote, and :func:`read` reads any of them,
and what other programs write, row by row.

:func:`start` and :func:`stop` record what this process does on its stores, :func:`capture` a job of several processes.
The environment does it too: with ``PENSTOCK_OPLOG=log.tsv.zst`` each process that opens a store writes a part of its
own beside that file, which :func:`collect` makes a log of.
"""

from __future__ import annotations

from penstock.oplog.capturing import Captured, Counts, capture, collect, part_paths, start, stop
from penstock.oplog.columns import COLUMNS, OPERATIONS
from penstock.oplog.join import Joined, join_parts
from penstock.oplog.reader import Reader, read
from penstock.oplog.recorder import OpLog, OpLogOptions
from penstock.oplog.rows import Row
from penstock.oplog.writer import OpLogWriter

__all__ = [
    "COLUMNS",
    "OPERATIONS",
    "Captured",
    "Counts",
    "Joined",
    "OpLog",
    "OpLogOptions",
    "OpLogWriter",
    "Reader",
    "Row",
    "capture",
    "collect",
    "join_parts",
    "part_paths",
    "read",
    "start",
    "stop",
]
