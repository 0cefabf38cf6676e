"""Charts in which several runs lie over one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import attrs

from penstock.quantities import format_duration
from penstock.report.charts import Chart, distribution_chart, line_chart
from penstock.report.findings import Finding
from penstock.report.outcome import Interval, join
from penstock.report.readings import Measure, Readings
from penstock.report.words import figure, many
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Tally

__all__ = ["Drawn", "overlay_charts"]

_MOST_POINTS: Final = 300
_MOST_OPERATIONS: Final = 6
_MOST_TOLD: Final = 4
_ALIKE: Final = 1.1
_MEANING: Final = {
    "rate": "All operations together. Higher is better; good is level too.",
    "throughput": "All operations together, bytes moved by calls that succeeded. Higher is better; good is level too.",
    "p50": "Of all operations together. Lower is better.",
    "p99": "Of all operations together. Lower is better; spikes are stalls that users notice.",
    "errors": "Good is none.",
    "distribution": "Lower is better, at every percentile; lines that part to the right differ in their slow calls.",
}


@attrs.frozen
class Drawn:
    """A run as it is drawn: what it is called, unlike all others, its totals and its intervals."""

    label: str
    totals: Tally
    intervals: Sequence[Interval]


@attrs.frozen
class _Kind:
    name: str
    title: str
    unit: str
    log: bool
    rising: Literal["good", "bad"]
    measure: Measure


def _kinds(read: Readings) -> Sequence[_Kind]:
    return (
        _Kind("rate", "Operations", "ops/s", False, "good", read.rate("count")),
        _Kind("throughput", "Throughput", "MiB/s", False, "good", read.rate("nbytes", 2**20)),
        _Kind("p50", "Latency, median", "µs", True, "bad", read.percentile("service", 50)),
        _Kind("p99", "Latency, 99th percentile", "µs", True, "bad", read.percentile("service", 99)),
        _Kind("errors", "Errors", "errors/s", False, "bad", read.rate("errors")),
    )


def overlay_charts(runs: Sequence[Drawn]) -> list[Chart]:
    """Rate, throughput, latencies and errors over time, then latency by percentile of the most frequent operations."""
    width, bins = _bins(runs)
    series = [_binned(run.intervals, width, bins) for run in runs]
    charts = [chart for kind in _kinds(Readings()) if (chart := _over_time(kind, runs, series, width)) is not None]
    counts: dict[str, int] = {}
    for run in runs:
        for operation in run.totals.operations():
            counts[operation] = counts.get(operation, 0) + run.totals.operation(operation).count
    for operation in sorted(counts, key=lambda name: -counts[name])[:_MOST_OPERATIONS]:
        lines = [(run.label, run.totals.operation(operation).service) for run in runs]
        chart = distribution_chart(f"distribution-{operation}", f"{operation}: latency by percentile", lines)
        if chart is not None:
            charts.append(chart | {"meaning": _MEANING["distribution"], "finding": _apart(operation, lines)})
    return charts


def _bins(runs: Sequence[Drawn]) -> tuple[float, int]:
    """How wide the points of all runs are in seconds, and how many there are."""
    lengths = [one.seconds for run in runs for one in run.intervals if one.seconds > 0]
    ends = [one.start_s + one.seconds for run in runs for one in run.intervals]
    if not lengths:
        return 1.0, 0
    end = max(ends)
    width = max(sorted(lengths)[len(lengths) // 2], end / _MOST_POINTS, 1e-6)
    return width, max(1, math.ceil(end / width - 0.01))


def _binned(intervals: Sequence[Interval], width: float, bins: int) -> list[Interval | None]:
    members: list[list[Interval]] = [[] for _ in range(bins)]
    for one in intervals:
        if one.seconds > 0:
            place = int((one.start_s + one.seconds / 2) / width)
            members[min(max(place, 0), bins - 1)].append(one)
    return [join(each) if each else None for each in members]


def _over_time(
    kind: _Kind, runs: Sequence[Drawn], series: Sequence[Sequence[Interval | None]], width: float
) -> Chart | None:
    lines = []
    for run, points in zip(runs, series, strict=True):
        values = [
            None if one is None or (value := kind.measure(one, ALL)) is None else float(f"{value:.4g}")
            for one in points
        ]
        lines.append({"label": run.label, "values": values})
    if not any(value for line in lines for value in line["values"] or ()):
        return None
    digits = 3 if len(series[0]) * width > 10 else 7
    x = [round((place + 0.5) * width, digits) for place in range(len(series[0]))]
    end = round(len(x) * width, digits)
    chart = line_chart(kind.name, kind.title, kind.unit, x, end, lines, log=kind.log, joined=1)
    finding = _failed(runs) if kind.name == "errors" else _ranked(kind, lines)
    return chart | {"meaning": _MEANING[kind.name], "finding": finding, "gaps": "joined"}


def _ranked(kind: _Kind, lines: Sequence[Chart]) -> Finding | None:
    """Which run is best and which is worst, by the median of its points."""
    middles = {}
    for line in lines:
        known = sorted(value for value in line["values"] if value is not None)
        if known:
            middles[line["label"]] = known[len(known) // 2]
    if len(middles) < 2:
        return None
    # Of runs that are the same the first and the last, so that no run is compared with itself.
    ordered = sorted(middles, key=lambda name: middles[name])
    low, high = ordered[0], ordered[-1]
    best, worst = (high, low) if kind.rising == "good" else (low, high)

    def show(name: str) -> str:
        value = middles[name]
        return format_duration(value / 1e6) if kind.unit == "µs" else f"{figure(value)} {kind.unit}"

    if middles[high] <= _ALIKE * middles[low]:
        span = f"from {show(low)} ({low}) to {show(high)} ({high})"
        return Finding("plain", f"the runs are alike by their medians over time, {span}.")
    more = f", {figure(middles[high] / middles[low])} times apart" if middles[low] > 0 else ""
    words = f"by the median over time, best is {best} ({show(best)}), worst {worst} ({show(worst)})"
    return Finding("plain", f"{words}{more}.")


def _failed(runs: Sequence[Drawn]) -> Finding:
    """How many calls of each run failed, the most first."""
    told = []
    for run in sorted(runs, key=lambda run: -run.totals.errors)[:_MOST_TOLD]:
        errors, calls = run.totals.errors, run.totals.count + run.totals.errors
        share = f" ({figure(100 * errors / calls)} %)" if errors else ""
        told.append(f"{errors:,} of {calls:,} calls of {run.label} failed{share}")
    more = f"; {many(len(runs) - len(told), 'run')} had no more" if len(runs) > len(told) else ""
    return Finding("warn", f"{'; '.join(told)}{more}.")


def _apart(operation: str, lines: Sequence[tuple[str, Histogram]]) -> Finding | None:
    known = {label: histogram for label, histogram in lines if histogram.count >= 100}
    if len(known) < 2:
        return None
    parts = []
    apart = False
    for percent in (50, 99):
        values = {label: histogram.percentile(percent) for label, histogram in known.items()}
        low, high = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
        apart = apart or values[high] > _ALIKE * values[low]
        span = f"{format_duration(values[low] / 1e9)} ({low}) to {format_duration(values[high] / 1e9)} ({high})"
        parts.append(f"p{percent} from {span}")
    return Finding("plain", f"{operation}{' alike' if not apart else ''}: {'; '.join(parts)}.")
