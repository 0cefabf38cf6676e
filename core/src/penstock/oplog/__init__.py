"""Operation logs: one row per logical call on a store, in the text format that storage tools share.

:class:`OpLog` records a program's calls, :class:`OpLogWriter` writes rows that somebody else collected,
:func:`join_parts` makes one log of the parts that several processes wrote, and :func:`read` reads any of them,
and what other programs write, row by row.
"""

from __future__ import annotations

from penstock.oplog.columns import COLUMNS, OPERATIONS
from penstock.oplog.join import Joined, join_parts
from penstock.oplog.reader import Reader, read
from penstock.oplog.recorder import OpLog, OpLogOptions
from penstock.oplog.rows import Row
from penstock.oplog.writer import OpLogWriter

__all__ = [
    "COLUMNS",
    "OPERATIONS",
    "Joined",
    "OpLog",
    "OpLogOptions",
    "OpLogWriter",
    "Reader",
    "Row",
    "join_parts",
    "read",
]
