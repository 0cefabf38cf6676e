"""Samples to the pieces of one file: the header, then the memory of the tensors themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError
from penstock.formats import Sample
from penstock_safetensors.header import write_header
from penstock_safetensors.types import RANKS, Types

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["write_rows", "write_tensors"]

Array = npt.NDArray[Any]


def write_tensors(samples: Iterable[Sample], types: Types) -> Iterator[Buffer]:
    """The one sample of a file; arrays in C order are passed on as they lie in memory."""
    found = iter(samples)
    sample = next(found, None)
    if sample is None or next(found, None) is not None:
        raise FormatError("a safetensors file is one sample; say samples=rows for a row of each tensor for each sample")
    arrays = {name: _array(name, value) for name, value in sample.items()}
    names = _ordered({name: types.name(array.dtype, name) for name, array in arrays.items()})
    yield write_header([(name, kind, arrays[name].shape, arrays[name].nbytes) for name, kind in names.items()])
    for name in names:
        array = arrays.pop(name)
        if array.nbytes:
            yield _memory(array)


def write_rows(samples: Iterable[Sample], types: Types) -> Iterator[Buffer]:
    """A row of each tensor for each sample. The rows are held until all have come: the header says how many."""
    columns: dict[str, bytearray] = {}
    first: dict[str, Array] = {}
    names: dict[str, str] = {}
    count = 0
    for count, sample in enumerate(samples, 1):
        if count == 1:
            first = {name: _array(name, value) for name, value in sample.items()}
            names = _ordered({name: types.name(array.dtype, name) for name, array in first.items()})
            columns = {name: bytearray() for name in first}
            if not first:
                raise FormatError("a sample without values leaves nothing in a safetensors file to count it by")
        if sample.keys() != first.keys():
            raise FormatError(f"sample {count - 1} has not the names of sample 0")
        for name, memory in columns.items():
            row = _array(name, sample[name])
            if (row.dtype, row.shape) != (first[name].dtype, first[name].shape):
                raise FormatError(
                    f"{name}: the rows of a tensor have one type and shape, sample 0 has {first[name].dtype} "
                    f"{first[name].shape}, sample {count - 1} has {row.dtype} {row.shape}"
                )
            memory += _memory(row)
    yield write_header([(name, kind, (count, *first[name].shape), len(columns[name])) for name, kind in names.items()])
    for name in names:
        if columns[name]:
            yield columns.pop(name)


def _array(name: str, value: Any) -> Array:
    if not isinstance(name, str) or name == "__metadata__":
        raise FormatError(f"{name!r} is no name of a tensor")
    if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        raise FormatError(f"{name}: safetensors holds arrays, not {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        raise FormatError(f"{name}: safetensors has no mask; fill the array first")
    return np.asarray(value)


def _ordered(types: dict[str, str]) -> dict[str, str]:
    """By type, the wide ones first, then by name: as the library does, so that all are aligned."""
    try:
        return dict(sorted(types.items(), key=lambda item: (RANKS[item[1]], item[0].encode())))
    except UnicodeEncodeError:
        raise FormatError("a name can't be written as UTF-8") from None


def _memory(array: Array) -> memoryview:
    if not array.nbytes:
        return memoryview(b"")
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
