"""Tensors by name, rows by number: the bytes of each, and no others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError, UsageError
from penstock.formats import Field, FileSummary, RangeReader, Sample
from penstock_safetensors.header import Header, Tensor, header_length, read_header
from penstock_safetensors.types import Types

__all__ = ["SafetensorsReader", "array_of", "chosen", "header_of", "rows_in"]

_FIRST_LOOK = 16 * 1024


def header_of(file: RangeReader, types: Types) -> Header:
    """Read the header: one range, or two where it is long."""
    size = file.size
    head = file.read(0, min(size, _FIRST_LOOK))
    length = header_length(head, size)
    text = head[8 : 8 + length] if 8 + length <= len(head) else file.read(8, length)
    return read_header(text, size, types)


def chosen(header: Header, wanted: str) -> list[Tensor]:
    """The tensors that are read. Raises UsageError where one of those wanted is not there."""
    if not wanted:
        return list(header.tensors.values())
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in header.tensors:
            raise UsageError(
                f"safetensors: the file has no tensor {name}; it has {', '.join(header.tensors) or 'none'}"
            )
    return [header.tensors[name] for name in names]


def rows_in(tensors: Sequence[Tensor]) -> int:
    """How many rows all of these have. Raises FormatError where they differ."""
    lengths = {tensor.shape[0] if tensor.shape else None for tensor in tensors}
    if None in lengths or len(lengths) > 1:
        shown = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in tensors)
        raise FormatError(f"the tensors have not one number of rows ({shown}); choose some by tensors=…")
    return next(iter(lengths), 0) or 0


def array_of(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array that is a view of these bytes."""
    if not len(data):
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape)


class SafetensorsReader:
    """The samples of one file, and by :meth:`tensor` any one tensor."""

    def __init__(self, file: RangeReader, types: Types, *, rows: bool, wanted: str) -> None:
        self._file: RangeReader | None = file
        self._header = header_of(file, types)
        self._tensors = chosen(self._header, wanted)
        self._rows = rows
        self._count = rows_in(self._tensors) if rows else 1

    def __len__(self) -> int:
        return self._count

    def summary(self) -> FileSummary:
        """From the header."""
        fields = tuple(
            Field(name=tensor.name, dtype=tensor.dtype.name, shape=tensor.shape[1:] if self._rows else tensor.shape)
            for tensor in self._tensors
        )
        details = {f"metadata {name}": text for name, text in self._header.metadata.items()}
        details["types"] = ", ".join(sorted({tensor.type for tensor in self._tensors}))
        return FileSummary(samples=len(self), fields=fields, details=details)

    def nbytes(self, number: int, /) -> int:
        """The bytes of its tensors or rows in the file; nothing else is taken."""
        self._check(number)
        return sum(self._place(tensor, number)[1] for tensor in self._tensors)

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        """These samples, as views of what was read."""
        file = self._opened()
        for number in numbers:
            self._check(number)
        ranges = [self._place(tensor, number) for number in numbers for tensor in self._tensors]
        views = iter(file.read_many(ranges))
        return [
            {tensor.name: array_of(next(views), tensor.dtype, self._shape(tensor)) for tensor in self._tensors}
            for _ in numbers
        ]

    def tensor(self, name: str) -> npt.NDArray[Any]:
        """One whole tensor, by its own range. Raises KeyError where there is none of that name."""
        tensor = self._header.tensors[name]
        data = self._opened().read(tensor.start, tensor.stop - tensor.start)
        return array_of(data, tensor.dtype, tensor.shape)

    def close(self) -> None:
        """Forget the file."""
        self._file = None

    def _place(self, tensor: Tensor, number: int) -> tuple[int, int]:
        if not self._rows:
            return tensor.start, tensor.stop - tensor.start
        length = math.prod(tensor.shape[1:]) * tensor.dtype.itemsize
        return tensor.start + number * length, length

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tensor.shape[1:] if self._rows else tensor.shape

    def _opened(self) -> RangeReader:
        if self._file is None:
            raise ValueError("the reader is closed")
        return self._file

    def _check(self, number: int) -> None:
        if not 0 <= number < self._count:
            raise IndexError(f"there is no sample {number}, the file has {self._count}")
