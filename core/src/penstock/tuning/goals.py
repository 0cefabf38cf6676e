"""What a service must keep to: ``get.p99 < 20ms``, ``errors < 0.1%``."""

from __future__ import annotations

import re
from typing import Final

import attrs

from penstock.errors import UsageError
from penstock.quantities import format_duration, parse_duration
from penstock.records import Op
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, FAMILIES, Cell, Tally

__all__ = ["Goal", "latency", "parse_goal"]

_PERCENTS: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "p99.99": 99.99}
_METRICS: Final = ("mean", *_PERCENTS, "max", "errors")
_GOAL: Final = re.compile(
    r"\s*(?:(?P<of>[a-z_]+)\.)?(?P<metric>[a-z0-9._]+?)\s*<\s*(?P<limit>\S.*?)\s*\Z", re.IGNORECASE
)
_NAMES: Final = (ALL, *FAMILIES, *(op.name for op in Op))


@attrs.frozen
class Goal:
    """An upper limit. ``of`` is an operation, a family (GET, PUT, META) or ALL.

    ``limit`` is in nanoseconds for latencies, which are those that a user would see: from when an operation was due
    to its end, or from its start where nothing was planned. For ``errors`` it is a share of all calls, 0 to 1.
    """

    of: str
    metric: str
    limit: float
    text: str

    def value(self, tally: Tally) -> float | None:
        """What was measured, in the unit of ``limit``; None when no such operation ended."""
        cell = _cell(tally, self.of)
        if self.metric == "errors":
            calls = cell.count + cell.errors
            return cell.errors / calls if calls else None
        return latency(cell, self.metric)

    def is_met(self, tally: Tally) -> bool:
        """Whether the value is known and below the limit."""
        value = self.value(tally)
        return value is not None and value < self.limit

    def show(self, tally: Tally) -> str:
        """The value beside the limit, for a person."""
        value = self.value(tally)
        if value is None:
            return f"no {self.of} ended"
        shown = f"{value:.3%}" if self.metric == "errors" else format_duration(value / 1e9)
        return f"{self.of.lower()}.{self.metric} {shown}"


def parse_goal(text: str) -> Goal:
    """Read ``[OPERATION.]METRIC < LIMIT``. Raises UsageError that says what is understood.

    Metrics are mean, p50, p90, p95, p99, p99.9, p99.99 and max with a duration as limit (``20ms``), and errors with
    a percentage (``0.1%``). Without an operation all of them count together.
    """
    match = _GOAL.match(text)
    if match is None:
        raise UsageError(f"{text!r} is no goal; write one such as 'get.p99 < 20ms' or 'errors < 0.1%'")
    of, metric = (match["of"] or ALL).upper(), match["metric"].lower().replace("_", ".")
    if of not in _NAMES:
        raise UsageError(f"{text!r}: no operation is called {match['of']!r}; known: {', '.join(_NAMES).lower()}")
    if metric not in _METRICS:
        raise UsageError(f"{text!r}: {match['metric']!r} can't be a goal; known: {', '.join(_METRICS)}")
    try:
        limit = _share(match["limit"]) if metric == "errors" else parse_duration(match["limit"]) * 1e9
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from None
    if limit <= 0:
        raise UsageError(f"{text!r}: nothing is below {match['limit']}")
    return Goal(of, metric, limit, text.strip())


def latency(cell: Cell, metric: str) -> float | None:
    """Nanoseconds of response where arrivals were planned, else of service; None when no call succeeded."""
    histogram = _histogram(cell)
    if not histogram.count:
        return None
    if metric == "mean":
        return histogram.mean
    return float(histogram.maximum if metric == "max" else histogram.percentile(_PERCENTS[metric]))


def _histogram(cell: Cell) -> Histogram:
    return cell.response if cell.response.count else cell.service


def _cell(tally: Tally, of: str) -> Cell:
    # GET and PUT are families and operations: a user's "get" has ranges in it.
    return tally.roll_up(of) if of == ALL or of in FAMILIES else tally.operation(of)


def _share(text: str) -> float:
    number, percent, rest = text.partition("%")
    if not percent or rest.strip():
        raise ValueError(f"{text!r} is no share; write a percentage such as 0.1%")
    try:
        return float(number) / 100
    except ValueError:
        raise ValueError(f"{text!r} is no share; write a percentage such as 0.1%") from None
