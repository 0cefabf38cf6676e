"""The report of operation logs that were analysed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

import attrs

from penstock.analysis.values import Analysis, LogFacts, Slice
from penstock.quantities import format_duration
from penstock.report.charts import build_charts
from penstock.report.heatmap import heat_cards
from penstock.report.outcome import Interval
from penstock.report.page import chart_grid, document, grid, needs_script, over_time_section
from penstock.report.parties import parties_section
from penstock.report.pieces import error_count, microseconds_of, number, section, table
from penstock.report.sections import buckets_section, errors_section, operations_section, total_tiles
from penstock.report.summary import format_wall, sums
from penstock.report.words import many
from penstock.stats.tally import ALL, Tally

__all__ = ["intervals_of", "render_analysis"]

_MOST_LOGS: Final = 100


@attrs.frozen
class _Measured:
    totals: Tally
    intervals: list[Interval]


def render_analysis(analysis: Analysis) -> str:
    """The document: what the selected calls of the logs add up to, and how they went over time."""
    seconds = analysis.window.seconds
    summary = sums(analysis.tally, seconds)
    measured = _Measured(analysis.tally, intervals_of(analysis))
    charts = build_charts(measured)
    cards = chart_grid(charts, ("distribution", "first_byte"))
    heat = grid(heat_cards(measured))
    body = "".join(
        (
            _headline(analysis, summary),
            operations_section(summary),
            needs_script(charts),
            over_time_section(charts, ("rate", "throughput", "p50", "p99"), len(measured.intervals)),
            section("Latency", cards + heat) if cards or heat else "",
            buckets_section(summary),
            _segments(analysis),
            errors_section(analysis.errors, analysis.tally.count, chart_grid(charts, ("errors",))),
            parties_section("By endpoint", "endpoint", analysis.by_endpoint, seconds),
            parties_section("By client", "client", analysis.by_client, seconds) if len(analysis.by_client) > 1 else "",
            _logs(analysis),
        )
    )
    return document(_title(analysis), body, charts)


def intervals_of(analysis: Analysis) -> list[Interval]:
    """The slices of an analysis, in seconds since its window began."""
    begin = analysis.window.begin_ns
    return [
        Interval(start_s=(one.begin_ns - begin) / 1e9, seconds=one.seconds, tally=one.tally) for one in analysis.series
    ]


def _title(analysis: Analysis) -> str:
    names = [os.path.basename(log.path) or log.path for log in analysis.logs]
    return names[0] if len(names) == 1 else f"{many(len(names), 'operation log')}"


def _headline(analysis: Analysis, summary: Mapping[str, Any]) -> str:
    window = analysis.window
    when = ""
    if window.end_ns:
        begin, end = format_wall(window.begin_ns, 3), format_wall(window.end_ns, 3)
        when = f"Window of {format_duration(window.seconds)}, from {begin} to {end}."
    selected, rows = sum(log.selected for log in analysis.logs), sum(log.rows for log in analysis.logs)
    where = f"{number(selected)} of {number(rows)} rows of {many(len(analysis.logs), 'log')} count. {when}"
    total = summary["totals"].get(ALL)
    tiles = (
        f"<div class='tiles'>{''.join(total_tiles(total))}</div>"
        if total
        else "<p class='banner warn'>No call was selected.</p>"
    )
    warnings = "".join(f"<p class='banner warn'>{escape(text)}</p>" for text in _warnings(analysis))
    return (
        f"<header><p class='brand'>penstock analysis of operation logs</p><h1>{escape(_title(analysis))}</h1>"
        f"<p class='where'>{where}</p>{warnings}</header>{tiles}"
    )


def _warnings(analysis: Analysis) -> Iterator[str]:
    bad = sum(log.bad_rows for log in analysis.logs)
    if bad:
        yield f"{many(bad, 'malformed row')} left out."
    cut = [log.path for log in analysis.logs if log.cut_off]
    if cut:
        yield f"Cut off in the middle, every whole row counted: {', '.join(cut[:5])}{', …' if len(cut) > 5 else ''}."
    if analysis.window.overlap < 1:
        share = 100 * analysis.window.overlap
        yield f"The logs overlap for {share:.1f} % of the time that any of them covers."


def _segments(analysis: Analysis) -> str:
    rows = []
    for operation in analysis.tally.operations():
        found = analysis.segments((operation,))
        if found is not None:
            for word, one in (("fastest", found.fastest), ("median", found.median), ("slowest", found.slowest)):
                rows.append(_segment_row(analysis, operation, word, one))
    if not rows:
        return ""
    columns = [("Operation", ""), ("Stretch", ""), ("Begins", ""), ("Lasts", ""), ("Count", ""), ("Rate", "ops/s")]
    columns += [("Throughput", "MiB/s"), ("p50", "µs"), ("p99", "µs"), ("Errors", "")]
    note = (
        "<p class='note'>Equal stretches of time, ranked by throughput, or by rate where nothing is moved. Good is a"
        " slowest stretch close to the fastest.</p>"
    )
    return section("Fastest, median and slowest stretch", table(columns, rows, words=2) + note)


def _segment_row(analysis: Analysis, operation: str, word: str, one: Slice) -> list[str]:
    cell, seconds = one.tally.operation(operation), one.seconds
    return [
        escape(operation),
        word,
        format_duration(max(one.begin_ns - analysis.window.begin_ns, 0) / 1e9),
        format_duration(seconds),
        number(cell.count),
        number(cell.count / seconds if seconds else None),
        number(cell.nbytes / seconds / 2**20 if seconds else None),
        microseconds_of(cell.service, 50),
        microseconds_of(cell.service, 99),
        error_count(cell.errors),
    ]


def _logs(analysis: Analysis) -> str:
    shown = analysis.logs[:_MOST_LOGS]
    columns = [("Log", ""), ("Columns", ""), ("First start", ""), ("Rows", ""), ("Counted", ""), ("Malformed", "")]
    columns += [("Within the window", "")]
    more = len(analysis.logs) - len(shown)
    note = f"<p class='note'>{many(more, 'more log')}.</p>" if more else ""
    return section("Logs", table(columns, [_log_row(log) for log in shown], words=3) + note)


def _log_row(log: LogFacts) -> list[str]:
    began = "\N{EN DASH}" if log.first_start_ns is None else format_wall(log.first_start_ns, 3)
    return [
        f"<span class='long path'>{escape(log.path)}</span>",
        f"<span class='long'>{escape(' '.join(log.columns))}</span>",
        began,
        number(log.rows),
        number(log.selected),
        error_count(log.bad_rows),
        f"{100 * log.overlap:.1f}&nbsp;%",
    ]
