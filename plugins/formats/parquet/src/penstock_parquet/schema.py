"""Values as columns of Arrow, and columns as NumPy arrays.

===============================================  ======================================================
value                                            column
===============================================  ======================================================
bool, integers, float32, float64 of no           the same type of Arrow
dimension
datetime64 in ms, us or ns of no dimension       timestamp; NaT is null
bytes, text                                      binary, string
arrays of 32 and 64 bit numbers (``lists``)      list of fixed size
any other array, or type                         bytes of fixed size, the memory in C order
===============================================  ======================================================

Where Arrow's type does not say type and shape, the metadata of the column's field do (``penstock.dtype``,
``penstock.shape``).
What others wrote comes as NumPy's type of the Arrow type: lists of fixed size as arrays of so many dimensions, other
lists as arrays of one dimension, and a value that is null as None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import FormatError
from penstock.formats import Field

__all__ = ["Column", "Rows", "column_of", "column_of_field", "describe", "rows_of"]

Array = npt.NDArray[Any]
#: The values of a column, by row.
Rows = Sequence[Any]

_DTYPE, _SHAPE = b"penstock.dtype", b"penstock.shape"
_NAMES = {"?": "bool_", "f4": "float32", "f8": "float64"} | {f"i{n}": f"int{8 * n}" for n in (1, 2, 4, 8)}
_NAMES |= {f"u{n}": f"uint{8 * n}" for n in (1, 2, 4, 8)}
_TYPES: list[np.dtype[Any]] = [np.dtype(code) for code in _NAMES]
_PLAIN = dict(zip(_TYPES, (getattr(pa, name)() for name in _NAMES.values()), strict=True))
_LISTED = tuple(np.dtype(code) for code in ("i4", "i8", "u4", "u8", "f4", "f8"))
_TIMES = {np.dtype(f"M8[{unit}]"): pa.timestamp(unit) for unit in ("ms", "us", "ns")}
#: A list or bytes of fixed size have at most so many items.
_LONGEST = 2**31 - 1


@attrs.frozen(slots=True)
class Column:
    """A named column. ``kind`` is ``bytes``, ``text`` or ``array``; of arrays dtype and shape are those of each row."""

    name: str
    kind: str
    arrow: Any
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Of an array; 0 of what has no fixed size."""
        return math.prod(self.shape) * self.dtype.itemsize if self.dtype is not None else 0

    @property
    def field(self) -> pa.Field:
        """Of the schema of a file. All that comes from our own arrays is known to have no nulls but NaT."""
        metadata = None
        if self.dtype is not None and not (self.shape == () and self.arrow in (*_PLAIN.values(), *_TIMES.values())):
            metadata = {_DTYPE: self.dtype.str.encode(), _SHAPE: ",".join(map(str, self.shape)).encode()}
        return pa.field(self.name, self.arrow, nullable=pa.types.is_timestamp(self.arrow), metadata=metadata)

    def arrow_of(self, values: Sequence[Any]) -> pa.Array:
        """The rows as an array of Arrow. They are what :func:`column_of` accepted."""
        if self.dtype is None:
            return pa.array(values, self.arrow)
        stacked = np.empty((len(values), *self.shape), self.dtype)
        for number, value in enumerate(values):
            stacked[number, ...] = value
        return _to_arrow(stacked, self.arrow)


def column_of(name: str, value: Any, *, lists: bool) -> Column:
    """The column that this value, and others of its type and shape, can stand in. Raises FormatError for none."""
    if isinstance(value, bytes | bytearray | memoryview):
        return Column(name, "bytes", pa.binary())
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FormatError(f"{name}: the text can't be written as UTF-8") from None
        return Column(name, "text", pa.string())
    if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        raise FormatError(f"{name}: a {type(value).__name__} has no place in Parquet; make it an array, bytes or text")
    array = np.asarray(value)
    dtype = array.dtype
    if dtype.kind not in "biufcmMSU" or not dtype.itemsize:
        raise FormatError(f"{name}: no column holds arrays of {dtype}; convert the array first")
    if max(array.size, array.nbytes) > _LONGEST:
        raise FormatError(f"{name}: a value of a column has less than 2 GiB, this one has {array.nbytes} bytes")
    return Column(name, "array", _arrow_type(dtype, array.shape, lists=lists), dtype, array.shape)


def _arrow_type(dtype: np.dtype[Any], shape: tuple[int, ...], *, lists: bool) -> Any:
    if shape == () and dtype in _PLAIN:
        return _PLAIN[dtype]
    if shape == () and dtype in _TIMES:
        return _TIMES[dtype]
    size = math.prod(shape)
    if not size:
        # Parquet has no bytes of the fixed size 0; the shape says it all.
        return pa.bool_()
    if lists and dtype in _LISTED:
        return pa.list_(pa.field("element", _PLAIN[dtype], nullable=False), size)
    return pa.binary(size * dtype.itemsize)


def _to_arrow(stacked: Array, arrow: Any) -> pa.Array:
    if not stacked.size and stacked.ndim > 1:
        return pa.array(np.zeros(len(stacked), bool))
    if pa.types.is_fixed_size_list(arrow):
        return pa.FixedSizeListArray.from_arrays(pa.array(stacked.reshape(-1)), type=arrow)
    if pa.types.is_fixed_size_binary(arrow):
        memory = pa.py_buffer(stacked.reshape(-1).view(np.uint8))
        return pa.FixedSizeBinaryArray.from_buffers(arrow, len(stacked), [None, memory])
    return pa.array(stacked, arrow)


