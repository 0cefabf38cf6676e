"""Forest plots: changes with their intervals, one under the other against the line of no change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from penstock.analysis.comparing_values import Change
from penstock.analysis.comparing_words import change_text
from penstock.report.pieces import badge, number

__all__ = ["forest_table"]

_WIDTH: Final = 1000  # of the plot, in its own units
_SHOWN: Final = 0.85  # of the ends of intervals lie in the plot; those beyond are drawn as arrows
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
#: The lowest and the highest change in the plot.
Span = tuple[float, float]
_KINDS: Final = {"better": "good", "worse": "bad", "no difference shown": "none", "too few data": "none"}


def forest_table(changes: Sequence[Change], level: float, *, sizes: bool = False) -> str:
    """A row for each change, all of one unit; with ``sizes`` with a column for the size bucket."""
    if not changes:
        return ""
    span = _span(changes)
    unit = changes[0].change_unit
    head = "<th class='word'>Operation</th>" + ("<th class='word'>Size</th>" if sizes else "")
    head += f"<th class='word'>Figure</th><th class='forest'>{_axis(span)}</th>"
    head += f"<th>Change <small>{escape(unit)}</small></th><th>{100 * level:g} % interval</th>"
    head += "<th class='word'>B is</th><th>A</th><th>B</th>"
    rows = "".join(_row(change, span, sizes=sizes) for change in changes)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _span(changes: Sequence[Change]) -> Span:
    """How far the plot reaches to both sides; nothing falls by more than 100 %."""
    ends = sorted(abs(end) for one in changes for end in (one.low, one.high) if end is not None)
    largest = ends[min(len(ends) - 1, math.ceil(_SHOWN * len(ends)))] if ends else 1.0
    reach = next((step for step in _STEPS if step >= largest), _STEPS[-1])
    return (-min(reach, 100.0) if changes[0].change_unit == "%" else -reach), reach


def _axis(span: Span) -> str:
    low, high = span
    ticks = (low, low / 2, 0.0, high / 2, high) if -low == high else (low, 0.0, high / 2, high)
    halves = (low / 2, high / 2)
    labels = []
    for value in ticks:
        half = " class=half" if value and value in halves else ""
        text = f"{value:+g}" if value else "0"
        labels.append(f"<span{half} style='left:{_place(value, span) / 10:g}%'>{text}</span>")
    return f"<span class='forest-axis'>{''.join(labels)}</span>"


def _row(change: Change, span: Span, *, sizes: bool) -> str:
    cells = [f"<td class='word'>{escape(change.operation)}</td>"]
    if sizes:
        cells.append(f"<td class='word'>{escape(change.size)}</td>")
    unit = f" <small>{escape(change.unit)}</small>" if change.unit not in ("1/s", change.metric) else ""
    cells.append(f"<td class='word'>{escape(change.metric)}{unit}</td>")
    cells.append(f"<td class='forest'>{_plot(change, span)}</td>")
    cells.append(f"<td>{escape(change_text(change.change))}</td>")
    known = change.low is not None and change.high is not None
    ends = f"{change_text(change.low)} to {change_text(change.high)}" if known else "\N{EN DASH}"
    cells.append(f"<td>{escape(ends)}</td>")
    words = badge(change.verdict, _KINDS[change.verdict])
    reason = f"<span class='why'>{escape(change.reason)}</span>" if change.reason else ""
    cells.append(f"<td class='word'>{words}{reason}</td>")
    cells += [f"<td>{number(value)}</td>" for value in (change.a, change.b)]
    return f"<tr>{''.join(cells)}</tr>"


def _plot(change: Change, span: Span) -> str:
    """The interval as a bar, the estimate as a tick in it, and the line of no change."""
    marks = f"<path class='zero' d='M{_place(0.0, span)} 0V24'/>"
    if change.low is not None and change.high is not None:
        left, right = _place(change.low, span), _place(change.high, span)
        right = max(right, left + 4)
        marks += f"<rect class='{_KINDS[change.verdict]}' x='{left}' y='8' width='{right - left}' height='8'/>"
        if change.low < span[0]:
            marks += "<path class='arrow' d='M0 12l14 -9v18z'/>"
        if change.high > span[1]:
            marks += f"<path class='arrow' d='M{_WIDTH} 12l-14 -9v18z'/>"
    if change.change is not None and span[0] <= change.change <= span[1]:
        marks += f"<path class='estimate' d='M{_place(change.change, span)} 3V21'/>"
    label = f"{change.label}: {change_text(change.change)} {change.change_unit}"
    return (
        f"<svg viewBox='0 0 {_WIDTH} 24' preserveAspectRatio='none' role='img' aria-label='{escape(label)}'>"
        f"{marks}</svg>"
    )


def _place(value: float, span: Span) -> int:
    low, high = span
    return round(_WIDTH * (min(max(value, low), high) - low) / (high - low))
