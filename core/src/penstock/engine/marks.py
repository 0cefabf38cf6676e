"""One bit for each of very many objects: a billion are 125 MB, of which only what was set is touched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Marks"]

#: Bytes looked at in one go.
_WINDOW = 1 << 13
_ONES = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


class Marks:
    """Which of ``count`` places are marked; none at first. Not locked."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._bytes: NDArray[np.uint8] = np.zeros((count + 7) // 8, dtype=np.uint8)

    def mark(self, place: int) -> None:
        """Mark one place."""
        self._bytes[place >> 3] |= 1 << (place & 7)

    def mark_all(self, places: NDArray[np.int64]) -> None:
        """Mark these places."""
        bits = np.left_shift(1, places & 7).astype(np.uint8)
        np.bitwise_or.at(self._bytes, places >> 3, bits)

    def add(self, other: Marks) -> None:
        """Mark also what another of as many places has marked."""
        self._bytes |= other._bytes

    def has(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these places are marked."""
        marked: NDArray[np.bool_] = (self._bytes[places >> 3] >> (places & 7).astype(np.uint8)) & 1 == 1
        return marked

    def total(self) -> int:
        """How many are marked."""
        windows = range(0, len(self._bytes), _WINDOW)
        return sum(int(_ONES[self._bytes[first : first + _WINDOW]].sum(dtype=np.int64)) for first in windows)

    def marked(self) -> Iterator[int]:
        """The marked places, the last one first."""
        for first in range((len(self._bytes) - 1) // _WINDOW * _WINDOW, -1, -_WINDOW):
            yield from self._places(first, marked=True)[::-1].tolist()

    def unmarked(self, most: int) -> Iterator[list[int]]:
        """The other places, ascending, in lists of up to ``most``."""
        for first in range(0, len(self._bytes), _WINDOW):
            places = self._places(first, marked=False)
            for start in range(0, len(places), most):
                yield places[start : start + most].tolist()

    def _places(self, first: int, *, marked: bool) -> NDArray[np.int64]:
        window = self._bytes[first : first + _WINDOW]
        bits = np.unpackbits(window, count=min(len(window) * 8, self.count - first * 8), bitorder="little")
        places: NDArray[np.int64] = np.flatnonzero(bits if marked else bits == 0) + first * 8
        return places
