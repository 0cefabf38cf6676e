"""Parts of arrays as boxes: the half-open ranges ``(start, stop)`` of each axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from penstock.errors import FormatError

__all__ = ["Box", "assemble", "box_of", "name_of", "overlap"]

Box = tuple[tuple[int, int], ...]


def box_of(index: Sequence[slice], shape: Sequence[int]) -> Box:
    """The box that a shard's index names in an array of that shape."""
    return tuple((start, stop) for start, stop, _ in (s.indices(n) for s, n in zip(index, shape, strict=True)))


def name_of(array: str, box: Box) -> str:
    """The name of a part: the array's, and its box."""
    return f"{array}[{','.join(f'{start}:{stop}' for start, stop in box)}]"


def overlap(one: Box, other: Box) -> Box | None:
    """What both boxes have; None where that is nothing. Boxes of no axes overlap."""
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return None if any(start >= stop for start, stop in both) else both


def assemble(box: Box, dtype: np.dtype[Any], parts: Iterable[tuple[Box, np.ndarray[Any, Any]]]) -> np.ndarray[Any, Any]:
    """The array of a box from the parts that cover it. A part that is just the box is given back as it is.

    Raises FormatError where they don't cover it.
    """
    parts = list(parts)
    for whole, data in parts:
        if whole == box:
            return data
    made = np.empty([stop - start for start, stop in box], dtype=dtype)
    filled = 0
    for place, data in parts:
        both = overlap(box, place)
        if both is None:
            continue
        target = made[_within(both, box)]
        target[...] = data[_within(both, place)]
        filled += target.size
    if filled != made.size:
        raise FormatError(f"the parts of {name_of('', box)} hold {filled} of {made.size} items")
    return made


def _within(inner: Box, outer: Box) -> tuple[slice, ...]:
    return tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(inner, outer, strict=True))
