"""Endpoints and clients side by side: who was slower than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from penstock.quantities import format_bytes, format_duration
from penstock.report.findings import Finding
from penstock.report.outcome import EndpointUse
from penstock.report.pieces import (
    badge,
    bar,
    bar_of,
    error_count,
    finding_line,
    microseconds_of,
    number,
    section,
    table,
)
from penstock.report.words import figure, many
from penstock.stats.tally import Cell, Tally

__all__ = ["balance_section", "parties_finding", "parties_section"]

_MOST_ROWS: Final = 120
_ALIKE: Final = 1.3
_FEWEST: Final = 100  # calls, for a p99 to be compared


def parties_section(title: str, noun: str, tallies: Mapping[str, Tally], seconds: float) -> str:
    """A row for each ``noun`` (endpoint, client) and operation, the slowest first among those of one operation; empty
    if there is none.
    """
    cells = {
        (name, operation): tally.operation(operation)
        for name, tally in tallies.items()
        for operation in tally.operations()
    }
    if not cells:
        return ""
    order = list(dict.fromkeys(operation for tally in tallies.values() for operation in tally.operations()))
    ranked = sorted(cells, key=lambda key: (order.index(key[1]), -cells[key].service.percentile(99)))
    shown = ranked[:_MOST_ROWS]
    slowest: dict[str, int] = {}
    for key in shown:
        slowest[key[1]] = max(slowest.get(key[1], 0), cells[key].service.percentile(99))
    rows = [_row(key, cells[key], seconds, slowest[key[1]]) for key in shown]
    columns = [(noun.capitalize(), ""), ("Operation", ""), ("Count", ""), ("Rate", "ops/s"), ("Throughput", "MiB/s")]
    columns += [("mean", "µs"), ("p50", "µs"), ("p99", "µs"), ("p99 beside the slowest", ""), ("max", "µs")]
    left = f"<p class='note'>{len(ranked) - len(shown)} more rows are left out.</p>" if len(ranked) > len(shown) else ""
    content = finding_line(parties_finding(noun, tallies)) + table([*columns, ("Errors", "")], rows, words=2) + left
    return section(title, content)


def balance_section(uses: Sequence[EndpointUse]) -> str:
    """How calls were spread over the endpoints of ``multi_endpoint``; empty without it."""
    if not uses:
        return ""
    total = sum(use.requests for use in uses)
    rows = [
        [
            f"<code>{escape(use.uri)}</code>",
            bar(use.requests / total if total else 0.0),
            number(use.requests),
            format_bytes(use.bytes_read),
            format_bytes(use.bytes_written),
            *(microseconds_of(use.latency, percent) for percent in (50, 99, 100)),
            error_count(use.errors),
            number(use.ejections),
            badge("in use", "good") if use.healthy else badge("left out", "bad"),
        ]
        for use in uses
    ]
    columns = [("Endpoint", ""), ("Share of requests", ""), ("Requests", ""), ("Read", ""), ("Written", "")]
    columns += [("p50", "µs"), ("p99", "µs"), ("max", "µs"), ("Errors", ""), ("Ejections", ""), ("At the end", "")]
    note = "<p class='note'>Requests below the layers of the client, those of the warm-up included.</p>"
    return section("Balance over endpoints", finding_line(_balance_finding(uses)) + table(columns, rows) + note)


def _balance_finding(uses: Sequence[EndpointUse]) -> Finding | None:
    requests = [use.requests for use in uses]
    if len(uses) < 2 or not sum(requests):
        return None
    out = [use.uri for use in uses if use.ejections]
    mean = sum(requests) / len(requests)
    most = max(abs(count / mean - 1) for count in requests)
    text = f"requests per endpoint are within {figure(100 * most)} % of their mean"
    if out:
        return Finding("warn", f"{text}; left out for a while because of failures: {', '.join(out)}.")
    return Finding("plain", f"{text}.")


def _row(key: tuple[str, str], cell: Cell, seconds: float, slowest: int) -> list[str]:
    service = cell.service
    middle, p99 = service.percentiles((50, 99))
    known = service.count > 0
    return [
        escape(key[0] or "(none)"),
        escape(key[1]),
        number(cell.count),
        number(cell.count / seconds if seconds > 0 else None),
        number(cell.nbytes / seconds / 2**20 if seconds > 0 else None),
        *(number(value / 1000 if known else None) for value in (service.mean, middle, p99)),
        bar_of(p99 / slowest if slowest and known else 0.0),
        number(service.maximum / 1000 if known else None),
        error_count(cell.errors),
    ]


def parties_finding(noun: str, tallies: Mapping[str, Tally]) -> Finding | None:
    """Whether they are alike, judged by the operation that most calls were of."""
    if len(tallies) < 2:
        return Finding("plain", f"There was one {noun}, so all figures are its own.") if tallies else None
    sums: dict[str, int] = {}
    for tally in tallies.values():
        for operation in tally.operations():
            sums[operation] = sums.get(operation, 0) + tally.operation(operation).count
    operation = max(sums, key=lambda name: sums[name])
    p99 = {
        name: tally.operation(operation).service.percentile(99)
        for name, tally in tallies.items()
        if tally.operation(operation).count >= _FEWEST
    }
    if len(p99) < 2:
        return Finding("plain", f"Too few calls of {operation} on each {noun} to compare their p99.")
    slow, fast = max(p99, key=lambda name: p99[name]), min(p99, key=lambda name: p99[name])
    ratio = p99[slow] / max(p99[fast], 1)
    span = f"{format_duration(p99[fast] / 1e9)} ({fast}) to {format_duration(p99[slow] / 1e9)} ({slow})"
    if ratio <= _ALIKE:
        return Finding("good", f"{many(len(p99), noun)} alike: the p99 of {operation} is from {span}.")
    return Finding(
        "warn", f"{slow} is slower than the others: the p99 of {operation} is from {span}, {figure(ratio)} times."
    )
