"""What calls add up to by slot and kind, in arrays.

A slot is a slice of time, a client or an endpoint. A kind is an operation and a size bucket in one byte. Rows are
counted many at once: they are sorted by slot and kind, and every sum is one pass over them, whatever the number of
slots. Latencies are kept as the buckets of histograms that are not empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np

from penstock.analysis.pairs import Array, Buckets, Pairs, runs
from penstock.oplog.usual import NEVER
from penstock.records import Op
from penstock.stats.histogram import Histogram, buckets_of
from penstock.stats.tally import READS, Cell, Tally

__all__ = ["FAILED", "SLOTS", "Grid", "Ordered", "Rows", "kind_name"]

#: How many slots there are.
SLOTS: Final = 256
#: The bucket of failed calls within a kind.
FAILED: Final = 15

_KINDS: Final = 256
_BUCKETS: Final = 16
#: Values from here on are added one by one, so that sums stay within 64 bits.
_LARGE: Final = 1 << 42
#: Bits of a bucket's number that the groups of buckets don't have.
_COARSE: Final = 3
_HALF: Final = 21

_READING: Final = np.isin(np.arange(_KINDS) // _BUCKETS, [int(op) for op in READS])
_STATTING: Final = np.arange(_KINDS) // _BUCKETS == int(Op.STAT)


def kind_name(kind: int) -> tuple[str, int]:
    """The operation and the size bucket, which for failed calls is 0."""
    bucket = kind % _BUCKETS
    return Op(kind // _BUCKETS).name, 0 if bucket == FAILED else bucket


@attrs.frozen(slots=True, eq=False)
class Rows:
    """Calls, one item each in every array. ``firsts``, NEVER where there is no first byte, matters of reads only, and
    ``nbytes`` of what is no stat.
    """

    kinds: Array
    nbytes: Array
    objects: Array
    durations: Array
    starts: Array
    firsts: Array

    def __len__(self) -> int:
        return len(self.kinds)


@attrs.frozen(slots=True, eq=False)
class Ordered:
    """Rows in the order of their cells: the place of each, the key of each cell, and how many rows it has."""

    order: Array
    cells: Array
    counts: Array

    @property
    def begins(self) -> Array:
        """Where the rows of each cell begin."""
        begins: Array = np.cumsum(self.counts)
        begins -= self.counts
        return begins

    def only(self, wanted: Array) -> Ordered:
        """Those of the cells that are marked."""
        if wanted.all():
            return self
        edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False)).tolist()
        begins = [*self.begins.tolist(), len(self.order)]
        parts = [self.order[begins[at] : begins[upto]] for at, upto in zip(edges[::2], edges[1::2], strict=True)]
        order = np.concatenate(parts) if parts else self.order[:0]
        return Ordered(order, self.cells[wanted], self.counts[wanted])


class _Latencies:
    """Latencies by slot and kind, together the key of a cell.

    ``coarse`` ones keep the buckets of each cell in groups of eight, 128 to an octave, and those of each kind, whatever
    the slot, as they are.
    """

    def __init__(self, *, coarse: bool) -> None:
        cells = SLOTS * _KINDS
        self.counts: Array = np.zeros(cells, np.int64)
        self.totals: Array = np.zeros(cells, np.int64)
        # Squares in two parts, of which the lower one has 42 bits.
        self.squares: Array = np.zeros(cells, np.int64)
        self.low_squares: Array = np.zeros(cells, np.int64)
        self.lowest: Array = np.full(cells, np.iinfo(np.int64).max)
        self.highest: Array = np.zeros(cells, np.int64)
        #: What large values add to sum and sum of squares.
        self.large: dict[int, tuple[int, int]] = {}
        # Their places are the key of a cell, and below it the number of a bucket.
        self.pairs = Pairs()
        self.fine = Buckets() if coarse else None

    def add(self, ordered: Ordered, values: Array) -> None:
        """Count the values of some rows, in their order. They are used up."""
        if not len(values):
            return
        cells, begins = ordered.cells, ordered.begins
        lowest, highest = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
        if int(lowest.min()) < 0:
            values, lowest, highest = (np.maximum(some, 0) for some in (values, lowest, highest))
        self.counts[cells] += ordered.counts
        self.lowest[cells] = np.minimum(self.lowest[cells], lowest)
        self.highest[cells] = np.maximum(self.highest[cells], highest)
        self._add_buckets(ordered, buckets_of(values))
        if int(highest.max()) >= _LARGE:
            keys = np.repeat(cells, ordered.counts)
            for row in np.flatnonzero(values >= _LARGE).tolist():
                value = int(values[row])
                self._add_large(int(keys[row]), value, value * value)
                values[row] = 0
        self.totals[cells] += np.add.reduceat(values, begins)
        self._add_squares(cells, values, begins)

    def _add_buckets(self, ordered: Ordered, buckets: Array) -> None:
        shift = 0
        if self.fine is not None:
            self.fine.add(ordered.cells & _KINDS - 1, ordered.counts, buckets)
            shift = _COARSE
        self.pairs.add(ordered.cells, ordered.counts, buckets, shift)

    def _add_squares(self, cells: Array, values: Array, begins: Array) -> None:
        highest = int(values.max())
        if highest * highest * len(values) < 2**63:
            sums = np.add.reduceat(values * values, begins)
            upper, lower = sums >> 2 * _HALF, sums & _LARGE - 1
        else:
            high, low = values >> _HALF, values & (1 << _HALF) - 1
            middle = np.add.reduceat(high * low, begins)
            lowest = np.add.reduceat(low * low, begins)
            upper = np.add.reduceat(high * high, begins) + (middle >> _HALF - 1) + (lowest >> 2 * _HALF)
            lower = ((middle & (1 << _HALF - 1) - 1) << _HALF + 1) + (lowest & _LARGE - 1)
        lower += self.low_squares[cells]
        self.squares[cells] += upper + (lower >> 2 * _HALF)
        self.low_squares[cells] = lower & _LARGE - 1

    def moved(self, cells: Array) -> None:
        """Put what is in cell ``i`` into cell ``cells[i]``, where it is added to what is there. -1: it is empty."""
        used = np.flatnonzero(self.counts)
        before = {name: getattr(self, name)[used] for name in ("counts", "totals", "squares", "low_squares")}
        lowest, highest = self.lowest[used], self.highest[used]
        target = cells[used]
        for name, values in before.items():
            fresh = np.zeros_like(self.counts)
            np.add.at(fresh, target, values)
            setattr(self, name, fresh)
        self.squares += self.low_squares >> 2 * _HALF
        self.low_squares &= _LARGE - 1
        self.lowest, self.highest = np.full_like(self.lowest, np.iinfo(np.int64).max), np.zeros_like(self.highest)
        np.minimum.at(self.lowest, target, lowest)
        np.maximum.at(self.highest, target, highest)
        self.pairs.move(cells)
        large, self.large = self.large, {}
        for cell, (total, squares) in large.items():
            self._add_large(int(cells[cell]), total, squares)

    def _add_large(self, cell: int, total: int, squares: int) -> None:
        before = self.large.get(cell, (0, 0))
        self.large[cell] = (before[0] + total, before[1] + squares)

    def merge(self, other: _Latencies) -> None:
        """Add what the other counts, cell by cell."""
        for name in ("counts", "totals", "squares", "low_squares"):
            getattr(self, name)[:] += getattr(other, name)
        self.squares += self.low_squares >> 2 * _HALF
        self.low_squares &= _LARGE - 1
        np.minimum(self.lowest, other.lowest, out=self.lowest)
        np.maximum(self.highest, other.highest, out=self.highest)
        for cell, (total, squares) in other.large.items():
            self._add_large(cell, total, squares)
        self.pairs.merge(other.pairs)
        if self.fine is not None and other.fine is not None:
            self.fine.merge(other.fine)

    def total(self) -> _Latencies:
        """Those of each kind, in slot 0."""
        total = _Latencies(coarse=False)
        total.merge(self)
        total.moved(np.arange(SLOTS * _KINDS) % _KINDS)
        if self.fine is not None:
            total.pairs = self.fine.pairs()
        return total

    def histograms(self) -> Iterator[tuple[int, Histogram]]:
        """The cells that are not empty, and their histograms."""
        for cell, index, counts in self.pairs.cells():
            total, squares = self.large.get(cell, (0, 0))
            yield (
                cell,
                Histogram.of(
                    index,
                    counts,
                    total=total + int(self.totals[cell]),
                    squares=squares + (int(self.squares[cell]) << 2 * _HALF) + int(self.low_squares[cell]),
                    minimum=int(self.lowest[cell]),
                    maximum=int(self.highest[cell]),
                ),
            )


class Grid:
    """Counts, bytes, errors and latencies by slot and kind."""

    def __init__(self, *, coarse: bool = False) -> None:
        """With ``coarse`` latencies of a slot have two significant digits; those of all slots together have three."""
        cells = SLOTS * _KINDS
        self.errors: Array = np.zeros(cells, np.int64)
        self.nbytes: Array = np.zeros(cells, np.int64)
        self.objects: Array = np.zeros(cells, np.int64)
        #: What large sizes add to the bytes.
        self.large: dict[int, int] = {}
        self.service = _Latencies(coarse=coarse)
        self.first_byte = _Latencies(coarse=coarse)

    def add(self, slots: Array, rows: Rows) -> Ordered:
        """Count rows, each in its slot; says how they were ordered for it."""
        keys = slots.astype(np.uint16)
        keys <<= 8
        keys |= rows.kinds
        order = np.argsort(keys, kind="stable")
        keys = keys.take(order)
        begins = runs(keys)
        ordered = Ordered(order, keys[begins].astype(np.int64), np.diff(begins, append=len(keys)))
        self._add(rows, ordered)
        return ordered

    def _add(self, rows: Rows, every: Ordered) -> None:
        failed = every.cells % _BUCKETS == FAILED
        self.errors[every.cells[failed]] += every.counts[failed]
        good = every.only(~failed)
        if not len(good.order):
            return
        self._add_sums(rows, good)
        self.service.add(good, rows.durations.take(good.order))
        reads = good.only(_READING[good.cells & _KINDS - 1])
        firsts = rows.firsts.take(reads.order)
        given = firsts != NEVER
        if not given.all():
            keys = np.repeat(reads.cells, reads.counts)[given]
            firsts, begins = firsts[given], runs(keys)
            reads = Ordered(reads.order[given], keys[begins], np.diff(begins, append=len(keys)))
        firsts -= rows.starts.take(reads.order)
        self.first_byte.add(reads, firsts)

    def _add_sums(self, rows: Rows, good: Ordered) -> None:
        if int(rows.objects.min()) == 1 == int(rows.objects.max()):
            self.objects[good.cells] += good.counts
        else:
            self.objects[good.cells] += np.add.reduceat(rows.objects.take(good.order), good.begins)
        moving = good.only(~_STATTING[good.cells & _KINDS - 1])
        if not len(moving.order):
            return
        nbytes = rows.nbytes.take(moving.order)
        if int(nbytes.max()) >= _LARGE:
            keys = np.repeat(moving.cells, moving.counts)
            for row in np.flatnonzero(nbytes >= _LARGE).tolist():
                cell = int(keys[row])
                self.large[cell] = self.large.get(cell, 0) + int(nbytes[row])
                nbytes[row] = 0
        self.nbytes[moving.cells] += np.add.reduceat(nbytes, moving.begins)

    def move(self, slots: Array) -> None:
        """Put what is in slot ``i`` into slot ``slots[i]``, where it is added to what is there."""
        cells = (slots[:, None] * _KINDS + np.arange(_KINDS)).ravel()
        self._move_sums(cells)
        self.service.moved(cells)
        self.first_byte.moved(cells)

    def _move_sums(self, cells: Array) -> None:
        for name in ("errors", "nbytes", "objects"):
            values = getattr(self, name)
            used = np.flatnonzero(values)
            fresh = np.zeros_like(values)
            np.add.at(fresh, cells[used], values[used])
            setattr(self, name, fresh)
        large, self.large = self.large, {}
        for cell, nbytes in large.items():
            to = int(cells[cell])
            self.large[to] = self.large.get(to, 0) + nbytes

    def merge(self, other: Grid) -> None:
        """Add what the other counts, slot by slot."""
        self._merge_sums(other)
        self.service.merge(other.service)
        self.first_byte.merge(other.first_byte)

    def _merge_sums(self, other: Grid) -> None:
        for name in ("errors", "nbytes", "objects"):
            getattr(self, name)[:] += getattr(other, name)
        for cell, nbytes in other.large.items():
            self.large[cell] = self.large.get(cell, 0) + nbytes

    def total(self) -> Grid:
        """All that is in it, in slot 0 of another."""
        total = Grid()
        total._merge_sums(self)
        total._move_sums(np.arange(SLOTS * _KINDS) % _KINDS)
        total.service, total.first_byte = self.service.total(), self.first_byte.total()
        return total

    def counts(self) -> Array:
        """Calls in each slot, failed ones included."""
        counts: Array = (self.service.counts + self.errors).reshape(SLOTS, _KINDS).sum(axis=1)
        return counts

    def tallies(self) -> dict[int, Tally]:
        """A tally for each slot that is not empty."""
        made: dict[int, Tally] = {}

        def cell_of(key: int) -> Cell:
            tally = made.get(key // _KINDS)
            if tally is None:
                tally = made[key // _KINDS] = Tally()
            return tally.cell(*kind_name(key % _KINDS))

        for key, histogram in self.service.histograms():
            cell = cell_of(key)
            cell.count, cell.service = histogram.count, histogram
            cell.nbytes = int(self.nbytes[key]) + self.large.get(key, 0)
            cell.objects = int(self.objects[key])
        for key, histogram in self.first_byte.histograms():
            cell_of(key).first_byte = histogram
        for key in np.flatnonzero(self.errors).tolist():
            cell_of(key).errors += int(self.errors[key])
        return made
