"""The result on the terminal, once a run is over."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from penstock.quantities import format_bytes, format_count, format_duration, format_rate
from penstock.report.crewfindings import (
    Reading,
    clock_finding,
    lost_sentences,
    rate_finding,
    read_workers,
    skew_finding,
    tail_finding,
)
from penstock.report.findings import Finding
from penstock.report.job import Job
from penstock.report.jobs import FIGURES, spreads_of
from penstock.report.outcome import Outcome, PhaseOutcome
from penstock.report.sections import STATUS_WORDS, steady_text
from penstock.report.text import printable, round_rate
from penstock.report.verified import describe_verification
from penstock.stats.histogram import Histogram
from penstock.stats.spread import LEVEL
from penstock.stats.tally import ALL, Cell

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["print_job", "print_summary", "summary_table"]

_COLUMNS: Final = ("operation", "count", "ops/s", "throughput", "mean", "p50", "p90", "p99", "p99.9", "max", "errors")
_PERCENTS: Final = (50, 90, 99, 99.9)
_STYLES: Final = {"good": "green", "warn": "yellow", "bad": "red"}
_MOST_ERRORS: Final = 5
_MOST_LOST: Final = 10
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


def print_job(job: Job, report: str | os.PathLike[str], *, stream: TextIO | None = None) -> None:
    """The same for a run of several legs: each of them, the spread over repeats, and what belongs to none."""
    from rich.console import Console
    from rich.text import Text

    target = sys.stdout if stream is None else stream
    console = Console(file=target, highlight=False, markup=False, width=None if target.isatty() else _PLAIN_WIDTH)
    kind, word, meaning = STATUS_WORDS[job.status]
    head = Text.assemble((word, f"bold {_STYLES[kind]}"), f"  {printable(job.name)}")
    if job.reason:
        head.append(f": {printable(job.reason)}")
    console.print(head)
    if any(leg.repeat > 1 for leg in job.legs):
        console.print(_legs_table(job))
        console.print(_spread_table(job))
    else:
        for leg in job.legs:
            console.print(summary_table(leg.outcome))
    lines = [meaning, *_phases(job.phases)]
    if job.missing:
        lines.append(f"not begun, or without figures: {'; '.join(job.missing)}")
    lines += [f"note: {note}" for note in job.notes]
    for line in (*filter(None, lines), *_op_log(job.op_log), f"report: {os.fspath(report)}"):
        console.print(printable(line), soft_wrap=True)


def _legs_table(job: Job) -> Table:
    """A row for each leg, all operations together."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for place, column in enumerate(("part", "", "measured", *_COLUMNS[1:4], "p50", "p99", "errors", "limit")):
        table.add_column(column, justify="right" if 1 < place < 9 else "left", no_wrap=True)
    for leg in job.legs:
        outcome, cell = leg.outcome, leg.outcome.totals.roll_up(ALL)
        row = _row(ALL, cell, outcome.measured_seconds)
        kind, word, _ = STATUS_WORDS[outcome.status]
        table.add_row(
            printable(leg.label),
            word,
            format_duration(outcome.measured_seconds),
            *row[1:4],
            *(row[place] for place in (5, 7, 10)),
            outcome.limit,
            style=None if kind == "good" else _STYLES[kind],
        )
    return table


def _spread_table(job: Job) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    caption = f"over the repeats; the interval is that of the mean, at {100 * LEVEL:g} %"
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    for place, column in enumerate(("stage", "operation", "figure", "mean", "stdev", "min", "max", "interval")):
        table.add_column(column, justify="right" if place > 2 else "left", no_wrap=True)
    for stage in job.stages:
        for operation, figures in spreads_of(job, stage).items():
            for name, spread in figures.items():
                numbers = (_figure(value) for value in (spread.mean, spread.stdev, spread.minimum, spread.maximum))
                # No figure is negative, whatever a few repeats make of its interval.
                low = None if spread.low is None else max(0.0, spread.low)
                interval = "-" if low is None else f"{_figure(low)} to {_figure(spread.high)}"
                table.add_row(printable(stage), operation, FIGURES[name], *numbers, interval)
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


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
    remarks = [*_phases(outcome.phases), *filter(None, (steady_text(outcome),))]
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
    remarks.extend(printable(line) for line in _workers(outcome))
    remarks.extend(f"note: {printable(note)}" for note in outcome.notes)
    return [*remarks, *_op_log(outcome.op_log)]


def _workers(outcome: Outcome) -> list[str]:
    """Of hosts how they differ and whether they began together; of all who was lost."""
    told = []
    if outcome.hosts:
        readings = read_workers(outcome)
        processes = sum(worker.processes for worker in outcome.workers)
        told.append(f"workers: {len(readings)} with {processes} processes")
        told.extend(finding.text for finding in _apart(outcome, readings) if finding is not None)
    return [*told, *lost_sentences(outcome, _MOST_LOST)]


def _apart(outcome: Outcome, readings: Sequence[Reading]) -> list[Finding | None]:
    """How they compare and how they began, and what else is worth a look."""
    odd = (tail_finding(readings), clock_finding(outcome.workers))
    worth = (finding for finding in odd if finding is not None and finding.mark == "warn")
    return [rate_finding(readings), *worth, skew_finding(outcome.workers)]


def _phases(phases: Sequence[PhaseOutcome]) -> list[str]:
    remarks = []
    for phase in phases:
        failed = f", {phase.failed:,} failed" if phase.failed else ""
        made = f"{phase.objects_made:,} objects"
        if phase.nbytes:
            made += f", {format_bytes(phase.nbytes)}"
        found = f"; {phase.objects_found:,} were there" if phase.objects_found else ""
        remarks.append(f"{printable(phase.name)}: {made} in {format_duration(phase.seconds)}{found}{failed}")
    return remarks


def _op_log(op_log: Mapping[str, Any] | None) -> list[str]:
    if op_log is None:
        return []
    # Where there is no path, notes say where the parts are.
    path = f"{printable(str(op_log['path']))}, " if "path" in op_log else ""
    rows = int(op_log.get("written", op_log.get("rows", 0)))
    of = f" of {op_log['accepted']:,}" if op_log.get("accepted", rows) != rows else ""
    dropped = f", {op_log['dropped']:,} dropped" if op_log.get("dropped") else ""
    return [f"op-log: {path}{rows:,}{of} rows{dropped}"]
