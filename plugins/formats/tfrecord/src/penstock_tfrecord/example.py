"""Samples as ``tf.train.Example``, and back with dtype and shape.

=======================================  ==============================================================
value                                    features
=======================================  ==============================================================
int64 of one dimension                   ``name``: Int64List
float32 of one dimension                 ``name``: FloatList
int64, float32 of any other shape, int   the same, and ``name/shape``: Int64List
bytes                                    ``name``: BytesList of one
text                                     the same in UTF-8, and ``name/dtype``: ``text``
array of objects, each bytes             ``name``: BytesList, and ``name/dtype``: ``bytes`` and ``name/shape``
any other array, bool, float             ``name``: BytesList of one, the memory in C order, and ``name/dtype``:
                                         NumPy's name of the type, such as ``uint8``, or its code, such as
                                         ``>i4`` or ``<M8[ns]``, and ``name/shape``
=======================================  ==============================================================

TensorFlow reads the last row by ``tf.reshape(tf.io.decode_raw(x["name"], tf.uint8), x["name/shape"])``. Features are
written by name, what says the shape right after what it is of. What others wrote has no such names: numbers come as
arrays of one dimension, a list of one as its bytes, any other list of bytes as an array of objects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError
from penstock_tfrecord.wire import (
    BYTES,
    FLOAT,
    INT64,
    Feature,
    Span,
    decode_varints,
    encode_varints,
    find_features,
    varint,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ExampleDecoder", "encode_example"]

Array = npt.NDArray[Any]

#: TensorFlow, as all users of protobuf, reads no longer message.
_LONGEST = 2**31 - 1
_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_NAMED = frozenset(["bool", *_INTEGERS, "float16", "float32", "float64", "complex64", "complex128"])
_CODE = re.compile(r"[<>|][biufcSUmM][0-9]{1,9}(\[[0-9]*[a-zA-Zμ]{1,8}\])?")
_INT64, _FLOAT32 = np.dtype("<i8"), np.dtype("<f4")
_KEPT = 64


def encode_example(sample: Mapping[str, Any]) -> list[Buffer]:
    """One message, in pieces; large arrays are views of their own memory. Raises FormatError for other values."""
    names = _sorted(tuple(sample))
    parts: list[Buffer] = [b""]
    total = 0
    for name in names:
        total += _add(parts, name, sample[name])
    if total > _LONGEST:
        raise FormatError(f"an Example holds less than 2 GiB, this sample has {total} bytes; say example=false")
    if total:
        parts[0] = b"\n" + varint(total)
    return parts


@functools.lru_cache(maxsize=256)
def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str):
            raise FormatError(f"names are text, not {type(name).__name__}")
        base, slash, last = name.rpartition("/")
        if slash and last in ("dtype", "shape") and base in names:
            raise FormatError(f"{name} is what says the {last} of {base}; name one of them otherwise")
    try:
        return tuple(sorted(names, key=str.encode))
    except UnicodeEncodeError:
        raise FormatError("a name can't be written as UTF-8") from None


def _add(parts: list[Buffer], name: str, value: Any) -> int:
    """Append one value's features. The answer is how many bytes they have."""
    if isinstance(value, np.ndarray):
        return _add_array(parts, name, value)
    if isinstance(value, bytes | bytearray | memoryview):
        view = memoryview(value)
        before, after = _around(name, "", None, view.nbytes)
        parts += (before, view.cast("B") if view.nbytes else b"")
        return len(before) + view.nbytes
    if isinstance(value, str):
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise FormatError(f"{name}: the text can't be written as UTF-8") from None
        before, after = _around(name, "text", None, len(data))
        parts += (before, data, after)
        return len(before) + len(data) + len(after)
    if isinstance(value, bool | int | float | complex | np.generic):
        return _add_array(parts, name, np.asarray(value))
    raise FormatError(f"{name}: a {type(value).__name__} has no place in an Example; make it an array, bytes or text")


def _add_array(parts: list[Buffer], name: str, value: Array) -> int:
    dtype, shape = value.dtype, value.shape
    if dtype == _INT64:
        return _add_numbers(parts, name, shape, INT64, encode_varints(value.reshape(-1)))
    if dtype == _FLOAT32:
        return _add_numbers(parts, name, shape, FLOAT, _memory(value))
    if dtype.hasobject:
        return _add_objects(parts, name, value)
    before, after = _around(name, _code_of(dtype), shape, value.nbytes)
    parts += (before, _memory(value), after)
    return len(before) + value.nbytes + len(after)


