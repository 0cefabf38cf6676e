"""Which range of which object a read takes next.

Ranges begin at multiples of their size, and only whole ones are read, except that an object smaller than a range
is read whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from penstock.engine.choosing import Chooser
from penstock.engine.objects import Pool

__all__ = ["fixed", "random_ranges", "sequential_ranges"]

_BATCH = 1024


def fixed(chooser: Chooser, offset: int) -> Iterator[tuple[int, int]]:
    """(position, offset) pairs, the offset always the same."""
    while True:
        yield chooser.next(), offset


def sequential_ranges(pool: Pool, chooser: Chooser, size: int) -> Iterator[tuple[int, int]]:
    """All ranges of an object one after the other, then those of the next."""
    while True:
        position = chooser.next()
        for number in range(max(pool.size(position) // size, 1)):
            yield position, number * size


def random_ranges(pool: Pool, chooser: Chooser, size: int, rng_key: int) -> Iterator[tuple[int, int]]:
    """Any range of an object, each with the same probability."""
    random = np.random.Generator(np.random.SFC64(rng_key))
    while True:
        for fraction in random.random(_BATCH).tolist():
            position = chooser.next()
            yield position, int(fraction * max(pool.size(position) // size, 1)) * size
