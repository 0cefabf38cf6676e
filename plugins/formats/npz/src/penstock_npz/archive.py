"""NPZ: a ZIP archive whose members are NPY files, written as a stream and read member by member.

A member that is stored is a header, then views of the array's own memory: its CRC-32 is known before, so nothing has
to be mended afterwards. One that is deflated is followed by its sizes, as streams do. Every local header is padded so
that the array begins at a multiple of 64, and a file in aligned memory is read without a copy.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from penstock.errors import FormatError
from penstock_npz.directory import CENTRAL, DEFLATED, END, END64, LOCAL, LOCATOR, SIGNATURES, STORED, WIDE, Member
from penstock_npz.npy import ALIGNMENT, Layout, array_of, header_of, memory_of, parse, view

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SUFFIX", "array_in", "layout_in", "write"]

SUFFIX = ".npy"

#: From here on a size, an offset or a number of members needs ZIP64.
_NARROW = 0xFFFFFFFF
_FEW = 0xFFFF
_PIECE = 1024 * 1024
#: 1 January 1980, so that the same arrays give the same bytes.
_DATE = (1 << 5) | 1
_PADDING = 0xD935
_UTF8 = 0x800
_DESCRIBED = 0x8
_HEAD = 4096


@attrs.frozen(slots=True)
class _Written:
    """A member that was written, for the directory."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def write(values: Iterable[tuple[str, Any]], *, level: int | None) -> Iterator[Buffer]:
    """An archive of named values, arrays as NPY members and bytes as they are. ``level`` None: stored."""
    archive = _Archive(level)
    for name, value in values:
        yield from archive.member(name, value)
    yield archive.end()


def array_in(member: Member, data: memoryview, *, check: bool) -> Any:
    """The value of a member, whose bytes in the archive are ``data``: an array, or bytes where it is no NPY file."""
    packed = _packed(member, data)
    content = packed if member.method == STORED else _inflated(member, packed)
    if check and zlib.crc32(content) != member.crc:
        raise FormatError(f"{member.name!r} is damaged: its CRC-32 is not the one that was written")
    if not member.name.endswith(SUFFIX):
        return content
    try:
        return view(content, exact=True)
    except FormatError as error:
        raise FormatError(f"{member.name!r}: {error}") from error


def layout_in(member: Member, data: memoryview) -> Layout | None:
    """What the header of a member's array says, from its first bytes; None for what is no array, or too long."""
    if not member.name.endswith(SUFFIX):
        return None
    start = _start(member, data)
    if member.method == STORED:
        content = data[start : start + member.packed]
    else:
        content = memoryview(_inflate(member, data[start : start + member.packed], _HEAD)[0])
    return parse(content)


def _npy(value: Any, name: str) -> list[memoryview]:
    array = array_of(value, name)
    return [memoryview(header_of(array)), memory_of(array)]


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview)


def _flat(value: Any, name: str) -> memoryview:
    data = memoryview(value)
    if "O" in data.format:
        raise FormatError(f"{name!r} holds Python objects, which are no bytes")
    if not data.contiguous:
        data = memoryview(bytes(data))
    return data.cast("B") if data.nbytes else memoryview(b"")


def _member_name(name: str, value: Any) -> tuple[bytes, int]:
    if not isinstance(name, str) or not name or "\0" in name:
        raise FormatError(f"{name!r} can't be the name of an array: write text")
    if not _is_bytes(value):
        name += SUFFIX
    elif name.endswith(SUFFIX):
        raise FormatError(f"{name!r} are bytes, and would be read as an array; choose a name without {SUFFIX}")
    try:
        raw = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"{name!r} can't be the name of an array: {error}") from None
    if len(raw) > 0xFFFF:
        raise FormatError(f"the name {name[:40]!r}… is too long: {len(raw)} bytes")
    return raw, 0 if raw.isascii() else _UTF8


