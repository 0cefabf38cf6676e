"""The datasets of an open file as columns of samples: what rows are, and where they lie.

Rows of a dataset without chunks lie one after another, in the memory layout of their NumPy type: they are taken from
the file as they are, past h5py and its lock. Of a dataset with chunks it is known where each chunk lies; HDF5 decodes
them. What else there is (rows of any length, types that NumPy lays out otherwise) HDF5 reads by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError, UsageError
from penstock.formats import Field
from penstock_hdf5.writing import CONTENT

__all__ = ["Chunk", "Column", "columns_of"]

Array = npt.NDArray[Any]

#: Deflate makes at most this many bytes of one; no other filter that HDF5 has by itself makes more.
_DENSEST = 1100
_SLACK = 1024 * 1024
#: Rows that are decoded at once where a file is read from end to end take about this many bytes.
_BLOCK = 4 * 1024 * 1024
_ROWS = 1024


class Chunk(NamedTuple):
    """Where a chunk's stored bytes lie."""

    start: int
    length: int


class Column:
    """One dataset. ``offset`` is where its first row lies, None unless rows can be taken as they are."""

    def __init__(self, name: str, dataset: h5py.Dataset, file_size: int) -> None:
        self.name = name
        self.dataset = dataset
        self.rows = int(dataset.shape[0])
        self.shape = tuple(map(int, dataset.shape[1:]))
        self.content = _content(name, dataset)
        self.dtype = _plain(dataset.dtype)
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize
        self.offset = _offset(dataset, self)
        self.chunks: tuple[int, ...] | None = dataset.chunks
        self._file_size = file_size
        self._places: Mapping[int, Sequence[Chunk]] | None = None
        self._check_claims()

    def _check_claims(self) -> None:
        """Refuse to take memory for what so small a file can't hold."""
        most = _DENSEST * self._file_size + _SLACK
        chunk = math.prod(self.chunks or ()) * self.dtype.itemsize if self.chunks else 0
        if self.row_bytes > most or chunk > most:
            raise FormatError(f"{self.name}: a row or chunk would have more bytes than the file can hold")
        if self.offset is not None and self.offset + self.rows * self.row_bytes > self._file_size:
            raise FormatError(f"{self.name}: the rows reach beyond the end of the file")

    @property
    def field(self) -> Field:
        """What the samples have of it."""
        if self.content == "array":
            # Of texts of a fixed size NumPy's name is not one that NumPy understands.
            name = self.dtype.str if self.dtype.kind in "SU" else self.dtype.name
            return Field(name=self.name, dtype=name, shape=self.shape)
        if self.content == "ragged":
            item = h5py.check_vlen_dtype(self.dataset.dtype)
            return Field(name=self.name, dtype=item.name, shape=(None,))
        return Field(name=self.name, dtype=self.content)

    @property
    def details(self) -> str:
        """How it is stored."""
        filters = [self.dataset.compression, "fletcher32" if self.dataset.fletcher32 else None]
        words = [f"chunks of {self.chunks}" if self.chunks else "no chunks", *filter(None, filters)]
        return ", ".join(words)

    def nbytes(self) -> int:
        """The most memory that reading one row takes: of a chunk its stored and its decoded bytes."""
        if self.content != "array":
            return self._file_size
        if self.chunks is None:
            return self.row_bytes
        across = math.prod(-(-length // step) * step for length, step in zip(self.shape, self.chunks[1:], strict=True))
        return 2 * self.chunks[0] * across * self.dtype.itemsize + self.row_bytes

    def chunks_of(self, numbers: Sequence[int]) -> dict[int, Sequence[Chunk]]:
        """The chunks that these rows touch, by the number of their row of chunks."""
        assert self.chunks is not None
        if self._places is None:
            self._places = _places(self.dataset, self.chunks[0])
        step = self.chunks[0]
        return {row: self._places.get(row, ()) for row in dict.fromkeys(number // step for number in numbers)}

    def take(self, view: memoryview) -> Array:
        """One row from its bytes in the file."""
        if not self.row_bytes:
            return np.empty(self.shape, self.dtype)
        return np.frombuffer(view, self.dtype).reshape(self.shape)

    def read(self, numbers: Sequence[int]) -> dict[int, Any]:
        """Rows that HDF5 decodes, by number. Rows of one chunk are read together."""
        step = self.chunks[0] if self.chunks else 1
        groups: dict[int, list[int]] = {}
        for number in numbers:
            groups.setdefault(number // step, []).append(number)
        found: dict[int, Any] = {}
        for group in groups.values():
            first, last = min(group), max(group)
            block = self.dataset[first : last + 1]
            # A view keeps the whole block in memory.
            sparse = last + 1 - first > 2 * len(group)
            for number in group:
                value = self._value(block, number - first)
                found[number] = value.copy() if sparse and isinstance(value, np.ndarray) else value
        return found

    def all_rows(self, data: memoryview) -> Iterator[Any]:
        """Every row, from the bytes of the whole file; views of it where rows can be taken as they are."""
        if self.offset is not None and self.row_bytes:
            flat = np.frombuffer(data[self.offset : self.offset + self.rows * self.row_bytes], self.dtype)
            rows = flat.reshape(self.rows, *self.shape)
            yield from (rows[number, ...] for number in range(self.rows))
            return
        step = self.chunks[0] if self.chunks else 1
        count = min(max(_BLOCK // max(self.row_bytes, 1) // step, 1) * step, max(_ROWS, step))
        for begin in range(0, self.rows, count):
            block = self.dataset[begin : begin + count]
            yield from (self._value(block, number) for number in range(len(block)))

    def _value(self, block: Array, number: int) -> Any:
        if self.content == "array":
            # A row of no dimensions is an array too.
            row: Array = block[number, ...]
            return row if row.dtype == self.dtype else row.astype(self.dtype)
        value = block[number]
        if self.content == "bytes":
            return value.tobytes()
        if self.content == "text":
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                raise FormatError(f"{self.name}: a text is not UTF-8") from None
        return value


def columns_of(file: h5py.File, file_size: int, wanted: str) -> list[Column]:
    """The datasets of a file, by name. Raises FormatError where they can't be the columns of samples, UsageError
    where one of those wanted is not there.
    """
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    names = [name.strip().strip("/") for name in wanted.split(",")] if wanted else sorted(found)
    for name in names:
        if name not in found:
            raise UsageError(f"hdf5: the file has no dataset {name}; it has {', '.join(sorted(found)) or 'none'}")
    columns = [_column(name, found[name], file_size) for name in names]
    lengths = {column.rows for column in columns}
    if len(lengths) > 1:
        shown = ", ".join(f"{column.name} {column.rows}" for column in columns)
        raise FormatError(f"the datasets have different numbers of rows ({shown}); choose some by datasets=…")
    return columns


def _column(name: str, dataset: h5py.Dataset, file_size: int) -> Column:
    if not dataset.shape:
        raise FormatError(f"{name}: a dataset without dimensions has no rows; choose others by datasets=…")
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"{name}: the data lies in other files, which are not read")
    return Column(name, dataset, file_size)


def _content(name: str, dataset: h5py.Dataset) -> str:
    """``array``, ``text``, ``bytes``, or ``ragged``: arrays of one dimension of any length."""
    dtype = dataset.dtype
    if not dtype.hasobject:
        return "array"
    text = h5py.check_string_dtype(dtype)
    item = h5py.check_vlen_dtype(dtype)
    if len(dataset.shape) == 1 and text is not None:
        return "text"
    if len(dataset.shape) == 1 and isinstance(item, np.dtype) and not item.hasobject:
        return "bytes" if item == np.uint8 and _marked(dataset) else "ragged"
    raise FormatError(f"{name}: rows of the type {dtype} are not read; choose others by datasets=…")


def _marked(dataset: h5py.Dataset) -> bool:
    return bool(dataset.attrs.get(CONTENT) == b"bytes")


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type without what h5py notes in it."""
    return dtype if dtype.names or dtype.hasobject else np.dtype(dtype.str)


def _offset(dataset: h5py.Dataset, column: Column) -> int | None:
    if column.content != "array" or dataset.chunks is not None:
        return None
    try:
        as_it_is = dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype, logical=True))
    except TypeError:
        return None
    offset = dataset.id.get_offset() if as_it_is else None
    return None if offset is None else int(offset)


def _places(dataset: h5py.Dataset, step: int) -> Mapping[int, Sequence[Chunk]]:
    """All chunks that are stored, by the number of their row of chunks. Reads the whole list of them, once."""
    places: dict[int, list[Chunk]] = {}

    def visit(info: Any) -> None:
        places.setdefault(info.chunk_offset[0] // step, []).append(Chunk(info.byte_offset, info.size))

    if 0 not in dataset.shape:
        dataset.id.chunk_iter(visit)
    return places
