"""What the charts of the HTML report show, as plain data.

Intervals are joined until at most ``limit`` points remain; a point then shows the joined interval, and a band around
the line the lowest and the highest of those joined, so that no spike is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from penstock.report.outcome import Interval, Outcome, join
from penstock.stats.histogram import Histogram

__all__ = ["build_charts"]

Chart = dict[str, Any]
#: Intervals that make one point, and what they are together.
Group = tuple[Sequence[Interval], Interval]
Measure = Callable[[Interval, str], float | None]

_MOST_POINTS: Final = 1000
_FEWEST_POINTS: Final = 100
_MOST_NUMBERS: Final = 50_000
_LINES_PER_OPERATION: Final = 12
_GRID: Final = 40  # points per nine in the distribution


def build_charts(outcome: Outcome) -> list[Chart]:
    """The charts for which there is data, in the order in which the report shows them."""
    operations = outcome.totals.operations()
    limit = max(_FEWEST_POINTS, min(_MOST_POINTS, _MOST_NUMBERS // (_LINES_PER_OPERATION * max(1, len(operations)))))
    groups = _groups(outcome.intervals, limit)
    moving = [name for name in operations if outcome.totals.operation(name).nbytes]
    working = [name for name in operations if outcome.totals.operation(name).count]
    failing = [name for name in operations if outcome.totals.operation(name).errors]
    charts = [
        _over_time("rate", "Operations", "ops/s", working, groups, _rate),
        _over_time("throughput", "Throughput", "MiB/s", moving, groups, _throughput),
        _over_time("p50", "Latency, median", "µs", working, groups, _percentile(50), log=True),
        _over_time("p99", "Latency, 99th percentile", "µs", working, groups, _percentile(99), log=True),
        _distribution(outcome, working),
        _over_time("errors", "Errors", "errors/s", failing, groups, _error_rate),
        _over_time("client", "Processors used by the client", "processors", [""], groups, _client, names=["client"]),
        _over_time("host", "Processors of this host", "%", list(_HOST), groups, _host, names=list(_HOST.values())),
    ]
    return [chart for chart in charts if chart is not None]


def _groups(intervals: Sequence[Interval], limit: int) -> list[Group]:
    size = max(1, math.ceil(len(intervals) / limit))
    groups = [intervals[place : place + size] for place in range(0, len(intervals), size)]
    return [(group, join(group)) for group in groups]


def _rate(interval: Interval, operation: str) -> float | None:
    return _per_second(interval, interval.tally.operation(operation).count)


def _throughput(interval: Interval, operation: str) -> float | None:
    return _per_second(interval, interval.tally.operation(operation).nbytes / 2**20)


def _error_rate(interval: Interval, operation: str) -> float | None:
    return _per_second(interval, interval.tally.operation(operation).errors)


def _per_second(interval: Interval, amount: float) -> float | None:
    return amount / interval.seconds if interval.seconds > 0 else None


def _percentile(percent: float) -> Measure:
    def measure(interval: Interval, operation: str) -> float | None:
        service = interval.tally.operation(operation).service
        return max(service.percentile(percent), 1) / 1000 if service.count else None

    return measure


def _client(interval: Interval, _operation: str) -> float | None:
    return None if interval.client_cpu_pct is None else interval.client_cpu_pct / 100


_HOST: Final = {"cpu_user_pct": "user", "cpu_system_pct": "system", "cpu_iowait_pct": "waiting for I/O"}


def _host(interval: Interval, field: str) -> float | None:
    return getattr(interval, field)  # type: ignore[no-any-return]


def _over_time(
    name: str,
    title: str,
    unit: str,
    keys: Sequence[str],
    groups: Sequence[Group],
    measure: Measure,
    *,
    names: Sequence[str] | None = None,
    log: bool = False,
) -> Chart | None:
    """A line for each of ``keys``; None if none of them has a value."""
    if not groups or not keys:
        return None
    joined = [whole for _, whole in groups]
    most = max(len(group) for group, _ in groups)
    lines = []
    for label, key in zip(names or keys, keys, strict=True):
        values = [_short(measure(interval, key)) for interval in joined]
        line: Chart = {"label": label, "values": values}
        if most > 1:
            spans = [
                [value for interval in group if (value := measure(interval, key)) is not None] for group, _ in groups
            ]
            line["low"] = [_short(min(span, default=None)) for span in spans]
            line["high"] = [_short(max(span, default=None)) for span in spans]
        lines.append(line)
    if all(value is None for line in lines for value in line["values"]):
        return None
    middles = [round(interval.start_s + interval.seconds / 2, 3) for interval in joined]
    end = round(joined[-1].start_s + joined[-1].seconds, 3)
    return {
        "id": name,
        "title": title,
        "unit": unit,
        "kind": "time",
        "log": log,
        "end": end,
        "joined": most,
        "x": middles,
        "lines": lines,
    }


def _distribution(outcome: Outcome, operations: Sequence[str]) -> Chart | None:
    """Latency against the percentile; x is the number of nines, so 0 is 0 %, 1 is 90 % and 3 is 99.9 %."""
    histograms = []
    for operation in operations:
        cell = outcome.totals.operation(operation)
        histograms.append((operation, cell.service))
        if cell.response.count:
            histograms.append((f"{operation} response", cell.response))
    if not histograms:
        return None
    nines = max(math.log10(histogram.count) for _, histogram in histograms) + 1 / _GRID
    grid = [round(step / _GRID, 3) for step in range(math.ceil(nines * _GRID) + 1)]
    lines = [{"label": label, "values": _at(histogram, grid)} for label, histogram in histograms]
    return {
        "id": "distribution",
        "title": "Latency by percentile",
        "unit": "µs",
        "kind": "nines",
        "log": True,
        "end": grid[-1],
        "joined": 1,
        "x": grid,
        "lines": lines,
    }


def _at(histogram: Histogram, grid: Sequence[float]) -> list[float | None]:
    """The percentiles at so many nines; the first point beyond the last value is the maximum, then there is none."""
    reach = math.log10(histogram.count)
    inside = [nines for nines in grid if nines <= reach]
    percents = [100 - 100 * 10**-nines for nines in inside]
    values: list[float | None] = [_short(max(value, 1) / 1000) for value in histogram.percentiles(percents)]
    if len(values) < len(grid):
        values.append(_short(max(histogram.maximum, 1) / 1000))
    return values + [None] * (len(grid) - len(values))


def _short(value: float | None) -> float | int | None:
    """Four digits are more than a chart shows."""
    if value is None:
        return None
    short = float(f"{value:.4g}")
    return int(short) if short == int(short) else short
