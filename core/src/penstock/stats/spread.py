"""How far figures of repeats lie apart, and how well their mean is known.

The interval of the mean is Student's: with n values of mean m and standard deviation s it reaches s/sqrt(n) times the
quantile of the t distribution with n-1 degrees of freedom to both sides. The distribution is evaluated by the finite
sums for whole degrees of freedom in Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs

__all__ = ["LEVEL", "Spread", "spread_of", "student_quantile"]

#: How sure the intervals are.
LEVEL = 0.95


@attrs.frozen
class Spread:
    """Values of one figure, by repeat, and what they come to.

    ``stdev`` is the standard deviation of a sample (n-1); it and the ends of the interval, ``low`` and ``high``, are
    None for a single value.
    """

    values: Sequence[float]
    mean: float
    stdev: float | None
    minimum: float
    maximum: float
    low: float | None
    high: float | None

    @property
    def relative(self) -> float | None:
        """The standard deviation as a share of the mean."""
        return None if self.stdev is None or not self.mean else self.stdev / self.mean


def spread_of(values: Sequence[float], level: float = LEVEL) -> Spread:
    """What values come to. Raises ValueError for none."""
    if not values:
        raise ValueError("there is no spread of no values")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Spread(tuple(values), mean, None, values[0], values[0], None, None)
    deviation = statistics.stdev(values)
    half = student_quantile(level, len(values) - 1) * deviation / math.sqrt(len(values))
    return Spread(tuple(values), mean, deviation, min(values), max(values), mean - half, mean + half)


def student_quantile(level: float, freedom: int) -> float:
    """How far to both sides of 0 a t distribution holds ``level`` of its mass, 0 to 1 exclusive."""
    if not 0 < level < 1 or freedom < 1:
        raise ValueError(f"no quantile at {level} with {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while _inside(high, freedom) < level:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if _inside(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """The mass from -t to t."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total, step = (term if freedom > 1 else 0.0), 2 + odd
    while step <= freedom - 1:
        term *= cosine * cosine * (step - 1) / step
        total += term
        step += 2
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
