"""Pictures of the workers of a run on several hosts: side by side, and each over time. SVG, without script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from statistics import median
from typing import Final

import attrs

from penstock.report.heatmap import time_axis
from penstock.report.words import many

__all__ = ["Mark", "Rows", "Shade", "Show", "plane_plot", "strip_plot", "typical_of"]

#: More marks or rows than these can't be told apart; neighbours become one.
_MOST_MARKS: Final = 128
_MOST_ROWS: Final = 64
_WIDTH: Final = 1000
_HEIGHT: Final = 300
_LABELS: Final = 8
_STEPS: Final = (1, 2, 2.5, 5, 10)
#: Above so many decades, ticks at these multiples of each.
_LOG_STEPS: Final = (
    (3.5, (1.0,)),
    (1.6, (1.0, 3.0)),
    (0.5, (1.0, 2.0, 5.0)),
    (0.0, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)),
)

Show = Callable[[float], str]


@attrs.frozen(kw_only=True)
class Mark:
    """A worker in a strip: from ``low`` to ``high``; None where nothing is known of it. ``odd`` ones stand out."""

    rank: int
    name: str
    low: float | None
    high: float | None
    lost: bool = False
    odd: bool = False


def strip_plot(
    title: str, marks: Sequence[Mark], show: Show, *, log: bool = False, from_zero: bool = False, typical: float | None
) -> str:
    """Workers side by side by rank, with a line at what is ``typical`` for them.

    ``from_zero`` fills up what is below each. Of very many workers, neighbours are drawn as one, from the lowest of
    them to the highest.
    """
    size = math.ceil(len(marks) / _MOST_MARKS)
    groups = [marks[place : place + size] for place in range(0, len(marks), size)]
    known = [value for mark in marks for value in (mark.low, mark.high) if value is not None]
    if not known:
        return ""
    scale = _Scale.of([*known, *([] if typical is None else [typical])], log=log, from_zero=from_zero)
    step = _WIDTH / len(groups)
    bars = "".join(_bar(group, place * step, step, scale, show, from_zero) for place, group in enumerate(groups))
    line = "" if typical is None else f"<path class='typical' d='M0 {scale.y(typical)}H{_WIDTH}'/>"
    zero = f"<path class='zero' d='M0 {scale.y(0)}H{_WIDTH}'/>" if scale.low < 0 < scale.high else ""
    rows = "".join(
        f"<span style='bottom:{100 * share:.1f}%'>{escape(show(value))}</span>" for value, share in scale.ticks()
    )
    together = f"; neighbours of {size} are drawn as one, from the lowest to the highest" if size > 1 else ""
    return (
        f"<div class='heat strip'><div class='rows' aria-hidden='true'>{rows}</div>"
        f"<svg class='plane' viewBox='0 0 {_WIDTH} {_HEIGHT}' preserveAspectRatio='none' role='img'"
        f" aria-label='{escape(title)}'>{zero}{bars}{line}</svg>"
        f"<div class='times' aria-hidden='true'>{_ranks(groups)}</div>"
        f"<p class='axis'>worker, by rank{together}; \N{MULTIPLICATION X} was lost</p></div>"
    )


@attrs.frozen
class _Scale:
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, values: Sequence[float], *, log: bool, from_zero: bool) -> _Scale:
        low, high = min(values), max(values)
        if log:
            low, high = max(low, 1e-9), max(high, 1e-9)
            return cls(low / 1.3, high * 1.3, True)
        if from_zero:
            return cls(0.0, high * 1.08 if high > 0 else 1.0, False)
        room = (high - low or abs(high) or 1.0) * 0.08
        return cls(min(low - room, -room), max(high + room, room), False)

    def share(self, value: float) -> float:
        """Where it is between the bottom, 0, and the top, 1."""
        if self.log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def y(self, value: float) -> int:
        return round(_HEIGHT * (1 - self.share(value)))

    def ticks(self) -> list[tuple[float, float]]:
        """Round values with their places, not more than there is room for."""
        if self.log:
            decades = math.log10(self.high / self.low)
            steps = next(steps for reach, steps in _LOG_STEPS if decades > reach)
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [each * 10.0**power for power in powers for each in steps]
        else:
            rough = (self.high - self.low) / 5
            power = 10 ** math.floor(math.log10(rough))
            step = next(each * power for each in _STEPS if each * power >= rough)
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            values = [number * step for number in range(first, last + 1)]
        placed = [(value, self.share(value)) for value in values if self.low <= value]
        return [(value, share) for value, share in placed if share <= 0.98]


def _bar(group: Sequence[Mark], left: float, step: float, scale: _Scale, show: Show, from_zero: bool) -> str:
    lows = [mark.low for mark in group if mark.low is not None]
    highs = [mark.high for mark in group if mark.high is not None]
    if not lows or not highs:
        return ""
    low, high = min(lows), max(highs)
    top, bottom = scale.y(high), scale.y(low)
    if bottom - top < 4:
        top, bottom = top - 2, top + 2
    x, width = round(left + 0.12 * step, 1), round(0.76 * step, 1)
    kind = "lost" if any(mark.lost for mark in group) else "odd" if any(mark.odd for mark in group) else "span"
    span = show(low) if low == high else f"{show(low)} to {show(high)}"
    told = f"<title>{escape(f'{_names(group)}: {span}')}</title>"
    base = ""
    if from_zero:
        base = f"<rect class='base' x='{x}' y='{bottom}' width='{width}' height='{max(_HEIGHT - bottom, 0)}'/>"
    return f"<g>{told}{base}<rect class='{kind}' x='{x}' y='{top}' width='{width}' height='{bottom - top}'/></g>"


def _names(group: Sequence[Mark]) -> str:
    if len(group) == 1:
        return f"worker {group[0].rank} on {group[0].name}"
    return f"workers {group[0].rank} to {group[-1].rank}"


def _ranks(groups: Sequence[Sequence[Mark]]) -> str:
    """Some ranks below their marks, and a cross below each that was lost."""
    every = math.ceil(len(groups) / _LABELS)
    spans = []
    for place, group in enumerate(groups):
        left = f"left:{100 * (place + 0.5) / len(groups):.2f}%"
        if any(mark.lost for mark in group):
            spans.append(f"<span class='cross' style='{left}'>\N{MULTIPLICATION X}</span>")
        elif place % every == 0:
            spans.append(f"<span style='{left}'>{group[0].rank}</span>")
    return "".join(spans)


@attrs.frozen(kw_only=True)
class Shade:
    """A shade of a plane: for ratios up to ``limit``. The lowest limit that fits is taken."""

    limit: float
    label: str


#: By worker, by column: a ratio to what is typical; None: nothing was measured there.
Rows = Sequence[Sequence[float | None]]


def plane_plot(
    title: str, names: Sequence[str], rows: Rows, edges: tuple[float, float], shades: Sequence[Shade], *, worst: str
) -> str:
    """A row for each worker and a column for each stretch of time, shaded by how far it is from what is typical.

    Of very many workers a row is several of them, of which it shows the ``worst``, ``min`` or ``max``. A cell without
    a value is empty.
    """
    size = math.ceil(len(rows) / _MOST_ROWS)
    pick = min if worst == "min" else max
    merged = [
        [pick((value for value in column if value is not None), default=None) for column in zip(*group, strict=True)]
        for group in (rows[place : place + size] for place in range(0, len(rows), size))
    ]
    labels = names[::size]
    paths = [_cells(merged, shades, number) for number in range(len(shades))]
    drawn = "".join(
        f"<path class='h{_depth(number, len(shades))}' d='{path}'/>" for number, path in enumerate(paths) if path
    )
    every = math.ceil(len(labels) / 12)
    side = "".join(
        f"<span style='top:{100 * (place + 0.5) / len(labels):.2f}%'>{escape(label)}</span>"
        for place, label in enumerate(labels)
        if place % every == 0
    )
    legend = "".join(
        f"<span><i class='h{_depth(number, len(shades))}'></i>{escape(shade.label)}</span>"
        for number, shade in enumerate(shades)
        if paths[number]
    )
    together = f"; a row is of {many(size, 'worker')} and shows the worst of them" if size > 1 else ""
    return (
        f"<div class='heat'><div class='rows ranks' aria-hidden='true'>{side}</div>"
        f"<svg class='plane' viewBox='0 0 {len(merged[0])} {len(merged)}' preserveAspectRatio='none' role='img'"
        f" aria-label='{escape(title)}'>{drawn}</svg>{time_axis(*edges)}</div>"
        f"<p class='shades'>{legend}<span>empty: nothing was measured{together}</span></p>"
    )


def _cells(rows: Rows, shades: Sequence[Shade], number: int) -> str:
    """One path for all cells of a shade; neighbours in a row are one stroke."""
    steps = []
    for place, row in enumerate(rows):
        begin = None
        for column, value in enumerate([*row, None]):
            mine = value is not None and _shade(value, shades) == number
            if mine and begin is None:
                begin = column
            elif not mine and begin is not None:
                steps.append(f"M{begin} {place}h{column - begin}v1h{begin - column}z")
                begin = None
    return "".join(steps)


def _shade(value: float, shades: Sequence[Shade]) -> int:
    fitting = [number for number, shade in enumerate(shades) if value <= shade.limit]
    return min(fitting, key=lambda number: shades[number].limit)


def _depth(number: int, count: int) -> int:
    """One of eight shades for the ``number``-th of ``count``."""
    return round(7 * number / max(count - 1, 1))


def typical_of(values: Sequence[float | None]) -> float | None:
    """The median of those that are known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
