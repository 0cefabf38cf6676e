"""What calls add up to by slot and kind, in arrays.

A slot is a slice of time, a client or an endpoint. A kind is an operation and a size bucket in one byte. Rows are
counted many at once: they are sorted by slot and kind, and every sum is one pass over them, whatever the number of
slots. Latencies are kept as the buckets of histograms that are not empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
import numpy as np

from penstock.records import Op
from penstock.stats.histogram import Histogram, buckets_of
from penstock.stats.tally import Cell, Tally

__all__ = ["FAILED", "NONE", "SLOTS", "Array", "Grid", "Ordered", "Rows", "kind_name", "kind_of"]

Array = np.ndarray[Any, np.dtype[Any]]

#: How many slots there are.
SLOTS: Final = 256
#: The bucket of failed calls within a kind.
FAILED: Final = 15
#: Stands for a first byte that a row does not have.
NONE: Final = -(2**63)

_KINDS: Final = 256
_BUCKETS: Final = 16
#: Values from here on are added one by one, so that sums stay within 64 bits.
_LARGE: Final = 1 << 42
_HALF: Final = 21
#: Pairs that wait before they are added to those before, and those that are added up at once.
_WAITING: Final = 1 << 20
_CHUNK: Final = 1 << 20
_UPPER: Final = np.uint64(32)
_LOWER: Final = np.uint64(0xFFFFFFFF)


def kind_of(ops: Array, buckets: Array) -> Array:
    """Kinds of operations' codes and buckets."""
    kinds: Array = ops * np.uint8(_BUCKETS) + buckets.astype(np.uint8)
    return kinds


