"""The result on the terminal, once a run is over."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

from penstock.quantities import format_bytes, format_count, format_duration, format_rate
from penstock.report.outcome import Outcome
from penstock.report.sections import STATUS_WORDS
from penstock.report.text import printable, round_rate
from penstock.report.verified import describe_verification
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Cell

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["print_summary", "summary_table"]

_COLUMNS: Final = ("operation", "count", "ops/s", "throughput", "mean", "p50", "p90", "p99", "p99.9", "max", "errors")
_PERCENTS: Final = (50, 90, 99, 99.9)
_STYLES: Final = {"good": "green", "warn": "yellow", "bad": "red"}
_MOST_ERRORS: Final = 5
_PLAIN_WIDTH: Final = 140


def print_summary(
    outcome: Outcome, report: str | os.PathLike[str] | None = None, *, stream: TextIO | None = None
) -> None:
    """Print the summary to ``stream``, by default standard output, and where the report lies."""
    from rich.console import Console

    target = sys.stdout if stream is None else stream
    width = None if target.isatty() else _PLAIN_WIDTH
    console = Console(file=target, highlight=False, markup=False, width=width)
    console.print(summary_table(outcome))
    if report is not None:
        console.print(f"report: {printable(os.fspath(report))}", soft_wrap=True)


def summary_table(outcome: Outcome) -> RenderableType:
    """How the run ended, a row for each operation, the most frequent errors and the workers that were lost."""
    from rich.console import Group
    from rich.text import Text

    kind, word, meaning = STATUS_WORDS[outcome.status]
    head = Text.assemble((f"{word}", f"bold {_STYLES[kind]}"), f"  {printable(outcome.name)}")
    if outcome.reason:
        head.append(f": {printable(outcome.reason)}")
    parts: list[RenderableType] = [head]
    parts.extend(Text(printable(line)) for line in (meaning, outcome.verdict) if line)
    parts.append(_operations(outcome) if outcome.totals.cells else Text("Nothing was measured."))
    parts.extend(Text(line) for line in _remarks(outcome))
    return Group(*parts)


def _operations(outcome: Outcome) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    window = f"measured for {format_duration(outcome.measured_seconds)}; latencies are service times"
    table = Table(box=SIMPLE_HEAD, caption=window, caption_justify="left")
    for place, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    operations = outcome.totals.operations()
    for name in operations:
        table.add_row(*_row(name, outcome.totals.operation(name), outcome.measured_seconds))
        response = outcome.totals.operation(name).response
        if response.count:
            table.add_row(f"{name} response", "", "", "", *_latencies(response), "", style="dim")
    if len(operations) > 1:
        table.add_row(*_row(ALL, outcome.totals.roll_up(ALL), outcome.measured_seconds), style="bold")
    return table


def _row(name: str, cell: Cell, seconds: float) -> tuple[str, ...]:
    rates = ("-", "-")
    if seconds > 0:
        rate = cell.count / seconds
        moved = format_rate(cell.nbytes / seconds) if cell.nbytes else "-"
        rates = (format_count(round_rate(rate)), moved)
    return (name, f"{cell.count:,}", *rates, *_latencies(cell.service), f"{cell.errors:,}")


def _latencies(histogram: Histogram) -> tuple[str, ...]:
    if not histogram.count:
        return ("-",) * (len(_PERCENTS) + 2)
    values = (histogram.mean, *histogram.percentiles(_PERCENTS), histogram.maximum)
    return tuple(format_duration(value / 1e9) for value in values)


def _remarks(outcome: Outcome) -> list[str]:
    remarks = []
    for phase in outcome.phases:
        failed = f", {phase.failed:,} failed" if phase.failed else ""
        made = f"{phase.objects_made:,} objects"
        if phase.nbytes:
            made += f", {format_bytes(phase.nbytes)}"
        found = f"; {phase.objects_found:,} were there" if phase.objects_found else ""
        remarks.append(f"{printable(phase.name)}: {made} in {format_duration(phase.seconds)}{found}{failed}")
    if outcome.warmup_operations:
        remarks.append(f"warm-up: {outcome.warmup_operations:,} operations kept out")
    remarks.extend(printable(line) for line in describe_verification(outcome))
    entries = outcome.errors.most_frequent()
    for entry in entries[:_MOST_ERRORS]:
        remarks.append(
            f"{entry.count:,} times {entry.operation} {printable(entry.text)} (such as {printable(entry.example)})"
        )
    if len(entries) > _MOST_ERRORS:
        remarks.append(f"and {len(entries) - _MOST_ERRORS} other errors, in result.json")
    for worker in outcome.lost_workers:
        remarks.append(f"worker {worker.rank} on {printable(worker.host)} was lost: {printable(worker.lost or '')}")
    remarks.extend(f"note: {printable(note)}" for note in outcome.notes)
    if outcome.op_log is not None:
        counts = ", ".join(f"{name} {printable(str(value))}" for name, value in outcome.op_log.items())
        remarks.append(f"op-log: {counts}")
    return remarks
