"""``report.html`` of a run of several legs: all of them on one time axis, the spread over repeats, then each leg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

import attrs

from penstock.quantities import format_duration
from penstock.report.charts import Chart
from penstock.report.findings import Finding
from penstock.report.html import configuration_section
from penstock.report.job import Job, LegOutcome
from penstock.report.jobs import FIGURES, spreads_of
from penstock.report.outcome import Interval, Outcome
from penstock.report.overlay import Drawn, overlay_charts
from penstock.report.page import charts_section, document, needs_script
from penstock.report.parties import balance_section
from penstock.report.pieces import (
    badge,
    error_count,
    finding_line,
    microseconds_of,
    number,
    section,
    table,
)
from penstock.report.sections import (
    STATUS_WORDS,
    buckets_section,
    errors_section,
    operations_section,
    phases_section,
    steady_text,
    workers_section,
)
from penstock.report.summary import format_wall, summarise
from penstock.report.verified import describe_verification
from penstock.report.words import figure, many
from penstock.stats.spread import LEVEL, Spread
from penstock.stats.tally import ALL, Tally

__all__ = ["render_job"]

#: Lines in one chart that can be told apart.
_MOST_LINES: Final = 28
_TIME_CHARTS: Final = ("rate", "throughput", "p50", "p99", "errors")
_MEANING: Final = "Each line is a stage, at the time when it ran; where there are repeats it is broken between them."
#: A standard deviation beyond this share of the mean is much.
_MUCH: Final = 0.05


def render_job(job: Job, summary: Mapping[str, Any], *, config_text: str, plan: Mapping[str, Any]) -> str:
    """The document. ``summary`` is what :func:`penstock.report.jobs.summarise_job` made of the job."""
    charts = _charts(job)
    distributions = [chart["id"] for chart in charts if chart["id"] not in _TIME_CHARTS]
    body = "".join(
        (
            _headline(job),
            _overview(job),
            _spread(job) if summary["repeats"] else "",
            needs_script(charts),
            charts_section("Over time", charts, _TIME_CHARTS, how=True),
            charts_section("Distribution", charts, distributions),
            *(_leg(leg) for leg in job.legs),
            phases_section(job.phases),
            configuration_section(summary, config_text, plan),
        )
    )
    return document(job.name, body, charts)


def _headline(job: Job) -> str:
    kind, word, meaning = STATUS_WORDS[job.status]
    banner = ""
    if job.status != "done":
        reason = f"<strong>{escape(word)}.</strong> {escape(job.reason)}".strip()
        banner = f"<p class='banner {kind}'>{reason}<br>{escape(meaning)}</p>"
    if job.missing:
        banner += f"<p class='banner warn'>Not begun, or without figures: {escape('; '.join(job.missing))}.</p>"
    notes = "".join(f"<li>{escape(note)}</li>" for note in job.notes)
    span = f"began {format_wall(job.started_ns, 0)}; it ended {format_wall(job.ended_ns, 0)}"
    return (
        f"<header><p class='brand'>penstock run report</p><h1>{escape(job.name)} {badge(word, kind)}</h1>"
        f"<p class='where'><code>{escape(job.target)}</code> · {_what(job)}<br>The run {span}.</p>{banner}"
        f"{f'<ul class=notes>{notes}</ul>' if notes else ''}</header>"
    )


def _what(job: Job) -> str:
    repeats = max((leg.repeat for leg in job.legs), default=0)
    stages = [stage for stage in job.stages if stage]
    parts = [many(len(stages), "stage")] if stages else []
    if repeats > 1:
        parts.append(many(repeats, "repeat"))
    return ", ".join(parts) or "nothing was begun"


def _overview(job: Job) -> str:
    """A row for each leg, all operations together."""
    rows = []
    for leg in job.legs:
        outcome, (kind, word, _) = leg.outcome, STATUS_WORDS[leg.outcome.status]
        cell, seconds = outcome.totals.roll_up(ALL), outcome.measured_seconds
        rows.append(
            [
                escape(leg.label),
                badge(word, kind),
                format_wall(outcome.measured_from_ns, 0) if outcome.measured_from_ns else "\N{EN DASH}",
                format_duration(seconds),
                number(cell.count),
                *(number(value / seconds if seconds > 0 else None) for value in (cell.count, cell.nbytes / 2**20)),
                *(microseconds_of(cell.service, percent) for percent in (50, 99, 100)),
                error_count(cell.errors),
                escape(outcome.limit or "\N{EN DASH}"),
            ]
        )
    columns = [("Leg", ""), ("State", ""), ("Began", ""), ("Measured", ""), ("Count", ""), ("Rate", "ops/s")]
    columns += [("Throughput", "MiB/s"), ("p50", "µs"), ("p99", "µs"), ("max", "µs"), ("Errors", ""), ("Limit", "")]
    return section("Stages and repeats", table(columns, rows, words=2)) if rows else ""


def _spread(job: Job) -> str:
    """A row for each stage, operation and figure: what the repeats came to together."""
    rows, widest = [], None
    for stage in job.stages:
        for operation, figures in spreads_of(job, stage).items():
            for name, spread in figures.items():
                rows.append(_spread_row(stage, operation, name, spread))
                relative = spread.relative
                if name == "ops_per_sec" and relative is not None and (widest is None or relative > widest[0]):
                    widest = (relative, f"{stage} {operation}".strip())
    columns = [("Stage", ""), ("Operation", ""), ("Figure", ""), ("Mean", ""), ("Standard deviation", "")]
    columns += [("of the mean", "%"), ("Smallest", ""), ("Largest", "")]
    columns += [(f"{100 * LEVEL:g} % interval of the mean", ""), ("By repeat", "")]
    note = (
        "<p class='note'>The interval is Student's: in so many of a hundred such sets of repeats it holds the mean "
        "that endless repeats would have, if they vary by chance alone. Repeats that were cut short are left out.</p>"
    )
    return section(
        "Spread over the repeats", finding_line(_spread_finding(widest)) + table(columns, rows, words=3) + note
    )


def _spread_row(stage: str, operation: str, name: str, spread: Spread) -> list[str]:
    interval = "\N{EN DASH}"
    if spread.low is not None and spread.high is not None:
        interval = f"{number(float(spread.low))} to {number(float(spread.high))}"
    return [
        escape(stage),
        escape(operation),
        FIGURES[name],
        *(number(spread.mean), number(spread.stdev)),
        number(None if spread.relative is None else 100 * spread.relative),
        *(number(spread.minimum), number(spread.maximum)),
        interval,
        ", ".join(number(value) for value in spread.values),
    ]


def _spread_finding(widest: tuple[float, str] | None) -> Finding | None:
    if widest is None:
        return None
    share, which = widest
    text = f"the rates of repeats differ by {figure(100 * share)} % of their mean (standard deviation)"
    if share <= _MUCH:
        return Finding("good", f"{text} at most, those of {which}.")
    return Finding("warn", f"{text} for {which}: look for what else went on, or measure longer.")


def _charts(job: Job) -> list[Chart]:
    """All legs on one time axis, from when the first was measured."""
    first = min((leg.outcome.measured_from_ns for leg in job.legs if leg.outcome.measured_from_ns), default=0)
    drawn = [_drawn(stage or job.name, job.repeats_of(stage), first) for stage in job.stages[:_MOST_LINES]]
    charts = overlay_charts(drawn)
    # Stages do different things: which has the highest rate says nothing.
    return [
        chart
        | ({"gaps": "broken"} if chart["id"] in _TIME_CHARTS else {})
        | ({"finding": None, "meaning": _MEANING} if chart["id"] in _TIME_CHARTS[:4] else {})
        for chart in charts
    ]


def _drawn(label: str, legs: Sequence[LegOutcome], first: int) -> Drawn:
    totals = Tally()
    for leg in legs:
        totals.merge(leg.outcome.totals)
    return Drawn(label, totals, [interval for leg in legs for interval in _shifted(leg.outcome, first)])


def _shifted(outcome: Outcome, first: int) -> Iterator[Interval]:
    offset = (outcome.measured_from_ns - first) / 1e9
    for interval in outcome.intervals:
        yield attrs.evolve(interval, start_s=interval.start_s + offset)


def _leg(leg: LegOutcome) -> str:
    """What a report of this leg alone shows, but for its pictures, folded away but for the first lines."""
    outcome = leg.outcome
    summary = summarise(outcome)
    kind, word, _ = STATUS_WORDS[outcome.status]
    notes = [outcome.reason, outcome.verdict, steady_text(outcome), *describe_verification(outcome), *outcome.notes]
    told = "".join(f"<li>{escape(note)}</li>" for note in notes if note)
    inner = "".join(
        (
            operations_section(summary),
            buckets_section(summary),
            errors_section(outcome.errors, outcome.totals.count, ""),
            balance_section(outcome.balance),
            workers_section(summary),
        )
    )
    where = f"<p class='note'>Its own report, with its pictures: {escape(leg.directory)}/report.html</p>"
    head = f"<ul class='notes'>{told}</ul>" if told else ""
    return (
        f"<section><h2>{escape(leg.label)} {badge(word, kind)}</h2>{head}{where}"
        f"<details{' open' if leg.repeat == 1 else ''}><summary>Figures</summary>{inner}</details></section>\n"
    )
