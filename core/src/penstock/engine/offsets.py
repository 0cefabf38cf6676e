"""Which range of which object a read takes next.

Ranges begin at multiples of their size, and only whole ones are read, except that an object smaller than a range
is read whole.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol

import attrs
import numpy as np

from penstock.engine.choosing import Chooser
from penstock.engine.objects import Pool

__all__ = ["FixedRanges", "RandomRanges", "Ranges", "SequentialRanges"]

_BATCH = 1024


class Ranges(Protocol):
    """Gives ranges: a position in the pool, and the offset."""

    def next(self) -> tuple[int, int]:
        """The next one. Raises what the chooser raises, and goes on where it stopped when it is called again."""


@attrs.define
class FixedRanges:
    """The offset is always the same."""

    chooser: Chooser
    offset: int

    def next(self) -> tuple[int, int]:
        return self.chooser.next(), self.offset


@attrs.define
class SequentialRanges:
    """All ranges of an object one after the other, then those of the next. One that is ``gone`` ends at once."""

    pool: Pool
    chooser: Chooser
    size: int
    gone: AbstractSet[str]
    _position: int = 0
    _number: int = 0
    _count: int = 0

    def next(self) -> tuple[int, int]:
        over = self._number >= self._count
        if over or (self.gone and self.pool.key(self._position) in self.gone):
            self._position, self._number = self.chooser.next(), 0
            self._count = max(self.pool.size(self._position) // self.size, 1)
        self._number += 1
        return self._position, (self._number - 1) * self.size


class RandomRanges:
    """Any range of an object, each with the same probability."""

    def __init__(self, pool: Pool, chooser: Chooser, size: int, rng_key: int) -> None:
        self._pool = pool
        self._chooser = chooser
        self._size = size
        self._random = np.random.Generator(np.random.SFC64(rng_key))
        self._ready: list[float] = []

    def next(self) -> tuple[int, int]:
        if not self._ready:
            # Reversed, so that taking one is a pop from the end.
            self._ready = self._random.random(_BATCH)[::-1].tolist()
        position = self._chooser.next()
        ranges = max(self._pool.size(position) // self._size, 1)
        return position, int(self._ready.pop() * ranges) * self._size
