"""When operations are due.

Each lane knows its own arrivals, so that the offered rate is the same whatever the number of processes: uniform
arrivals go round the lanes, and a Poisson process split over lanes is a Poisson process in each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["poisson_arrivals", "uniform_arrivals"]

_BATCH = 1024


def uniform_arrivals(begin: int, rate: float, lane: int, lanes: int) -> Iterator[int]:
    """Monotonic nanoseconds at which lane ``lane`` of ``lanes`` starts operations, ``rate`` per second in all."""
    position = lane
    while True:
        steps = np.arange(position, position + _BATCH * lanes, lanes, dtype=np.float64)
        yield from (begin + np.rint(steps * (1e9 / rate)).astype(np.int64)).tolist()
        position += _BATCH * lanes


def poisson_arrivals(begin: int, rate: float, lane: int, lanes: int, seed: int) -> Iterator[int]:
    """The same with exponential gaps between arrivals, independent in each lane."""
    generator = np.random.Generator(np.random.SFC64([seed & (1 << 64) - 1, lane, 0xA221]))
    elapsed = 0.0
    while True:
        times = elapsed + np.cumsum(generator.exponential(lanes / rate, _BATCH))
        yield from (begin + np.rint(times * 1e9).astype(np.int64)).tolist()
        elapsed = float(times[-1])
