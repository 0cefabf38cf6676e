"""Adding up the rows of logs: what one process makes of the blocks that it gets, and how such parts become one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import attrs
import numpy as np

from penstock.analysis.grid import FAILED, NONE, Array, Grid, Ordered, Rows, kind_name, kind_of
from penstock.analysis.naming import Known, Named
from penstock.analysis.slicing import Slicing
from penstock.analysis.values import MOST_THREADS, Selection, Span
from penstock.oplog.block import Columns
from penstock.oplog.names import HEAD
from penstock.oplog.usual import NEVER
from penstock.records import Op
from penstock.stats.buckets import bucket_of
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import READS

__all__ = ["Accumulator", "Limits", "LogCount"]

#: Rows that are sorted and counted at once.
_ROWS: Final = 1 << 18
_KINDS: Final = 256
_LATEST: Final = 2**63 - 1
#: Combinations that are marked in a table.
_TABLE: Final = 1 << 21

_STAT: Final = int(Op.STAT)
_IS_STAT: Final = np.array([code in (_STAT, HEAD) for code in range(HEAD + 1)])
_IS_READ: Final = np.array([code in READS for code in range(HEAD + 1)])
_FOLDED: Final = np.array([_STAT if code == HEAD else code for code in range(HEAD + 1)], np.uint8)


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


@attrs.define(slots=True, eq=False)
class _Held:
    """Arrays of the selected rows that wait."""

    kinds: list[Array] = attrs.Factory(list)
    nbytes: list[Array] = attrs.Factory(list)
    objects: list[Array] = attrs.Factory(list)
    durations: list[Array] = attrs.Factory(list)
    firsts: list[Array] = attrs.Factory(list)
    starts: list[Array] = attrs.Factory(list)
    ends: list[Array] = attrs.Factory(list)
    threads: list[Array] = attrs.Factory(list)
    clients: list[Array] = attrs.Factory(list)
    endpoints: list[Array] = attrs.Factory(list)


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
        self._operations = np.array([code > 0 and Op(code).name in operations for code in _FOLDED])
        self._buckets = np.array([not selection.buckets or number in selection.buckets for number in range(16)])
        self._every = not selection.operations and not selection.buckets
        self._known_clients = Known(self.clients, selection.clients)
        self._known_endpoints = Known(self.endpoints, selection.endpoints)
        self._held = _Held()
        self._waits = 0
        self._log = 0

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_known")}

    def add(self, log: int, columns: Columns) -> None:
        """Count rows of a log."""
        if log != self._log:
            self.settle()
            self._log = log
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
        ops = _FOLDED[columns.ops]
        nbytes = np.where(_IS_STAT[columns.ops], 0, columns.nbytes)
        buckets = bucket_of(nbytes)
        failed = [place for place, _, _ in columns.failures]
        buckets[failed] = 0
        kept = self._kept(columns, ops, buckets)
        if warming is not None:
            self._note_warmup(warming if kept is None else warming & kept, failed)
            kept = ~warming if kept is None else kept & ~warming
        kept = self._within(columns.starts, kept)
        buckets[failed] = FAILED
        for place, file, error in columns.failures:
            if kept is None or kept[place]:
                self.errors.note(Op(int(ops[place])).name, error, file)
        firsts = np.where(_IS_READ[columns.ops] & (columns.firsts != NEVER), columns.firsts - columns.starts, NONE)
        which = slice(None) if kept is None else np.flatnonzero(kept)
        held = self._held
        held.kinds.append(kind_of(ops, buckets)[which])
        held.nbytes.append(nbytes[which])
        held.objects.append(columns.n_objects[which])
        held.durations.append(columns.durations[which])
        held.firsts.append(firsts[which])
        held.starts.append(columns.starts[which])
        held.ends.append(columns.ends[which])
        held.threads.append(columns.threads[which])
        held.clients.append(self._known_clients.slots(columns.clients[which]))
        held.endpoints.append(self._known_endpoints.slots(columns.endpoints[which]))
        selected = len(held.kinds[-1])
        self._waits += selected
        if self._waits >= _ROWS:
            self.settle()
        return selected

    def _kept(self, columns: Columns, ops: Array, buckets: Array) -> Array | None:
        """The rows of selected operations, sizes, clients and endpoints; None for all."""
        kept: Array | None = None
        if not self._every:
            kept = self._operations[ops] & self._buckets[buckets]
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
        held, self._held, waits, self._waits = self._held, _Held(), self._waits, 0
        if not waits:
            return
        made = {field.name: np.concatenate(getattr(held, field.name)) for field in attrs.fields(_Held)}
        rows = Rows(made["kinds"], made["nbytes"], made["objects"], made["durations"], made["firsts"])
        self.clients.add(made["clients"], rows, self.total)
        self.endpoints.add(made["endpoints"], rows, self.total)
        ordered = self.slicing.add(made["starts"], made["ends"], rows)
        self._note_spans(ordered, made["starts"], made["ends"])
        self._note_threads(made["kinds"], made["clients"], made["threads"])

    def _note_spans(self, ordered: Ordered, starts: Array, ends: Array) -> None:
        kinds = ordered.cells & _KINDS - 1
        np.minimum.at(self.first_starts, kinds, np.minimum.reduceat(starts[ordered.order], ordered.begins))
        np.maximum.at(self.last_ends, kinds, np.maximum.reduceat(ends[ordered.order], ordered.begins))

    def _note_threads(self, kinds: Array, clients: Array, threads: Array) -> None:
        for client, thread, kind in _combinations(clients, threads, kinds):
            key = (self._log, self.clients.name(client), thread)
            bit = self._bit(key)
            self.members[kind] = self.members.get(kind, 0) | 1 << bit

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
