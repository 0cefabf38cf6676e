"""When operations are due, in open loop.

The rate over time is a row of phases, each with a rate at its beginning and one at its end. Arrivals are made in the
time of a process of rate 1 and carried over to real time through the inverse of the sum of the rate, so that ramps
are exact. Workers share a run's arrivals without speaking to each other: each takes those whose turn is its own
(:mod:`penstock.engine.turns`), so that the arrivals of the whole are the same however many workers there are.

The lanes of a worker take from one queue, for an operation must wait only when all lanes are busy, never behind
another in the lane that chance gave it.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from penstock.workload.rates import Rate

__all__ = ["Arrivals", "Phase", "offered", "rate_phases"]

_BATCH = 2048


@attrs.frozen
class Phase:
    """A stretch of time with a rate that goes evenly from ``begin`` to ``end``, in operations per second.

    ``seconds`` may be infinite where both rates are equal; a rate may be 0 for a while.
    """

    seconds: float
    begin: float
    end: float

    @property
    def total(self) -> float:
        """How many operations the phase offers."""
        return self.seconds * (self.begin + self.end) / 2 if self.begin or self.end else 0.0


def offered(phases: Sequence[Phase], seconds: float) -> float:
    """How many operations the phases offer in their first ``seconds``."""
    count = 0.0
    for phase in phases:
        share = min(1.0, seconds / phase.seconds) if phase.seconds != float("inf") else 0.0
        if phase.seconds > seconds:
            reached = phase.begin + (phase.end - phase.begin) * share
            return count + seconds * (phase.begin + reached) / 2
        count += phase.total
        seconds -= phase.seconds
    return count


def rate_phases(rate: Rate, warmup: float) -> list[Phase]:
    """The phases of a run: during the warm-up the rate that the first begins with, at the end that of the last."""
    planned = [
        Phase(float("inf") if phase.seconds is None else phase.seconds, phase.ramp.begin, phase.ramp.end)
        for phase in rate.planned()
    ]
    first, last = planned[0].begin, planned[-1].end
    before = [Phase(warmup, first, first)] if warmup else []
    return [*before, *planned, Phase(float("inf"), last, last)]


class Arrivals:
    """A worker's arrivals, as monotonic nanoseconds in order. Its lanes share them."""

    def __init__(
        self,
        phases: Sequence[Phase],
        begin_ns: int,
        *,
        poisson: bool,
        turns: Sequence[int],
        of: int,
        seed: int,
    ) -> None:
        """Of the run's arrivals, numbered from 0, those are its own whose number leaves one of ``turns``, of which
        there is one at least, when it is divided by ``of``.
        """
        steps = _poisson_steps(turns, of, seed) if poisson else _uniform_steps(turns, of)
        self._batches = _batches(phases, begin_ns, steps)
        self._due: deque[int] = deque()
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """The next arrival that no lane has taken; None when there is none any more."""
        while True:
            try:
                return self._due.popleft()
            except IndexError:
                pass
            with self._lock:
                if not self._due and not self._refill():
                    return None

    def missed(self, until: int) -> int:
        """How many arrivals were due before ``until`` and were not taken. Takes them."""
        count = 0
        while (due := self.take()) is not None and due < until:
            count += 1
        return count

    def _refill(self) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._due.extend(batch.tolist())
        return True


def _batches(
    phases: Sequence[Phase], begin_ns: int, steps: Iterator[npt.NDArray[np.float64]]
) -> Iterator[npt.NDArray[np.int64]]:
    """The arrivals in order, a few at a time and none at all in the last."""
    pending = next(steps)
    start_s = passed = 0.0
    for phase in phases:
        end = passed + phase.total
        while True:
            inside = int(np.searchsorted(pending, end, side="left"))
            if inside:
                seconds = start_s + _inverse(phase, pending[:inside] - passed)
                yield begin_ns + np.rint(seconds * 1e9).astype(np.int64)
            if inside < len(pending):
                pending = pending[inside:]
                break
            pending = next(steps)
        start_s += phase.seconds
        passed = end


def _uniform_steps(turns: Sequence[int], of: int) -> Iterator[npt.NDArray[np.float64]]:
    own, rounds = np.array(turns, dtype=np.float64), -(-_BATCH // len(turns))
    for first in itertools.count(0, rounds):
        yield (np.arange(first, first + rounds, dtype=np.float64)[:, None] * of + own).ravel()


def _poisson_steps(turns: Sequence[int], of: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    # Every worker draws all of them, so that they are the same ones however many workers there are.
    generator = np.random.Generator(np.random.SFC64([seed & (1 << 64) - 1, 0xA221]))
    own, rounds = np.array(turns), -(-_BATCH // of)
    reached = 0.0
    while True:
        steps = reached + np.cumsum(generator.exponential(size=rounds * of))
        reached = float(steps[-1])
        yield steps.reshape(rounds, of)[:, own].ravel()


def _inverse(phase: Phase, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The seconds after which a phase has offered so many operations."""
    if phase.begin == phase.end:
        return counts / phase.begin
    slope = (phase.end - phase.begin) / phase.seconds
    # The root of begin·t + slope·t²/2 = count in the form that does not cancel where the slope is small.
    inner = np.sqrt(np.maximum(phase.begin**2 + 2 * slope * counts, 0.0))
    divisor = phase.begin + inner
    seconds = np.divide(2 * counts, divisor, out=np.zeros_like(counts), where=divisor > 0)
    return np.minimum(seconds, phase.seconds)
