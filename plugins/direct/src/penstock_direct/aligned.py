"""Reads and writes that keep to O_DIRECT's rules: offset, length and memory are multiples of a block.

4096 is used as the block, whatever smaller one the device would take. Bytes move straight between the file and
the caller's memory where the rules allow it, else through a pooled buffer, in large system calls either way.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from penstock.buffers import PAGE, round_up
from penstock.errors import StoreError
from penstock.posix import write_all
from penstock.store import Sink
from penstock_direct.pool import BufferPool

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["AlignedOutput", "Fail", "read_copying", "read_straight"]

Fail: TypeAlias = Callable[[OSError], StoreError]

# Up to here one read into a buffer and a copy beat an extra read for an unaligned end.
_COPY_UP_TO = 128 * 1024


def read_straight(fd: int, sink: Sink, fail: Fail, position: int, end: int, size: int) -> int:
    """Deliver bytes ``position`` to ``end`` of a file of ``size`` bytes into the sink's own room.

    Returns how far that could be done. Raises what ``fail`` makes of an error of the operating system.
    """
    while position < end and not position % PAGE:
        left = nbytes = end - position
        room = sink.reserve(left)
        if left % PAGE:
            nbytes = round_up(left)
            if end != size or room.nbytes < nbytes:
                # Only behind the object's end may a read fill more of the room than was asked for.
                nbytes = 0 if left <= _COPY_UP_TO else left & -PAGE
        if room.nbytes != nbytes:
            nbytes = min(nbytes, room.nbytes & -PAGE)
            if not nbytes:
                break
            room = room[:nbytes]
        try:
            got = min(os.preadv(fd, (room,), position), left)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # The room is not aligned.
                break
            raise fail(error) from error
        if not got:
            break
        sink.commit(got)
        position += got
    return position


def read_copying(fd: int, sink: Sink, pool: BufferPool, fail: Fail, position: int, end: int) -> int:
    """Deliver bytes ``position`` to ``end`` through a buffer; returns where the file ended if that was before."""
    buffer = pool.take()
    try:
        while position < end:
            skip = position % PAGE
            nbytes = min(round_up(skip + end - position), buffer.nbytes)
            try:
                got = os.preadv(fd, (buffer[:nbytes],), position - skip)
            except OSError as error:
                raise fail(error) from error
            stop = min(got, skip + end - position)
            if stop <= skip:
                break
            sink.write(buffer[skip:stop])
            position += stop - skip
    finally:
        pool.give(buffer)
    return position


class AlignedOutput:
    """Appends to a new file that was opened with O_DIRECT. ``finish`` makes its size exact.

    Bytes that are neither aligned nor many are gathered in one pooled buffer; ``release`` gives it back.
    """

    def __init__(self, fd: int, pool: BufferPool, *, straight_from: int = PAGE) -> None:
        """Writes below ``straight_from`` bytes are always gathered."""
        self._fd = fd
        self._pool = pool
        self._straight_from = straight_from
        self._buffer: memoryview | None = None
        self._filled = 0
        self._written = 0

    def write(self, data: Buffer) -> None:
        """Append these bytes; the caller may reuse them on return."""
        view = memoryview(data).cast("B")
        # The memory of a bytes object is never aligned.
        if not self._filled and view.nbytes >= self._straight_from and not isinstance(data, bytes):
            view = view[self._write_straight(view) :]
        while view.nbytes:
            view = view[self._gather(view) :]

    def finish(self) -> None:
        """Write what was gathered, padded to a block, and cut the file to its size."""
        if not self._filled or self._buffer is None:
            return
        size = self._written + self._filled
        padded = round_up(self._filled)
        # Zeros, so that no byte of another object reaches the disk.
        self._buffer[self._filled : padded] = bytes(padded - self._filled)
        self._flush(padded)
        if self._written > size:
            os.ftruncate(self._fd, size)

    def release(self) -> None:
        """Give the buffer back. Harmless when that is done."""
        if self._buffer is not None:
            self._pool.give(self._buffer)
            self._buffer = None
            self._filled = 0

    def _write_straight(self, view: memoryview) -> int:
        nbytes = view.nbytes & -PAGE
        try:
            write_all(self._fd, view[:nbytes])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return 0
        self._written += nbytes
        return nbytes

    def _gather(self, view: memoryview) -> int:
        if self._buffer is None:
            self._buffer = self._pool.take()
        nbytes = min(view.nbytes, self._buffer.nbytes - self._filled)
        self._buffer[self._filled : self._filled + nbytes] = view[:nbytes]
        self._filled += nbytes
        if self._filled == self._buffer.nbytes:
            self._flush(self._filled)
        return nbytes

    def _flush(self, nbytes: int) -> None:
        assert self._buffer is not None
        write_all(self._fd, self._buffer[:nbytes])
        self._written += nbytes
        self._filled = 0
