"""Which bytes of a stored tensor a read wants, and how they become the elements of the tensor that wants them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import torch

from penstock_torch.checkpoint.archives import bytes_of, is_plain

__all__ = ["Region", "memory_of", "region_of", "take"]


@attrs.frozen(slots=True)
class Region:
    """A box of a contiguous tensor: ``length`` bytes from ``start`` of its elements hold it, and with strides of
    ``strides`` elements it is in them. ``dense``: they hold nothing else.
    """

    start: int
    length: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dense: bool


def region_of(shape: Sequence[int], offsets: Sequence[int], sizes: Sequence[int], width: int) -> Region:
    """The box of ``sizes`` at ``offsets`` in a tensor of ``shape``, whose elements have ``width`` bytes."""
    strides = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
    count = math.prod(sizes)
    if not count:
        return Region(0, 0, tuple(sizes), strides, True)
    first = sum(offset * stride for offset, stride in zip(offsets, strides, strict=True))
    last = first + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    span = last + 1 - first
    return Region(first * width, span * width, tuple(sizes), strides, span == count)


def memory_of(target: torch.Tensor, dtype: torch.dtype, region: Region) -> memoryview | None:
    """The target's own memory, if the region's bytes can be read straight into it."""
    if not (region.dense and is_plain(target) and target.device.type == "cpu" and target.dtype == dtype):
        return None
    if not target.is_contiguous() or target.is_conj() or target.is_neg():
        return None
    return bytes_of(target)


def take(target: torch.Tensor, dtype: torch.dtype, region: Region) -> Callable[[memoryview], None]:
    """What copies the region's bytes into the target, which may be anywhere and of another type."""

    def copy(data: memoryview) -> None:
        elements = torch.frombuffer(data, dtype=torch.uint8).view(dtype)
        target.copy_(elements.as_strided(region.sizes, region.strides))

    return copy
