"""What can be saved, as pieces of bytes: one buffer, chunks, or a state of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from penstock.errors import UsageError
from penstock_training.checkpoint.dtypes import is_tensor, view_of
from penstock_training.checkpoint.safetensors import arrange, encode_header, pieces
from penstock_training.checkpoint.trees import TREE, flatten
from penstock_training.checkpoint.writing import ShardWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

    #: A buffer, chunks of bytes that are taken one at a time, or a state dictionary of arrays or tensors.
    Data = Buffer | Iterable[Buffer] | Mapping[Any, Any]

__all__ = ["Content", "Piece", "content_of", "write_content"]

#: Bytes, and whether they end a header or a tensor.
Piece = tuple[memoryview, bool]


@attrs.frozen(slots=True)
class Content:
    """``pieces`` are made as they are asked for; ``nbytes`` is their length in all, None where nobody knows yet."""

    format: Literal["bytes", "safetensors"]
    pieces: Iterator[Piece]
    nbytes: int | None


def content_of(data: Data) -> Content:
    """Raises UsageError for what can't be saved; for chunks when it is their turn."""
    if isinstance(data, Mapping):
        return _state(data)
    if is_tensor(data) or isinstance(data, str):
        raise UsageError(f"a checkpoint is bytes or a state: save {{'name': {type(data).__name__}}} instead")
    try:
        view = view_of(data)  # type: ignore[arg-type]
    except TypeError:
        return Content("bytes", _chunks(data), None)
    return Content("bytes", iter([(view, False)]), view.nbytes)


def write_content(writer: ShardWriter, content: Iterable[Piece]) -> None:
    """Write all of the pieces."""
    for view, ends in content:
        writer.write(view)
        if ends:
            writer.cut()


def _state(state: Mapping[Any, Any]) -> Content:
    flat, tree = flatten(state)
    tensors = arrange(flat)
    metadata = {TREE: tree} if tree is not None else None
    header = len(encode_header(tensors, metadata))
    nbytes = header + sum(tensor.nbytes for tensor in tensors)
    return Content("safetensors", ((view, True) for view in pieces(tensors, metadata)), nbytes)


def _chunks(data: Any) -> Iterator[Piece]:
    try:
        chunks = iter(data)
    except TypeError:
        raise UsageError(f"a checkpoint is bytes, chunks of bytes or a state, not {type(data).__name__}") from None
    return _checked(chunks)


def _checked(chunks: Iterator[Any]) -> Iterator[Piece]:
    for number, chunk in enumerate(chunks):
        try:
            view = view_of(chunk)
        except TypeError:
            raise UsageError(f"chunk {number} is no bytes but {type(chunk).__name__}") from None
        yield view, False