def column_of_field(field: pa.Field) -> Column:
    """What a column of a file holds. Raises FormatError for types that no sample has."""
    metadata = field.metadata or {}
    arrow = field.type
    if _DTYPE in metadata and _SHAPE in metadata:
        dtype, shape = _described(field.name, metadata)
        if _arrow_type(dtype, shape, lists=pa.types.is_fixed_size_list(arrow)) != arrow:
            raise FormatError(f"{field.name}: the column is {arrow}, its metadata say {dtype} {shape}")
        return Column(field.name, "array", arrow, dtype, shape)
    if isinstance(arrow, pa.FixedShapeTensorType):
        return Column(field.name, "array", arrow, np.dtype(arrow.value_type.to_pandas_dtype()), tuple(arrow.shape))
    shape = ()
    inner = arrow
    while pa.types.is_fixed_size_list(inner):
        shape = (*shape, inner.list_size)
        inner = inner.value_type
    if pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow) or pa.types.is_fixed_size_binary(arrow):
        return Column(field.name, "bytes", arrow)
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return Column(field.name, "text", arrow)
    if (pa.types.is_list(arrow) or pa.types.is_large_list(arrow)) and _numeric(arrow.value_type):
        return Column(field.name, "ragged", arrow, np.dtype(arrow.value_type.to_pandas_dtype()), ())
    if _numeric(inner):
        return Column(field.name, "array", arrow, np.dtype(inner.to_pandas_dtype()), shape)
    raise FormatError(f"{field.name}: columns of {arrow} are not read; choose others by columns=…")


def _numeric(arrow: Any) -> bool:
    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp)
    return any(kind(arrow) for kind in kinds)


def _described(name: str, metadata: dict[bytes, bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    try:
        dtype = np.dtype(metadata[_DTYPE].decode())
        shape = tuple(int(word) for word in metadata[_SHAPE].decode().split(",") if word)
    except (TypeError, ValueError, SyntaxError):
        raise FormatError(f"{name}: the column's metadata name no type and shape") from None
    if dtype.kind not in "biufcmMSU" or not dtype.itemsize or min(shape, default=0) < 0 or math.prod(shape) > _LONGEST:
        raise FormatError(f"{name}: the column's metadata name no type and shape")
    return dtype, shape


def describe(column: Column) -> Field:
    """For a summary."""
    if column.dtype is None:
        return Field(name=column.name, dtype=column.kind)
    shape = (None,) if column.kind == "ragged" else column.shape
    # Of texts of a fixed size NumPy's name is not one that NumPy understands.
    name = column.dtype.str if column.dtype.kind in "SU" else column.dtype.name
    return Field(name=column.name, dtype=name, shape=shape)


def rows_of(column: Column, data: pa.ChunkedArray) -> Rows:
    """The values of a column. Arrays are views of one that has them all."""
    array = data.combine_chunks() if data.num_chunks != 1 else data.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if column.dtype is None:
        return array.to_pylist()  # type: ignore[no-any-return]
    if column.kind == "ragged":
        return [None if row is None else _flat(row, column.dtype) for row in _lists(array)]
    whole = _to_numpy(column, array, column.dtype)
    rows = _Views(whole)
    if array.null_count and not pa.types.is_timestamp(array.type):
        valid = array.is_valid().to_pylist()
        return [row if ok else None for row, ok in zip(rows, valid, strict=True)]
    return rows


class _Views(Sequence[Any]):
    """Rows of an array, made when they are asked for."""

    def __init__(self, whole: Array) -> None:
        self._whole = whole

    def __len__(self) -> int:
        return len(self._whole)

    def __getitem__(self, number: Any) -> Any:
        # A row of no dimensions is an array too.
        return self._whole[number, ...]

    def __iter__(self) -> Iterator[Any]:
        return (self._whole[number, ...] for number in range(len(self._whole)))


def _lists(array: pa.Array) -> Iterator[pa.Array | None]:
    for number in range(len(array)):
        row = array[number]
        yield row.values if row.is_valid else None


def _flat(values: pa.Array, dtype: np.dtype[Any]) -> Array:
    if values.null_count:
        raise FormatError("a list has nulls inside, which no array holds")
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(dtype, copy=False)


def _to_numpy(column: Column, array: pa.Array, dtype: np.dtype[Any]) -> Array:
    shape = (len(array), *column.shape)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not math.prod(column.shape):
        return np.empty(shape, dtype)
    if pa.types.is_fixed_size_binary(array.type):
        memory = array.buffers()[1]
        if memory is None:
            return np.empty(shape, dtype)
        skip = array.offset * array.type.byte_width
        flat = np.frombuffer(memory, np.uint8)[skip : skip + len(array) * array.type.byte_width]
        return flat.view(dtype).reshape(shape)
    filler: Any = None
    while pa.types.is_fixed_size_list(array.type):
        # flatten() leaves out the rows that are null, the buffer beneath has them.
        skip, length = array.offset * array.type.list_size, len(array) * array.type.list_size
        array = array.values.slice(skip, length)
    if array.null_count and not pa.types.is_timestamp(array.type):
        filler = False if pa.types.is_boolean(array.type) else 0
        array = array.fill_null(filler)
    if pa.types.is_timestamp(array.type):
        # The unit, and bits that stand for no time, without what pandas would make of them.
        return _times(array, dtype).reshape(shape)
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(dtype, copy=False).reshape(shape)


def _times(array: pa.Array, dtype: np.dtype[Any]) -> Array:
    made = np.array(array.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy(zero_copy_only=False))
    return made.view(f"M8[{array.type.unit}]").astype(dtype, copy=False)
