"""Batches as tensors, and the signature by which tf.data knows them before it has seen them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penstock.errors import UsageError

__all__ = ["signature_of", "tensors_of"]

_REMEDY = "give the loader a transform that makes arrays of one shape, or pass output_signature"


def signature_of(batch: Any, name: str = "batch") -> Any:
    """The specification of batches like this one, each of any length: the structure, types and other dimensions.

    - arrays: a ``TensorSpec`` whose first dimension is open;
    - lists of arrays that differ in their first dimension alone: a ``RaggedTensorSpec``;
    - lists of bytes or text: strings.

    Raises UsageError, naming the value, for what tensors can't hold.
    """
    import tensorflow as tf

    if isinstance(batch, Mapping):
        return {key: signature_of(value, f"{name}[{key!r}]") for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(signature_of(value, f"{name}[{place}]") for place, value in enumerate(batch))
    if isinstance(batch, np.ndarray) and batch.ndim:
        return tf.TensorSpec((None, *batch.shape[1:]), _type_of(batch, name))
    if isinstance(batch, list) and batch and all(isinstance(each, bytes | str) for each in batch):
        return tf.TensorSpec((None,), tf.string)
    if isinstance(batch, list) and batch and all(isinstance(each, np.ndarray) for each in batch):
        rest = _rest_of(batch, name)
        return tf.RaggedTensorSpec((None, None, *rest), _type_of(batch[0], name), ragged_rank=1)
    raise UsageError(f"{name} is {_kind_of(batch)}, which is no tensor; {_REMEDY}")


def tensors_of(batch: Any, signature: Any, name: str = "batch") -> Any:
    """A batch as its signature has it. Raises UsageError, naming the value, where it is another one."""
    import tensorflow as tf

    if isinstance(signature, Mapping):
        if not isinstance(batch, Mapping) or batch.keys() != signature.keys():
            raise UsageError(f"{name} has {_kind_of(batch)}, and the names {', '.join(signature)} were promised")
        return {key: tensors_of(batch[key], spec, f"{name}[{key!r}]") for key, spec in signature.items()}
    if isinstance(signature, tuple):
        if not isinstance(batch, tuple) or len(batch) != len(signature):
            raise UsageError(f"{name} is {_kind_of(batch)}, and a tuple of {len(signature)} was promised")
        pairs = enumerate(zip(batch, signature, strict=True))
        return tuple(tensors_of(value, spec, f"{name}[{place}]") for place, (value, spec) in pairs)
    if isinstance(signature, tf.RaggedTensorSpec):
        return _ragged(batch, name)
    array = np.array(batch, dtype=object) if isinstance(batch, list) and signature.dtype == tf.string else batch
    if not isinstance(array, np.ndarray) or not signature.shape.is_compatible_with(array.shape):
        promised = f"{signature.dtype.name}{signature.shape.as_list()}"
        raise UsageError(f"{name} is {_kind_of(batch)}, and {promised} was promised; {_REMEDY}")
    return array


def _ragged(batch: Any, name: str) -> Any:
    import tensorflow as tf

    rows = list(batch)
    _rest_of(rows, name)
    return tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows], validate=False)


def _rest_of(rows: Sequence[np.ndarray[Any, Any]], name: str) -> tuple[int, ...]:
    """What the shapes of these arrays have after their first dimension, all the same."""
    shapes = {row.shape[1:] for row in rows if row.ndim}
    types = {row.dtype for row in rows}
    if len(shapes) != 1 or len(types) != 1 or not all(row.ndim for row in rows):
        found = ", ".join(sorted({f"{row.dtype}{list(row.shape)}" for row in rows})[:4])
        raise UsageError(f"{name} has arrays of {found}, which make no tensor; {_REMEDY}")
    return next(iter(shapes))


def _type_of(array: np.ndarray[Any, Any], name: str) -> Any:
    import tensorflow as tf

    try:
        return tf.as_dtype(array.dtype)
    except TypeError as error:
        raise UsageError(f"{name} has the type {array.dtype}, which TensorFlow lacks; {_REMEDY}") from error


def _kind_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Mapping):
        return f"the names {', '.join(map(str, value))}"
    if isinstance(value, list) and value:
        return f"a list of {type(value[0]).__name__}"
    return type(value).__name__
