"""Slices of time: equally wide, as narrow as a bounded number of them allows."""

from __future__ import annotations

from typing import Final

import numpy as np

from penstock.analysis.grid import SLOTS, Grid, Ordered, Rows
from penstock.analysis.pairs import Array
from penstock.analysis.values import MOST_SLICES, Slice
from penstock.stats.tally import Tally

__all__ = ["Slicing"]

#: Nanoseconds of the narrowest slice, 1/512 s. Wider ones are this times a power of two.
_NARROWEST: Final = 1_953_125

assert MOST_SLICES <= SLOTS


class Slicing:
    """A grid whose slots are slices, counted since 1970. When calls need more of them, two become one.

    Which slices there are in the end depends on the earliest and the latest moment alone, not on the order of calls.
    """

    def __init__(self) -> None:
        self.grid = Grid(coarse=True)
        self._first: int | None = None  # in the narrowest slices, as is the last
        self._last = 0
        self._shift = 0
        self._origin = 0  # the number of the slice in slot 0

    def add(self, starts: Array, ends: Array, rows: Rows) -> Ordered:
        """Count rows, each in the slice in which it ended."""
        earliest = min(int(starts.min()), int(ends.min())) // _NARROWEST
        latest = max(int(starts.max()), int(ends.max())) // _NARROWEST
        self._cover(earliest, latest)
        slots = (ends // _NARROWEST >> self._shift) - self._origin
        return self.grid.add(slots, rows)

    def merge(self, other: Slicing) -> None:
        """Add what the other counts, which is used up."""
        if other._first is None:
            return
        self._cover(other._first, other._last)
        other._place(self._shift, self._origin)
        self.grid.merge(other.grid)

    def slices(self, begin_ns: int, end_ns: int) -> tuple[Slice, ...]:
        """All slices, of which the first begins and the last ends here."""
        if self._first is None:
            return ()
        width = _NARROWEST << self._shift
        tallies = self.grid.tallies()
        count = (self._last >> self._shift) - self._origin + 1
        return tuple(
            Slice(
                begin_ns=max(begin_ns, (self._origin + slot) * width),
                end_ns=min(end_ns, (self._origin + slot + 1) * width),
                tally=tallies.get(slot) or Tally(),
            )
            for slot in range(count)
        )

    def _cover(self, first: int, last: int) -> None:
        """See that the slices reach from one of the narrowest to another."""
        if self._first is not None:
            first, last = min(first, self._first), max(last, self._last)
        shift = self._shift
        while (last >> shift) - (first >> shift) >= MOST_SLICES:
            shift += 1
        if self._first is None:
            self._shift, self._origin = shift, first >> shift
        else:
            self._place(shift, first >> shift)
        self._first, self._last = first, last

    def _place(self, shift: int, origin: int) -> None:
        if (shift, origin) == (self._shift, self._origin):
            return
        slots = (np.arange(SLOTS) + self._origin >> shift - self._shift) - origin
        # Slots beyond the last slice are empty.
        self.grid.move(np.clip(slots, 0, SLOTS - 1))
        self._shift, self._origin = shift, origin
