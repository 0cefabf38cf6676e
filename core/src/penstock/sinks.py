"""Where a read lands: Discard, Collect, Into and Verify.

All satisfy :class:`penstock.store.Sink` and belong to one read at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.buffers import aligned_buffer, equal, first_difference
from penstock.errors import ChecksumMismatchError, LengthMismatchError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock.payload import Payload

__all__ = ["Collect", "Discard", "Into", "Verify"]

_ROOM = 1024 * 1024


class Discard:
    """Counts the bytes and forgets them, in room that is reused. ``nbytes`` is their number since ``reset``."""

    __slots__ = ("_room", "nbytes")

    def __init__(self, room: int = _ROOM) -> None:
        """``room`` is the size of the reused buffer in bytes, and the most that one reservation gives."""
        self._room = aligned_buffer(room)
        self.nbytes = 0

    def reset(self) -> None:
        """Count from zero again."""
        self.nbytes = 0

    def write(self, data: Buffer, /) -> None:
        self.nbytes += memoryview(data).nbytes

    def reserve(self, nbytes: int, /) -> memoryview:
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self.nbytes += nbytes


class Collect:
    """Gathers the bytes in memory of its own. ``view()`` is what arrived so far, without a copy."""

    __slots__ = ("_memory", "nbytes")

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())
        self.nbytes = 0

    def view(self) -> memoryview:
        """The bytes delivered so far."""
        return self._memory[: self.nbytes]

    def write(self, data: Buffer, /) -> None:
        source = _flat(data)
        room = self.reserve(source.nbytes)
        room[: source.nbytes] = source
        self.nbytes += source.nbytes

    def reserve(self, nbytes: int, /) -> memoryview:
        end = self.nbytes + nbytes
        if end > self._memory.nbytes:
            self._grow(end)
        return self._memory[self.nbytes :]

    def commit(self, nbytes: int, /) -> None:
        self.nbytes += nbytes

    def _grow(self, end: int) -> None:
        # The first reservation is usually the whole object, so it gets just that; later ones double.
        size = end if not self.nbytes else max(end, 2 * self._memory.nbytes)
        memory = aligned_buffer(size)
        memory[: self.nbytes] = self._memory[: self.nbytes]
        self._memory = memory


class Into:
    """Delivers straight into the caller's writable buffer. More bytes than fit raise LengthMismatchError, and
    nothing is written past its end.
    """

    __slots__ = ("_buffer", "nbytes")

    def __init__(self, buffer: Buffer) -> None:
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError("the buffer is read-only")
        self._buffer = _flat(view)
        self.nbytes = 0

    def write(self, data: Buffer, /) -> None:
        source = _flat(data)
        end = self.nbytes + source.nbytes
        if end > self._buffer.nbytes:
            self._full(source.nbytes)
        self._buffer[self.nbytes : end] = source
        self.nbytes = end

    def reserve(self, nbytes: int, /) -> memoryview:
        if self.nbytes == self._buffer.nbytes:
            self._full(nbytes)
        return self._buffer[self.nbytes :]

    def commit(self, nbytes: int, /) -> None:
        self.nbytes += nbytes

    def _full(self, nbytes: int) -> None:
        size = self._buffer.nbytes
        raise LengthMismatchError(
            f"the buffer holds {size} bytes and {self.nbytes} are in it; {nbytes} more do not fit"
        )


class Verify:
    """Compares what arrives with a payload and raises ChecksumMismatchError, with the offset, at the first
    difference. ``nbytes`` were right so far; ``difference`` is that offset, None before one was found.
    """

    __slots__ = ("_expected", "_obj", "_offset", "_payload", "_room", "difference", "nbytes")

    def __init__(self, payload: Payload, obj: int, *, offset: int = 0, room: int = _ROOM) -> None:
        """``offset`` is where in object number ``obj`` the read begins."""
        self._payload = payload
        self._obj = obj
        self._offset = offset
        self._room = aligned_buffer(room)
        self._expected = aligned_buffer(room)
        self.nbytes = 0
        self.difference: int | None = None

    def write(self, data: Buffer, /) -> None:
        source = _flat(data)
        step = self._expected.nbytes
        for begin in range(0, source.nbytes, step):
            self._check(source[begin : begin + step])

    def reserve(self, nbytes: int, /) -> memoryview:
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self._check(self._room[:nbytes])

    def _check(self, got: memoryview) -> None:
        expected = self._expected[: got.nbytes]
        offset = self._offset + self.nbytes
        self._payload.fill(expected, obj=self._obj, offset=offset)
        if not equal(got, expected):
            self.difference = offset + (first_difference(got, expected) or 0)
            raise ChecksumMismatchError(f"object {self._obj} differs from what was written at byte {self.difference}")
        self.nbytes += got.nbytes


def _flat(data: Buffer) -> memoryview:
    view = memoryview(data)
    if view.format == "B" and view.ndim == 1 and view.contiguous:
        return view
    # An empty array of wider items can't be cast.
    return view.cast("B") if view.nbytes else memoryview(bytearray())
