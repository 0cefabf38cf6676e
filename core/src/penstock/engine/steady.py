"""Finding when figures have become stable, by the rule that :mod:`penstock.workload.stable` describes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from penstock.report.outcome import Interval, Steady, join
from penstock.stats.tally import ALL, Cell
from penstock.workload.stable import FEWEST, StopWhenStable

__all__ = ["SteadyWatch", "is_stable"]

_PERCENTS = {"p50": 50.0, "p90": 90.0, "p99": 99.0}
#: Bounds may be met exactly, and a mean of floats is not exact.
_ROUNDING = 1e-9


def is_stable(times: Sequence[float], values: Sequence[float], tolerance: float) -> bool:
    """Whether values at these times, ascending, are stable: the largest and the smallest no further apart than twice
    the tolerance of their average, the line of least squares through them no more than once from end to end.
    """
    average = sum(values) / len(values)
    if average <= 0:
        return False
    bound = tolerance * average + _ROUNDING * average
    if max(values) - min(values) > 2 * bound:
        return False
    middle = sum(times) / len(times)
    spread = sum((time - middle) ** 2 for time in times)
    if not spread:
        return False
    slope = sum((time - middle) * value for time, value in zip(times, values, strict=True)) / spread
    return abs(slope) * (times[-1] - times[0]) <= bound


@attrs.define
class SteadyWatch:
    """Takes the intervals of a run in, and knows the first window that was stable. ``interval`` is how long a whole one
    is in seconds; shorter ones, as at an end, show nothing.
    """

    spec: StopWhenStable
    interval: float
    found: Steady = attrs.field(init=False)
    _recent: deque[Interval] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self.found = Steady(
            reached=False, metrics=self.spec.metrics, window=self.spec.window, tolerance=self.spec.tolerance
        )

    def add(self, interval: Interval) -> bool:
        """Take one in; whether the window that ends with it is the first that is stable."""
        if self.found.reached or interval.start_s < 0 or interval.seconds < self.interval / 2:
            return False
        self._recent.append(interval)
        end = interval.start_s + interval.seconds
        # The window is covered also where an interval ended a moment early.
        while len(self._recent) > 1 and end - self._recent[1].start_s >= self.spec.window - self.interval / 2:
            self._recent.popleft()
        begin = self._recent[0].start_s
        if len(self._recent) < FEWEST or end - begin < self.spec.window - self.interval / 2:
            return False
        if not all(self._is_stable(metric) for metric in self.spec.metrics):
            return False
        self.found = attrs.evolve(
            self.found, reached=True, from_s=begin, to_s=end, totals=join(tuple(self._recent)).tally
        )
        return True

    def _is_stable(self, metric: str) -> bool:
        values = [_value_of(each, metric) for each in self._recent]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return False
        times = [each.start_s + each.seconds / 2 for each in self._recent]
        return is_stable(times, known, self.spec.tolerance)


def _value_of(interval: Interval, metric: str) -> float | None:
    """A metric of an interval, all operations together; None where nothing succeeded in it."""
    cell: Cell = interval.tally.roll_up(ALL)
    if metric == "ops_per_second":
        return cell.count / interval.seconds
    if metric == "bytes_per_second":
        return cell.nbytes / interval.seconds
    if not cell.service.count:
        return None
    return cell.service.mean if metric == "mean" else float(cell.service.percentile(_PERCENTS[metric]))
