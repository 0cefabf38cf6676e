"""The names of a replay, on disk: which must exist before, which the log writes, and which were there already.

It is a table in a nameless file of the temporary directory, so its size is bounded by the disk alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from penstock.records import Op
from penstock.replay.planning import Task

__all__ = ["MADE", "MISSING", "STOOD", "Catalogue", "Name"]

_BATCH: Final = 10_000
_PAGE: Final = 1000
_READS: Final = (Op.GET, Op.GET_RANGE, Op.STAT)
_WRITES: Final = (Op.PUT, Op.COPY, Op.MKDIR)

_TABLE: Final = """
create table names (
    store integer, key blob, size integer, wanted integer, written integer, since integer,
    touched integer, state integer default 0,
    primary key (store, key)) without rowid
"""
# A read wants the object as it was before the log's first write ended.
_NOTE: Final = """
insert into names (store, key, size, wanted, written, since, touched) values (?1, ?2, ?3, ?4, ?5, ?6, ?8)
on conflict (store, key) do update set
    size = case when ?4 and (written = 0 or ?7 < since) then max(size, ?3) else size end,
    wanted = wanted or (?4 and (written = 0 or ?7 < since)),
    since = case when written = 0 then ?6 else since end,
    written = written or ?5,
    touched = touched or ?8
"""

#: What :meth:`Catalogue.mark` notes of a name: it was there already, was made, or was missing. Until then it is 0.
STOOD: Final = 1
MADE: Final = 2
MISSING: Final = 3


class Name(NamedTuple):
    """One name. ``size`` is the largest that the log read of it. ``wanted``: read before it was ever written.

    ``touched``: the log writes it, or tried to; what failed then may succeed in the replay.
    """

    store: int
    key: str
    size: int
    wanted: bool
    touched: bool


class Catalogue:
    """See the module. Any thread may call it."""

    def __init__(self) -> None:
        # Without a name SQLite keeps what does not fit into its cache in a file that it has unlinked.
        self._base = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._base.execute("pragma cache_size = -32000")
        self._base.execute("pragma journal_mode = off")
        self._base.execute("pragma synchronous = off")
        self._base.execute(_TABLE)
        self._lock = threading.Lock()

    def note(self, tasks: Iterable[Task]) -> Iterator[int]:
        """Take in operations in their order; yields how many it were so far."""
        source, total = iter(tasks), 0
        while batch := list(islice(source, _BATCH)):
            total += len(batch)
            with self._lock:
                self._base.execute("begin")
                self._base.executemany(_NOTE, filter(None, map(_note, batch)))
                self._base.execute("commit")
            yield total

    def names(self, condition: str = "1") -> Iterator[Name]:
        """The names of which an SQL condition holds, by store and key. Marking some meanwhile is harmless."""
        place: tuple[int, bytes] = (-1, b"")
        query = (
            f"select store, key, size, wanted, touched from names where (store, key) > (?, ?) and ({condition}) "  # noqa: S608 - our own words
            f"order by store, key limit {_PAGE}"
        )
        while True:
            with self._lock:
                rows = self._base.execute(query, place).fetchall()
            for store, key, size, wanted, touched in rows:
                yield Name(store, key.decode("utf-8", "surrogatepass"), size, bool(wanted), bool(touched))
            if len(rows) < _PAGE:
                return
            place = rows[-1][:2]

    def count(self, condition: str = "1") -> int:
        """How many there are."""
        with self._lock:
            return int(self._base.execute(f"select count(*) from names where {condition}").fetchone()[0])  # noqa: S608

    def mark(self, names: Iterable[Name], state: int) -> None:
        """Note the state of names."""
        with self._lock:
            self._base.executemany(
                "update names set state = ? where store = ? and key = ?",
                [(state, name.store, _blob(name.key)) for name in names],
            )

    def close(self) -> None:
        """Forget everything."""
        self._base.close()


def _blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _note(task: Task) -> tuple[object, ...] | None:
    entry = task.entry
    read, touched = task.op in _READS, task.op in _WRITES
    if not touched and (not read or entry.failed):
        return None
    written = touched and not entry.failed
    key = task.key if task.op != Op.MKDIR or task.key.endswith("/") else f"{task.key}/"
    size = max(entry.offset, 0) + entry.nbytes if read else 0
    return task.store, _blob(key), size, read, written, entry.start + entry.duration, entry.start, touched
