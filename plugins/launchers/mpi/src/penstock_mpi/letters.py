"""What ranks send each other: short letters, each one MPI message of bytes.

A letter is a byte that tells its kind, four bytes of the session it belongs to, and what it carries. A frame of a
session goes as letters PIECE, the last of them LAST, so that no message is longer than PIECE_BYTES and its header.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

import attrs

__all__ = ["PIECE_BYTES", "Kind", "Letter", "pack", "pieces", "unpack"]

#: The longest payload of one message in bytes; what MPI libraries move at full speed, and copy without a pause.
PIECE_BYTES = 1 << 20
_HEADER = struct.Struct(">BI")


class Kind(enum.IntEnum):
    """What a letter says. A session is what lies between a launcher's start and its stop."""

    HELLO = 1  # to rank 0, once: who I am (JSON)
    BEGIN = 2  # from rank 0: serve a session (JSON)
    PIECE = 3  # a part of a frame
    LAST = 4  # its last part, or a whole one
    CLOSED = 5  # this end of the session is gone; the cause as text
    BEAT = 6  # from rank 0: I am there
    LEAVE = 7  # from rank 0: no session will follow
    LEFT = 8  # to rank 0: I have heard it, and nothing of mine runs
    PART = 9  # from rank 0, the last: all have heard it (session 1) and can finalise together, or not (0)


@attrs.frozen(slots=True)
class Letter:
    """One letter that came, and the rank that sent it."""

    rank: int
    kind: Kind
    session: int
    data: bytes


def pack(kind: Kind, session: int = 0, data: bytes | memoryview = b"") -> bytearray:
    """A letter as MPI carries it."""
    packed = bytearray(_HEADER.pack(kind, session))
    packed += data
    return packed


def unpack(rank: int, packed: bytearray) -> Letter:
    """The letter of a message from ``rank``. Raises ValueError for what is none."""
    if len(packed) < _HEADER.size:
        raise ValueError(f"{len(packed)} bytes from rank {rank} are no letter of penstock")
    kind, session = _HEADER.unpack_from(packed)
    return Letter(rank, Kind(kind), session, bytes(memoryview(packed)[_HEADER.size :]))


def pieces(session: int, frame: bytes) -> Iterator[bytearray]:
    """A frame as the letters that carry it, in order."""
    view = memoryview(frame)
    end = max(len(view), 1)
    for start in range(0, end, PIECE_BYTES):
        last = start + PIECE_BYTES >= end
        yield pack(Kind.LAST if last else Kind.PIECE, session, view[start : start + PIECE_BYTES])
