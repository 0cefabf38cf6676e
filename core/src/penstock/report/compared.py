"""The report of a comparison: the verdict on top, then each change with its interval, then both sides' pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from penstock.analysis.comparing_values import Change, Comparison, Run, Side
from penstock.quantities import format_bytes, format_duration
from penstock.report.charts import Chart
from penstock.report.forest import forest_table
from penstock.report.outcome import Interval
from penstock.report.overlay import Drawn, overlay_charts
from penstock.report.page import charts_section, document, needs_script
from penstock.report.pieces import error_count, facts_table, number, section, table
from penstock.report.summary import format_wall

__all__ = ["render_comparison", "render_comparisons"]

_BANNERS: Final = {"better": "good", "worse": "bad", "mixed": "warn", "too few data": "warn", "same": "warn"}
_WORDS: Final = {
    "better": "B is better",
    "worse": "B is worse",
    "mixed": "Better in some, worse in others",
    "no difference shown": "No difference shown",
    "too few data": "Too few data",
    "same": "The very same calls",
}
_TIME_CHARTS: Final = ("rate", "throughput", "p50", "p99", "errors")
_MOST_DRAWN: Final = 14  # runs of a side
_HOW_TO_READ: Final = (
    "The bar is the interval in which the change lies, the tick in it the estimate, the line in the middle no change. A"
    " bar that touches the line shows no difference, however far the tick is from it; the wider the bar, the less is"
    " known. Of ops/s and MiB/s more is better, of all else less."
)


def render_comparison(comparison: Comparison) -> str:
    """The document."""
    return render_comparisons({"": comparison})


def render_comparisons(comparisons: Mapping[str, Comparison]) -> str:
    """The document of comparisons by stage; a stage without a name is the only one."""
    bodies, charts = [], []
    for place, (stage, comparison) in enumerate(comparisons.items()):
        mark = f"{place}-" if stage else ""
        drawn = [chart | {"id": f"{mark}{chart['id']}"} for chart in _charts(comparison)]
        charts += drawn
        bodies.append((f"<h2>Stage {escape(stage)}</h2>" if stage else "") + _body(comparison, drawn, mark))
    return document("A against B", "".join(bodies), charts)


def _body(comparison: Comparison, charts: Sequence[Chart], mark: str) -> str:
    over_time = [f"{mark}{name}" for name in _TIME_CHARTS]
    distributions = [chart["id"] for chart in charts if chart["id"] not in over_time]
    return "".join(
        (
            _headline(comparison),
            _sides(comparison),
            _differences(comparison),
            _forest(comparison),
            needs_script(charts),
            charts_section("Over time", charts, over_time, how=True),
            charts_section("Distribution", charts, distributions),
            _notes(comparison),
        )
    )


def _headline(comparison: Comparison) -> str:
    kind = _BANNERS.get(comparison.verdict, "none")
    word = _WORDS.get(comparison.verdict, comparison.verdict)
    return (
        "<header><p class='brand'>penstock comparison</p><h1>A against B</h1>"
        f"<p class='banner {kind}'><strong>{escape(word)}.</strong> {escape(comparison.sentence)}</p></header>"
    )


def _sides(comparison: Comparison) -> str:
    rows = [row for name, side in (("A", comparison.a), ("B", comparison.b)) for row in _runs(name, side)]
    columns = [("Side", ""), ("Run", ""), ("Began", ""), ("Measured", ""), ("Calls", ""), ("Moved", ""), ("Errors", "")]
    note = "<p class='note'>A is the baseline, B what is judged.</p>"
    return section("What is compared", table(columns, rows, words=2) + note)


def _runs(name: str, side: Side) -> Iterator[list[str]]:
    for run in side.runs:
        yield [
            name,
            f"<span class='long'>{escape(run.name)}</span>",
            format_wall(run.begin_ns, 0) if run.begin_ns else "\N{EN DASH}",
            format_duration(run.seconds),
            number(run.tally.count),
            format_bytes(run.tally.nbytes),
            error_count(run.tally.errors),
        ]


def _differences(comparison: Comparison) -> str:
    if not comparison.differences:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in comparison.differences)
    return f"<div class='banner warn'><strong>The runs differ in more than the storage:</strong><ul>{items}</ul></div>"


def _forest(comparison: Comparison) -> str:
    whole = [one for one in comparison.changes if one.bucket is None]
    sized = [one for one in comparison.changes if one.bucket is not None]
    content = f"<p class='note'>{_HOW_TO_READ}</p>" + _by_unit(whole, comparison.level, sizes=False)
    if sized:
        inner = _by_unit(sized, comparison.level, sizes=True)
        content += f"<details><summary>By object size</summary>{inner}</details>"
    return section("Changes from A to B", content) if whole or sized else ""


def _by_unit(changes: Sequence[Change], level: float, *, sizes: bool) -> str:
    """Percent and percentage points have a scale of their own."""
    units = dict.fromkeys(one.change_unit for one in changes)
    return "".join(
        forest_table([one for one in changes if one.change_unit == unit], level, sizes=sizes) for unit in units
    )


def _charts(comparison: Comparison) -> list[Chart]:
    drawn = []
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        runs = side.runs[:_MOST_DRAWN]
        for place, run in enumerate(runs, 1):
            label = name if len(side.runs) == 1 else f"{name}{place}"
            drawn.append(Drawn(label, run.tally, list(_intervals(run))))
    return overlay_charts(drawn)


def _intervals(run: Run) -> Iterator[Interval]:
    """The stretches follow one another."""
    begin = 0.0
    for stretch in run.stretches:
        yield Interval(start_s=begin, seconds=stretch.seconds, tally=stretch.tally)
        begin += stretch.seconds


def _notes(comparison: Comparison) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    facts = "".join(
        f"<details><summary>{name}: {escape(run.name)}</summary>{facts_table(run.facts)}</details>"
        for name, side in (("A", comparison.a), ("B", comparison.b))
        for run in side.runs
        if run.facts
    )
    return section("How the figures were made", (f"<ul class='notes'>{notes}</ul>" if notes else "") + facts)
