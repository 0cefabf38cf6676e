"""Frames of zstd and the table of their sizes, as the zstd project's seekable format has it."""

from __future__ import annotations

import bisect
import itertools
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from penstock.buffers import aligned_buffer
from penstock.errors import ChecksumMismatchError
from penstock.layers.forwarding import flat
from penstock.store import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FOOTER", "GUARD", "Compressor", "Decoding", "Span", "Table", "read_table", "table_length"]

_SKIPPABLE: Final = 0x184D2A5E
_GUARD: Final = 0x184D2A50
_MARK: Final = b"pnst"
_SEEKABLE: Final = 0x8F92EAB1
_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOT = struct.Struct("<IBI")
#: Bytes at the end of an object that tell how long its table is.
FOOTER: Final = _FOOT.size
#: Bytes of the frame before the table that guards it.
GUARD: Final = _HEAD.size + 8
_CHECKSUMS: Final = 0x80
_RESERVED: Final = 0x7C
#: What is decompressed at once; a zstd block of a few bytes may stand for 128 KiB.
_SLICE: Final = 16 * 1024
_ROOM: Final = 256 * 1024


class Compressor:
    """Makes frames and remembers their sizes. Belongs to one object."""

    def __init__(self, level: int) -> None:
        import zstandard

        self._zstd = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
        self._sizes: list[tuple[int, int]] = []

    def frame(self, data: Buffer) -> bytes:
        """The next frame."""
        view = memoryview(data)
        compressed = self._zstd.compress(view)
        self._sizes.append((len(compressed), view.nbytes))
        return compressed

    def table(self) -> bytes:
        """What follows the last frame. An object of no frame gets an empty one, without which it would not be zstd."""
        first = self.frame(b"") if not self._sizes else b""
        entries = b"".join(itertools.starmap(_ENTRY.pack, self._sizes))
        foot = _FOOT.pack(len(self._sizes), 0, _SEEKABLE)
        table = _HEAD.pack(_SKIPPABLE, len(entries) + len(foot)) + entries + foot
        return first + _guard(table) + table


@attrs.frozen(slots=True)
class Span:
    """A part of what is stored: from ``start`` on ``length`` bytes, which hold the object from ``offset`` on."""

    start: int
    length: int
    offset: int


@attrs.frozen(slots=True)
class Table:
    """Where each frame ends, in what is stored and in the object."""

    stored: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.ends[-1] if self.ends else 0

    def span(self, start: int, end: int) -> Span:
        """The frames that hold the object's bytes from ``start`` to ``end``, exclusive; at least one byte."""
        first = bisect.bisect_right(self.ends, start)
        last = bisect.bisect_left(self.ends, end)
        begin = self.stored[first - 1] if first else 0
        return Span(begin, self.stored[last] - begin, self.ends[first - 1] if first else 0)


def table_length(footer: bytes) -> int | None:
    """How many bytes at an object's end are its table, by the last of them; None where it has none."""
    if len(footer) < FOOTER:
        return None
    count, descriptor, magic = _FOOT.unpack(footer[-FOOTER:])
    if magic != _SEEKABLE or descriptor & _RESERVED:
        return None
    entry = _ENTRY.size + (4 if descriptor & _CHECKSUMS else 0)
    return int(_HEAD.size + count * entry + FOOTER)


def _guard(table: bytes) -> bytes:
    """What stands before a table of ours: a frame to skip, which tells whether the table is as it was written."""
    return _HEAD.pack(_GUARD, GUARD - _HEAD.size) + _MARK + zlib.crc32(table).to_bytes(4, "little")


def read_table(tail: bytes, length: int, stored: int) -> Table | None:
    """The table in the last ``length`` bytes of an object, of which ``stored`` bytes are kept; None if there is none
    that can be believed. The guard, if there is one, stands before it in ``tail``.
    """
    data, before = tail[-length:], tail[-length - GUARD : -length]
    magic, said = _HEAD.unpack(data[: _HEAD.size])
    guarded = len(before) == GUARD and before[:-4] == _guard(b"")[:-4]
    if magic != _SKIPPABLE or said != length - _HEAD.size or (guarded and before != _guard(data)):
        return None
    entry = _ENTRY.size + (4 if data[-5] & _CHECKSUMS else 0)
    entries = data[_HEAD.size : -FOOTER]
    sizes = [_ENTRY.unpack_from(entries, at) for at in range(0, len(entries), entry)]
    table = Table(
        tuple(itertools.accumulate(size for size, _ in sizes)), tuple(itertools.accumulate(size for _, size in sizes))
    )
    # Frames that are not those of this object, as when others were put behind them, are no table of it.
    held = (table.stored[-1] if table.stored else 0) + (GUARD if guarded else 0) + length
    return table if held == stored else None


class Decoding:
    """A sink that decompresses: of the object's bytes, which begin at ``offset``, those from ``start`` to ``end`` go to
    another sink. ``received`` counts what came, ``nbytes`` what it stands for.
    """

    def __init__(self, sink: Sink, *, start: int = 0, end: int | None = None, offset: int = 0) -> None:
        import zstandard

        self._failure = zstandard.ZstdError
        self._zstd = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._sink = sink
        self._start = start
        self._end = end
        self._offset = offset
        self._room: memoryview | None = None
        self.received = 0
        self.nbytes = 0
        self.delivered = 0

    def write(self, data: Buffer, /) -> None:
        self._feed(flat(data))

    def reserve(self, nbytes: int, /) -> memoryview:
        if self._room is None:
            self._room = aligned_buffer(_ROOM)
        return self._room

    def commit(self, nbytes: int, /) -> None:
        assert self._room is not None
        self._feed(self._room[:nbytes])

    def finish(self) -> None:
        """All has come. Raises ChecksumMismatchError where that is not the end of a frame."""
        if self._frame is not None or not self.received:
            raise ChecksumMismatchError("the stored object ends within a frame of zstd")

    def _feed(self, data: memoryview) -> None:
        self.received += data.nbytes
        for begin in range(0, data.nbytes, _SLICE):
            piece = data[begin : begin + _SLICE]
            while piece.nbytes:
                if self._frame is None:
                    self._frame = self._zstd.decompressobj()
                try:
                    decoded = self._frame.decompress(piece)
                except self._failure as error:
                    raise ChecksumMismatchError(f"the stored object can't be decompressed: {error}") from error
                piece = memoryview(b"")
                if self._frame.eof:
                    piece, self._frame = memoryview(self._frame.unused_data), None
                self._deliver(memoryview(decoded))

    def _deliver(self, piece: memoryview) -> None:
        at = self._offset + self.nbytes
        self.nbytes += piece.nbytes
        begin = max(self._start - at, 0)
        end = piece.nbytes if self._end is None else min(self._end - at, piece.nbytes)
        if begin < end:
            self._sink.write(piece[begin:end])
            self.delivered += end - begin
