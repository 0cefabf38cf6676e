"""The protobuf wire format of ``tf.train.Example``, as far as it needs it.

::

    Example     1: Features
    Features    1: entry, repeated          entry: 1: key, 2: Feature
    Feature     1: BytesList | 2: FloatList | 3: Int64List          the last one counts
    the lists   1: value, repeated          floats and integers packed or one by one

Sources: the encoding chapter of the Protocol Buffers documentation, ``example.proto`` and ``feature.proto`` of
``tensorflow/core/example``.
Reading looks for where values lie and takes none of them; what it does not know it skips. A message that is split
in several occurrences of its field is merged, an entry that comes twice counts once, the last one, as protobuf does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError

__all__ = [
    "BYTES",
    "FLOAT",
    "INT64",
    "Feature",
    "Int64s",
    "Span",
    "decode_varints",
    "encode_varints",
    "find_features",
    "varint",
]

Span = tuple[int, int]
Int64s = npt.NDArray[np.int64]

#: The kinds of a feature, by the number of its field.
BYTES, FLOAT, INT64 = 1, 2, 3

_VARINT, _FIXED64, _LEN, _GROUP, _END, _FIXED32 = range(6)
#: Up to so many values and bytes, a loop is faster than NumPy.
_FEW = 12


@attrs.frozen(slots=True)
class Feature:
    """Where the values of a feature lie: of bytes one span each; of numbers spans of packed values."""

    kind: int
    spans: Sequence[Span]


def varint(value: int) -> bytes:
    """A number in ``[0, 2**64)``."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_varints(values: Int64s) -> bytes:
    """Integers as varints, negative ones as their two's complement of 64 bits."""
    if values.size <= _FEW:
        return b"".join(varint(value & 0xFFFFFFFFFFFFFFFF) for value in values.tolist())
    wide = values.astype(np.int64, copy=False).view(np.uint64)
    if int(wide.max()) < 0x80:
        return wide.astype(np.uint8).tobytes()
    lengths = np.ones(wide.size, np.int64)
    for bits in range(7, 64, 7):
        longer = wide >= np.uint64(1 << bits)
        if not longer.any():
            break
        lengths += longer
    starts = np.cumsum(lengths) - lengths
    out = np.empty(int(lengths.sum()), np.uint8)
    for number in range(int(lengths.max())):
        has = lengths > number
        low = (wide[has] >> np.uint64(7 * number)).astype(np.uint8) & np.uint8(0x7F)
        out[starts[has] + number] = low | ((lengths[has] > number + 1).astype(np.uint8) << np.uint8(7))
    return out.tobytes()


def decode_varints(raw: bytes | memoryview) -> Int64s:
    """All the varints that these bytes are. Raises FormatError where the last one is cut, or one is too long."""
    if len(raw) <= _FEW:
        return np.array(list(_varints(raw)), np.uint64).view(np.int64)
    octets = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if ends.size == octets.size:
        return octets.astype(np.int64)
    if octets[-1] >= 0x80:
        raise FormatError("an integer is cut at the end of its list")
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > 10:
        raise FormatError("an integer of a list takes more than 10 bytes")
    values = (octets[starts] & np.uint8(0x7F)).astype(np.uint64)
    for number in range(1, longest):
        has = np.flatnonzero(lengths > number)
        more = (octets[starts[has] + number] & np.uint8(0x7F)).astype(np.uint64)
        values[has] |= more << np.uint64(7 * number)
    return values.view(np.int64)


def _varints(raw: bytes | memoryview) -> Iterator[int]:
    at, end = 0, len(raw)
    while at < end:
        value, at = _varint(raw, at, end)
        yield value


def _varint(data: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise FormatError("an integer takes more than 10 bytes")
    raise FormatError("a message is cut inside an integer")


def _fields(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, wire type, and where the content lies."""
    while at < end:
        # Nearly all tags and lengths are one byte.
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, at - 1, end)
        number, kind = tag >> 3, tag & 7
        if not number or number > 0x1FFFFFFF:
            raise FormatError(f"a message has a field of the number {number}")
        if kind == _LEN:
            if at < end and data[at] < 0x80:
                length = data[at]
                at += 1
            else:
                length, at = _varint(data, at, end)
            stop = at + length
        elif kind == _VARINT:
            stop = _varint(data, at, end)[1]
        elif kind in (_FIXED64, _FIXED32):
            stop = at + (8 if kind == _FIXED64 else 4)
        elif kind == _GROUP:
            stop = _end_of_group(data, at, end, number)
        else:
            raise FormatError(f"a message has a field of the wire type {kind}")
        if stop > end:
            raise FormatError("a field reaches beyond its message")
        yield number, kind, at, stop
        at = stop


def _end_of_group(data: memoryview, at: int, end: int, number: int) -> int:
    """Where a group of the old kind ends, those inside it with it."""
    opened = [number]
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _GROUP:
            opened.append(number)
        elif kind == _END:
            if opened.pop() != number:
                break
            if not opened:
                return at
        elif kind == _VARINT:
            at = _varint(data, at, end)[1]
        elif kind == _LEN:
            length, at = _varint(data, at, end)
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            break
    raise FormatError("a group has no end")


def find_features(data: memoryview) -> dict[str, Feature]:
    """The features of an Example by name, in the order of the file. One that holds no list is left out.

    Raises FormatError for bytes that are no such message.
    """
    found: dict[str, Feature] = {}
    for number, kind, start, stop in _fields(data, 0, len(data)):
        if number == 1 and kind == _LEN:
            for inner, inner_kind, begin, end in _fields(data, start, stop):
                if inner == 1 and inner_kind == _LEN:
                    _entry(data, begin, end, found)
    return found


def _entry(data: memoryview, begin: int, end: int, found: dict[str, Feature]) -> None:
    key = b""
    feature: Feature | None = None
    for number, kind, start, stop in _fields(data, begin, end):
        if kind != _LEN:
            continue
        if number == 1:
            key = bytes(data[start:stop])
        elif number == 2:
            feature = _feature(data, start, stop, feature)
    try:
        name = key.decode()
    except UnicodeDecodeError:
        raise FormatError(f"the name of a feature is not UTF-8: {key[:40]!r}") from None
    found.pop(name, None)
    if feature is not None:
        found[name] = feature


def _feature(data: memoryview, begin: int, end: int, feature: Feature | None) -> Feature | None:
    for number, kind, start, stop in _fields(data, begin, end):
        if kind == _LEN and number in (BYTES, FLOAT, INT64):
            before = feature.spans if feature is not None and feature.kind == number else ()
            feature = Feature(number, (*before, *_list(data, start, stop, number)))
    return feature


def _list(data: memoryview, begin: int, end: int, kind: int) -> Iterator[Span]:
    single = {BYTES: _LEN, FLOAT: _FIXED32, INT64: _VARINT}[kind]
    for number, wire, start, stop in _fields(data, begin, end):
        if number != 1 or wire not in (single, _LEN):
            continue
        if kind == FLOAT and (stop - start) % 4:
            raise FormatError(f"a list of floats has {stop - start} bytes, which 4 do not divide")
        yield start, stop
