"""How often each bucket was counted: by slot and kind in pairs, by kind in a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from penstock.stats.histogram import LIMIT, buckets_of

__all__ = ["Array", "Buckets", "Pairs", "runs"]

Array = np.ndarray[Any, np.dtype[Any]]

#: Pairs that wait before they are added to those before, and those that are added up at once.
_WAITING: Final = 1 << 20
_CHUNK: Final = 1 << 20
#: Counters for each item up to which a table of all possible places is made.
_TABLE: Final = 2
_UPPER: Final = np.uint64(32)
_LOWER: Final = np.uint64(0xFFFFFFFF)

_KINDS: Final = 256
#: Buckets of one kind.
_WIDTH: Final = int(buckets_of([LIMIT - 1])[0]) + 1


class Pairs:
    """Places and how often each was counted, a pair in one number, so that sorting them is fast and they are small."""

    def __init__(self) -> None:
        self._pairs: Array = np.zeros(0, np.uint64)  # ascending, mostly one for each place
        self._waiting: list[Array] = []
        self._waits = 0

    def add(self, cells: Array, counts: Array, buckets: Array, shift: int = 0) -> None:
        """Count buckets; the first ``counts[0]`` of them are in the first of the cells, and so on.

        Of a bucket's number as many of its lower bits don't count. It becomes that of the middle of its group.
        """
        buckets = buckets >> shift
        first = int(buckets.min())
        width = int(buckets.max()) - first + 1
        if len(cells) * width > _TABLE * len(buckets):
            buckets |= np.repeat(cells << 16, counts)
            ascending = np.sort(buckets.astype(np.uint32))
            begins = runs(ascending)
            places, found = ascending[begins].astype(np.int64), np.diff(begins, append=len(ascending))
            keys, buckets = places & ~0xFFFF, places & 0xFFFF
        else:
            buckets += np.repeat(np.arange(-first, len(cells) * width - first, width), counts)
            found = np.bincount(buckets)
            places = np.flatnonzero(found)
            found = found[places]
            row = places // width
            keys, buckets = cells[row] << 16, places - row * width + first
        keys |= buckets << shift
        keys |= 1 << shift >> 1
        keys <<= 32
        keys |= found
        self.append(keys.view(np.uint64))

    def merge(self, other: Pairs) -> None:
        """Add what the other counts."""
        for pairs in (other._pairs, *other._waiting):
            self.append(pairs)

    def append(self, pairs: Array) -> None:
        """Add pairs: a place in the upper half, and in the lower one how often it was counted."""
        if not len(pairs):
            return
        self._waiting.append(pairs)
        self._waits += len(pairs)
        if self._waits > max(_WAITING, len(self._pairs) // 2):
            self.settle()

    def settle(self) -> None:
        """Bring pairs that wait together with those before."""
        if not self._waiting:
            return
        waiting, self._waiting, self._waits = self._waiting, [], 0
        # Time goes on, and with it the slots that places begin with: most are beyond those before.
        least = min(int(pairs.min()) for pairs in waiting) >> 32 << 32
        before, self._pairs = self._pairs, np.zeros(0, np.uint64)
        kept = int(np.searchsorted(before, np.uint64(least)))
        pairs = np.concatenate([before[kept:], *waiting])
        before = before[:kept].copy()
        del waiting
        pairs.sort()
        self._pairs = np.concatenate([before, _summed(pairs)])

    def move(self, cells: Array) -> None:
        """Replace the upper half of each place, a cell's key, by another."""
        every, self._waiting, self._waits = [*self._waiting, self._pairs], [], 0
        self._pairs = np.zeros(0, np.uint64)
        upper = cells.astype(np.uint64) << np.uint64(48)
        for pairs in every:
            self.append(upper[pairs >> np.uint64(48)] | pairs & np.uint64((1 << 48) - 1))

    def cells(self) -> Iterator[tuple[int, Array, Array]]:
        """The key of each cell, the buckets within it and their counts."""
        self.settle()
        if not len(self._pairs):
            return
        places, counts = self._pairs >> _UPPER, (self._pairs & _LOWER).astype(np.int64)
        firsts = runs(places)
        if len(firsts) < len(places):
            places, counts = places[firsts], np.add.reduceat(counts, firsts)
        keys = places >> np.uint64(16)
        begins = runs(keys)
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
        begins = runs(places)
        counts = np.add.reduceat(some & _LOWER, begins)
        made = places[begins] << _UPPER | counts if int(counts.max()) <= int(_LOWER) else some.copy()
        pairs[filled : filled + len(made)] = made
        filled += len(made)
        begin = end
    return pairs[:filled].copy()


class Buckets:
    """Counts by kind and bucket, side by side. What was never counted is memory that was never touched."""

    def __init__(self) -> None:
        self._counts: Array = np.zeros(0, np.int64)
        self._kinds: Array = np.zeros(_KINDS, np.bool_)

    def add(self, kinds: Array, counts: Array, buckets: Array) -> None:
        """Count buckets; the first ``counts[0]`` of them are of the first kind, and so on."""
        if not len(self._counts):
            self._counts = np.zeros(_KINDS * _WIDTH, np.int64)
        self._kinds[kinds] = True
        places = np.repeat(kinds * _WIDTH, counts)
        places += buckets
        np.add.at(self._counts, places, 1)

    def merge(self, other: Buckets) -> None:
        """Add what the other counts."""
        for kind, buckets, counts in other._cells():
            if not len(self._counts):
                self._counts = np.zeros(_KINDS * _WIDTH, np.int64)
            self._kinds[kind] = True
            self._counts[kind * _WIDTH + buckets] += counts

    def pairs(self) -> Pairs:
        """The same in pairs."""
        made = Pairs()
        for kind, buckets, counts in self._cells():
            places = (kind << 16 | buckets).astype(np.uint64) << _UPPER
            while len(places):
                made.append(places | np.minimum(counts, int(_LOWER)).astype(np.uint64))
                counts = counts - int(_LOWER)
                places, counts = places[counts > 0], counts[counts > 0]
        return made

    def _cells(self) -> Iterator[tuple[int, Array, Array]]:
        for kind in np.flatnonzero(self._kinds).tolist():
            counts = self._counts[kind * _WIDTH : (kind + 1) * _WIDTH]
            buckets = np.flatnonzero(counts)
            yield kind, buckets, counts[buckets]

    def __getstate__(self) -> list[tuple[int, Array, Array]]:
        return list(self._cells())

    def __setstate__(self, cells: list[tuple[int, Array, Array]]) -> None:
        self.__init__()  # type: ignore[misc]
        for kind, buckets, counts in cells:
            self.add(np.array([kind]), np.array([0]), buckets[:0])
            self._counts[kind * _WIDTH + buckets] = counts


def runs(keys: Array) -> Array:
    """Where each run of equal keys begins."""
    if not len(keys):
        return np.zeros(0, np.int64)
    changes = np.flatnonzero(keys[1:] != keys[:-1])
    begins = np.zeros(len(changes) + 1, np.int64)
    np.add(changes, 1, out=begins[1:])
    return begins
