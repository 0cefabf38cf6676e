"""The highest rate that passes, by as few trials as it takes.

Trials are noisy and dear, so that the search halves the interval between the highest rate that passed and the lowest
that failed, and tries what it found once more before it says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

__all__ = ["Step", "highest_rate"]

_GROWTH = 1.5


@attrs.frozen
class Step:
    """One trial of a search: the rate in operations per second, whether it passed, and what it was for.

    ``purpose`` is ``search``, ``confirm`` (the rate that was found, again) or ``grow`` (beyond the first guess).
    """

    rate: float
    passed: bool
    purpose: str


def highest_rate(
    passes: Callable[[float, str], bool],
    guess: float,
    *,
    tolerance: float = 0.02,
    most: int = 16,
    lowest: float = 0.0,
) -> tuple[float | None, list[Step]]:
    """The highest rate that ``passes`` twice, and the trials in order; None when none did.

    ``passes`` gets a rate and the purpose. The search begins at ``guess``, goes up by half until a rate fails, then
    halves the interval until its ends are within ``tolerance`` of each other, as a share of the upper one. A rate
    that passes once and fails when tried again counts as failed. Below ``lowest``, where a trial would say nothing,
    there is no answer. At most ``most`` trials are made; if none was confirmed by then, the highest rate counts that
    passed and below which none failed.
    """
    steps: list[Step] = []
    low, high = 0.0, math.inf
    while len(steps) < most:
        rate, purpose = _next(low, high, guess, tolerance, lowest)
        if not rate:
            break
        step = Step(rate, passes(rate, purpose), purpose)
        steps.append(step)
        if step.passed and purpose == "confirm":
            return rate, steps
        if step.passed:
            low = rate
        else:
            high = rate
            low = max((each.rate for each in steps if each.passed and each.rate < high), default=0.0)
    return low or None, steps


def _next(low: float, high: float, guess: float, tolerance: float, lowest: float) -> tuple[float, str]:
    """What to try between the highest rate that passed, 0 for none, and the lowest that failed; 0: nothing."""
    if high == math.inf:
        return (low * _GROWTH, "grow") if low else (guess, "search")
    if not low and high <= lowest:
        return 0.0, ""
    if high - low > tolerance * high:
        return max((low + high) / 2, lowest), "search"
    return low, "confirm"
