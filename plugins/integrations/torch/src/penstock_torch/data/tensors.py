"""What a loader reads as tensors, without a copy where torch can take the memory as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["to_tensors"]

#: Types of NumPy that torch has too, by the letter of their kind and their width.
_KNOWN = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])


def to_tensors(value: Any) -> Any:
    """Arrays become tensors; mappings, lists and tuples are gone through; everything else stays as it is.

    A tensor shares the array's memory, which is the sample's own or its batch's, and may be written to. What torch
    can't share is copied: arrays that are read-only, of the other byte order, or with a negative stride. Arrays of
    text, dates, objects and records stay arrays.
    """
    if isinstance(value, np.ndarray):
        return _tensor(value)
    if isinstance(value, Mapping):
        return {name: to_tensors(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(to_tensors(item) for item in value)
    if isinstance(value, list):
        return [to_tensors(item) for item in value]
    return value


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind + str(array.dtype.itemsize) not in _KNOWN:
        return array
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    elif not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
