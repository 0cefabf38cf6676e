"""Sizes of objects: distributions whose draw is a pure function of (key, object index).

The size of object 7 is the same whichever process makes it, first or last; nothing is remembered and two
objects never share a draw. Whole arrays of indices are drawn at once.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.workload import hashing
from penstock.workload.fields import Record, Variants, key
from penstock.workload.histograms import Histogram, counted
from penstock.workload.shapes import InvalidFieldError, ListOf, Optional, Quantity

__all__ = [
    "SIZE",
    "Choice",
    "Fixed",
    "Histogram",
    "Lognormal",
    "SizeSpec",
    "Uniform",
    "Weighted",
    "draw",
    "largest",
    "mean",
]

_BYTES = Quantity("size")
#: Draws of a lognormal beyond its bounds are thrown again this often before they are clamped.
_ATTEMPTS = 64


@attrs.frozen
class Fixed:
    """Every object has the same size."""

    size: int = key(_BYTES, help="bytes of every object")


@attrs.frozen
class Uniform:
    """Every whole number of bytes from ``min`` to ``max`` is equally likely; both ends can occur."""

    min: int = key(_BYTES, help="smallest size in bytes, inclusive")
    max: int = key(_BYTES, help="largest size in bytes, inclusive")

    def __attrs_post_init__(self) -> None:
        if self.min > self.max:
            raise InvalidFieldError("min", f"{self.min} is more than max, {self.max}")


@attrs.frozen
class Lognormal:
    """Many small objects and a long tail of large ones; the logarithm of the size is normally distributed.

    ``mean`` and ``std_dev`` are those of the sizes before the bounds apply. Draws outside [``min``, ``max``] are
    thrown again, which moves the mean of what is drawn: :func:`mean` computes it.
    """

    mean: float = key(Quantity("size", minimum=1), help="mean size in bytes, before min and max apply")
    std_dev: float = key(_BYTES, help="standard deviation in bytes, before min and max apply")
    min: int = key(_BYTES, 1, help="smallest size in bytes, inclusive")
    max: int | None = key(Optional(_BYTES), None, help="largest size in bytes, inclusive; none: no bound")

    def __attrs_post_init__(self) -> None:
        if self.max is not None and self.min > self.max:
            raise InvalidFieldError("min", f"{self.min} is more than max, {self.max}")
        if self.share <= 1e-3:
            raise InvalidFieldError(
                "mean", "fewer than one size in a thousand lies between min and max; bring them together"
            )

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(math.log1p((self.std_dev / self.mean) ** 2))

    @property
    def mu(self) -> float:
        """Mean of the logarithm."""
        return math.log(self.mean) - self.sigma**2 / 2

    @property
    def share(self) -> float:
        """Which part of the unbounded distribution lies within the bounds, 0 to 1."""
        return _normal_between(*self.scores())

    def scores(self, shift: float = 0.0) -> tuple[float, float]:
        """The bounds as standard scores; a size is rounded, so half a byte belongs to each end."""
        return self._score(self.min - 0.5, shift), math.inf if self.max is None else self._score(self.max + 0.5, shift)

    def _score(self, size: float, shift: float) -> float:
        if size <= 0:
            return -math.inf
        distance = math.log(size) - self.mu
        return distance / self.sigma - shift if self.sigma else math.copysign(math.inf, distance)


@attrs.frozen
class Weighted:
    """One of the sizes of a choice."""

    size: int = key(_BYTES, help="size in bytes")
    weight: float = key(Quantity("number"), 1.0, help="how often, relative to the others; 0: never")


@attrs.frozen
class Choice:
    """One of a few sizes, each by its weight."""

    choices: tuple[Weighted, ...] = key(ListOf(Record(Weighted), minimum=1), help="the sizes and their weights")

    def __attrs_post_init__(self) -> None:
        if not sum(choice.weight for choice in self.choices) > 0:
            raise InvalidFieldError("choices", "the weights sum to 0; give at least one a weight above 0")


SizeSpec: TypeAlias = Fixed | Uniform | Lognormal | Choice | Histogram

#: How a size stands in a file.
SIZE = Variants(
    "type",
    {
        "fixed": Record(Fixed),
        "uniform": Record(Uniform),
        "lognormal": Record(Lognormal),
        "choice": Record(Choice),
        "histogram": Record(Histogram, finish=counted),
    },
    short=True,
    bare=_BYTES,
    bare_field="size",
    inline={"choice": "choices", "fixed": "size", "histogram": "op_log"},
)


def draw(spec: SizeSpec, rng_key: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sizes in bytes of the objects of these indices; :func:`penstock.workload.hashing.derive` makes keys."""
    match spec:
        case Fixed():
            return np.full(len(indices), spec.size, dtype=np.int64)
        case Uniform():
            return spec.min + hashing.below(hashing.words(rng_key, indices), spec.max - spec.min + 1)
        case Lognormal():
            return _draw_lognormal(spec, rng_key, indices)
        case Choice():
            weights = np.array([choice.weight for choice in spec.choices])
            sizes = np.array([choice.size for choice in spec.choices], dtype=np.int64)
            edges = np.cumsum(weights / weights.sum())
            # The last edge may fall short of 1 by a rounding error.
            last = int(np.flatnonzero(weights)[-1])
            picked = np.searchsorted(edges, hashing.uniform(rng_key, indices), side="right")
            return sizes[np.minimum(picked, last)]
        case Histogram():
            return spec.draw(rng_key, indices)


def mean(spec: SizeSpec) -> float:
    """The expected size in bytes, bounds included."""
    match spec:
        case Fixed():
            return float(spec.size)
        case Uniform():
            return (spec.min + spec.max) / 2
        case Lognormal():
            return spec.mean * _normal_between(*spec.scores(spec.sigma)) / spec.share if spec.sigma else spec.mean
        case Choice():
            total = sum(choice.weight for choice in spec.choices)
            return sum(choice.size * choice.weight for choice in spec.choices) / total
        case Histogram():
            return spec.mean


def largest(spec: SizeSpec) -> int | None:
    """The largest size that can be drawn, in bytes; None when there is no bound."""
    match spec:
        case Fixed():
            return spec.size
        case Uniform() | Lognormal():
            return spec.max
        case Choice():
            return max((choice.size for choice in spec.choices if choice.weight > 0), default=0)
        case Histogram():
            return max((one.max for one in spec.bins if one.count), default=0)


def _draw_lognormal(spec: Lognormal, rng_key: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    low, high = spec.min, spec.max if spec.max is not None else 2**62
    sizes = _lognormal_once(spec, rng_key, indices, 0)
    for attempt in range(1, _ATTEMPTS):
        outside = np.flatnonzero((sizes < low) | (sizes > high))
        if not len(outside):
            return sizes
        sizes[outside] = _lognormal_once(spec, rng_key, indices[outside], attempt)
    return np.clip(sizes, low, high)


def _lognormal_once(spec: Lognormal, rng_key: int, indices: NDArray[np.int64], attempt: int) -> NDArray[np.int64]:
    # Box and Muller, one normal number from two uniform ones; 1 - u keeps the logarithm's argument above 0.
    radius = np.sqrt(-2.0 * np.log1p(-hashing.uniform(rng_key, indices, 2 * attempt)))
    normal = radius * np.cos(2.0 * np.pi * hashing.uniform(rng_key, indices, 2 * attempt + 1))
    return np.rint(np.minimum(np.exp(spec.mu + spec.sigma * normal), 2.0**62)).astype(np.int64)


def _normal_between(low: float, high: float) -> float:
    return 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
