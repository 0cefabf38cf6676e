"""A comparison on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from penstock.analysis.comparing_rules import Finding
from penstock.analysis.comparing_values import Change, Comparison, Run
from penstock.analysis.comparing_words import change_text, rate_text
from penstock.cli.analyze_view import plain_width
from penstock.quantities import format_duration
from penstock.report.text import printable

__all__ = ["print_comparison", "undecided"]

_STYLES: Final = {"better": "green", "worse": "bold red", "too few data": "dim"}
_GAP: Final = "  "
_MOST_REASONS: Final = 3


def print_comparison(comparison: Comparison, findings: Sequence[Finding], stream: TextIO | None = None) -> None:
    """The sides, what makes them differ, a table for each row, how it was done, and last the verdict."""
    target = sys.stdout if stream is None else stream
    console = Console(file=target, highlight=False, markup=False, width=plain_width(target))
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        for run in side.runs:
            console.print(Text(f"{name}  {_run(run)}"))
    for text in comparison.differences:
        console.print(Text(f"differs: {printable(text)}", style="yellow"))
    for line in _table(comparison):
        console.print(line, no_wrap=True, crop=False, overflow="ignore")
    for text in (*_reasons(comparison.changes), *comparison.notes):
        console.print(Text(f"note: {printable(text)}", style="dim"))
    for text in undecided(findings):
        console.print(Text(f"undecided: {text}", style="yellow"))
    for finding in findings:
        if not finding.undecided:
            console.print(Text(f"FAILED: {finding.text}", style="bold red"))
    console.print(Text(comparison.sentence, style="bold"))


def _run(run: Run) -> str:
    failed = f", {run.tally.errors:,} failed" if run.tally.errors else ""
    return f"{printable(run.name)}: {run.tally.count:,} calls{failed} in {format_duration(run.seconds)}"


def _table(comparison: Comparison) -> Iterator[Text]:
    """A head, and then the rows of each operation and size under a line that names it."""
    head = ("", "A", "B", "change", f"{100 * comparison.level:g} % interval", "verdict")
    rows = [(change, _cells(change)) for change in comparison.changes]
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(head, *(cells for _, cells in rows), strict=True)]
    yield Text("")
    yield Text(_line(head, widths), style="dim")
    group: tuple[str, int | None] | None = None
    for change, cells in rows:
        if group != (change.operation, change.bucket):
            group = (change.operation, change.bucket)
            yield Text(change.operation if change.bucket is None else f"{change.operation} {change.size}", style="bold")
        yield Text.assemble(_line(cells[:-1], widths), (_GAP + cells[-1], _STYLES.get(change.verdict, "")))
    yield Text("")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name of a figure and the verdict at the left, figures at the right."""
    last = len(widths) - 1
    texts = [
        cell.ljust(width) if place in (0, last) else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return (_GAP + _GAP.join(texts)).rstrip()


def _reasons(changes: Sequence[Change]) -> Iterator[str]:
    """Why figures have no interval, the most frequent reasons."""
    labels: dict[str, list[str]] = {}
    for change in changes:
        if change.reason:
            labels.setdefault(change.reason, []).append(change.label)
    ordered = sorted(labels.items(), key=lambda item: -len(item[1]))
    for reason, found in ordered[:_MOST_REASONS]:
        yield f"too few data for {_first_of(found)}: {reason}"
    if len(ordered) > _MOST_REASONS:
        yield f"too few data for others too, for other reasons ({len(ordered) - _MOST_REASONS}; --json has them all)"


def _first_of(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


def _cells(change: Change) -> tuple[str, ...]:
    unit = " pts" if change.metric == "errors" else " %"
    interval = "-" if change.low is None else f"{change_text(change.low)} to {change_text(change.high)}"
    moved = "-" if change.change is None else f"{change_text(change.change)}{unit}"
    return (
        change.metric,
        _figure(change.metric, change.a),
        _figure(change.metric, change.b),
        moved,
        interval,
        change.verdict,
    )


def _figure(metric: str, value: float) -> str:
    """As :func:`penstock.analysis.comparing_words.figure_text`, without the unit that the line is named by."""
    if metric == "errors":
        return f"{value:.3g} %"
    return rate_text(value) if metric in ("ops/s", "MiB/s") else format_duration(value / 1e6)


def undecided(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each condition that can't be told and each reason."""
    labels: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if finding.undecided:
            labels.setdefault((finding.rule.text, finding.change.reason), []).append(finding.change.label)
    for (rule, reason), found in labels.items():
        yield f"{rule}: {_first_of(found)} can't be judged: {reason}"