def kind_name(kind: int) -> tuple[str, int]:
    """The operation and the size bucket, which for failed calls is 0."""
    bucket = kind % _BUCKETS
    return Op(kind // _BUCKETS).name, 0 if bucket == FAILED else bucket


@attrs.frozen(slots=True, eq=False)
class Rows:
    """Calls, one item each in every array. ``firsts`` counts from the start; NONE stands for no first byte."""

    kinds: Array
    nbytes: Array
    objects: Array
    durations: Array
    firsts: Array

    def __len__(self) -> int:
        return len(self.kinds)


@attrs.frozen(slots=True, eq=False)
class Ordered:
    """Rows in the order of their cells: the place of each, where the rows of a cell begin, and the key of each cell."""

    order: Array
    begins: Array
    cells: Array


class _Pairs:
    """Places and how often each was counted, a pair in one number, so that sorting them is fast and they are small."""

    def __init__(self) -> None:
        self._pairs: Array = np.zeros(0, np.uint64)  # ascending, mostly one for each place
        self._waiting: list[Array] = []
        self._waits = 0

    def add(self, places: Array) -> None:
        """Count places, which are below 2**32."""
        places = np.sort(places)
        begins = _runs(places)
        counts = np.diff(begins, append=len(places))
        self._add(places[begins].astype(np.uint64) << _UPPER | counts.astype(np.uint64))

    def merge(self, other: _Pairs) -> None:
        """Add what the other counts."""
        for pairs in (other._pairs, *other._waiting):
            self._add(pairs)

    def _add(self, pairs: Array) -> None:
        self._waiting.append(pairs)
        self._waits += len(pairs)
        if self._waits > max(_WAITING, len(self._pairs) // 2):
            self.settle()

    def settle(self) -> None:
        """Bring pairs that wait together with those before."""
        if self._waiting:
            every, self._waiting, self._waits = [self._pairs, *self._waiting], [], 0
            self._pairs = np.zeros(0, np.uint64)
            pairs = np.concatenate(every)
            del every
            pairs.sort()
            self._pairs = _summed(pairs)

    def move(self, cells: Array) -> None:
        """Replace the upper half of each place, a cell's key, by another."""
        every, self._waiting, self._waits = [*self._waiting, self._pairs], [], 0
        self._pairs = np.zeros(0, np.uint64)
        upper = cells.astype(np.uint64) << np.uint64(48)
        for pairs in every:
            self._add(upper[pairs >> np.uint64(48)] | pairs & np.uint64((1 << 48) - 1))

    def cells(self) -> Iterator[tuple[int, Array, Array]]:
        """The key of each cell, the buckets within it and their counts."""
        self.settle()
        if not len(self._pairs):
            return
        places, counts = self._pairs >> _UPPER, (self._pairs & _LOWER).astype(np.int64)
        firsts = _runs(places)
        if len(firsts) < len(places):
            places, counts = places[firsts], np.add.reduceat(counts, firsts)
        keys = places >> np.uint64(16)
        begins = _runs(keys)
        ends = np.append(begins[1:], len(keys)).tolist()
        buckets = places.astype(np.uint16)
        for key, begin, end in zip(keys[begins].tolist(), begins.tolist(), ends, strict=True):
            yield key, buckets[begin:end], counts[begin:end]


def _summed(pairs: Array) -> Array:
    """Ascending pairs with one for each place, made where they are. Counts that would not fit stay apart."""
    filled = 0
    begin = 0
    while begin < len(pairs):
        end = min(begin + _CHUNK, len(pairs))
        if end < len(pairs):
            # All pairs of a place are added up together.
            place = pairs[end] >> _UPPER << _UPPER
            end = begin + int(np.searchsorted(pairs[begin:end], place))
            if end == begin:
                end = begin + int(np.searchsorted(pairs[begin:], place | _LOWER, side="right"))
        some = pairs[begin:end]
        places = some >> _UPPER
        begins = _runs(places)
        counts = np.add.reduceat(some & _LOWER, begins)
        made = places[begins] << _UPPER | counts if int(counts.max()) <= int(_LOWER) else some.copy()
        pairs[filled : filled + len(made)] = made
        filled += len(made)
        begin = end
    return pairs[:filled].copy()


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
        self.pairs = _Pairs()
        self.fine = _Pairs() if coarse else None

    def add(self, keys: Array, values: Array) -> None:
        """Count values whose cells' keys ascend."""
        if not len(keys):
            return
        values = np.maximum(values, 0)
        begins = _runs(keys)
        cells = keys[begins]
        self.counts[cells] += np.diff(begins, append=len(keys))
        self.lowest[cells] = np.minimum(self.lowest[cells], np.minimum.reduceat(values, begins))
        self.highest[cells] = np.maximum(self.highest[cells], np.maximum.reduceat(values, begins))
        buckets = buckets_of(values)
        upper = keys.astype(np.uint32) << np.uint32(16)
        if self.fine is None:
            self.pairs.add(upper | buckets)
        else:
            self.fine.add(upper & np.uint32(0xFF0000) | buckets)
            self.pairs.add(upper | buckets & np.uint32(0xFFF8) | np.uint32(4))
        for row in np.flatnonzero(values >= _LARGE).tolist():
            value, cell = int(values[row]), int(keys[row])
            total, squares = self.large.get(cell, (0, 0))
            self.large[cell] = (total + value, squares + value * value)
            values[row] = 0
        self.totals[cells] += np.add.reduceat(values, begins)
        self._add_squares(cells, values, begins)

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
            total.pairs = _Pairs()
            total.pairs.merge(self.fine)
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
        keys = slots.astype(np.uint16) << np.uint16(8) | rows.kinds
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        begins = _runs(keys)
        ordered = Ordered(order, begins, keys[begins].astype(np.int64))
        self._add(rows, keys, ordered)
        return ordered

    def _add(self, rows: Rows, keys: Array, ordered: Ordered) -> None:
        order, cells = ordered.order, ordered.cells
        failed = cells % _BUCKETS == FAILED
        if failed.any():
            counts = np.diff(ordered.begins, append=len(keys))
            self.errors[cells[failed]] += counts[failed]
            good = np.repeat(~failed, counts)
            order, keys = order[good], keys[good]
            if not len(keys):
                return
        self._add_sums(keys, rows.nbytes[order], rows.objects[order])
        self.service.add(keys, rows.durations[order])
        firsts = rows.firsts[order]
        given = np.flatnonzero(firsts != NONE)
        self.first_byte.add(keys[given], firsts[given])

    def _add_sums(self, keys: Array, nbytes: Array, objects: Array) -> None:
        begins = _runs(keys)
        cells = keys[begins]
        for row in np.flatnonzero(nbytes >= _LARGE).tolist():
            cell = int(keys[row])
            self.large[cell] = self.large.get(cell, 0) + int(nbytes[row])
            nbytes[row] = 0
        self.nbytes[cells] += np.add.reduceat(nbytes, begins)
        self.objects[cells] += np.add.reduceat(objects, begins)

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


def _runs(keys: Array) -> Array:
    """Where each run of equal keys begins."""
    if not len(keys):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
