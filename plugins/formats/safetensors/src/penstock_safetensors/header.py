"""The header: 8 bytes of its length, then JSON that says of each tensor its type, its shape and its place.

Everything is checked before anything is believed, as the format asks (README of huggingface/safetensors, "Format"): the
length is bounded, no name stands twice, shapes are whole numbers that match the places, and the places cover the rest
of the file from its beginning to its end without a gap or an overlap.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from penstock.errors import FormatError
from penstock_safetensors.types import Types

__all__ = ["LONGEST", "Header", "Tensor", "header_length", "read_header", "write_header"]

#: The most bytes of JSON that a file may begin with.
LONGEST = 100_000_000
_METADATA = "__metadata__"
#: A header of up to so many bytes is remembered.
_SHORT = 4096
#: One of up to so many tensors, too.
_FEW = 16


@attrs.frozen(slots=True)
class Tensor:
    """One tensor; it lies in ``[start, stop)`` of the file."""

    name: str
    type: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


@attrs.frozen(slots=True)
class Header:
    """What a file holds, in the order in which it lies there."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def header_length(head: bytes | memoryview, file_size: int) -> int:
    """From the first 8 bytes: how many bytes of JSON follow. Raises FormatError for more than there can be."""
    if len(head) < 8:
        raise FormatError(f"a file of {file_size} bytes is no safetensors file")
    length = int.from_bytes(head[:8], "little")
    if length > LONGEST or length + 8 > file_size:
        raise FormatError(f"the header would have {length} bytes, in a file of {file_size}")
    return length


def read_header(text: bytes | memoryview, file_size: int, types: Types) -> Header:
    """The JSON between the length and the tensors. Raises FormatError unless all of it is as it must be.

    Files of one dataset often have one header, which then is read and checked once.
    """
    return (_read if len(text) <= _SHORT else _read.__wrapped__)(bytes(text), file_size, types)


@functools.lru_cache(maxsize=64)
def _read(text: bytes, file_size: int, types: Types) -> Header:
    try:
        found = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not the JSON that it must be: {error}") from error
    if not isinstance(found, dict) or text[:1] != b"{":
        raise FormatError("the header is no JSON object")
    metadata = found.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("the metadata are not texts by name")
    base = 8 + len(text)
    tensors = sorted((_tensor(name, said, base, types) for name, said in found.items()), key=_place)
    at = base
    for tensor in tensors:
        if tensor.start != at:
            raise FormatError(f"{tensor.name}: the tensor begins at byte {tensor.start}, not at {at}")
        at = tensor.stop
    if at != file_size:
        raise FormatError(f"the tensors end at byte {at}, the file at {file_size}")
    return Header(MappingProxyType({tensor.name: tensor for tensor in tensors}), MappingProxyType(metadata))


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.start, tensor.stop


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _tensor(name: str, said: Any, base: int, types: Types) -> Tensor:
    if not isinstance(said, dict) or said.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{name}: the header does not say type, shape and place of the tensor")
    shape, offsets = said["shape"], said["data_offsets"]
    if not isinstance(said["dtype"], str) or not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise FormatError(f"{name}: the header does not say type, shape and place of the tensor")
    dtype = types.dtype(said["dtype"])
    start, stop = offsets
    if stop - start != math.prod(shape) * dtype.itemsize:
        raise FormatError(f"{name}: {stop - start} bytes are not a tensor of {said['dtype']} {tuple(shape)}")
    # What NumPy can't have, even where another dimension is 0.
    if len(shape) > 64 or math.prod(filter(None, shape)) > 2**48:
        raise FormatError(f"{name}: no array has the shape {tuple(shape)[:8]}")
    return Tensor(name, said["dtype"], dtype, tuple(shape), base + start, base + stop)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def write_header(tensors: Sequence[tuple[str, str, tuple[int, ...], int]]) -> bytes:
    """Of tensors ``(name, type, shape, nbytes)`` that follow in this order. Padded, so that they are aligned to 8."""
    return (_written if len(tensors) <= _FEW else _written.__wrapped__)(tuple(tensors))


@functools.lru_cache(maxsize=64)
def _written(tensors: tuple[tuple[str, str, tuple[int, ...], int], ...]) -> bytes:
    said, at = {}, 0
    for name, type_name, shape, nbytes in tensors:
        said[name] = {"dtype": type_name, "shape": list(shape), "data_offsets": [at, at + nbytes]}
        at += nbytes
    try:
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise FormatError("a name can't be written as UTF-8") from None
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST:
        raise FormatError(f"the header would have {len(text)} bytes, more than the format allows")
    return len(text).to_bytes(8, "little") + text
