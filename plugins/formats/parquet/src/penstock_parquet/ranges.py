"""Parts of a file as the whole that Arrow reads from."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from penstock.errors import FormatError

__all__ = ["Parts"]


class Parts:
    """A read-only file of which only some ranges are there. Reading others raises FormatError."""

    closed = False

    def __init__(self, size: int, parts: Sequence[tuple[int, memoryview]]) -> None:
        self._size = size
        self._parts = sorted(parts, key=lambda part: part[0])
        self._starts = [start for start, _ in self._parts]
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """As a file's."""
        return self._at

    def size(self) -> int:
        """Bytes of the whole file."""
        return self._size

    def read(self, nbytes: int = -1) -> memoryview:
        """A view of the range that holds it."""
        if nbytes < 0:
            nbytes = self._size - self._at
        found = self._find(self._at, min(nbytes, self._size - self._at))
        self._at += len(found)
        return found

    def _find(self, at: int, nbytes: int) -> memoryview:
        number = bisect.bisect_right(self._starts, at) - 1
        if number >= 0:
            start, view = self._parts[number]
            if at + nbytes <= start + len(view):
                return view[at - start : at - start + nbytes]
        raise FormatError(f"bytes {at} to {at + nbytes} are of no column that is read")

    def close(self) -> None:
        """Nothing to do."""

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """False."""
        return False

    def seekable(self) -> bool:
        """True."""
        return True
