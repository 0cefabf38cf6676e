"""How a rank's items are spread over its data files."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["size_of", "split"]


def size_of(item: Any) -> int:
    """The bytes of a planned item's elements; 0 where it is not a tensor, for nobody knows before it is pickled."""
    if item.tensor_data is None:
        return 0
    return int(math.prod(item.tensor_data.chunk.sizes) * item.tensor_data.properties.dtype.itemsize)


def split(items: Sequence[Any], *, most: int, least: int) -> list[list[Any]]:
    """At most ``most`` files of about equal size, fewer where one would hold less than ``least`` bytes.

    Largest first to where there is least, then in the plan's order. No file is empty.
    """
    sizes = [size_of(item) for item in items]
    count = max(1, min(most, sum(sizes) // max(least, 1), len(items)))
    filled = [(0, number) for number in range(count)]
    places = [0] * len(items)
    for place in sorted(range(len(items)), key=sizes.__getitem__, reverse=True):
        total, number = heapq.heappop(filled)
        places[place] = number
        heapq.heappush(filled, (total + sizes[place], number))
    files: list[list[Any]] = [[] for _ in range(count)]
    for item, number in zip(items, places, strict=True):
        files[number].append(item)
    return [file for file in files if file]
