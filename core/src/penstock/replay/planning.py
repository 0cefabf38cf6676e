"""The plan of a replay: which operation is due when, on which name, and in which process.

It is a pure function of the log and the settings. Every worker streams the log itself, advances the state of the
rules for every row, and keeps its share, so nothing is sent for an operation.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Final, NamedTuple

import attrs

from penstock.analysis.values import Moment
from penstock.errors import UsageError
from penstock.records import Op
from penstock.replay.mapping import Mapped, Mapper
from penstock.replay.names import Names
from penstock.replay.roots import Roots
from penstock.replay.rows import Entry, LogRows, ordered
from penstock.replay.settings import Settings

__all__ = ["APPROXIMATIONS", "CONTAINERS", "LEFT_OUT", "MOST_NAMES", "Concurrency", "Planner", "Task", "selected"]

#: What is replayed otherwise than it was recorded, and how; by a word.
APPROXIMATIONS: Final = {
    "range_without_offset": "ranges whose offset the log does not hold were read from the start of the object",
    "range_spread": "ranges whose offset the log does not hold were spread over the object, but for the first of each "
    "object, which was read from its start",
    "range_of_nothing": "ranges that had delivered nothing read 1 byte",
    "batch_names": "batch deletes held only their first name; the others sent were names that do not exist",
    "copy_without_source": "copies whose source the log does not hold took a stand-in, made for that",
    "copy_from_elsewhere": "copies whose source is mapped to another store took a stand-in, made for that",
    "list_without_delimiter": "listings took no delimiter, for the log holds none, and ended after as many entries as "
    "were recorded",
    "batch_too_large": "batch deletes of more than 100,000 names were cut to these",
}
#: What is not replayed, and why; by a word.
LEFT_OUT: Final = {
    "container_of_target": "operations on buckets, for the target's one bucket stands for all recorded ones",
    "container_without_service": "operations on buckets of a storage that has none",
    "no_name": "operations whose row names no object",
    "delete_everything": "deletes of all that a bucket holds, for the target's may hold more than the recorded one",
}
#: Operations on buckets, which have no store.
CONTAINERS: Final = (Op.CREATE_CONTAINER, Op.DELETE_CONTAINER)
_MAY_BE_EMPTY: Final = (Op.LIST, Op.DELETE_PREFIX, *CONTAINERS)
#: Names that a replayed batch holds at most.
MOST_NAMES: Final = 100_000


class Task(NamedTuple):
    """One operation of this worker. ``due`` is in nanoseconds from the first one; ``number`` counts all that were
    selected, over all workers. ``entry`` is the row; ``store`` and ``key`` where it goes, ``source`` whence a copy.
    """

    due: int
    number: int
    op: int
    store: int
    key: str
    source: str
    entry: Entry


class Concurrency:
    """How many calls are under way at once, of calls in the order of their starts. ``peak`` is the most so far."""

    def __init__(self) -> None:
        self.peak = 0
        self._ends: list[int] = []

    def add(self, start: int, duration: int) -> None:
        """Take the next call; both in nanoseconds."""
        ends = self._ends
        while ends and ends[0] <= start:
            heappop(ends)
        heappush(ends, start + duration)
        if len(ends) > self.peak:
            self.peak = len(ends)


def selected(entries: Iterable[Entry], settings: Settings, first_ns: int) -> Iterator[Entry]:
    """The entries that the settings select, in their order. ``first_ns`` is when the log begins."""
    begin = _bound(settings.begin, first_ns, -(1 << 63))
    end = _bound(settings.end, first_ns, 1 << 63)
    codes = frozenset(int(Op[name]) for name in settings.operations) or frozenset(map(int, Op))
    left = settings.limit
    for entry in entries:
        if entry.start >= end or left == 0:
            return
        if entry.start < begin or entry.op not in codes:
            continue
        if left is not None:
            left -= 1
        yield entry


def _bound(moment: Moment | None, first_ns: int, default: int) -> int:
    if moment is None:
        return default
    return first_ns + moment.ns if moment.relative else moment.ns


@attrs.define(kw_only=True)
class Planner:
    """Plans one worker's share: ``rank`` of ``workers``. What it counts is of this share alone."""

    settings: Settings
    roots: Roots
    first_ns: int
    rank: int = 0
    workers: int = 1
    #: Rows of the log, of all shares; malformed ones that were skipped; rows that were selected, of all shares.
    rows: int = 0
    bad_rows: int = 0
    chosen: int = 0
    left_out: Counter[str] = attrs.field(factory=Counter)
    approximated: Counter[str] = attrs.field(factory=Counter)
    names: Names = attrs.field(factory=Names)
    mapper: Mapper = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.mapper = Mapper(self.settings, self.roots, self.names)

    def entries(self) -> Iterator[Entry]:
        """The selected rows of the whole log, in order."""
        log = LogRows(self.settings.log, skip_bad_rows=self.settings.skip_bad_rows)
        with log.reader as reader:
            try:
                in_order = ordered(log, self.settings.window, self.settings.log)
                yield from selected(in_order, self.settings, self.first_ns)
            finally:
                self.rows, self.bad_rows = reader.count, reader.bad_rows

    def tasks(self) -> Iterator[Task]:
        """This worker's operations in the order in which they are due.

        Raises OpLogError for a log that can't be read on, UsageError for a name that has no place.
        """
        speed, first = self.settings.speed, 0
        for number, entry in enumerate(self.entries()):
            if not number:
                first = entry.start
            self.chosen += 1
            mine = self._is_mine(number, entry)
            # Where rules have state every worker maps every name, so that it is the same in all.
            if not mine and not self.mapper.has_state:
                continue
            mapped = self._map(entry, entry.file)
            source = self._map(entry, entry.source) if entry.source and entry.op == Op.COPY else None
            if not mine:
                continue
            if not self._is_playable(entry, mapped):
                continue
            due = round((entry.start - first) / speed) if speed is not None else 0
            yield Task(due, number, entry.op, mapped.store, mapped.key, self._source(entry, mapped, source), entry)

    def _map(self, entry: Entry, name: str) -> Mapped:
        try:
            return self.mapper.map(entry.endpoint, name)
        except UsageError as error:
            raise UsageError(f"{self.settings.log}:{entry.line}: {error}") from error

    def _is_mine(self, number: int, entry: Entry) -> bool:
        if self.workers == 1:
            return True
        if self.settings.speed is not None:
            return number % self.workers == self.rank
        # A recorded thread is replayed in order, so by one worker.
        return zlib.crc32(entry.thread.encode(errors="surrogatepass")) % self.workers == self.rank

    def _source(self, entry: Entry, mapped: Mapped, source: Mapped | None) -> str:
        if entry.op != Op.COPY:
            return ""
        if source is None:
            self.approximated["copy_without_source"] += 1
            return ""
        if source.store != mapped.store:
            self.approximated["copy_from_elsewhere"] += 1
            return ""
        return source.key

    def _is_playable(self, entry: Entry, mapped: Mapped) -> bool:
        op = entry.op
        if op in CONTAINERS:
            if not mapped.own_bucket:
                self.left_out["container_of_target"] += 1
                return False
            if not self.roots.has_service(mapped.store):
                self.left_out["container_without_service"] += 1
                return False
        elif not mapped.key and op not in _MAY_BE_EMPTY:
            self.left_out["no_name"] += 1
            return False
        elif op == Op.DELETE_PREFIX and not mapped.key and not mapped.own_bucket:
            self.left_out["delete_everything"] += 1
            return False
        elif op == Op.GET_RANGE:
            if entry.offset < 0:
                spread = self.settings.range_offsets == "spread"
                self.approximated["range_spread" if spread else "range_without_offset"] += 1
            if entry.length < 0 and not entry.nbytes:
                self.approximated["range_of_nothing"] += 1
        elif op == Op.DELETE_BATCH and entry.n_objects > 1:
            self.approximated["batch_names"] += 1
            if entry.n_objects > MOST_NAMES:
                self.approximated["batch_too_large"] += 1
        elif op == Op.LIST:
            self.approximated["list_without_delimiter"] += 1
        return True
