"""How samples become a batch."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["collate"]


def collate(samples: Sequence[Any], /) -> Any:
    """One batch of samples, the loader's default.

    - Arrays of one shape and dtype are stacked along a new first axis, in the machine's byte order; numbers become an
      array.
    - Mappings with the same names become a mapping, each value collated; tuples of one length become a tuple.
    - Everything else, arrays of different shapes, bytes and text among them, stays a list.

    What was read as the bytes of files of one size lies side by side in memory already; then the batch is a view of
    it, of shape ``(samples, bytes)``, and nothing is copied. For a list of samples pass ``collate=list`` to the loader.
    """
    samples = list(samples)
    if not samples:
        return samples
    first = samples[0]
    if isinstance(first, np.ndarray | np.generic):
        return _stacked(samples)
    if isinstance(first, Mapping):
        names = first.keys()
        if all(isinstance(sample, Mapping) and sample.keys() == names for sample in samples):
            return {name: collate([sample[name] for sample in samples]) for name in names}
        return samples
    if isinstance(first, tuple):
        if all(isinstance(sample, tuple) and len(sample) == len(first) for sample in samples):
            return tuple(collate(column) for column in zip(*samples, strict=True))
        return samples
    if all(isinstance(sample, numbers.Number) for sample in samples):
        return np.asarray(samples)
    return samples


def _stacked(samples: list[Any]) -> Any:
    first = samples[0]
    if all(
        isinstance(sample, np.ndarray | np.generic) and sample.shape == first.shape and sample.dtype == first.dtype
        for sample in samples
    ):
        return np.stack(samples)
    return samples
