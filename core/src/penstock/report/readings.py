"""Figures of intervals, each worked out once however many charts show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from penstock.report.outcome import Interval
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL

__all__ = ["Measure", "Readings"]

#: A figure of an interval for a line's key; None where there is none.
Measure = Callable[[Interval, str], float | None]
#: Which histogram of a cell.
Times = Literal["service", "first_byte", "lag"]

_PERCENTS: Final = (50.0, 99.0, 100.0)


class Readings:
    """It keeps what it worked out for as long as it lives, and so may its intervals not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], tuple[float, ...] | None] = {}

    def rate(self, field: Literal["count", "errors", "nbytes"], scale: float = 1.0) -> Measure:
        """What a second had of a field, divided by ``scale``; keys are operations, or ALL."""

        def measure(interval: Interval, operation: str) -> float | None:
            if interval.seconds <= 0:
                return None
            cells = interval.tally.cells.items()
            amount: int = sum(getattr(cell, field) for (name, _), cell in cells if operation in (ALL, name))
            return amount / scale / interval.seconds

        return measure

    def percentile(self, times: Times, percent: float) -> Measure:
        """Microseconds, at least 0.001; keys are operations, or ALL. ``percent`` is 50, 99 or 100."""
        place = _PERCENTS.index(percent)

        def measure(interval: Interval, operation: str) -> float | None:
            found = self._percentiles(interval, operation, times)
            return None if found is None else max(found[place], 1) / 1000

        return measure

    def _percentiles(self, interval: Interval, operation: str, times: Times) -> tuple[float, ...] | None:
        key = (id(interval), operation, times)
        if key not in self._known:
            histogram = _histogram(interval, operation, times)
            self._known[key] = tuple(histogram.percentiles(_PERCENTS)) if histogram.count else None
        return self._known[key]


def _histogram(interval: Interval, operation: str, times: Times) -> Histogram:
    cells = interval.tally.cells.items()
    found: list[Histogram] = [getattr(cell, times) for (name, _), cell in cells if operation in (ALL, name)]
    some = [histogram for histogram in found if histogram.count]
    if len(some) == 1:
        return some[0]
    whole = Histogram()
    for histogram in some:
        whole.merge(histogram)
    return whole
