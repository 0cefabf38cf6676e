"""The frames of TFRecord: ``length (8) | its CRC (4) | data | CRC of the data (4)``, all little-endian.

The checksums are CRC-32C, rotated right by 15 bits plus a constant (``tensorflow/core/lib/hash/crc32c.h``), so that
the checksum of bytes that hold checksums is not special. A file is nothing but frames: it may end after any of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from crc32c import crc32c

from penstock.errors import FormatError
from penstock.formats import RangeReader

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FRAME", "HEAD", "check_head", "frame", "frames", "frames_of_stream", "record_of", "runs"]

#: Bytes before a record's data.
HEAD = 12
#: Bytes that frame a record.
FRAME = 16

#: A body of at least this many bytes is passed on as it lies in memory, shorter ones are joined.
_LARGE = 64 * 1024
#: Joined pieces are at least this long.
_PIECE = 256 * 1024
#: Between heads that are at least this far apart nothing is read.
_FAR = 256 * 1024
_FIRST_LOOK = 16 * 1024
_LOOK = 1024 * 1024
#: So many records of one size in a row suggest that more follow.
_FEW = 8

_length = struct.Struct("<Q")
_sum = struct.Struct("<I")
_head = struct.Struct("<QI")


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(bodies: Iterable[Sequence[Buffer]]) -> Iterator[Buffer]:
    """Frame records, each given as the pieces of its data. What is yielded is valid until the next is asked for."""
    pending: list[Buffer] = []
    held = 0
    known = -1
    head = b""
    for parts in bodies:
        nbytes = sum(map(_nbytes, parts))
        if nbytes != known:
            known, head = nbytes, _head_of(nbytes)
        pending.append(head)
        if nbytes < _LARGE:
            body = b"".join(parts)
            pending += (body, _sum.pack(_masked(crc32c(body))))
            held += nbytes + FRAME
            if held >= _PIECE:
                yield b"".join(pending)
                pending, held = [], 0
            continue
        crc = 0
        for part in parts:
            crc = crc32c(part, crc)
            if _nbytes(part) >= _LARGE:
                yield b"".join(pending)
                yield part
                pending = []
            else:
                pending.append(part)
        pending.append(_sum.pack(_masked(crc)))
        held = 0
    if pending:
        yield b"".join(pending)


def _nbytes(part: Buffer) -> int:
    return part.nbytes if isinstance(part, memoryview) else len(part)  # type: ignore[arg-type]


def _head_of(nbytes: int) -> bytes:
    length = _length.pack(nbytes)
    return length + _sum.pack(_masked(crc32c(length)))


def frames(data: memoryview, *, check: bool) -> Iterator[memoryview]:
    """The records of a whole file, as views of it. Raises FormatError where a frame is cut or damaged."""
    at, end = 0, len(data)
    known = b""
    length = 0
    while at < end:
        head = bytes(data[at : at + HEAD])
        if head != known:
            length = check_head(head, at, end, check=check)
            known = head
        start = at + HEAD
        stop = start + length
        if stop + 4 > end:
            raise _cut(at, length, end)
        body = data[start:stop]
        if check and _masked(crc32c(body)) != _sum.unpack_from(data, stop)[0]:
            raise _damaged(at)
        yield body
        at = stop + 4


def frames_of_stream(chunks: Iterable[bytes], *, check: bool) -> Iterator[memoryview]:
    """The same of a file that comes in pieces; memory is taken for what has come, never for what a head claims."""
    parts: list[Buffer] = []
    have, need, base = 0, HEAD, 0
    for chunk in chunks:
        parts.append(chunk)
        have += len(chunk)
        if have < need:
            continue
        held, at = memoryview(b"".join(parts)), 0
        need = HEAD
        while len(held) - at >= HEAD:
            length = check_head(bytes(held[at : at + HEAD]), base + at, None, check=check)
            stop = at + FRAME + length
            if stop > len(held):
                need = FRAME + length
                break
            yield record_of(held[at:stop], base + at, check=check)
            at = stop
        parts, have, base = [held[at:]], len(held) - at, base + at
    if have:
        raise FormatError(f"the file ends inside the record at byte {base}")


def check_head(head: bytes, at: int, end: int | None, *, check: bool) -> int:
    """The length that a record's head gives. ``at`` is its place, ``end`` that of the file's end if it is known."""
    if len(head) < HEAD:
        raise FormatError(f"the file ends inside the head of the record at byte {at}")
    length, crc = _head.unpack(head)
    if check and _masked(crc32c(head[:8])) != crc:
        hint = ""
        if not at:
            kind = {b"\x1f\x8b": "gzip", b"\x78": "zlib"}.get(head[:2]) or {b"\x78": "zlib"}.get(head[:1])
            hint = f"; if it is compressed, say compression={kind}" if kind else "; is this a TFRecord file?"
        raise FormatError(f"the length of the record at byte {at} does not match its checksum{hint}")
    if end is not None and at + FRAME + length > end:
        raise _cut(at, length, end)
    return int(length)


def record_of(view: memoryview, at: int, *, check: bool) -> memoryview:
    """The data of the one record that these bytes are. ``at`` is its place in the file."""
    length = check_head(bytes(view[:HEAD]), at, None, check=check)
    if FRAME + length != len(view):
        raise FormatError(f"the record at byte {at} has {FRAME + length} bytes, its index says {len(view)}")
    body = view[HEAD : HEAD + length]
    if check and _masked(crc32c(body)) != _sum.unpack_from(view, HEAD + length)[0]:
        raise _damaged(at)
    return body


def runs(file: RangeReader, *, check: bool) -> Iterator[tuple[int, int, int]]:
    """The records in order, ``(offset, size with its frame, count)`` of neighbours of one size, from the heads alone.

    Between heads that are far apart nothing is read; where they are close, all of the file is, by 1 MiB.
    """
    at, size = 0, file.size
    view, base, look = memoryview(b""), 0, _FIRST_LOOK
    while at < size:
        if at + HEAD > base + len(view):
            base, view = at, file.read(at, min(look, size - at))
        head = bytes(view[at - base : at - base + HEAD])
        length = check_head(head, at, size, check=check)
        step = FRAME + length
        # A head that is equal to one that was checked needs no check, but its record has to end within the file.
        count = min(_alike(view[at - base :], head, step), (size - at) // step)
        yield at, step, count
        at += count * step
        look = HEAD if length >= _FAR else _LOOK


def _alike(view: memoryview, head: bytes, step: int) -> int:
    """How many records in a row begin with this head, the first of them at the beginning of ``view``."""
    count, most = 1, max((len(view) - HEAD) // step + 1, 1)
    few = min(most, _FEW)
    while count < few and view[count * step : count * step + HEAD] == head:
        count += 1
    if count < _FEW or count == most:
        return count
    heads = np.ndarray((most, HEAD), np.uint8, view, strides=(step, 1))
    differ = (heads != np.frombuffer(head, np.uint8)).any(axis=1)
    return int(differ.argmax()) if differ.any() else most


def _cut(at: int, length: int, end: int) -> FormatError:
    return FormatError(f"the record at byte {at} has {length} bytes of data, the file ends at byte {end}")


def _damaged(at: int) -> FormatError:
    return FormatError(f"the data of the record at byte {at} does not match its checksum")