def _memory(value: Array) -> Buffer:
    if not value.nbytes:
        return b""
    # A step between items survives a reshape, so what is not in C order is copied first.
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


@functools.lru_cache(maxsize=256)
def _code_of(dtype: np.dtype[Any]) -> str:
    if dtype.name in _NAMED and dtype.isnative:
        return dtype.name
    if not dtype.itemsize or not _CODE.fullmatch(dtype.str):
        raise FormatError(f"an Example of this format holds no {dtype}; convert the array first")
    return dtype.str


@functools.lru_cache(maxsize=1024)
def _around(name: str, code: str, shape: tuple[int, ...] | None, nbytes: int) -> tuple[bytes, bytes]:
    """What is written before and after bytes that are all of a feature."""
    inner = b"\n" + varint(nbytes)
    return _opening(name, BYTES, len(inner) + nbytes) + inner, _companions(name, code, shape)


def _add_numbers(parts: list[Buffer], name: str, shape: tuple[int, ...], kind: int, packed: Buffer) -> int:
    nbytes = len(packed)  # type: ignore[arg-type]
    inner = b"\n" + varint(nbytes) if nbytes else b""
    before = _opening(name, kind, len(inner) + nbytes) + inner
    after = b"" if len(shape) == 1 else _companions(name, "", shape)
    parts += (before, packed, after)
    return len(before) + nbytes + len(after)


def _add_objects(parts: list[Buffer], name: str, value: Array) -> int:
    values: list[Any] = value.reshape(-1).tolist()
    if not all(isinstance(item, bytes) for item in values):
        raise FormatError(f"{name}: an array of objects can hold bytes only")
    inner = b"".join(part for item in values for part in (b"\n", varint(len(item)), item))
    out = _opening(name, BYTES, len(inner)) + inner + _companions(name, "bytes", value.shape)
    parts.append(out)
    return len(out)


def _opening(name: str, kind: int, nbytes: int) -> bytes:
    """An entry up to the ``nbytes`` bytes of its list."""
    key = name.encode()
    listed = bytes((kind << 3 | 2,)) + varint(nbytes)
    entry = b"\n" + varint(len(key)) + key + b"\x12" + varint(len(listed) + nbytes) + listed
    return b"\n" + varint(len(entry) + nbytes) + entry


def _companions(name: str, code: str, shape: tuple[int, ...] | None) -> bytes:
    out = b""
    if code:
        inner = b"\n" + varint(len(code.encode())) + code.encode()
        out += _opening(f"{name}/dtype", BYTES, len(inner)) + inner
    if shape is not None:
        packed = b"".join(map(varint, shape))
        inner = b"\n" + varint(len(packed)) + packed if packed else b""
        out += _opening(f"{name}/shape", INT64, len(inner)) + inner
    return out


@attrs.frozen(slots=True)
class _Value:
    """How one value of a sample is taken out of a message. A dtype of None is bytes, text or objects."""

    name: str
    kind: int
    spans: tuple[Span, ...]
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] | None = None
    code: str = ""

    def take(self, data: memoryview) -> Any:
        if self.dtype is not None:
            (start, stop) = self.spans[0]
            if start == stop:
                return np.empty(self.shape or 0, self.dtype)
            flat = np.frombuffer(data[start:stop], self.dtype)
            return flat if self.shape is None else flat.reshape(self.shape)
        if self.kind == BYTES:
            return self._take_bytes(data)
        numbers = _numbers(data, self.kind, self.spans)
        fits = self.shape is not None and numbers.size == _size(self.shape)
        return numbers.reshape(self.shape) if fits else numbers

    def _take_bytes(self, data: memoryview) -> Any:
        values = [bytes(data[start:stop]) for start, stop in self.spans]
        if self.code == "text":
            try:
                return values[0].decode()
            except UnicodeDecodeError:
                raise FormatError(f"{self.name}: the text is not UTF-8") from None
        if len(values) == 1 and self.shape is None:
            return values[0]
        objects = np.empty(len(values), object)
        objects[:] = values
        return objects if self.shape is None else objects.reshape(self.shape)


def _numbers(data: memoryview, kind: int, spans: tuple[Span, ...]) -> Array:
    packed = data[spans[0][0] : spans[0][1]] if len(spans) == 1 else b"".join(data[a:b] for a, b in spans)
    if kind == INT64:
        return decode_varints(packed)
    return np.frombuffer(packed, _FLOAT32) if packed else np.empty(0, _FLOAT32)


