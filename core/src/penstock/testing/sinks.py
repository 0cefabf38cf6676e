"""Sinks that watch how a store uses them.

Each keeps to the law of :class:`penstock.store.Sink`, at one of its edges: rooms as short as the law allows, rooms
longer than asked, memory that is not aligned, an end that is near.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from penstock.errors import LengthMismatchError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["LEAST_ROOM", "CheckedSink", "Room", "SinkError"]

#: The least room that a sink gives when it is asked for more.
LEAST_ROOM = 64 * 1024

_POISON = 0xDB


class Room(enum.Enum):
    """How much room a sink gives when it is asked for ``nbytes``."""

    #: Just what was asked.
    ASKED = "as asked"
    #: The least that the law allows.
    SHORT = "as short as allowed"
    #: More than was asked.
    LONG = "longer than asked"
    #: Short and long by turns.
    MIXED = "short and long by turns"


class SinkError(LengthMismatchError):
    """What a failing sink raises."""


class CheckedSink:
    """Collects bytes and notes every breach of the sink's law; ``check`` raises them.

    Room is taken back at the commit and overwritten, so bytes that a store fills in later are seen as missing.
    """

    def __init__(
        self, room: Room = Room.ASKED, *, limit: int | None = None, unaligned: bool = False, fail_at: int | None = None
    ) -> None:
        """``limit`` is the sink's own end in bytes; more raises LengthMismatchError. ``fail_at`` is how many bytes
        it takes before it fails with SinkError.
        """
        self._kind = room
        self._limit = limit
        self._shift = 1 if unaligned else 0
        self._fail_at = fail_at
        self._parts: list[bytes] = []
        self._room: memoryview | None = None
        self._turn = 0
        self._breaches: list[str] = []
        self.nbytes = 0

    def view(self) -> bytes:
        """What was delivered."""
        return b"".join(self._parts)

    def check(self) -> None:
        """Raise when the store broke the sink's law."""
        if self._breaches:
            raise AssertionError(f"the law of Sink is broken: {'; '.join(self._breaches)}")

    def write(self, data: Buffer, /) -> None:
        source = memoryview(data).cast("B")
        self._room = None
        self._take(source.tobytes())

    def reserve(self, nbytes: int, /) -> memoryview:
        if nbytes < 1:
            self._breach(f"reserve({nbytes}): ask for at least one byte, and not at all when nothing is left")
        asked = max(nbytes, 1)
        if self._limit is not None and self.nbytes == self._limit:
            self._overflow(asked)
        size = self._size(asked)
        if self._limit is not None:
            size = min(size, self._limit - self.nbytes)
        memory = bytearray([_POISON]) * (size + self._shift)
        self._room = memoryview(memory)[self._shift :]
        return self._room

    def commit(self, nbytes: int, /) -> None:
        room, self._room = self._room, None
        if room is None:
            self._breach("commit without a reservation that is still open")
            return
        if not 0 <= nbytes <= room.nbytes:
            self._breach(f"commit({nbytes}) of a room of {room.nbytes} bytes: a room may be shorter than asked")
            return
        self._take(room[:nbytes].tobytes())
        room[:] = bytes([_POISON]) * room.nbytes

    def _take(self, data: bytes) -> None:
        if self._fail_at is not None and self.nbytes + len(data) > self._fail_at:
            raise SinkError("this sink takes no more")
        if self._limit is not None and self.nbytes + len(data) > self._limit:
            self._overflow(len(data))
        self._parts.append(data)
        self.nbytes += len(data)

    def _size(self, asked: int) -> int:
        self._turn += 1
        kind = self._kind
        if kind is Room.MIXED:
            kind = Room.SHORT if self._turn % 2 else Room.LONG
        if kind is Room.SHORT:
            return min(asked, LEAST_ROOM)
        if kind is Room.LONG:
            return asked + LEAST_ROOM + 1
        return asked

    def _overflow(self, nbytes: int) -> None:
        raise LengthMismatchError(f"this sink ends at byte {self._limit}, and {nbytes} more came at {self.nbytes}")

    def _breach(self, what: str) -> None:
        self._breaches.append(what)
