"""An analysis on the terminal: tables that are broken into as many as fit the width."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TextIO

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from penstock.analysis.exporting.tables import Row, analysis_rows, group_rows, segment_rows
from penstock.analysis.values import Analysis
from penstock.quantities import format_bytes, format_duration
from penstock.report.text import printable
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Tally

__all__ = ["plain_width", "print_analysis"]

_GAP: Final = "  "
_MEANING: Final = (
    "Rates are over the window, a MiB is 2^20 bytes; latencies are of calls that succeeded. Over all sizes GET is GET "
    "and GET_RANGE, META all but those and PUT."
)
_MOST_ERRORS: Final = 10
_MOST_GROUPS: Final = 40
_LATENCIES: Final[Mapping[str, Callable[[Histogram], float]]] = {
    "mean": lambda each: each.mean,
    "min": lambda each: each.minimum,
    "p50": lambda each: each.percentile(50),
    "p90": lambda each: each.percentile(90),
    "p95": lambda each: each.percentile(95),
    "p99": lambda each: each.percentile(99),
    "p99.9": lambda each: each.percentile(99.9),
    "max": lambda each: each.maximum,
    "stdev": lambda each: each.stdev,
}


@attrs.frozen
class _Column:
    title: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.cells)))


def plain_width(stream: TextIO) -> int | None:
    """How wide lines may be: None as wide as the terminal; without one, as wide as they are."""
    return None if stream.isatty() else 10_000


def print_analysis(
    analysis: Analysis,
    *,
    per_client: bool = False,
    per_endpoint: bool = False,
    segments: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Print to ``stream``, by default standard output; lines of a terminal are never broken, others never cut."""
    target = sys.stdout if stream is None else stream
    console = Console(file=target, highlight=False, markup=False, width=plain_width(target))
    for line in _head(analysis):
        console.print(Text(line))
    rows = _worth_showing(list(analysis_rows(analysis)))
    _print(console, _calls(rows), keys=2, roll_ups=sum(row.size == ALL for row in rows))
    console.print(Text(_MEANING, style="dim"))
    groups = (("client", analysis.by_client, per_client), ("endpoint", analysis.by_endpoint, per_endpoint))
    for word, tallies, wanted in groups:
        if wanted:
            _print_groups(console, word, tallies, analysis.window.seconds)
    if segments:
        console.print(Text("segments: stretches of time by MiB/s, or by ops/s where nothing is moved", style="bold"))
        _print(console, _segments(analysis), keys=2)
    for line in _errors(analysis):
        console.print(Text(line))


def _head(analysis: Analysis) -> Iterator[str]:
    """The window, the logs and what was left out."""
    from penstock.oplog.columns import format_time

    window, logs = analysis.window, analysis.logs
    begin, end = (format_time(time)[:23] + "Z" for time in (window.begin_ns, window.end_ns))
    yield f"window: {format_duration(window.seconds)}, {begin} to {end}"
    for log in logs:
        share = "" if len(logs) == 1 else f", {100 * log.overlap:.3g} % of its time in the window that all cover"
        yield f"{printable(log.path)}: {log.selected:,} of {log.rows:,} rows counted{share}"
    if len(logs) > 1:
        which = "the time that all logs cover" if analysis.selection.common_window else "all time that any log covers"
        yield f"{len(logs)} logs: {which}; together they cover {100 * window.overlap:.3g} % of the whole"
    if analysis.tally.warmup:
        yield f"warm-up: {analysis.tally.warmup:,} calls left out"


def _worth_showing(rows: Sequence[Row]) -> list[Row]:
    """Without roll-ups of a single row, which stands above already."""
    shown = [row for row in rows if row.size != ALL]
    for row in rows:
        if row.size == ALL and not any(row.cell == other.cell for other in shown):
            shown.append(row)
    return shown


def _calls(rows: Sequence[Row]) -> list[_Column]:
    """Every figure of every row; latencies in one unit for all, so that they can be compared by eye."""
    unit, scale = _unit([row.cell.service for row in rows])
    columns = [
        _Column("operation", [row.operation for row in rows]),
        _Column("size", ["all" if row.size == ALL else row.size for row in rows]),
        _Column("calls", [f"{row.cell.count:,}" for row in rows]),
        _Column("errors", [f"{row.cell.errors:,}" for row in rows]),
        _Column("ops/s", [_rate(row.cell.count, row.seconds) for row in rows]),
        _Column("MiB/s", [_rate(row.cell.nbytes / 2**20, row.seconds) for row in rows]),
        _Column("mean size", [format_bytes(row.cell.mean_bytes) if row.cell.count else "-" for row in rows]),
    ]
    if any(row.span is not None for row in rows):
        columns.append(_Column("threads", ["-" if row.span is None else f"{row.span.threads:,}" for row in rows]))
    services = [row.cell.service for row in rows]
    columns += [
        _Column(f"{name} {unit}", [_number(figure(each) / scale, each) for each in services])
        for name, figure in _LATENCIES.items()
    ]
    firsts = [row.cell.first_byte for row in rows]
    if any(each.count for each in firsts):
        for name, percent in (("p50", 50), ("p99", 99)):
            texts = [_number(each.percentile(percent) / scale, each) for each in firsts]
            columns.append(_Column(f"TTFB {name} {unit}", texts))
    return columns