def _size(shape: Iterable[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


@attrs.frozen(slots=True)
class _Plan:
    """Where the values of a message lie, and all the bytes that are not values: another message of the same length
    with the same such bytes has its values in the same places.
    """

    values: tuple[_Value, ...]
    fixed: tuple[tuple[int, int, bytes], ...]

    def fits(self, data: memoryview) -> bool:
        # Views are compared item by item, bytes at once.
        return all(bytes(data[start:stop]) == want for start, stop, want in self.fixed)


class ExampleDecoder:
    """Reads messages; those that are laid out as an earlier one cost a comparison instead of parsing.

    Threads may share it: what they share is replaced whole.
    """

    def __init__(self) -> None:
        self._plans: dict[int, _Plan] = {}

    def decode(self, data: memoryview) -> dict[str, Any]:
        """The sample of one message; numbers and arrays may be views of it. Raises FormatError for other bytes."""
        plan = self._plans.get(len(data))
        if plan is None or not plan.fits(data):
            plan = _plan(data)
            if len(self._plans) >= _KEPT:
                self._plans = {}
            self._plans[len(data)] = plan
        return {value.name: value.take(data) for value in plan.values}


def _plan(data: memoryview) -> _Plan:
    features = find_features(data)
    values = []
    companions: set[str] = set()
    for name, feature in features.items():
        value = _described(name, feature, features, data)
        if value.code or (feature.kind == BYTES and value.shape is not None):
            companions.add(f"{name}/dtype")
        if value.shape is not None:
            companions.add(f"{name}/shape")
        values.append(value)
    values = [value for value in values if value.name not in companions]
    return _Plan(tuple(values), tuple(_rest(data, values)))


def _rest(data: memoryview, values: list[_Value]) -> Iterable[tuple[int, int, bytes]]:
    at = 0
    for start, stop in sorted(span for value in values for span in value.spans):
        if start > at:
            yield at, start, bytes(data[at:start])
        at = max(at, stop)
    if at < len(data):
        yield at, len(data), bytes(data[at:])


def _described(name: str, feature: Feature, features: Mapping[str, Feature], data: memoryview) -> _Value:
    """A feature with what its companions say of it, where they are there and true."""
    spans = tuple(feature.spans)
    shape = _shape_of(features.get(f"{name}/shape"), data)
    if feature.kind != BYTES:
        return _Value(name, feature.kind, spans, shape=shape if _fits(feature, shape, data) else None)
    code = _text_of(features.get(f"{name}/dtype"), data)
    if code == "text" and len(spans) == 1:
        return _Value(name, BYTES, spans, code=code)
    if code == "bytes" and shape is not None and _size(shape) == len(spans):
        return _Value(name, BYTES, spans, shape=shape, code=code)
    dtype = _dtype_of(code)
    if dtype is not None and shape is not None and len(spans) == 1:
        start, stop = spans[0]
        if _size(shape) * dtype.itemsize == stop - start:
            return _Value(name, BYTES, spans, dtype, shape, code)
    return _Value(name, BYTES, spans)


def _fits(feature: Feature, shape: tuple[int, ...] | None, data: memoryview) -> bool:
    if shape is None:
        return False
    if not feature.spans:
        return not _size(shape)
    return _size(shape) == _numbers(data, feature.kind, tuple(feature.spans)).size


def _shape_of(feature: Feature | None, data: memoryview) -> tuple[int, ...] | None:
    if feature is None or feature.kind != INT64:
        return None
    lengths = tuple(decode_varints(b"".join(data[a:b] for a, b in feature.spans)).tolist())
    # What NumPy can't have, even where another dimension is 0.
    legal = len(lengths) <= 32 and min(lengths, default=0) >= 0 and _size(filter(None, lengths)) < 2**48
    return lengths if legal else None


def _text_of(feature: Feature | None, data: memoryview) -> str:
    if feature is None or feature.kind != BYTES or len(feature.spans) != 1:
        return ""
    ((start, stop),) = feature.spans
    return bytes(data[start:stop]).decode(errors="replace") if stop - start <= 40 else ""


@functools.lru_cache(maxsize=256)
def _dtype_of(code: str) -> np.dtype[Any] | None:
    if code not in _NAMED and not _CODE.fullmatch(code):
        return None
    try:
        return np.dtype(code)
    except (TypeError, ValueError):
        return None