class _Archive:
    """An archive while it is written: what is in it, and how long it is so far."""

    def __init__(self, level: int | None) -> None:
        self._level = level
        self._offset = 0
        self._written: list[_Written] = []

    def member(self, name: str, value: Any) -> Iterator[Buffer]:
        raw_name, flags = _member_name(name, value)
        parts = [_flat(value, name)] if _is_bytes(value) else _npy(value, name)
        pieces = self._stored(raw_name, flags, parts) if self._level is None else self._deflated(raw_name, flags, parts)
        for piece in pieces:
            self._offset += len(piece)
            yield piece

    def end(self) -> bytes:
        directory = b"".join(_central(one) for one in self._written)
        return directory + _end(len(self._written), len(directory), self._offset)

    def _stored(self, raw_name: bytes, flags: int, parts: list[memoryview]) -> Iterator[bytes | memoryview]:
        crc, size = 0, 0
        for part in parts:
            crc = zlib.crc32(part, crc)
            size += part.nbytes
        one = _Written(raw_name, flags, STORED, crc, size, size, self._offset)
        self._written.append(one)
        yield _local(one, wide=size >= _NARROW)
        yield from (part for part in parts if part.nbytes)

    def _deflated(self, raw_name: bytes, flags: int, parts: list[memoryview]) -> Iterator[bytes]:
        size = sum(part.nbytes for part in parts)
        # Deflate makes a little more of what it can't compress.
        wide = size + size // 1000 + 64 >= _NARROW
        one = _Written(raw_name, flags | _DESCRIBED, DEFLATED, 0, 0, size, self._offset)
        yield _local(one, wide=wide)
        packer = zlib.compressobj(self._level or 0, zlib.DEFLATED, -zlib.MAX_WBITS)
        crc, packed = 0, 0
        for piece in _cut(parts):
            crc = zlib.crc32(piece, crc)
            if data := packer.compress(piece):
                packed += len(data)
                yield data
        data = packer.flush()
        packed += len(data)
        yield data
        yield struct.pack("<4sI2Q" if wide else "<4s3I", b"PK\7\x08", crc, packed, size)
        self._written.append(attrs.evolve(one, crc=crc, packed=packed))


def _cut(parts: Iterable[memoryview]) -> Iterator[memoryview]:
    for part in parts:
        for at in range(0, part.nbytes, _PIECE):
            yield part[at : at + _PIECE]


def _local(one: _Written, *, wide: bool) -> bytes:
    described = bool(one.flags & _DESCRIBED)
    size, packed = (0, 0) if described else (one.size, one.packed)
    extra = struct.pack("<2H2Q", WIDE, 16, size, packed) if wide else b""
    if wide:
        size = packed = 0xFFFFFFFF
    start = one.offset + LOCAL.size + len(one.raw_name) + len(extra) + 4
    padding = -start % ALIGNMENT
    extra += struct.pack("<2H", _PADDING, padding) + bytes(padding)
    head = LOCAL.pack(
        SIGNATURES[LOCAL],
        45 if wide else 20,
        one.flags,
        one.method,
        0,
        _DATE,
        0 if described else one.crc,
        packed,
        size,
        len(one.raw_name),
        len(extra),
    )
    return head + one.raw_name + extra


def _central(one: _Written) -> bytes:
    values = (one.size, one.packed, one.offset)
    full = [value for value in values if value >= _NARROW]
    extra = struct.pack(f"<2H{len(full)}Q", WIDE, 8 * len(full), *full) if full else b""
    size, packed, offset = (value if value < _NARROW else 0xFFFFFFFF for value in values)
    version = 45 if full else 20
    head = CENTRAL.pack(
        SIGNATURES[CENTRAL],
        version | 3 << 8,
        version,
        one.flags,
        one.method,
        0,
        _DATE,
        one.crc,
        packed,
        size,
        len(one.raw_name),
        len(extra),
        0,
        0,
        0,
        0o600 << 16,
        offset,
    )
    return head + one.raw_name + extra


def _end(count: int, size: int, start: int) -> bytes:
    wide = b""
    if count >= _FEW or size >= _NARROW or start >= _NARROW:
        wide = END64.pack(SIGNATURES[END64], END64.size - 12, 45, 45, 0, 0, count, count, size, start)
        wide += LOCATOR.pack(SIGNATURES[LOCATOR], 0, start + size, 1)
        count, size, start = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    return wide + END.pack(SIGNATURES[END], 0, 0, count, count, size, start, 0)


def _start(member: Member, data: memoryview) -> int:
    """Where a member's data begins among its bytes."""
    if data.nbytes < LOCAL.size or data[:4] != SIGNATURES[LOCAL]:
        raise FormatError(f"{member.name!r} does not begin where the archive's directory says")
    _, _, _, method, _, _, crc, _, _, name_size, extra_size = LOCAL.unpack_from(data)
    start: int = LOCAL.size + name_size + extra_size
    name = data[LOCAL.size : LOCAL.size + name_size]
    if name != member.raw_name or method != member.method:
        raise FormatError(f"{member.name!r} is another member than the archive's directory says")
    if not member.described and crc != member.crc:
        raise FormatError(f"{member.name!r} has another CRC-32 than the archive's directory says")
    return start


def _packed(member: Member, data: memoryview) -> memoryview:
    start = _start(member, data)
    if start + member.packed > data.nbytes:
        raise FormatError(f"{member.name!r} has no room in the archive")
    return data[start : start + member.packed]


def _inflated(member: Member, packed: memoryview) -> memoryview:
    content, unpacker = _inflate(member, packed, member.size + 1)
    if len(content) != member.size or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"{member.name!r} is damaged: it does not unpack to its {member.size} bytes")
    return memoryview(content)


def _inflate(member: Member, packed: memoryview, most: int) -> tuple[bytes, Any]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return unpacker.decompress(packed, most), unpacker
    except zlib.error as error:
        raise FormatError(f"{member.name!r} is damaged: {error}") from error