def _unit(histograms: Sequence[Histogram]) -> tuple[str, float]:
    """Milliseconds when no median is below one, else microseconds; with how many nanoseconds it is."""
    medians = [each.percentile(50) for each in histograms if each.count]
    return ("ms", 1e6) if medians and min(medians) >= 1_000_000 else ("µs", 1e3)


def _rate(amount: float, seconds: float) -> str:
    return _digits(amount / seconds) if seconds > 0 and amount else "-"


def _number(value: float, histogram: Histogram) -> str:
    return _digits(value) if histogram.count else "-"


def _digits(value: float) -> str:
    """Three digits that matter, or all before the point."""
    if value >= 99.95 or value == 0:
        return f"{value:,.0f}"
    if value < 0.01:
        return f"{value:.3g}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _print_groups(console: Console, word: str, tallies: Mapping[str, Tally], seconds: float) -> None:
    """A row for each client or endpoint and operation; of very many those with most calls."""
    names = sorted(tallies, key=lambda name: -(tallies[name].count + tallies[name].errors))[:_MOST_GROUPS]
    console.print(Text(f"by {word}", style="bold"))
    rows, labels = [], []
    for name in sorted(names):
        found = list(group_rows(tallies[name], seconds))
        found = found[:-1] if len(found) == 2 else found
        rows += found
        labels += [printable(name) or "(none)"] * len(found)
    columns = [_Column(word, labels), *_calls(rows)]
    del columns[2]  # the size, which is all sizes in every row
    _print(console, columns, keys=2)
    if len(names) < len(tallies):
        console.print(
            Text(f"{len(tallies) - len(names)} more with fewer calls; --tsv, --json and --xlsx have them all")
        )


def _segments(analysis: Analysis) -> list[_Column]:
    rows = list(segment_rows(analysis))
    services = [row.cell.service for row in rows]
    unit, scale = _unit(services)
    begins = [(row.one.begin_ns - analysis.window.begin_ns) / 1e9 for row in rows]
    return [
        _Column("operation", [row.operation for row in rows]),
        _Column("segment", [row.word for row in rows]),
        _Column("begins s", [f"{begin:.2f}" for begin in begins]),
        _Column("lasts s", [_digits(row.one.seconds) for row in rows]),
        _Column("calls", [f"{row.cell.count:,}" for row in rows]),
        _Column("errors", [f"{row.cell.errors:,}" for row in rows]),
        _Column("ops/s", [_rate(row.cell.count, row.one.seconds) for row in rows]),
        _Column("MiB/s", [_rate(row.cell.nbytes / 2**20, row.one.seconds) for row in rows]),
        *(
            _Column(f"{name} {unit}", [_number(each.percentile(percent) / scale, each) for each in services])
            for name, percent in (("p50", 50), ("p99", 99))
        ),
    ]


def _errors(analysis: Analysis) -> Iterator[str]:
    """The most frequent errors."""
    entries = analysis.errors.most_frequent()
    if not entries:
        yield "errors: none"
        return
    calls = "1 call" if analysis.errors.count == 1 else f"{analysis.errors.count:,} calls"
    yield f"errors: {calls} failed, which count in no rate and no latency"
    for entry in entries[:_MOST_ERRORS]:
        text, example = printable(entry.text), printable(entry.example)
        yield f"  {entry.count:,} {entry.operation}: {text} (such as {example})"
    if len(entries) > _MOST_ERRORS:
        yield f"  and {len(entries) - _MOST_ERRORS} other errors; --json and --xlsx have them all"


def _print(console: Console, columns: Sequence[_Column], *, keys: int, roll_ups: int = 0) -> None:
    """The columns in as many tables as the width needs; the first ``keys`` stand at the left of each.

    The last ``roll_ups`` rows stand below a line.
    """
    pending = list(columns[keys:])
    while pending:
        block = list(columns[:keys])
        width = sum(column.width + len(_GAP) for column in block)
        while pending and (len(block) == keys or width + len(_GAP) + pending[0].width <= console.width):
            width += pending[0].width + len(_GAP)
            block.append(pending.pop(0))
        console.print(Text(""))
        for line in _block(block, keys, roll_ups):
            console.print(line, no_wrap=True, crop=False, overflow="ignore")
    console.print(Text(""))


def _block(columns: Sequence[_Column], keys: int, roll_ups: int) -> Iterator[Text]:
    def line(cells: Sequence[str]) -> str:
        padded = []
        for place, (cell, column) in enumerate(zip(cells, columns, strict=True)):
            space = " " * (column.width - cell_len(cell))
            padded.append(cell + space if place < keys else space + cell)
        return _GAP.join(padded).rstrip()

    head = line([column.title for column in columns])
    yield Text(head, style="bold")
    count = len(columns[0].cells)
    for row in range(count):
        if roll_ups and row == count - roll_ups:
            yield Text("-" * cell_len(head), style="dim")
        yield Text(line([column.cells[row] for column in columns]))
