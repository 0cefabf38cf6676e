"""The report of several results, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from penstock.errors import UsageError
from penstock.quantities import format_duration
from penstock.report.findings import Finding
from penstock.report.outcome import Outcome
from penstock.report.overlay import Drawn, overlay_charts
from penstock.report.page import charts_section, document, needs_script
from penstock.report.pieces import (
    badge,
    bar_of,
    code_block,
    error_count,
    finding_line,
    microseconds_of,
    number,
    section,
    table,
)
from penstock.report.results import Result
from penstock.report.sections import STATUS_WORDS
from penstock.report.summary import format_wall
from penstock.report.words import figure
from penstock.stats.tally import ALL, Cell

__all__ = ["MOST_RESULTS", "labels_of", "render_several"]

#: Lines in one chart that can be told apart.
MOST_RESULTS: Final = 28
_ALIKE: Final = 1.05
_TIME_CHARTS: Final = ("rate", "throughput", "p50", "p99", "errors")


def render_several(results: Sequence[Result]) -> str:
    """The document. Raises UsageError for more than MOST_RESULTS."""
    if len(results) > MOST_RESULTS:
        raise UsageError(f"{len(results)} results are more than one report can show; name at most {MOST_RESULTS}")
    labels = labels_of(results)
    charts = overlay_charts(
        [
            Drawn(label, result.outcome.totals, result.outcome.intervals)
            for label, result in zip(labels, results, strict=True)
        ]
    )
    distributions = [chart["id"] for chart in charts if chart["id"] not in _TIME_CHARTS]
    body = "".join(
        (
            _headline(results),
            _overview(labels, results),
            _by_operation(labels, results),
            needs_script(charts),
            charts_section("Over time", charts, _TIME_CHARTS, how=True),
            charts_section("Distribution", charts, distributions),
            _configurations(labels, results),
        )
    )
    return document(f"{len(results)} results", body, charts)


def labels_of(results: Sequence[Result]) -> list[str]:
    """What each is called: the name of its run where all differ, else that of its directory, else numbered too."""
    names = [result.outcome.name for result in results]
    if len(set(names)) < len(names):
        names = [result.directory.resolve().name.removeprefix("penstock-") for result in results]
    if len(set(names)) < len(names):
        names = [f"{place} {name}" for place, name in enumerate(names, 1)]
    return names


def _headline(results: Sequence[Result]) -> str:
    hosts = {worker.host for result in results for worker in result.outcome.workers}
    where = f"on {', '.join(sorted(hosts)[:8])}" if hosts else ""
    return (
        "<header><p class='brand'>penstock report of several runs</p>"
        f"<h1>{len(results)} results</h1><p class='where'>Side by side, {escape(where)}</p></header>"
    )


def _overview(labels: Sequence[str], results: Sequence[Result]) -> str:
    cells = [result.outcome.totals.roll_up(ALL) for result in results]
    rates = [_rate(cell.count, result.outcome) for cell, result in zip(cells, results, strict=True)]
    fastest = max((rate for rate in rates if rate is not None), default=0.0)
    rows = []
    for label, result, cell, rate in zip(labels, results, cells, rates, strict=True):
        outcome = result.outcome
        kind, word, _ = STATUS_WORDS[outcome.status]
        rows.append(
            [
                escape(label),
                badge(word, kind),
                f"<code class='long'>{escape(outcome.target)}</code>",
                format_wall(outcome.measured_from_ns or outcome.started_ns, 0),
                format_duration(outcome.measured_seconds),
                bar_of((rate or 0.0) / fastest if fastest else 0.0),
                *_figures(cell, outcome),
                number(outcome.client_cpu_seconds),
            ]
        )
    columns = [
        ("Run", ""),
        ("State", ""),
        ("Target", ""),
        ("Began", ""),
        ("Measured", ""),
        ("Rate beside the highest", ""),
    ]
    columns += [*_FIGURES, ("Client CPU", "s")]
    verdicts = "".join(
        f"<li>{escape(label)}: {escape(result.outcome.verdict)}</li>"
        for label, result in zip(labels, results, strict=True)
        if result.outcome.verdict
    )
    told = f"<ul class='notes'>{verdicts}</ul>" if verdicts else ""
    return section("All operations", finding_line(_best(labels, rates)) + table(columns, rows, words=3) + told)


_FIGURES: Final = [
    ("Count", ""), ("Rate", "ops/s"), ("Throughput", "MiB/s"), ("mean", "µs"), ("p50", "µs"), ("p99", "µs"),
    ("p99.9", "µs"), ("max", "µs"), ("Errors", ""),
]  # fmt: skip


def _figures(cell: Cell, outcome: Outcome) -> list[str]:
    service = cell.service
    return [
        number(cell.count),
        number(_rate(cell.count, outcome)),
        number(_rate(cell.nbytes / 2**20, outcome)),
        number(service.mean / 1000 if service.count else None),
        *(microseconds_of(service, percent) for percent in (50, 99, 99.9, 100)),
        error_count(cell.errors),
    ]


def _rate(amount: float, outcome: Outcome) -> float | None:
    return amount / outcome.measured_seconds if outcome.measured_seconds > 0 else None


def _best(labels: Sequence[str], rates: Sequence[float | None]) -> Finding | None:
    known = {label: rate for label, rate in zip(labels, rates, strict=True) if rate}
    if len(known) < 2:
        return None
    high, low = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    if known[high] <= _ALIKE * known[low]:
        return Finding(
            "plain", f"the rates are alike: from {figure(known[low])} ({low}) to {figure(known[high])} ops/s ({high})."
        )
    more = 100 * (known[high] / known[low] - 1)
    words = f"the highest rate is that of {high}, {figure(known[high])} ops/s, {figure(more)} % above {low},"
    return Finding("plain", f"{words} the lowest, with {figure(known[low])} ops/s.")


def _by_operation(labels: Sequence[str], results: Sequence[Result]) -> str:
    operations = list(dict.fromkeys(name for result in results for name in result.outcome.totals.operations()))
    rows = []
    for operation in operations:
        for label, result in zip(labels, results, strict=True):
            cell = result.outcome.totals.operation(operation)
            if cell.count or cell.errors:
                rows.append([escape(operation), escape(label), *_figures(cell, result.outcome)])
    return section("By operation", table([("Operation", ""), ("Run", ""), *_FIGURES], rows, words=2)) if rows else ""


def _configurations(labels: Sequence[str], results: Sequence[Result]) -> str:
    return section(
        "Configurations",
        "".join(
            f"<details><summary>{escape(label)}</summary>"
            f"<p class='note'><code>{escape(result.outcome.command_line)}</code><br>{escape(str(result.directory))}</p>"
            f"{code_block(result.config_text)}</details>"
            for label, result in zip(labels, results, strict=True)
        ),
    )
