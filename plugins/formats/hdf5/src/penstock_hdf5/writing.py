"""Samples to the bytes of one file.

Nothing in a file depends on when or where it was made: no time stamps, and space is laid out by HDF5 in the order of
the names. The file is of version 1.10 of the library, so that all that tells where data lies has checksums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError
from penstock.formats import Sample
from penstock_hdf5.image import Image
from penstock_hdf5.plugin import Hdf5Options

__all__ = ["CONTENT", "stored_type", "write_file"]

#: The attribute of a dataset whose rows are bytes of any length, which HDF5 has no type for.
CONTENT = "penstock_content"

Array = npt.NDArray[Any]

_CHUNK = 256 * 1024
_LARGEST_CHUNK = 2**32 - 1


class _Column:
    """The values of one name: the memory of arrays one after another, or a list of bytes or texts."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.kind, first = _kind_of(name, value)
        self.dtype = first.dtype
        self.shape = first.shape
        self.rows = 0
        self.memory = bytearray()
        self.items: list[Any] = []

    def add(self, value: Any, number: int) -> None:
        kind, array = _kind_of(self.name, value)
        if kind != self.kind or (kind == "array" and (array.dtype, array.shape) != (self.dtype, self.shape)):
            was, now = _shown(self.kind, self.dtype, self.shape), _shown(kind, array.dtype, array.shape)
            raise FormatError(
                f"{self.name}: the rows of a dataset have one type and shape, sample 0 has {was}, "
                f"sample {number} has {now}"
            )
        if kind == "array":
            self.memory += np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.nbytes else b""
        else:
            self.items.append(value)
        self.rows += 1

    def array(self) -> Array:
        shape = (self.rows, *self.shape)
        if not self.memory:
            return np.empty(shape, self.dtype)
        return np.frombuffer(self.memory, self.dtype).reshape(shape)


def _shown(kind: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype} {shape}" if kind == "array" else kind


def _kind_of(name: str, value: Any) -> tuple[str, Array]:
    nothing = np.empty(0, np.uint8)
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", nothing
    if isinstance(value, str):
        if "\0" in value:
            raise FormatError(f"{name}: texts in HDF5 end at a zero byte; store bytes")
        return "text", nothing
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        array = np.asarray(value)
        stored_type(array.dtype, name)
        return "array", array
    raise FormatError(f"{name}: a {type(value).__name__} has no place in HDF5; make it an array, bytes or text")


def stored_type(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """The type that a dataset is made with: NumPy's own, or its bytes under its name where HDF5 has no such type.

    Raises FormatError for a type that can't be stored so that the same comes back.
    """
    wanted = h5py.opaque_dtype(dtype) if dtype.kind in "mMU" and dtype.itemsize else dtype
    try:
        same = not dtype.hasobject and h5py.h5t.py_create(wanted, logical=True).dtype == dtype
    except (TypeError, ValueError):
        same = False
    if not same:
        raise FormatError(f"{name}: HDF5 holds no {dtype}; convert the array first")
    return wanted


def write_file(samples: Iterable[Sample], options: Hdf5Options) -> Iterator[memoryview]:
    """A whole file, in pieces. Raises FormatError where samples differ in names, types or shapes."""
    columns = _gather(samples)
    image = Image()
    for column in columns:
        image.lend(memoryview(column.memory))
    try:
        # Space for what tells where data lies comes from one place, so that a reader finds it in one block.
        with h5py.File(image, "w", libver=("v110", "v110"), meta_block_size=16 * 1024) as file:
            for column in columns:
                _write(file, column, options)
    except (ValueError, TypeError, RuntimeError, OSError, UnicodeError) as error:
        raise FormatError(f"HDF5 can't hold these samples: {error}") from error
    return image.pieces()


def _gather(samples: Iterable[Sample]) -> list[_Column]:
    columns: dict[str, _Column] = {}
    for number, sample in enumerate(samples):
        if number == 0:
            columns = {name: _Column(name, sample[name]) for name in _legal(sample)}
        if sample.keys() != columns.keys():
            odd = sorted(set(map(str, sample)) ^ set(columns))
            raise FormatError(f"sample {number} has not the names of sample 0; they differ in {', '.join(odd)}")
        for name, column in columns.items():
            column.add(sample[name], number)
    return list(columns.values())


def _legal(sample: Sample) -> list[str]:
    if not sample:
        raise FormatError("a sample without values leaves nothing in an HDF5 file to count it by")
    for name in sample:
        if not isinstance(name, str) or "\0" in name or not all(part not in ("", ".") for part in name.split("/")):
            raise FormatError(f"{name!r} is no path of a dataset: parts that are not empty, separated by /")
        parents = name.split("/")[:-1]
        if any("/".join(parents[: depth + 1]) in sample for depth in range(len(parents))):
            raise FormatError(f"{name}: a dataset can't lie inside another")
    try:
        return sorted(sample, key=str.encode)
    except UnicodeEncodeError:
        raise FormatError("a name can't be written as UTF-8") from None


def _write(file: h5py.File, column: _Column, options: Hdf5Options) -> None:
    if column.kind == "array":
        data = column.array()
        data = data.view(stored_type(data.dtype, column.name))
        file.create_dataset(column.name, data=data, track_times=False, **_layout(data, options, column.name))
        return
    if column.kind == "text":
        file.create_dataset(column.name, data=column.items, dtype=h5py.string_dtype(), track_times=False)
        return
    dataset = file.create_dataset(column.name, (column.rows,), dtype=h5py.vlen_dtype(np.uint8), track_times=False)
    dataset.attrs[CONTENT] = np.bytes_(b"bytes")
    rows = np.empty(column.rows, h5py.vlen_dtype(np.uint8))
    for number, item in enumerate(column.items):
        rows[number] = np.frombuffer(item, np.uint8) if len(item) else np.empty(0, np.uint8)
    # By assignment h5py would make one array of rows that happen to have one length.
    dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, rows, h5py.h5t.py_create(rows.dtype))


def _layout(data: Array, options: Hdf5Options, name: str) -> dict[str, Any]:
    filtered = options.compression != "none" or options.checksum or options.shuffle
    if not data.nbytes or not (filtered or options.chunk_rows):
        return {}
    row = data.nbytes // len(data)
    if row > _LARGEST_CHUNK:
        raise FormatError(f"{name}: a row of {row} bytes is larger than a chunk can be; store it without chunks")
    rows = options.chunk_rows or max(_CHUNK // row, 1)
    layout: dict[str, Any] = {"chunks": (min(rows, len(data), _LARGEST_CHUNK // row), *data.shape[1:])}
    if options.compression != "none":
        layout["compression"] = options.compression
    if options.compression == "gzip":
        layout["compression_opts"] = options.level
    return layout | {"shuffle": options.shuffle, "fletcher32": options.checksum}
