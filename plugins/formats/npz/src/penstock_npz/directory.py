"""The directory of a ZIP archive: which members it has and where, read from the end of the file.

After the application note of PKWARE, section 4.3. Only what NumPy writes, and what tools make of it, is read: one
disk, no encryption, members stored or deflated, with or without ZIP64.
"""

from __future__ import annotations

import itertools
import struct

import attrs

from penstock.errors import FormatError
from penstock.formats import RangeReader

__all__ = [
    "CENTRAL",
    "DEFLATED",
    "END",
    "END64",
    "LOCAL",
    "LOCATOR",
    "SIGNATURES",
    "STORED",
    "WIDE",
    "Member",
    "members",
]

STORED, DEFLATED = 0, 8
#: Local file header, central directory header, end of central directory, that of ZIP64, and its locator.
LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")
SIGNATURES = {LOCAL: b"PK\3\4", CENTRAL: b"PK\1\2", END: b"PK\5\6", END64: b"PK\6\6", LOCATOR: b"PK\6\7"}
#: The number of the extra field that holds sizes and offsets of eight bytes.
WIDE = 1

_TAIL = 16 * 1024
_LONGEST_COMMENT = 0xFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_DESCRIBED = 0x8
#: Deflate makes at most so many bytes of one.
_DEFLATE_RATIO = 1032


@attrs.frozen(slots=True)
class Member:
    """One file of an archive. Its header, data and descriptor lie in ``[offset, end)``."""

    name: str
    raw_name: bytes
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    end: int
    #: Sizes and CRC follow the data; the local header may say 0.
    described: bool


@attrs.frozen(slots=True)
class _End:
    """``offset`` is where the records of the end begin, so where the directory has to end."""

    count: int
    size: int
    start: int
    offset: int


def members(file: RangeReader) -> list[Member]:
    """The members of an archive, in the order of its directory. Raises FormatError."""
    tail_start, tail = _tail(file)
    end = _end(file, tail_start, tail)
    if end.start + end.size != end.offset:
        raise FormatError("the archive's directory does not end where its end begins")
    held = end.start >= tail_start
    found = _entries(tail[end.start - tail_start :][: end.size] if held else file.read(end.start, end.size), end)
    # A member ends where the next begins, at the latest where the directory does.
    bounds = sorted({member.offset for member in found} | {end.start})
    following = dict(itertools.pairwise(bounds))
    ended = [attrs.evolve(member, end=following.get(member.offset, end.start)) for member in found]
    for member in ended:
        if member.offset + LOCAL.size + len(member.raw_name) + member.packed > member.end:
            raise FormatError(f"{member.name!r} has no room in the archive: its members overlap")
    names = [member.name for member in ended]
    if len(set(names)) != len(names):
        raise FormatError("two members of the archive have the same name")
    return ended


def _tail(file: RangeReader) -> tuple[int, memoryview]:
    """The end of the file, long enough to hold the end record, and where it begins."""
    size = file.size
    for length in (_TAIL, END.size + _LONGEST_COMMENT + LOCATOR.size + END64.size):
        start = max(size - length, 0)
        tail = file.read(start, size - start)
        if _find_end(tail) is not None:
            return start, tail
        if not start:
            break
    raise FormatError("this is no NPZ archive: it does not end as a ZIP file does")


def _find_end(tail: memoryview) -> int | None:
    """Where the end record begins: its comment has to reach just to the end of the file."""
    data = bytes(tail)
    at = data.rfind(SIGNATURES[END])
    while at >= 0:
        if at + END.size <= len(data) and at + END.size + struct.unpack_from("<H", data, at + 20)[0] == len(data):
            return at
        at = data.rfind(SIGNATURES[END], 0, at + 3)
    return None


def _end(file: RangeReader, tail_start: int, tail: memoryview) -> _End:
    at = _find_end(tail)
    assert at is not None
    _, disk, first_disk, here, count, size, start, _ = END.unpack_from(tail, at)
    offset = tail_start + at
    locator_at = at - LOCATOR.size
    if locator_at >= 0 and tail[locator_at : locator_at + 4] == SIGNATURES[LOCATOR]:
        _, disk, start, disks = LOCATOR.unpack_from(tail, locator_at)
        if disk or disks > 1:
            raise FormatError("archives of several files are not read")
        return _end64(file, start, offset - LOCATOR.size)
    if disk or first_disk or here != count:
        raise FormatError("archives of several files are not read")
    return _End(count, size, start, offset)


def _end64(file: RangeReader, start64: int, locator: int) -> _End:
    if start64 + END64.size != locator:
        raise FormatError("the archive's ZIP64 records do not follow each other")
    found = END64.unpack(file.read(start64, END64.size))
    signature, _, _, _, this_disk, first_disk, here, count, size, start = found
    if signature != SIGNATURES[END64] or this_disk or first_disk or here != count:
        raise FormatError("the archive's ZIP64 end can't be read")
    return _End(count, size, start, start64)


def _entries(data: memoryview, end: _End) -> list[Member]:
    found = []
    at = 0
    while at < data.nbytes:
        member, at = _entry(data, at, end)
        found.append(member)
    if len(found) != end.count:
        raise FormatError(f"the archive's directory has {len(found)} members, its end says {end.count}")
    return found


def _entry(data: memoryview, at: int, end: _End) -> tuple[Member, int]:
    if at + CENTRAL.size > data.nbytes or data[at : at + 4] != SIGNATURES[CENTRAL]:
        raise FormatError("the archive's directory is damaged")
    found = CENTRAL.unpack_from(data, at)
    _, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, disk, _, _, offset = found
    name_at = at + CENTRAL.size
    extra_at = name_at + name_size
    after = extra_at + extra_size + comment_size
    if after > data.nbytes:
        raise FormatError("the archive's directory is damaged")
    raw = bytes(data[name_at:extra_at])
    size, packed, offset = _widen(data[extra_at : extra_at + extra_size], size, packed, offset)
    if flags & _ENCRYPTED or method not in (STORED, DEFLATED) or disk not in (0, 0xFFFF):
        raise FormatError(f"a member is encrypted, or packed in a way that is not read (method {method})")
    if (method == STORED and packed != size) or size > _DEFLATE_RATIO * packed + 64 or offset + packed > end.start:
        raise FormatError("a member's sizes can't be")
    member = Member(_name(raw, flags), raw, method, crc, packed, size, offset, 0, bool(flags & _DESCRIBED))
    return member, after


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise FormatError(f"a member's name can't be read: {error}") from error


def _widen(extra: memoryview, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The values of the ZIP64 field where the others are full."""
    values = [size, packed, offset]
    full = [number for number, value in enumerate(values) if value == 0xFFFFFFFF]
    while extra.nbytes >= 4 and full:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == WIDE:
            if length < 8 * len(full) or extra.nbytes < 4 + length:
                raise FormatError("a member's ZIP64 field is too short")
            wide = struct.unpack_from(f"<{len(full)}Q", extra, 4)
            for number, value in zip(full, wide, strict=True):
                values[number] = value
            return values[0], values[1], values[2]
        extra = extra[4 + length :]
    return size, packed, offset
