"""What the charts of the HTML report show, as plain data with what they find.

A chart has an id, title, unit, the meaning of good and bad in general, and the finding on its very data.

Intervals are joined until at most ``limit`` points remain; a point then shows the joined interval, and a band around
the line the lowest and the highest of those joined, so that no spike is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from penstock.report.findings import (
    describe_lag,
    describe_used,
    distribution_finding,
    error_finding,
    first_byte_finding,
    host_finding,
    time_finding,
)
from penstock.report.outcome import Interval, join
from penstock.report.readings import Measure, Readings
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Tally

__all__ = ["Chart", "Measured", "build_charts", "distribution_chart", "group", "line_chart", "time_chart"]

Chart = dict[str, Any]
#: Intervals that make one point, and what they are together.
Group = tuple[Sequence[Interval], Interval]

_MOST_POINTS: Final = 1000
_FEWEST_POINTS: Final = 100
_MOST_NUMBERS: Final = 50_000
_LINES_PER_OPERATION: Final = 12
_GRID: Final = 40  # points per nine in the distribution
_MEANING: Final = {
    "rate": "Good is a level line; a saw-tooth or a slow decline means that something fills up, flushes or throttles.",
    "throughput": "Good is level and close to what network or device can carry; far below at a high CPU, the client is"
    " the limit.",
    "p50": "Good is level and low; a step up while the rate stays means that calls have begun to queue.",
    "p99": "Good is within a few times the median; spikes here that the median lacks are stalls that users notice.",
    "first_byte": "From the start of a read until the first byte of its body came: what the storage takes to answer,"
    " before any transfer. Good is level and low.",
    "lag": "How late calls started that were planned for a time. Good is under a millisecond; a line that climbs means"
    " that more is asked for than is carried out, and calls wait in a queue that only grows.",
    "distribution": "Good is a curve that rises gently to the right; a steep step shows how many calls take another,"
    " slower path.",
    "errors": "Good is none; a burst points to an event, a steady rate to a limit or a mistake in the workload.",
    "client": "Good is well below the number of processors; close to it, the figures show the client rather than the"
    " storage.",
    "host": "Good is idle time left; user time near 100 % means a busy client, much waiting for I/O a busy local disk.",
}


class Measured(Protocol):
    """What charts are drawn of: an :class:`penstock.report.outcome.Outcome`, or what looks like one."""

    @property
    def totals(self) -> Tally: ...

    @property
    def intervals(self) -> Sequence[Interval]: ...


def build_charts(measured: Measured, processors: float | None = None) -> list[Chart]:
    """The charts for which there is data, in the order in which the report shows them.

    ``processors`` is how many the client may use; None if that is not known.
    """
    totals = measured.totals
    operations = totals.operations()
    limit = max(_FEWEST_POINTS, min(_MOST_POINTS, _MOST_NUMBERS // (_LINES_PER_OPERATION * max(1, len(operations)))))
    groups = group(measured.intervals, limit)
    moving = [name for name in operations if totals.operation(name).nbytes]
    working = [name for name in operations if totals.operation(name).count]
    failing = [name for name in operations if totals.operation(name).errors]
    read = Readings()
    rate, throughput = read.rate("count"), read.rate("nbytes", 2**20)
    p50, p99 = read.percentile("service", 50), read.percentile("service", 99)
    calls = {name: _usual([whole.tally.operation(name).count for _, whole in groups]) for name in working}
    charts = [
        _judged(time_chart("rate", "Operations", "ops/s", working, groups, rate), "good", calls),
        _judged(time_chart("throughput", "Throughput", "MiB/s", moving, groups, throughput), "good", calls),
        _judged(time_chart("p50", "Latency, median", "µs", working, groups, p50, log=True), "bad", calls),
        _judged(time_chart("p99", "Latency, 99th percentile", "µs", working, groups, p99, log=True), "bad", calls),
        _first_byte(totals, working, groups, read),
        _distribution(totals, working),
        _errors(totals, failing, groups, read),
        _lag(totals, groups, read),
        _client(groups, processors),
        _host(groups),
    ]
    return [chart | {"meaning": _MEANING[chart["id"]]} for chart in charts if chart is not None]


def _judged(chart: Chart | None, rising: Literal["good", "bad"], calls: Mapping[str, float]) -> Chart | None:
    return None if chart is None else chart | {"finding": time_finding(chart, rising=rising, calls=calls)}


def _usual(counts: Sequence[int]) -> float:
    """The median of those points that have any."""
    some = sorted(filter(None, counts))
    return some[len(some) // 2] if some else 0.0


def _first_byte(totals: Tally, working: Sequence[str], groups: Sequence[Group], read: Readings) -> Chart | None:
    reads = [name for name in working if totals.operation(name).first_byte.count]
    measures = {"p50": read.percentile("first_byte", 50), "p99": read.percentile("first_byte", 99)}
    keys = [f"{name} {word}" for name in reads for word in measures]

    def measure(interval: Interval, key: str) -> float | None:
        name, _, word = key.partition(" ")
        return measures[word](interval, name)

    chart = time_chart("first_byte", "Time to first byte", "µs", keys, groups, measure, log=True)
    if chart is None:
        return None
    cells = [(name, totals.operation(name).first_byte, totals.operation(name).service) for name in reads]
    return chart | {"axis": "time to first byte", "finding": first_byte_finding(cells)}


def _errors(totals: Tally, failing: Sequence[str], groups: Sequence[Group], read: Readings) -> Chart | None:
    chart = time_chart("errors", "Errors", "errors/s", failing, groups, read.rate("errors"))
    if chart is None:
        return None
    failed = [whole.tally.errors for _, whole in groups]
    return chart | {"finding": error_finding(chart["x"], failed, totals.count + totals.errors)}


_LAG: Final = {"p50": 50.0, "p99": 99.0, "largest": 100.0}


def _lag(totals: Tally, groups: Sequence[Group], read: Readings) -> Chart | None:
    lag = totals.roll_up(ALL).lag
    if not lag.count:
        return None

    measures = {word: read.percentile("lag", percent) for word, percent in _LAG.items()}

    def measure(interval: Interval, key: str) -> float | None:
        return measures[key](interval, ALL)

    chart = time_chart("lag", "Lag: started after it was due", "µs", list(_LAG), groups, measure, log=True)
    if chart is None:
        return None
    finding = describe_lag(lag, totals.roll_up(ALL).service, chart["lines"][0]["values"])
    return chart | {"axis": "lag", "finding": finding}


def _client(groups: Sequence[Group], processors: float | None) -> Chart | None:
    title = "Processors used by the client"
    chart = time_chart("client", title, "processors", [""], groups, _client_used, names=["client"])
    if chart is None:
        return None
    return chart | {"finding": describe_used(chart["lines"][0]["values"], processors, "processors")}


def _distribution(totals: Tally, operations: Sequence[str]) -> Chart | None:
    """Service times, and response times where calls were planned; the finding is on service times alone."""
    service = [(operation, totals.operation(operation).service) for operation in operations]
    lines = []
    for operation, histogram in service:
        lines += [(operation, histogram), (f"{operation} response", totals.operation(operation).response)]
    chart = distribution_chart("distribution", "Latency by percentile", lines)
    return None if chart is None else chart | {"finding": distribution_finding(service)}


def group(intervals: Sequence[Interval], limit: int) -> list[Group]:
    """Neighbours joined until at most ``limit`` are left."""
    size = max(1, math.ceil(len(intervals) / limit))
    groups = [intervals[place : place + size] for place in range(0, len(intervals), size)]
    return [(members, join(members)) for members in groups]


def _client_used(interval: Interval, _operation: str) -> float | None:
    return None if interval.client_cpu_pct is None else interval.client_cpu_pct / 100


_HOST: Final = {"cpu_user_pct": "user", "cpu_system_pct": "system", "cpu_iowait_pct": "waiting for I/O"}


def _host(groups: Sequence[Group]) -> Chart | None:
    title = "Processors of this host"
    chart = time_chart("host", title, "%", list(_HOST), groups, _host_share, names=list(_HOST.values()))
    busy = [
        whole.cpu_user_pct + whole.cpu_system_pct
        for _, whole in groups
        if whole.cpu_user_pct is not None and whole.cpu_system_pct is not None
    ]
    return None if chart is None else chart | {"finding": host_finding(busy)}


def _host_share(interval: Interval, field: str) -> float | None:
    return getattr(interval, field)  # type: ignore[no-any-return]


def time_chart(
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
    """A line for each of ``keys``; None if none of them has a value, or there is but one point."""
    if len(groups) < 2 or not keys:
        return None
    joined = [whole for _, whole in groups]
    most = max(len(members) for members, _ in groups)
    lines = []
    for label, key in zip(names or keys, keys, strict=True):
        values = [_short(measure(interval, key)) for interval in joined]
        line: Chart = {"label": label, "values": values}
        if most > 1:
            spans = [[value for one in members if (value := measure(one, key)) is not None] for members, _ in groups]
            line["low"] = [_short(min(span, default=None)) for span in spans]
            line["high"] = [_short(max(span, default=None)) for span in spans]
        lines.append(line)
    if all(value is None for line in lines for value in line["values"]):
        return None
    end = joined[-1].start_s + joined[-1].seconds
    digits = 3 if end > 10 else 7
    middles = [round(interval.start_s + interval.seconds / 2, digits) for interval in joined]
    end = round(end, digits)
    return line_chart(name, title, unit, middles, end, lines, log=log, joined=most)


def line_chart(
    name: str, title: str, unit: str, x: Sequence[float], end: float, lines: Sequence[Chart], *, log: bool, joined: int
) -> Chart:
    """Lines over time in seconds, up to ``end``. A line has a label and a value, or None, for each of ``x``."""
    return {
        "id": name,
        "title": title,
        "unit": unit,
        "axis": "latency" if unit == "µs" else unit,
        "kind": "time",
        "log": log,
        "end": end,
        "joined": joined,
        "x": list(x),
        "lines": list(lines),
        "finding": None,
    }


def distribution_chart(name: str, title: str, histograms: Sequence[tuple[str, Histogram]]) -> Chart | None:
    """Latency against the percentile; x is the number of nines, so 0 is 0 %, 1 is 90 % and 3 is 99.9 %."""
    some = [(label, histogram) for label, histogram in histograms if histogram.count]
    if not some:
        return None
    nines = max(math.log10(histogram.count) for _, histogram in some) + 1 / _GRID
    grid = [round(step / _GRID, 3) for step in range(math.ceil(nines * _GRID) + 1)]
    lines = [{"label": label, "values": _at(histogram, grid)} for label, histogram in some]
    chart = line_chart(name, title, "µs", grid, grid[-1], lines, log=True, joined=1)
    return chart | {"kind": "nines", "finding": distribution_finding(some)}


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
