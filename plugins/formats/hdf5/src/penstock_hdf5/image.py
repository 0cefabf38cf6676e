"""A file in memory that h5py writes, in which the samples' bytes are those that h5py was handed, not a copy.

HDF5 hands data that needs no conversion to its driver as it lies in memory, in one piece. Where that memory is known to
stay as it is, the file refers to it; all else, what tells where data lies, is small and copied.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Image"]

#: Shorter pieces are copied: a reference is no cheaper.
_SHORT = 64 * 1024


class Image:
    """What h5py asks of a file that it writes. One thread uses it."""

    def __init__(self) -> None:
        self._lasting: list[tuple[int, memoryview]] = []
        # Pieces by where they begin, none over another: bytearrays, or views of what lasts.
        self._starts: list[int] = []
        self._pieces: list[bytearray | memoryview] = []
        self._size = 0
        self._at = 0

    def lend(self, memory: memoryview) -> None:
        """This memory does not change as long as the file is used."""
        if memory.nbytes >= _SHORT:
            self._lasting.append((_address(memory), memory))

    def pieces(self) -> Iterator[memoryview]:
        """All bytes of the file, in order."""
        at = 0
        for start, piece in zip(self._starts, self._pieces, strict=True):
            if start > at:
                yield memoryview(bytes(start - at))
            yield memoryview(piece)
            at = start + len(piece)
        if at < self._size:
            yield memoryview(bytes(self._size - at))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As a file's."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """As a file's."""
        return self._at

    def write(self, data: Buffer, /) -> int:
        """As a file's."""
        view = memoryview(data).cast("B")
        if not view.nbytes:
            return 0
        lasting = self._lasts(view)
        start, stop = self._at, self._at + view.nbytes
        place = bisect.bisect_right(self._starts, start) - 1
        if place >= 0 and start < (end := self._starts[place] + len(self._pieces[place])):
            # Once more over what is there.
            kept = min(stop, end) - start
            self._own(place)[start - self._starts[place] :][:kept] = view[:kept]
            self._at += kept
            if kept < view.nbytes:
                self.write(view[kept:])
            return view.nbytes
        if place + 1 < len(self._starts) and self._starts[place + 1] < stop:
            fits = self._starts[place + 1] - start
            self.write(view[:fits])
            self.write(view[fits:])
            return view.nbytes
        self._starts.insert(place + 1, start)
        self._pieces.insert(place + 1, bytearray(view) if lasting is None else lasting)
        self._at = stop
        self._size = max(self._size, stop)
        return view.nbytes

    def readinto(self, buffer: Buffer, /) -> int:
        """As a file's; what was never written are zeros."""
        room = memoryview(buffer).cast("B")
        start, stop = self._at, min(self._at + room.nbytes, self._size)
        room[:] = bytes(room.nbytes)
        for begin, piece in zip(self._starts, self._pieces, strict=True):
            first, last = max(start, begin), min(stop, begin + len(piece))
            if first < last:
                room[first - start : last - start] = piece[first - begin : last - begin]
        self._at = max(stop, start)
        return self._at - start

    def read(self, nbytes: int, /) -> bytes:
        """As a file's."""
        room = bytearray(nbytes)
        return bytes(room[: self.readinto(room)])

    def truncate(self, size: int, /) -> int:
        """As a file's, only that it grows too."""
        while self._starts and self._starts[-1] + len(self._pieces[-1]) > size:
            if self._starts[-1] >= size:
                self._starts.pop()
                self._pieces.pop()
            else:
                self._pieces[-1] = self._pieces[-1][: size - self._starts[-1]]
        self._size = size
        return size

    def flush(self) -> None:
        """As a file's."""

    def _own(self, place: int) -> memoryview:
        """A piece, to be changed."""
        piece = self._pieces[place]
        if isinstance(piece, memoryview):
            piece = self._pieces[place] = bytearray(piece)
        return memoryview(piece)

    def _lasts(self, view: memoryview) -> memoryview | None:
        if view.nbytes < _SHORT:
            return None
        address = _address(view)
        for begin, memory in self._lasting:
            skip = address - begin
            if skip >= 0 and skip + view.nbytes <= memory.nbytes:
                return memory[skip : skip + view.nbytes]
        return None


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address
