"""What a picture shows, in a plain sentence that is computed from its data; and whether that is good."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from penstock.quantities import format_duration
from penstock.report.outcome import Planned
from penstock.report.shapes import Shape, shape_of
from penstock.report.words import figure, many
from penstock.stats.histogram import Histogram

__all__ = [
    "Finding",
    "describe_lag",
    "describe_level",
    "describe_used",
    "distribution_finding",
    "error_finding",
    "first_byte_finding",
    "host_finding",
    "planned_finding",
    "time_finding",
]

#: ``good``; ``warn``: worth a look; ``plain``: neither.
Mark = Literal["good", "warn", "plain"]
_MOST: Final = 3  # lines that a sentence speaks of
_SHORT_TAIL: Final = 5.0
_LONG_TAIL: Final = 20.0
_SLOW_PATH: Final = 2.0
_BURST: Final = 0.9
_FEW_ERRORS: Final = 6
#: From so many calls to a point on its scatter is more than chance.
_MANY_CALLS: Final = 64
#: Calls that start so late, against how long they take, are queued rather than on time.
_LATE_SHARE: Final = 0.1
_LATE_NS: Final = 1_000_000
#: Percent of a processor or a host from which on it may be what limits.
_BUSY: Final = 85


@attrs.frozen
class Finding:
    """A sentence, or several."""

    mark: Mark
    text: str


def time_finding(
    chart: Mapping[str, Any], *, rising: Literal["good", "bad"], calls: Mapping[str, float] | None = None
) -> Finding | None:
    """What the lines of a chart over time do. ``rising`` says whether more is better, ``calls`` how many calls a usual
    point of a line is made of, for few scatter by chance.
    """
    show = _shower(chart["unit"])
    calls = calls or {}
    told: list[tuple[int, str, Mark]] = []
    few, longest = False, 0
    for line in chart["lines"]:
        shape = shape_of(chart["x"], line["values"], dips=rising == "good")
        if shape is not None:
            rank, text, mark = describe_level(shape, show, rising)
            few_calls = calls.get(line["label"], math.inf)
            if _is_chance(shape, few_calls, counted=rising == "good"):
                rank, mark = 1, "plain"
                text += f", which is chance where a point is made of about {figure(few_calls)} calls"
            told.append((rank, f"{line['label']} {text}", mark))
            few = few or shape.kind == "few"
            longest = max(longest, shape.points)
    if not told:
        return None
    if few and all(rank == 0 for rank, _, _ in told):
        return Finding("plain", f"only {many(longest, 'point')}: too few to see a trend.")
    told.sort(key=lambda each: -each[0])
    worst = _worst([mark for _, _, mark in told])
    more = len(told) - _MOST
    rest = f" {more} more {'line is' if more == 1 else 'lines are'} in the chart." if more > 0 else ""
    return Finding(worst, "; ".join(text for _, text, _ in told[:_MOST]) + "." + rest)


def _is_chance(shape: Shape, calls: float, *, counted: bool) -> bool:
    """Whether so few calls to a point explain how unlike points are. ``counted``: the values grow with the calls."""
    if calls >= _MANY_CALLS:
        return False
    scatter = 1 / math.sqrt(max(calls, 1))
    if shape.kind == "dips":
        return shape.extreme >= (1 - 4 * scatter) * shape.typical
    return shape.kind == "uneven" and (not counted or shape.low >= (1 - 2.5 * scatter) * shape.typical)


def _worst(marks: Sequence[Mark]) -> Mark:
    """Good only if all are."""
    return "warn" if "warn" in marks else "good" if set(marks) == {"good"} else "plain"


def _shower(unit: str) -> Callable[[float], str]:
    if unit == "µs":
        return lambda value: format_duration(value / 1e6)
    return lambda value: f"{figure(value)} {unit}"


def describe_level(shape: Shape, show: Callable[[float], str], rising: Literal["good", "bad"]) -> tuple[int, str, Mark]:
    """How much attention it needs, the words for it, and whether it is good."""
    if shape.kind == "few":
        what = "values are" if shape.points > 1 else "value is"
        return 0, f"was {show(shape.typical)}; {shape.points} {what} too few to see a trend", "plain"
    if shape.kind in ("step", "drift"):
        grew = shape.after > shape.before
        verb = ("rose" if grew else "fell") + (" steadily" if shape.kind == "drift" else "")
        when = f" after {format_duration(shape.at)}" if shape.kind == "step" else " from begin to end"
        better = grew == (rising == "good")
        words = f"{verb} from {show(shape.before)} to {show(shape.after)}{when}"
        return (2 if better else 4), words, "plain" if better else "warn"
    if shape.kind in ("spikes", "dips"):
        verb = "reached" if shape.kind == "spikes" else "fell to"
        many = f"in {shape.count} of {shape.points} points, first at {format_duration(shape.at)}"
        return 3, f"stayed around {show(shape.typical)} but {verb} {show(shape.extreme)} {many}", "warn"
    if shape.kind == "uneven":
        return 2, f"swung between {show(shape.low)} and {show(shape.high)} for nine tenths of the time", "warn"
    if shape.high <= 0:
        return 0, "stayed at zero", "plain"
    span = f"{show(shape.low)} to {show(shape.high)} for nine tenths of the time"
    return 1, f"stayed level at {show(shape.typical)} ({span})", "good"


def distribution_finding(histograms: Sequence[tuple[str, Histogram]]) -> Finding | None:
    """How long the tails are, and whether some calls take another, slower path."""
    told: list[tuple[float, str, Mark]] = []
    for name, histogram in histograms:
        if not histogram.count:
            continue
        middle, p99, p999 = histogram.percentiles((50, 99, 99.9))
        if histogram.count < 100:
            told.append((0, f"{name}: {many(histogram.count, 'call')}, too few for a p99", "plain"))
            continue
        tail = p99 / max(middle, 1)
        kind = "a short tail" if tail <= _SHORT_TAIL else "a tail" if tail <= _LONG_TAIL else "a long tail"
        words = f"{name}: 1 % of the calls take {_nanos(p99)} or more, {figure(tail)} times the median ({kind})"
        if histogram.count >= 10_000:
            words += f", and 0.1 % {_nanos(p999)} or more"
        jump = _slow_path(histogram)
        if jump is not None:
            words += f"; {jump}"
        mark: Mark = (
            "good" if tail <= _SHORT_TAIL and jump is None else "warn" if tail > _LONG_TAIL or jump else "plain"
        )
        told.append((tail, words, mark))
    if not told:
        return None
    told.sort(key=lambda each: -each[0])
    worst = _worst([mark for _, _, mark in told])
    return Finding(worst, ". ".join(words for _, words, _ in told[:_MOST]) + ".")


def _slow_path(histogram: Histogram) -> str | None:
    """A gap in the latencies that at least 0.5 % and at most half of the calls lie beyond."""
    fractions, values = histogram.distribution()
    best: tuple[float, float, int, int] | None = None
    for place in range(len(values) - 1):
        beyond = 1 - float(fractions[place])
        if not 0.005 <= beyond <= 0.5:
            continue
        ratio = float(values[place + 1]) / max(float(values[place]), 1.0)
        if ratio >= _SLOW_PATH and (best is None or ratio > best[0]):
            best = (ratio, beyond, int(values[place]), int(values[place + 1]))
    if best is None:
        return None
    _, beyond, below, above = best
    return (
        f"{figure(100 * beyond)} % go a slower way: at least {_nanos(above)}, where the others end by {_nanos(below)}"
    )


def first_byte_finding(cells: Sequence[tuple[str, Histogram, Histogram]]) -> Finding | None:
    """Whether reads wait for their first byte or for the rest; for each its name, first byte and service times."""
    told: list[str] = []
    for name, first, service in cells:
        if first.count and service.mean > 0:
            share = 100 * first.mean / service.mean
            wait = f"{name} waits {_nanos(first.mean)} for its first byte on average, {share:.0f} % of the call"
            if share >= 70:
                wait += ": what takes long is the answer's beginning, not the transfer"
            elif share <= 30:
                wait += ": what takes long is the transfer, not the answer's beginning"
            told.append(wait)
    return Finding("plain", "; ".join(told) + ".") if told else None


def error_finding(times: Sequence[float], failed: Sequence[int], calls: int) -> Finding | None:
    """How many calls failed, and whether at once or all along."""
    total = sum(failed)
    if not total:
        return None
    share = f"{figure(100 * total / max(calls, 1))} % of all calls failed ({total:,})"
    if total < _FEW_ERRORS:
        moments = [format_duration(time) for time, count in zip(times, failed, strict=True) if count]
        when = moments[0] if len(moments) == 1 else f"{', '.join(moments[:-1])} and {moments[-1]}"
        return Finding("warn", f"{share}, at {when}: too few to tell a single event from a lasting cause.")
    need, seen = _BURST * total, 0
    ordered = sorted(zip(failed, times, strict=True), reverse=True)
    burst: list[float] = []
    for count, time in ordered:
        if seen >= need:
            break
        seen += count
        burst.append(time)
    if len(failed) >= 6 and len(burst) <= max(1, len(failed) // 5):
        first, last = min(burst), max(burst)
        when = f"around {format_duration(first)}" if first == last else (
            f"between {format_duration(first)} and {format_duration(last)}"
        )  # fmt: skip
        return Finding("warn", f"{share}, nine tenths of them {when}: a burst, so look for what happened then.")
    active = sum(count > 0 for count in failed)
    return Finding("warn", f"{share}, in {active} of {len(failed)} points: not one event but a lasting cause.")


def describe_lag(lag: Histogram, service: Histogram, medians: Sequence[float | None]) -> Finding | None:
    """Whether planned calls started when they were due. ``medians`` are of the lag over time, in µs."""
    if not lag.count:
        return None
    middle, p99 = lag.percentiles((50, 99))
    words = f"Half of the calls started at most {_nanos(middle)} after they were due, 1 % {_nanos(p99)} or more"
    known = [1000 * value for value in medians if value is not None]
    edge = max(1, len(known) // 10)
    begin, end = _middle(known[:edge]), _middle(known[-edge:])
    if end > max(2 * begin, _LATE_NS):
        words += f"; the median rose from {_nanos(begin)} at the beginning to {_nanos(end)} at the end"
        return Finding("warn", f"{words}: calls queued, because more was offered than was carried out in time.")
    if middle > max(_LATE_NS, _LATE_SHARE * service.mean):
        return Finding("warn", f"{words}: calls queued all along, so response times tell more than service times.")
    if p99 > max(10 * _LATE_NS, service.percentile(99)):
        return Finding("plain", f"{words}: on time but for single stalls.")
    return Finding("good", f"{words}: the schedule was kept.")


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def planned_finding(planned: Planned) -> Finding:
    """Whether everything that was offered was begun."""
    offered = f"{planned.operations:,.0f} operations were due in the measured window"
    if not planned.missed:
        return Finding("good", f"{offered}, and every one was begun in it.")
    share = figure(100 * planned.missed / max(planned.operations, planned.missed, 1))
    return Finding("warn", f"{offered}; {planned.missed:,} ({share} %) were never begun, for no lane was free in time.")


def describe_used(values: Sequence[float | None], limit: float | None, what: str) -> Finding | None:
    """How much of ``limit`` was used; values and limit in the same unit."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    middle = _middle(known)
    words = f"The client used {figure(middle)} {what} for half of the time or more, and at most {figure(max(known))}"
    if not limit:
        return Finding("plain", f"{words}.")
    share = 100 * middle / limit
    if share >= _BUSY:
        return Finding("warn", f"{words}, of {figure(limit)}: at {share:.0f} % the figures may show the client.")
    return Finding("good", f"{words}, of {figure(limit)}: {share:.0f} % of what it may use.")


def host_finding(busy: Sequence[float]) -> Finding | None:
    """How busy the host was; percent of user and system together."""
    if not busy:
        return None
    middle = _middle(busy)
    words = f"The host was busy for {middle:.0f} % or more, half of the time, and at most for {max(busy):.0f} %"
    if middle >= _BUSY:
        return Finding("warn", f"{words}: the figures may show the host rather than the storage.")
    return Finding("good", f"{words}.")


def _nanos(value: float) -> str:
    return format_duration(value / 1e9)
