"""Heat maps: how many calls took how long, over time. Drawn as SVG, without script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from penstock.quantities import format_duration
from penstock.report.charts import Measured, group
from penstock.report.findings import Finding
from penstock.report.outcome import Interval
from penstock.report.pieces import card
from penstock.report.words import figure, many
from penstock.stats.histogram import Histogram

__all__ = ["heat_cards", "time_axis"]

_MOST_COLUMNS: Final = 100
_MOST_ROWS: Final = 44
_MOST_MAPS: Final = 4
_FEWEST: Final = 20  # calls, for a map to show anything
_MANY: Final = 10_000  # calls, of which 1 % is enough to see where they fall
_FINEST: Final = 20  # rows per decade
_SHADES: Final = 8
_WIDTH: Final = 1000
_MEANING: Final = (
    "Each cell counts the calls that ended at that time and took so long; the stronger its colour, the more. Good is"
    " one narrow band at the bottom; a second band is a second, slower path, a column that reaches up a stall."
)

_Grid = npt.NDArray[np.int64]


@attrs.frozen
class _Map:
    """Counts by row, slowest last, and column. Row ``i`` begins at ``10 ** (low + i / per_decade)`` nanoseconds."""

    counts: _Grid
    low: float
    per_decade: float
    edges: Sequence[tuple[float, float]]  # begin and end of each column in seconds


def heat_cards(measured: Measured) -> list[str]:
    """A card for each of the most frequent operations; none where there are fewer than two intervals,
    or hardly a call."""
    if len(measured.intervals) < 2:
        return []
    totals = measured.totals
    cells = {name: totals.operation(name).service for name in totals.operations()}
    names = sorted((name for name in cells if cells[name].count >= _FEWEST), key=lambda name: -cells[name].count)
    columns = [whole for _, whole in group(measured.intervals, _MOST_COLUMNS)]
    return [
        _card(name, cells[name], columns, "" if place else _MEANING) for place, name in enumerate(names[:_MOST_MAPS])
    ]


def _card(operation: str, total: Histogram, columns: Sequence[Interval], meaning: str) -> str:
    drawn = _map(operation, total, columns)
    title = f"Latency of {operation} over time"
    axis = time_axis(drawn.edges[0][0], drawn.edges[-1][1])
    picture = f"<div class='heat'>{_ticks(drawn)}{_plane(drawn, title)}{axis}</div>{_legend(drawn)}"
    return card(title, "latency by time, counts of calls", picture, meaning, _finding(operation, total, columns))


def _map(operation: str, total: Histogram, columns: Sequence[Interval]) -> _Map:
    low, high = math.log10(max(total.minimum, 1)), math.log10(max(total.maximum, 1))
    if high - low < 0.5:
        middle = (low + high) / 2
        low, high = middle - 0.25, middle + 0.25
    per_decade = min(_FINEST, _MOST_ROWS / (high - low))
    rows = math.floor((high - low) * per_decade) + 1
    counts = np.zeros((rows, len(columns)), dtype=np.int64)
    for place, column in enumerate(columns):
        histogram = column.tally.operation(operation).service
        if histogram.count:
            _, values = histogram.distribution()
            found = np.floor((np.log10(np.maximum(values, 1)) - low) * per_decade).astype(np.int64)
            np.add.at(counts[:, place], np.clip(found, 0, rows - 1), histogram.cells()[1])
    return _Map(counts, low, per_decade, [(one.start_s, one.start_s + one.seconds) for one in columns])


def _plane(drawn: _Map, title: str) -> str:
    """One path for each shade, so that thousands of cells stay small."""
    rows = len(drawn.counts)
    begin, end = drawn.edges[0][0], drawn.edges[-1][1]
    scale = _WIDTH / max(end - begin, 1e-9)
    shades = _shades(drawn.counts)
    paths = []
    for shade in range(_SHADES):
        steps = []
        for row, column in np.argwhere(shades == shade).tolist():
            left = round((drawn.edges[column][0] - begin) * scale)
            right = max(left + 1, round((drawn.edges[column][1] - begin) * scale))
            steps.append(f"M{left} {rows - 1 - row}h{right - left}v1h{left - right}z")
        if steps:
            paths.append(f"<path class='h{shade}' d='{''.join(steps)}'/>")
    return (
        f"<svg class='plane' viewBox='0 0 {_WIDTH} {rows}' preserveAspectRatio='none' role='img'"
        f" aria-label='{escape(title)}'>{''.join(paths)}</svg>"
    )


def _shades(counts: _Grid) -> _Grid:
    """The shade of each cell, by the logarithm of its count; -1 for none."""
    most = max(int(counts.max()), 2)
    found: _Grid = (np.log(np.maximum(counts, 1)) / math.log(most) * _SHADES).astype(np.int64)
    return np.where(counts > 0, np.minimum(found, _SHADES - 1), -1)


def _legend(drawn: _Map) -> str:
    most = int(drawn.counts.max())
    shades = sorted(set(_shades(drawn.counts).ravel().tolist()) - {-1})
    items = []
    for shade in shades:
        inside = drawn.counts[_shades(drawn.counts) == shade]
        low, high = int(inside.min()), int(inside.max())
        text = f"{low:,}" if low == high else f"{low:,}\N{EN DASH}{high:,}"
        items.append(f"<span><i class='h{shade}'></i>{text}</span>")
    return f"<p class='shades' title='at most {most:,}'>calls in a cell: {''.join(items)}</p>"


def _ticks(drawn: _Map) -> str:
    """Durations at 1, 2 and 5 of every decade, or at the decades alone when there are many."""
    rows = len(drawn.counts)
    high = drawn.low + rows / drawn.per_decade
    decades = high - drawn.low
    steps = (1,) if decades > 3.5 else (1, 3) if decades > 1.6 else (1, 2, 3, 5, 7)
    spans = []
    for power in range(math.floor(drawn.low), math.ceil(high) + 1):
        for step in steps:
            share = (power + math.log10(step) - drawn.low) / decades
            if 0.01 <= share <= 0.99:
                text = _plain(step * 10.0**power)
                spans.append(f"<span style='bottom:{100 * share:.1f}%'>{text}</span>")
    return f"<div class='rows' aria-hidden='true'>{''.join(spans)}</div>"


def _plain(nanoseconds: float) -> str:
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= scale:
            return f"{figure(nanoseconds / scale)} {unit}"
    return f"{figure(nanoseconds)} ns"


_STEPS: Final = (
    *(1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400),
)


def time_axis(begin: float, end: float) -> str:
    """Times below a picture that reaches from one second of the measured window to another, and what they are."""
    length = max(end - begin, 1e-9)
    step = next((step for step in _STEPS if length / step <= 6), length / 5)
    spans = []
    for number in range(math.ceil(begin / step), math.floor(end / step) + 1):
        share = (number * step - begin) / length
        text = _clock(number * step)
        # A label at the very end would leave the picture.
        if share <= 0.97:
            spans.append(f"<span style='left:{100 * share:.1f}%'>{text}</span>")
    return (
        f"<div class='times' aria-hidden='true'>{''.join(spans)}</div>"
        "<p class='axis'>time since the measured window began</p>"
    )


def _when(times: Sequence[float], columns: Sequence[Interval]) -> str:
    """Where columns that begin at these times lie, those with most first."""
    width, first, last = columns[0].seconds, min(times), max(times)
    if len(times) > 1 and last - first <= 1.5 * len(times) * width:
        return f"between {format_duration(max(first, 0.0))} and {format_duration(last + width)}"
    named = ", ".join(format_duration(max(time, 0.0)) for time in times[:3])
    return f"most around {named}"


def _clock(seconds: float) -> str:
    """As the other charts have it."""
    if 0 < seconds < 0.1:
        return _plain(seconds * 1e9)
    if seconds < 120:
        return f"{figure(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min" if whole % 60 == 0 else f"{whole // 60}m{whole % 60:02}"
    return f"{whole // 3600}h{whole % 3600 // 60:02}"


def _finding(operation: str, total: Histogram, columns: Sequence[Interval]) -> Finding | None:
    """Whether the slowest calls come at certain times."""
    if total.count < 1000 or len(columns) < 10:
        return Finding("plain", f"{many(total.count, 'call')} in {many(len(columns), 'column')}: few to see a pattern.")
    # So many that where they fall is not chance.
    part = 1 if total.count >= _MANY else 5
    bound = total.percentile(100 - part)
    slow = []
    for column in columns:
        histogram = column.tally.operation(operation).service
        if histogram.count:
            _, values = histogram.distribution()
            slow.append((int(histogram.cells()[1][values >= bound].sum()), column.start_s))
    whole = sum(count for count, _ in slow)
    few = max(1, len(columns) // 10)
    most = sorted(slow, reverse=True)[:few]
    share = sum(count for count, _ in most) / max(whole, 1)
    times = [time for count, time in most if count]
    words = f"the slowest {part} % of {operation} took {format_duration(bound / 1e9)} or more"
    if share >= 0.5 and times:
        return Finding(
            "warn",
            f"{words}; {100 * share:.0f} % of these calls fall into a tenth of the time, {_when(times, columns)}: look"
            " for what was different then.",
        )
    return Finding("good", f"{words}, spread over the whole time: no stall stands out.")
