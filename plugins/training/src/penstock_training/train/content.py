"""What a batch takes of a sample: its largest value's bytes, in the size that the workload wants."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import FormatError
from penstock.formats import Sample

__all__ = ["content_of", "only_sample", "resized"]


def only_sample(samples: Iterator[Sample], uri: str) -> Sample:
    """The one sample of a file."""
    try:
        sample, more = next(samples, None), next(samples, None)
    except FormatError as error:
        raise FormatError(f"{uri}: {error}") from error
    if sample is None or more is not None:
        raise FormatError(f"{uri} does not hold one sample; say how many: dataset.num_samples_per_file")
    return sample


def content_of(data: Any) -> NDArray[np.uint8]:
    """The bytes of a sample's largest value."""
    values = data.values() if isinstance(data, Mapping) else [data]
    arrays = [_bytes(value) for value in values if isinstance(value, np.ndarray | bytes | bytearray | memoryview)]
    return max(arrays, key=len, default=np.zeros(0, dtype=np.uint8))


def _bytes(value: Any) -> NDArray[np.uint8]:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    return np.frombuffer(value, dtype=np.uint8)


def resized(content: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Cut, or filled up with zeros."""
    length = math.prod(shape)
    if len(content) >= length:
        return content[:length].reshape(shape)
    array = np.zeros(length, dtype=np.uint8)
    array[: len(content)] = content
    return array.reshape(shape)
