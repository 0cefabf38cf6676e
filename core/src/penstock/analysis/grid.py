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

__all__ = ["FAILED", "NONE", "SLOTS", "Array", "Grid", "Rows", "kind_name", "kind_of"]

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
#: Pairs of bucket and count that wait before they are added to those before.
_WAITING: Final = 1 << 21


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


class _Latencies:
    """Latencies by slot and kind, together the key of a cell."""

    def __init__(self) -> None:
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
        # The key of a cell and the number of a bucket in one, ascending, and the counts.
        self._places: Array = np.zeros(0, np.uint32)
        self._counts: Array = np.zeros(0, np.int64)
        self._waiting: list[tuple[Array, Array]] = []
        self._waits = 0

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
        places = keys.astype(np.uint32) << np.uint32(16) | buckets_of(values)
        self._add_counts(*_counted(places))
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

    def _add_counts(self, places: Array, counts: Array) -> None:
        self._waiting.append((places, counts))
        self._waits += len(places)
        if self._waits > max(_WAITING, len(self._places)):
            self.settle()

    def settle(self) -> None:
        """Bring counts that wait together with those before."""
        if self._waiting:
            every = [(self._places, self._counts), *self._waiting]
            self._places, self._counts = _summed(*(np.concatenate(part) for part in zip(*every, strict=True)))
            self._waiting, self._waits = [], 0

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
        every, self._waiting, self._waits = [*self._waiting, (self._places, self._counts)], [], 0
        self._places, self._counts = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        upper = cells.astype(np.uint32) << np.uint32(16)
        for places, counts in every:
            self._add_counts(upper[places >> np.uint32(16)] | places & np.uint32(0xFFFF), counts)
        large, self.large = self.large, {}
        for cell, (total, squares) in large.items():
            self._add_large(int(cells[cell]), total, squares)

    def _add_large(self, cell: int, total: int, squares: int) -> None:
        before = self.large.get(cell, (0, 0))
        self.large[cell] = (before[0] + total, before[1] + squares)

    def merge(self, other: _Latencies) -> None:
        """Add what the other counts, cell by cell."""
        other.settle()
        for name in ("counts", "totals", "squares", "low_squares"):
            getattr(self, name)[:] += getattr(other, name)
        self.squares += self.low_squares >> 2 * _HALF
        self.low_squares &= _LARGE - 1
        np.minimum(self.lowest, other.lowest, out=self.lowest)
        np.maximum(self.highest, other.highest, out=self.highest)
        for cell, (total, squares) in other.large.items():
            self._add_large(cell, total, squares)
        self._add_counts(other._places, other._counts)

    def histograms(self) -> Iterator[tuple[int, Histogram]]:
        """The cells that are not empty, and their histograms."""
        self.settle()
        if not len(self._places):
            return
        begins = _runs(self._places >> np.uint32(16))
        ends = np.append(begins[1:], len(self._places))
        index = (self._places & np.uint32(0xFFFF)).astype(np.uint16)
        cells = (self._places[begins] >> np.uint32(16)).tolist()
        for cell, begin, end in zip(cells, begins.tolist(), ends.tolist(), strict=True):
            total, squares = self.large.get(cell, (0, 0))
            yield (
                cell,
                Histogram.of(
                    index[begin:end],
                    self._counts[begin:end],
                    total=total + int(self.totals[cell]),
                    squares=squares + (int(self.squares[cell]) << 2 * _HALF) + int(self.low_squares[cell]),
                    minimum=int(self.lowest[cell]),
                    maximum=int(self.highest[cell]),
                ),
            )


class Grid:
    """Counts, bytes, errors and latencies by slot and kind."""

    def __init__(self) -> None:
        cells = SLOTS * _KINDS
        self.errors: Array = np.zeros(cells, np.int64)
        self.nbytes: Array = np.zeros(cells, np.int64)
        self.objects: Array = np.zeros(cells, np.int64)
        #: What large sizes add to the bytes.
        self.large: dict[int, int] = {}
        self.service = _Latencies()
        self.first_byte = _Latencies()

    def add(self, slots: Array, rows: Rows) -> None:
        """Count rows, each in its slot."""
        keys = slots.astype(np.uint16) << np.uint16(8) | rows.kinds
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        failed = keys & np.uint16(_BUCKETS - 1) == FAILED
        if failed.any():
            cells, counts = _counted(keys[failed])
            self.errors[cells] += counts
            order, keys = order[~failed], keys[~failed]
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
        self.service.moved(cells)
        self.first_byte.moved(cells)

    def merge(self, other: Grid) -> None:
        """Add what the other counts, slot by slot."""
        for name in ("errors", "nbytes", "objects"):
            getattr(self, name)[:] += getattr(other, name)
        for cell, nbytes in other.large.items():
            self.large[cell] = self.large.get(cell, 0) + nbytes
        self.service.merge(other.service)
        self.first_byte.merge(other.first_byte)

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


def _counted(keys: Array) -> tuple[Array, Array]:
    """The different keys, ascending, and how often each occurs."""
    keys = np.sort(keys)
    begins = _runs(keys)
    return keys[begins], np.diff(begins, append=len(keys))


def _summed(places: Array, counts: Array) -> tuple[Array, Array]:
    """The different places, ascending, and the sum of the counts of each."""
    if not len(places):
        return places, counts
    if int(counts.max()) < 1 << 32:
        # Both in one number: sorting numbers is much faster than finding their order.
        both = np.sort(places.astype(np.uint64) << np.uint64(32) | counts.astype(np.uint64))
        places = (both >> np.uint64(32)).astype(np.uint32)
        counts = (both & np.uint64(0xFFFFFFFF)).view(np.int64)
    else:
        order = np.argsort(places)
        places, counts = places[order], counts[order]
    begins = _runs(places)
    return places[begins], np.add.reduceat(counts, begins)
