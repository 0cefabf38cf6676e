"""Adding up the rows of logs: what one process makes of the blocks that it gets, and how such parts become one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import numpy as np

from penstock.analysis.grid import FAILED, Grid, Ordered, Rows, kind_name
from penstock.analysis.naming import Known, Named
from penstock.analysis.pairs import Array
from penstock.analysis.slicing import Slicing
from penstock.analysis.values import MOST_THREADS, Selection, Span
from penstock.oplog.block import Columns
from penstock.oplog.names import HEAD
from penstock.records import Op
from penstock.stats.buckets import bucket_of
from penstock.stats.errors import ErrorTable

__all__ = ["Accumulator", "Limits", "LogCount"]

#: Rows that are sorted and counted at once: enough to hide what NumPy's calls cost, few enough for the cache.
_ROWS: Final = 1 << 16
_KINDS: Final = 256
_LATEST: Final = 2**63 - 1
_NOBODY: Final = np.zeros((0, 0, 0), np.bool_)
#: Combinations that are marked in a table.
_TABLE: Final = 1 << 21

_STAT: Final = int(Op.STAT)


def _fold(kind: int) -> int:
    """HEAD is a stat, and those move nothing."""
    op, bucket = divmod(kind, 16)
    return _STAT * 16 if op in (_STAT, HEAD) else op * 16 + bucket


_FOLDED: Final = np.array([_fold(kind) for kind in range(_KINDS)], np.uint8)


@attrs.frozen(slots=True)
class Limits:
    """Calls count that start at ``begin_ns`` or later, and before ``upto_ns``."""

    begin_ns: int = -_LATEST
    upto_ns: int = _LATEST


@attrs.define(slots=True)
class LogCount:
    """Rows of one log, those that counted, and when its calls began and ended, in a warm-up only if that counts."""

    rows: int = 0
    selected: int = 0
    first_start_ns: int | None = None
    last_end_ns: int | None = None

    def add(self, other: LogCount) -> None:
        """Add the rows of another part of the log."""
        self.rows += other.rows
        self.selected += other.selected
        if other.first_start_ns is not None and other.last_end_ns is not None:
            self.cover(other.first_start_ns, other.last_end_ns)

    def cover(self, first_start_ns: int, last_end_ns: int) -> None:
        """Note when calls began and ended."""
        if self.first_start_ns is None or self.last_end_ns is None:
            self.first_start_ns, self.last_end_ns = first_start_ns, last_end_ns
        else:
            self.first_start_ns = min(self.first_start_ns, first_start_ns)
            self.last_end_ns = max(self.last_end_ns, last_end_ns)


class _Held:
    """Room for selected rows that wait."""

    def __init__(self, rows: int) -> None:
        self.filled = 0
        self.rows = rows
        self._arrays = {
            name: np.empty(rows, np.uint8 if name in ("kinds", "clients", "endpoints") else np.int64)
            for name in (
                *("kinds", "clients", "endpoints", "threads", "nbytes", "objects"),
                *("durations", "starts", "firsts", "ends"),
            )
        }

    def put(self, columns: Mapping[str, Array], count: int) -> None:
        """Add ``count`` rows."""
        upto = self.filled + count
        for name, values in columns.items():
            self._arrays[name][self.filled : upto] = values
        self.filled = upto

    def take(self) -> dict[str, Array]:
        """All rows, in arrays that are good until others are put there."""
        filled, self.filled = self.filled, 0
        return {name: values[:filled] for name, values in self._arrays.items()}


class Accumulator:
    """Adds up columns of logs. Pickled it is what a worker sends back."""

    def __init__(self, selection: Selection, limits: Limits | None, *, exact: bool = False) -> None:
        """``limits`` None: only what :class:`LogCount` holds is wanted. With ``exact`` more names than can be told
        apart raise TooManyNamesError; else those that come late are added up as OTHERS.
        """
        self.logs: dict[int, LogCount] = {}
        self.slicing = Slicing()
        self.errors = ErrorTable()
        self.warmup = self.warmup_errors = 0
        self.clients, self.endpoints = Named(exact=exact), Named(exact=exact)
        self.first_starts: Array = np.full(_KINDS, _LATEST)
        self.last_ends: Array = np.full(_KINDS, -_LATEST)
        #: Threads by log, client and number, each with its bit; and the bits of those that made calls of a kind.
        self.threads: dict[tuple[int, str, int], int] = {}
        self.members: dict[int, int] = {}
        self._selection = selection
        self._limits = limits
        operations = selection.operations or frozenset(Op.__members__)
        buckets = selection.buckets or range(16)
        kinds = np.zeros((16, 16), np.bool_)
        kinds[np.ix_([int(Op[name]) for name in operations], list(buckets))] = True
        self._kinds: Array = kinds.reshape(-1)
        self._every = not selection.operations and not selection.buckets
        self._known_clients = Known(self.clients, selection.clients)
        self._known_endpoints = Known(self.endpoints, selection.endpoints)
        self._held = _Held(_ROWS)
        self._log = 0
        # Which combinations of client, kind and thread of this log were met.
        self._met: Array = _NOBODY

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        kept = {name: value for name, value in self.__dict__.items() if not name.startswith("_known")}
        return kept | {"_held": _Held(0)}

    def add(self, log: int, columns: Columns) -> None:
        """Count rows of a log."""
        if log != self._log:
            self.settle()
            self._log, self._met = log, _NOBODY
        count = self.logs.setdefault(log, LogCount())
        count.rows += len(columns)
        self._known_clients.learn(columns.client_names)
        warming = self._warming(columns)
        left = None if warming is None else ~warming
        if left is None or left.any():
            starts, ends = (
                (columns.starts, columns.ends) if left is None else (columns.starts[left], columns.ends[left])
            )
            count.cover(int(starts.min()), int(ends.max()))
        if self._limits is not None:
            count.selected += self._select(columns, warming)

    def _warming(self, columns: Columns) -> Array | None:
        """Which rows are of a warm-up that is left out; None if none is."""
        if self._selection.include_warmup or not self._known_clients.warming.any():
            return None
        warming: Array = self._known_clients.warming[columns.clients]
        return warming if warming.any() else None

    def _select(self, columns: Columns, warming: Array | None) -> int:
        self._known_endpoints.learn(columns.endpoint_names)
        kinds = columns.ops << np.uint8(4)
        kinds |= bucket_of(columns.nbytes).view(np.uint8)
        kinds = _FOLDED.take(kinds)
        failed = [place for place, _, _ in columns.failures]
        kinds[failed] &= 0xF0
        kept = self._kept(columns, kinds)
        if warming is not None:
            self._note_warmup(warming if kept is None else warming & kept, failed)
            kept = ~warming if kept is None else kept & ~warming
        kept = self._within(columns.starts, kept)
        for place, file, error in columns.failures:
            if kept is None or kept[place]:
                self.errors.note(Op(int(kinds[place]) >> 4).name, error, file)
        kinds[failed] |= FAILED
        return self._hold(columns, kinds, None if kept is None else np.flatnonzero(kept))

    def _hold(self, columns: Columns, kinds: Array, which: Array | None) -> int:
        """Keep the rows at these places until there are enough to be counted; says how many there are."""
        count = len(kinds) if which is None else len(which)
        if self._held.filled + count > self._held.rows:
            self.settle()
            if count > self._held.rows:
                self._held = _Held(count)
        rows = {
            "kinds": kinds,
            "clients": columns.clients,
            "endpoints": columns.endpoints,
            "threads": columns.threads,
            "nbytes": columns.nbytes,
            "objects": columns.n_objects,
            "durations": columns.durations,
            "starts": columns.starts,
            "firsts": columns.firsts,
            "ends": columns.ends,
        }
        if which is not None:
            rows = {name: values[which] for name, values in rows.items()}
        rows["clients"] = self._known_clients.slots(rows["clients"])
        rows["endpoints"] = self._known_endpoints.slots(rows["endpoints"])
        self._held.put(rows, count)
        return count

    def _kept(self, columns: Columns, kinds: Array) -> Array | None:
        """The rows of selected operations, sizes, clients and endpoints; None for all."""
        kept: Array | None = None
        if not self._every:
            kept = self._kinds[kinds]
        if self._selection.clients:
            selected = self._known_clients.selected[columns.clients]
            kept = selected if kept is None else kept & selected
        if self._selection.endpoints:
            selected = self._known_endpoints.selected[columns.endpoints]
            kept = selected if kept is None else kept & selected
        return kept

    def _within(self, starts: Array, kept: Array | None) -> Array | None:
        limits = self._limits
        assert limits is not None
        if limits.begin_ns > -_LATEST:
            late = starts >= limits.begin_ns
            kept = late if kept is None else kept & late
        if limits.upto_ns < _LATEST:
            early = starts < limits.upto_ns
            kept = early if kept is None else kept & early
        return kept

    def _note_warmup(self, warming: Array, failed: Sequence[int]) -> None:
        self.warmup += int(warming.sum())
        self.warmup_errors += int(warming[list(failed)].sum())

    def settle(self) -> None:
        """Count the rows that wait."""
        if not self._held.filled:
            return
        held = self._held.take()
        kinds, starts, ends = held["kinds"], held["starts"], held["ends"]
        rows = Rows(kinds, held["nbytes"], held["objects"], held["durations"], starts, held["firsts"])
        self.clients.add(held["clients"], rows, self.total)
        self.endpoints.add(held["endpoints"], rows, self.total)
        self._note_spans(self.slicing.add(starts, ends, rows), starts, ends)
        self._note_threads(kinds, held["clients"], held["threads"])

    def _note_spans(self, ordered: Ordered, starts: Array, ends: Array) -> None:
        kinds = ordered.cells & _KINDS - 1
        if int(starts.min()) < int(self.first_starts[kinds].max()):
            np.minimum.at(self.first_starts, kinds, np.minimum.reduceat(starts.take(ordered.order), ordered.begins))
        np.maximum.at(self.last_ends, kinds, np.maximum.reduceat(ends.take(ordered.order), ordered.begins))

    def _note_threads(self, kinds: Array, clients: Array, threads: Array) -> None:
        for client, kind, thread in self._new_callers(kinds, clients, threads):
            bit = self._bit((self._log, self.clients.name(client), thread))
            self.members[kind] = self.members.get(kind, 0) | 1 << bit

    def _new_callers(self, kinds: Array, clients: Array, threads: Array) -> list[tuple[int, ...]]:
        """Combinations of client, kind and thread, those that were not met before at least."""
        sizes = (int(clients.max()) + 1, _KINDS, 1 << int(threads.max()).bit_length())
        if math.prod(sizes) > _TABLE:
            return _combinations(clients, kinds, threads)
        larger = tuple(map(max, sizes, self._met.shape))
        sizes = larger if math.prod(larger) <= _TABLE else sizes
        if sizes != self._met.shape:
            self._met = np.zeros(sizes, np.bool_)
        codes = kinds.astype(np.int64)
        if sizes[0] > 1:
            codes += clients.astype(np.int64) << 8
        codes *= sizes[2]
        codes += threads
        met = self._met.reshape(-1)
        known = met.take(codes)
        if known.all():
            return []
        met[codes] = True
        found = np.unravel_index(np.unique(codes[~known]), self._met.shape)
        return list(zip(*(column.tolist() for column in found), strict=True))

    def _bit(self, thread: tuple[int, str, int]) -> int:
        bit = self.threads.get(thread)
        if bit is None:
            bit = len(self.threads)
            if bit >= MOST_THREADS:
                return MOST_THREADS
            self.threads[thread] = bit
        return bit

    def merge(self, other: Accumulator) -> None:
        """Add what another part counts, which is used up. Raises TooManyNamesError."""
        self.settle()
        other.settle()
        for log, count in other.logs.items():
            self.logs.setdefault(log, LogCount()).add(count)
        self.errors.merge(other.errors)
        self.warmup += other.warmup
        self.warmup_errors += other.warmup_errors
        self.clients.merge(other.clients, self.total, other.total)
        self.endpoints.merge(other.endpoints, self.total, other.total)
        self.slicing.merge(other.slicing)
        np.minimum(self.first_starts, other.first_starts, out=self.first_starts)
        np.maximum(self.last_ends, other.last_ends, out=self.last_ends)
        bits = {bit: self._bit(key) for key, bit in other.threads.items()} | {MOST_THREADS: MOST_THREADS}
        for kind, members in other.members.items():
            for bit, its in bits.items():
                if members >> bit & 1:
                    self.members[kind] = self.members.get(kind, 0) | 1 << its

    def total(self) -> Grid:
        """All that was counted, in slot 0."""
        return self.slicing.grid.total()

    def spans(self) -> dict[tuple[str, int], Span]:
        """When calls of each operation and size bucket were made."""
        self.settle()
        spans: dict[tuple[str, int], Span] = {}
        for kind, members in sorted(self.members.items()):
            name = kind_name(kind)
            span = Span(int(self.first_starts[kind]), int(self.last_ends[kind]), members)
            spans[name] = spans[name].joined(span) if name in spans else span
        return spans


def _combinations(*columns: Array) -> list[tuple[int, ...]]:
    """The different rows of some columns, of which no item is negative."""
    sizes = [int(column.max()) + 1 for column in columns]
    if math.prod(sizes) <= _TABLE:
        seen = np.zeros(math.prod(sizes), np.bool_)
        code = columns[0].astype(np.int64)
        for column, size in zip(columns[1:], sizes[1:], strict=True):
            code *= size
            code += column
        seen[code] = True
        found = np.unravel_index(np.flatnonzero(seen), sizes)
    else:
        order = np.lexsort(columns)
        ordered = [column[order] for column in columns]
        differs = np.ones(len(order), np.bool_)
        differs[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in ordered])
        found = tuple(column[differs] for column in ordered)
    return list(zip(*(column.tolist() for column in found), strict=True))
