"""CRC-32C of any buffer, and a sink that computes it of what passes through."""

from __future__ import annotations

import ctypes
from base64 import b64encode
from binascii import a2b_base64
from typing import TYPE_CHECKING

from google_crc32c import extend

from penstock.store import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Checked", "crc32c", "flat", "from_base64", "shown", "to_base64"]

# The library takes only bytes and what, as an array of ctypes, needs no release. Such an array is laid over
# writable memory; copies are made of what is short or read-only.
_BLOCK = 256 * 1024
_Block = ctypes.c_char * _BLOCK


def flat(data: Buffer) -> memoryview:
    """The buffer as bytes in a row. Raises TypeError for one with gaps."""
    view = memoryview(data)
    if not view.nbytes:
        # One without items may have a shape that can't be cast.
        return memoryview(b"")
    if view.ndim == 1 and view.format == "B" and view.contiguous:
        return view
    return view.cast("B")


def crc32c(data: Buffer, before: int = 0) -> int:
    """The CRC-32C of ``data``, going on from the one of what came ``before``."""
    if type(data) is bytes:
        return int(extend(before, data))
    view = memoryview(data)
    if view.nbytes <= _BLOCK:
        return int(extend(before, view.tobytes()))
    view = view.cast("B")
    at = 0
    while view.nbytes - at >= _BLOCK:
        block = view[at : at + _BLOCK].tobytes() if view.readonly else _Block.from_buffer(view, at)
        before = extend(before, block)
        at += _BLOCK
    return int(extend(before, view[at:].tobytes()))


def to_base64(crc: int) -> str:
    """As the service writes it: the four bytes, the highest first, in base64."""
    return b64encode(crc.to_bytes(4, "big")).decode()


def from_base64(text: str | None) -> int | None:
    """The number again; None when there is none or it is none."""
    try:
        raw = a2b_base64(text or "", strict_mode=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 4 else None


def shown(crc: int | None) -> str | None:
    """As ``ObjectInfo.checksum`` has it."""
    return None if crc is None else f"crc32c:{crc:08x}"


class Checked:
    """Delivers to another sink; ``crc`` is the CRC-32C of what was delivered so far."""

    __slots__ = ("_room", "_sink", "crc")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._room = memoryview(b"")
        self.crc = 0

    def write(self, data: Buffer, /) -> None:
        self.crc = crc32c(data, self.crc)
        self._sink.write(data)

    def reserve(self, nbytes: int, /) -> memoryview:
        self._room = room = self._sink.reserve(nbytes)
        return room

    def commit(self, nbytes: int, /) -> None:
        self.crc = crc32c(self._room[:nbytes], self.crc)
        self._sink.commit(nbytes)
