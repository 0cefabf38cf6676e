"""Recorded against replayed: what the log says of the calls, and what they took when they were replayed."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from penstock.quantities import format_duration
from penstock.report.charts import Chart, distribution_chart
from penstock.report.findings import Finding
from penstock.report.outcome import Outcome, Replayed
from penstock.report.page import chart_grid
from penstock.report.pieces import error_count, facts_table, finding_line, number, section, table
from penstock.report.words import figure
from penstock.stats.buckets import LABELS
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Cell, Tally

__all__ = ["replay_charts", "replay_section"]

_MOST_CHARTS: Final = 4
_PERCENTS: Final = (50, 90, 99)
_ALIKE: Final = 1.1
_MEANING: Final = (
    "Where the replayed line lies below the recorded one, the replay's target was faster; where above, slower."
    " Response time counts from when a call was due, so it shows the queueing that service time leaves out."
)


def replay_charts(outcome: Outcome) -> list[Chart]:
    """Latency by percentile of the most frequent operations, recorded and replayed; none for what is no replay."""
    if outcome.replay is None:
        return []
    recorded, replayed = outcome.replay.recorded, outcome.totals
    both = [name for name in replayed.operations() if recorded.operation(name).count]
    names = sorted(both, key=lambda name: -replayed.operation(name).count)[:_MOST_CHARTS]
    charts: list[Chart] = []
    for name in names:
        mine = replayed.operation(name)
        lines = [("recorded", recorded.operation(name).service), ("replayed", mine.service)]
        if mine.response.count:
            lines.append(("replayed response", mine.response))
        chart = distribution_chart(f"replay-{name}", f"{name}: recorded against replayed", lines)
        if chart is not None:
            finding = _against(name, recorded.operation(name).service, mine.service)
            charts.append(chart | {"meaning": "" if charts else _MEANING, "finding": finding})
    return charts


def replay_section(outcome: Outcome, charts: list[Chart]) -> str:
    """The whole comparison; empty for what is no replay."""
    replay = outcome.replay
    if replay is None:
        return ""
    speed = "as fast as possible" if replay.speed is None else f"at {figure(replay.speed)} times the recorded speed"
    took = f"recorded in {format_duration(replay.recorded_seconds)}, replayed in"
    took += f" {format_duration(outcome.measured_seconds)}"
    head = f"<p class='note'>Log <code>{escape(replay.log)}</code>, {speed}; {took}.</p>"
    ids = [chart["id"] for chart in charts]
    rows = list(_rows(replay.recorded, outcome.totals))
    detailed = list(_bucket_rows(replay.recorded, outcome.totals))
    by_size = f"<details><summary>By object size</summary>{table(_columns('Size'), detailed, words=2)}</details>"
    return section(
        "Recorded against replayed",
        head
        + finding_line(_overall(replay, outcome))
        + table(_columns(), rows)
        + chart_grid(charts, ids)
        + (by_size if len(detailed) > len(rows) else "")
        + _facts(replay),
    )


def _columns(*extra: str) -> list[tuple[str, str]]:
    columns = [("Operation", ""), *((title, "") for title in extra)]
    columns += [("Recorded", "calls"), ("Replayed", "calls"), ("Failed then", ""), ("Failed now", "")]
    for percent in _PERCENTS:
        columns += [(f"p{percent} recorded", "µs"), (f"p{percent} replayed", "µs"), ("change", "%")]
    return columns


def _rows(recorded: Tally, replayed: Tally) -> Iterator[list[str]]:
    names = replayed.operations() + [name for name in recorded.operations() if name not in replayed.operations()]
    for name in names:
        yield [escape(name), *_cells(recorded.operation(name), replayed.operation(name))]
    if len(names) > 1:
        yield ["<strong>All</strong>", *_cells(recorded.roll_up(ALL), replayed.roll_up(ALL))]


def _bucket_rows(recorded: Tally, replayed: Tally) -> Iterator[list[str]]:
    order = replayed.operations() + recorded.operations()
    keys = sorted(set(recorded.cells) | set(replayed.cells), key=lambda key: (order.index(key[0]), key[1]))
    for key in keys:
        then, now = recorded.cells.get(key, Cell()), replayed.cells.get(key, Cell())
        yield [escape(key[0]), LABELS[key[1]], *_cells(then, now)]


def _cells(recorded: Cell, replayed: Cell) -> Iterator[str]:
    yield from (number(recorded.count), number(replayed.count))
    yield from (error_count(recorded.errors), error_count(replayed.errors))
    for then, now in zip(recorded.service.percentiles(_PERCENTS), replayed.service.percentiles(_PERCENTS), strict=True):
        yield number(then / 1000 if recorded.count else None)
        yield number(now / 1000 if replayed.count else None)
        yield f"{100 * (now / then - 1):+.1f}" if recorded.count and replayed.count and then else "\N{EN DASH}"


def _facts(replay: Replayed) -> str:
    counts = facts_table({name: number(count) for name, count in replay.counts.items()})
    settings = facts_table(replay.settings)
    return "".join(
        f"<details{opened}><summary>{title}</summary>{content}</details>"
        for title, content, facts, opened in (
            ("Rows of the log, and what became of them", counts, replay.counts, " open"),
            ("Settings of the replay", settings, replay.settings, ""),
        )
        if facts
    )


def _against(name: str, recorded: Histogram, replayed: Histogram) -> Finding | None:
    if not (recorded.count and replayed.count):
        return None
    parts = []
    slower = False
    for percent, then, now in zip(
        (50, 99), recorded.percentiles((50, 99)), replayed.percentiles((50, 99)), strict=True
    ):
        ratio = max(now, 1) / max(then, 1)
        slower = slower or ratio > _ALIKE
        word = (
            "about the same"
            if 1 / _ALIKE <= ratio <= _ALIKE
            else f"{figure(ratio)} times as long"
            if ratio > 1
            else f"{figure(1 / ratio)} times faster"
        )
        parts.append(
            f"p{percent} {format_duration(then / 1e9)} recorded, {format_duration(now / 1e9)} replayed ({word})"
        )
    return Finding("warn" if slower else "good", f"{name}: {'; '.join(parts)}.")


def _overall(replay: Replayed, outcome: Outcome) -> Finding | None:
    return _against("All operations", replay.recorded.roll_up(ALL).service, outcome.totals.roll_up(ALL).service)
