"""Which object an operation takes next: the policies a file can name, and the selectors that carry them out.

A selector hands out positions of a pool of ``n`` objects in arrays. It needs the same memory for ten objects and
for 10^9, and what it hands out follows from its key, its lane and how much it has handed out before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.workload import hashing
from penstock.workload.fields import Record, Variants, key
from penstock.workload.shapes import Flag, Quantity

__all__ = [
    "SELECTION",
    "EachOnce",
    "HotSet",
    "Permutation",
    "Selection",
    "Selector",
    "Sequential",
    "Uniform",
    "Zipf",
    "selector",
]

_PART = Quantity("number", above=True, below=1)


@attrs.frozen
class Uniform:
    """Every object is equally likely, each time anew."""


@attrs.frozen
class Sequential:
    """One object after the other in the order of their indices, from the start again after the last.

    The lanes take turns: over all of them each object is taken once before any is taken twice.
    """


@attrs.frozen
class EachOnce:
    """Every object exactly once over all lanes, in the order of their indices; then the operation ends.

    The other operations go on; when none is left the run ends.
    """


@attrs.frozen
class Zipf:
    """Object of rank k, counted from 1, is taken in proportion to 1 / k**theta.

    ``theta`` 0.99 is what YCSB uses; larger means that fewer objects get most of the operations. With ``scatter``
    the ranks are spread over the objects by a permutation that depends on the seed; without it the first
    objects are the hot ones.
    """

    theta: float = key(Quantity("number", above=True, maximum=20), 0.99, help="skew, above 0")
    scatter: bool = key(Flag(), True, help="spread the hot objects over all names instead of taking the first ones")


@attrs.frozen
class HotSet:
    """A part of the objects gets most of the operations; within it, and within the rest, all are equally likely.

    The hot part is ``fraction`` of the objects, rounded, at least one and never all of two or more. With ``scatter``
    it is spread over the names by a permutation that depends on the seed; without it the first objects are the hot
    ones.
    """

    fraction: float = key(_PART, 0.1, help="which part of the objects is hot, between 0 and 1")
    probability: float = key(_PART, 0.9, help="which part of the operations goes to the hot objects, between 0 and 1")
    scatter: bool = key(Flag(), True, help="spread the hot objects over all names instead of taking the first ones")

    def size(self, n: int) -> int:
        """How many of ``n`` objects are hot."""
        return min(max(round(self.fraction * n), 1), max(n - 1, 1))


Selection: TypeAlias = Uniform | Sequential | EachOnce | Zipf | HotSet

#: How a selection stands in a file.
SELECTION = Variants(
    "policy",
    {
        "uniform": Record(Uniform),
        "sequential": Record(Sequential),
        "each_once": Record(EachOnce),
        "zipf": Record(Zipf),
        "hot_set": Record(HotSet),
    },
    short=True,
)


class Selector(Protocol):
    """Positions of one lane, in order."""

    def indices(self, count: int) -> NDArray[np.int64]:
        """The next ``count`` positions, each in [0, n); fewer, in the end none, only when the policy has an end."""


def selector(policy: Selection, n: int, *, rng_key: int, lane: int = 0, lanes: int = 1) -> Selector:
    """The selector of one of ``lanes`` lanes over a pool of ``n`` objects, ``n`` at least 1.

    ``rng_key`` comes from :func:`penstock.workload.hashing.derive` and is the same for all lanes.
    """
    if n < 1 or not 0 <= lane < lanes:
        raise ValueError(f"no selection from {n} objects by lane {lane} of {lanes}")
    match policy:
        case Uniform():
            return _UniformSelector(n, hashing.derive(rng_key, "uniform", lane))
        case Sequential():
            return _Turns(n, lane, lanes, wrap=True)
        case EachOnce():
            return _Turns(n, lane, lanes, wrap=False)
        case Zipf():
            spread = Permutation(n, hashing.derive(rng_key, "scatter")) if policy.scatter else None
            return _ZipfSelector(n, policy.theta, hashing.derive(rng_key, "zipf", lane), spread)
        case HotSet():
            spread = Permutation(n, hashing.derive(rng_key, "scatter")) if policy.scatter else None
            return _HotSelector(n, policy, hashing.derive(rng_key, "hot", lane), spread)


class Permutation:
    """A permutation of [0, n) that needs no table.

    A balanced Feistel network over the next power of four, walked until it lands below ``n`` (Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). Scatters well; it is no cipher.
    """

    _ROUNDS = 6

    def __init__(self, n: int, rng_key: int) -> None:
        self._n = np.uint64(n)
        half = max((n - 1).bit_length() + 1, 2) // 2
        self._half = np.uint64(half)
        self._mask = np.uint64((1 << half) - 1)
        self._keys = [np.uint64(hashing.derive(rng_key, "round", number)) for number in range(self._ROUNDS)]

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each position goes."""
        return self._walk(positions, self._forward)

    def inverse(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each position comes from."""
        return self._walk(positions, self._backward)

    def _walk(
        self, positions: NDArray[np.int64], once: Callable[[NDArray[np.uint64]], NDArray[np.uint64]]
    ) -> NDArray[np.int64]:
        values = once(positions.astype(np.uint64))
        outside = np.flatnonzero(values >= self._n)
        while len(outside):
            values[outside] = once(values[outside])
            outside = outside[values[outside] >= self._n]
        return values.astype(np.int64)

    def _forward(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for round_key in self._keys:
            left, right = right, left ^ (hashing.mix(right ^ round_key) & self._mask)
        joined: NDArray[np.uint64] = (left << self._half) | right
        return joined

    def _backward(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for round_key in reversed(self._keys):
            left, right = right ^ (hashing.mix(left ^ round_key) & self._mask), left
        joined: NDArray[np.uint64] = (left << self._half) | right
        return joined


class _UniformSelector:
    def __init__(self, n: int, rng_key: int) -> None:
        self._n = n
        self._key = rng_key
        self._next = 0

    def indices(self, count: int) -> NDArray[np.int64]:
        counters = np.arange(self._next, self._next + count, dtype=np.int64)
        self._next += count
        return hashing.below(hashing.words(self._key, counters), self._n)


class _HotSelector:
    def __init__(self, n: int, policy: HotSet, rng_key: int, spread: Permutation | None) -> None:
        self._n = n
        self._hot = policy.size(n)
        self._probability = policy.probability
        self._key = rng_key
        self._spread = spread
        self._next = 0

    def indices(self, count: int) -> NDArray[np.int64]:
        counters = np.arange(self._next, self._next + count, dtype=np.int64)
        self._next += count
        bits = hashing.words(self._key, counters, 1)
        positions = hashing.below(bits, self._hot)
        if self._hot < self._n:
            cold = hashing.uniform(self._key, counters) >= self._probability
            positions[cold] = self._hot + hashing.below(bits[cold], self._n - self._hot)
        return positions if self._spread is None else self._spread(positions)


class _Turns:
    def __init__(self, n: int, lane: int, lanes: int, *, wrap: bool) -> None:
        self._n = n
        self._lanes = lanes
        self._next = lane
        self._wrap = wrap

    def indices(self, count: int) -> NDArray[np.int64]:
        if not self._wrap:
            count = min(count, max(-(-(self._n - self._next) // self._lanes), 0))
        turns = self._next + self._lanes * np.arange(count, dtype=np.int64)
        self._next += self._lanes * count
        return turns % self._n


class _ZipfSelector:
    """Rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone
    discrete distributions", ACM TOMACS 6(3), 1996: any exponent above 0, any n, no table.
    """

    def __init__(self, n: int, theta: float, rng_key: int, spread: Permutation | None) -> None:
        self._n = n
        self._theta = theta
        self._key = rng_key
        self._spread = spread
        self._next = 0
        first, last, second = self._area(np.array([1.5, n + 0.5, 2.5]))
        # The area under the hat, from its left end (rank 1 has exactly the area 1) to its right one.
        self._left = float(first) - 1.0
        self._right = float(last)
        # A value this close below its rank is accepted without computing anything.
        self._sure = 2.0 - float(self._area_inverse(np.array([second - 2.0**-theta]))[0])

    def indices(self, count: int) -> NDArray[np.int64]:
        counters = np.arange(self._next, self._next + count, dtype=np.int64)
        self._next += count
        ranks = np.empty(count, dtype=np.int64)
        waiting = np.arange(count)
        attempt = 0
        while len(waiting):
            drawn, accepted = self._attempt(counters[waiting], attempt)
            ranks[waiting[accepted]] = drawn[accepted]
            waiting = waiting[~accepted]
            attempt += 1
        positions = ranks - 1
        return positions if self._spread is None else self._spread(positions)

    def _attempt(self, counters: NDArray[np.int64], attempt: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        area = self._right + hashing.uniform(self._key, counters, attempt) * (self._left - self._right)
        value = self._area_inverse(area)
        rank = np.clip(np.rint(value), 1.0, float(self._n))
        accepted = (rank - value <= self._sure) | (area >= self._area(rank + 0.5) - rank**-self._theta)
        return rank.astype(np.int64), accepted

    def _area(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """The integral of x**-theta from 1 to value, without loss where theta is near 1."""
        logarithm = np.log(value)
        exponent = (1.0 - self._theta) * logarithm
        small = np.abs(exponent) < 1e-8
        area: NDArray[np.float64] = logarithm * np.where(
            small, 1.0 + exponent / 2.0, np.expm1(exponent) / np.where(small, 1.0, exponent)
        )
        return area

    def _area_inverse(self, area: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = np.maximum(area * (1.0 - self._theta), math.nextafter(-1.0, 0.0))
        small = np.abs(scaled) < 1e-8
        value: NDArray[np.float64] = np.exp(
            area * np.where(small, 1.0 - scaled / 2.0, np.log1p(scaled) / np.where(small, 1.0, scaled))
        )
        return value
