"""The safetensors layout: a header of JSON that says where each tensor lies, then the tensors one after the other.

As the project's format description has it, and strictly: names are unique, types and shapes agree with the offsets, the
tensors cover the bytes after the header without a gap or an overlap. What is written here begins its tensors at a
multiple of 64 bytes, the widest types first, so that every tensor is aligned to its items.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import numpy as np

from penstock.errors import FormatError, UsageError
from penstock_training.checkpoint.dtypes import ITEM_SIZES, Framework, Tensor, as_tensor, to_array, to_torch

__all__ = ["Entry", "Header", "arrange", "encode_header", "header_length", "pieces", "read_header", "tensor_of"]

_LENGTH = struct.Struct("<Q")
_ALIGNMENT: Final = 64
#: The format's own bound of a header.
_MAX_HEADER: Final = 100_000_000
_METADATA: Final = "__metadata__"


@attrs.frozen(slots=True)
class Entry:
    """Where a tensor lies: bytes ``[start, end)`` of the file, not of what follows the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return self.end - self.start


@attrs.frozen(slots=True)
class Header:
    """What a file says of itself. ``entries`` come in the order of their bytes; ``size`` is where they begin."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    size: int

    def entry(self, name: str) -> Entry | None:
        """The tensor of that name, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)


def arrange(state: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of a flat mapping in the order in which they are stored. Raises UsageError for one that can't be."""
    tensors = [as_tensor(name, value) for name, value in state.items()]
    return sorted(tensors, key=lambda tensor: (-ITEM_SIZES[tensor.dtype], tensor.name))


def encode_header(tensors: Sequence[Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes before those of ``tensors``, which are stored in the order given."""
    entries: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for tensor in tensors:
        if tensor.name in entries or tensor.name == _METADATA:
            raise UsageError(f"tensor {tensor.name!r}: this name is taken; give it another one")
        start, end = end, end + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNMENT)
    if len(text) > _MAX_HEADER:
        raise UsageError(f"a header of {len(text)} bytes: safetensors allows {_MAX_HEADER}; store fewer tensors in one")
    return _LENGTH.pack(len(text)) + text


def pieces(tensors: Sequence[Tensor], metadata: Mapping[str, str] | None = None) -> Iterator[memoryview]:
    """The bytes of a file: its header, then each tensor, whose bytes are made when it is its turn."""
    yield memoryview(encode_header(tensors, metadata))
    for tensor in tensors:
        view = tensor.view()
        if view.nbytes != tensor.nbytes:
            raise UsageError(f"tensor {tensor.name!r} has changed its size while it was saved")
        yield view


def header_length(start: bytes | memoryview) -> int:
    """Bytes of the header, with the 8 of its length, by the first 8 of the file. Raises FormatError."""
    if len(start) < _LENGTH.size:
        raise FormatError(f"a safetensors file begins with 8 bytes of its header's length; there are {len(start)}")
    length: int = _LENGTH.unpack_from(start)[0]
    if not 2 <= length <= _MAX_HEADER:
        raise FormatError(f"a safetensors header of {length} bytes: 2 to {_MAX_HEADER} are legal")
    return _LENGTH.size + length


def read_header(data: bytes | memoryview, file_size: int) -> Header:
    """What the first bytes of a file of ``file_size`` bytes say, at least all of its header. Raises FormatError."""
    size = header_length(data)
    if size > min(len(data), file_size):
        raise FormatError(f"the safetensors header has {size} bytes, and the file ends before")
    fields = _json(bytes(data[_LENGTH.size : size]))
    metadata = fields.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("__metadata__ of a safetensors header maps text to text")
    entries = sorted((_entry(name, facts, size) for name, facts in fields.items()), key=lambda e: (e.start, e.end))
    at = size
    for entry in entries:
        if entry.start != at:
            raise FormatError(f"tensor {entry.name!r} begins at byte {entry.start}, where {at} is due")
        at = entry.end
    if at != file_size:
        raise FormatError(f"the tensors end at byte {at} of a file that has {file_size}")
    return Header(tuple(entries), metadata, size)


def tensor_of(entry: Entry, data: memoryview, framework: Framework) -> Any:
    """The tensor over its bytes, as an array of NumPy or a tensor of torch."""
    if framework == "torch":
        return to_torch(entry.dtype, entry.shape, data)
    return to_array(entry.dtype, entry.shape, data)


def _json(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise FormatError("a safetensors header begins with a brace")
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the safetensors header is no JSON: {error}") from error
    assert isinstance(fields, dict)
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormatError("the safetensors header has a name twice")
    return fields


def _no_constant(name: str) -> None:
    raise FormatError(f"the safetensors header holds {name}, which is no JSON")


def _entry(name: str, facts: Any, base: int) -> Entry:
    if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"tensor {name!r} needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise FormatError(f"tensor {name!r} has the unknown type {dtype!r}")
    if not (_is_whole(shape) and _is_whole(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1]):
        raise FormatError(f"tensor {name!r} has a shape or offsets that can't be")
    if int(np.prod(shape, dtype=object)) * ITEM_SIZES[dtype] != offsets[1] - offsets[0]:
        raise FormatError(f"tensor {name!r}: its shape, type and offsets don't agree")
    return Entry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _is_whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
