"""The tables of an analysis and of a comparison: what every form of them shows.

Names of columns say the unit: ``mibps`` is 2^20 bytes per second, ``us`` microseconds, ``pct`` percent, ``s`` seconds.
Cells are text, whole numbers, floats or None, which is empty. Latencies are of calls that succeeded, from start to
end; ``ttfb`` is from the start of a read to the first byte of its body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from penstock.analysis.comparing_values import Comparison
from penstock.analysis.values import Analysis, Slice, Span, members_of
from penstock.oplog.columns import format_time
from penstock.stats.buckets import LABELS
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Cell, Tally

__all__ = [
    "ROLL_UPS",
    "Cells",
    "Row",
    "SegmentRow",
    "Table",
    "analysis_rows",
    "analysis_tables",
    "by_stage",
    "comparison_tables",
    "group_rows",
    "one_table",
    "segment_rows",
]

#: The roll-ups over all sizes, in their order, and what stands for the number of a size bucket.
ROLL_UPS: Final = (("META", 97), ("GET", 98), ("PUT", 99), (ALL, 100))

Cells: TypeAlias = Sequence[str | int | float | None]

_PERCENTILES: Final = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}
_LATENCIES: Final = ("mean", "min", *_PERCENTILES, "max", "stdev")
_FIRST_BYTES: Final = ("p50", "p90", "p99")
_COLUMNS: Final = (
    *("operation", "size_bucket", "bucket_idx", "count", "errors", "bytes", "objects", "ops_per_sec"),
    *("throughput_mibps", "avg_bytes", "threads", *(f"{name}_us" for name in _LATENCIES)),
    *(*(f"ttfb_{name}_us" for name in _FIRST_BYTES), "first_start", "last_end"),
)
_SEGMENT_COLUMNS: Final = (
    *("operation", "segment", "by", "start", "seconds", "count", "errors", "ops_per_sec", "throughput_mibps"),
    *("p50_us", "p99_us"),
)


@attrs.frozen
class Table:
    """Rows under names of columns; ``title`` says of what."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Cells]


@attrs.frozen(kw_only=True)
class Row:
    """Calls of one kind. ``size`` is the name of a size bucket and ``number`` its number; of a sum over all sizes they
    are ``ALL`` and, of a roll-up, one of ROLL_UPS. ``seconds`` is the window, ``span`` None where it is not known.
    """

    operation: str
    size: str
    number: int
    cell: Cell
    seconds: float
    span: Span | None = None

    @property
    def cells(self) -> Cells:
        """One for each column."""
        cell, seconds = self.cell, self.seconds
        span = None if self.span is None else (self.span.first_start_ns, self.span.last_end_ns)
        return (
            *(self.operation, self.size, self.number, cell.count, cell.errors, cell.nbytes, cell.objects),
            *(_rate(cell.count, seconds), _rate(cell.nbytes / 2**20, seconds), _round(cell.mean_bytes)),
            None if self.span is None else self.span.threads,
            *_latencies(cell.service),
            *_percentiles(cell.first_byte, [_PERCENTILES[name] for name in _FIRST_BYTES]),
            *(map(format_time, span) if span else (None, None)),
        )


def _rate(amount: float, seconds: float) -> float | None:
    return _round(amount / seconds) if seconds > 0 else None


def _round(value: float) -> float:
    return round(value, 3)


def _latencies(histogram: Histogram) -> Cells:
    if not histogram.count:
        return (None,) * len(_LATENCIES)
    return (
        _round(histogram.mean / 1000),
        histogram.minimum / 1000,
        *_percentiles(histogram, list(_PERCENTILES.values())),
        histogram.maximum / 1000,
        _round(histogram.stdev / 1000),
    )


def _percentiles(histogram: Histogram, percents: Sequence[float]) -> Cells:
    if not histogram.count:
        return (None,) * len(percents)
    return [value / 1000 for value in histogram.percentiles(percents)]


def analysis_rows(analysis: Analysis) -> Iterator[Row]:
    """Each operation and size bucket that occurred, and then the roll-ups of the families that occurred."""
    tally, seconds = analysis.tally, analysis.window.seconds
    order = {name: place for place, name in enumerate(tally.operations())}
    for name, bucket in sorted(tally.cells, key=lambda key: (order[key[0]], key[1])):
        span = analysis.span((name,), bucket)
        yield Row(
            operation=name,
            size=LABELS[bucket],
            number=bucket,
            cell=tally.cells[name, bucket],
            seconds=seconds,
            span=span,
        )
    for name, number in ROLL_UPS:
        cell = tally.roll_up(name)
        if cell.count or cell.errors:
            yield Row(
                operation=name,
                size=ALL,
                number=number,
                cell=cell,
                seconds=seconds,
                span=analysis.span(members_of(name)),
            )


def group_rows(tally: Tally, seconds: float) -> Iterator[Row]:
    """Each operation of a client or an endpoint over all sizes, and all of them."""
    for name in tally.operations():
        yield Row(operation=name, size=ALL, number=ROLL_UPS[-1][1], cell=tally.operation(name), seconds=seconds)
    yield Row(operation=ALL, size=ALL, number=ROLL_UPS[-1][1], cell=tally.roll_up(ALL), seconds=seconds)


@attrs.frozen(kw_only=True)
class SegmentRow:
    """An operation, or ALL, in its ``fastest``, ``median`` or ``slowest`` slice of time, by ``bytes`` or ``calls``."""

    operation: str
    word: str
    by: str
    one: Slice
    cell: Cell

    @property
    def cells(self) -> Cells:
        """One for each column."""
        cell, seconds = self.cell, self.one.seconds
        return (
            *(self.operation, self.word, self.by, format_time(self.one.begin_ns), _round(seconds), cell.count),
            *(cell.errors, _rate(cell.count, seconds), _rate(cell.nbytes / 2**20, seconds)),
            *_percentiles(cell.service, (50, 99)),
        )


def segment_rows(analysis: Analysis) -> Iterator[SegmentRow]:
    """The fastest, the median and the slowest slice of time of each operation, and of all."""
    names = analysis.tally.operations()
    for name in [*names, *([ALL] if len(names) > 1 else [])]:
        segments = analysis.segments(members_of(ALL) if name == ALL else (name,))
        if segments is None:
            continue
        by = "bytes" if segments.by_bytes else "calls"
        for word, one in (("fastest", segments.fastest), ("median", segments.median), ("slowest", segments.slowest)):
            cell = one.tally.roll_up(ALL) if name == ALL else one.tally.operation(name)
            yield SegmentRow(operation=name, word=word, by=by, one=one, cell=cell)


def analysis_tables(
    analysis: Analysis, *, per_client: bool = False, per_endpoint: bool = False, segments: bool = False
) -> list[Table]:
    """The operations first; clients, endpoints and segments where they are asked for; errors and logs last."""
    tables = [Table("operations", _COLUMNS, [row.cells for row in analysis_rows(analysis)])]
    seconds = analysis.window.seconds
    groups = (("client", analysis.by_client, per_client), ("endpoint", analysis.by_endpoint, per_endpoint))
    for word, tallies, wanted in groups:
        if wanted:
            rows = [(name, *row.cells) for name in sorted(tallies) for row in group_rows(tallies[name], seconds)]
            tables.append(Table(f"{word}s", (word, *_COLUMNS), rows))
    if segments:
        tables.append(Table("segments", _SEGMENT_COLUMNS, [row.cells for row in segment_rows(analysis)]))
    errors = [(one.operation, one.count, one.text, one.example) for one in analysis.errors.most_frequent()]
    tables.append(Table("errors", ("operation", "count", "error", "example_key"), errors))
    tables.append(_logs(analysis))
    return tables


def one_table(tables: Sequence[Table]) -> Table:
    """Operations, clients and endpoints together: ``scope`` is ``all``, ``client`` or ``endpoint``, ``name`` which."""
    rows: list[Cells] = []
    for table in tables:
        if table.title == "operations":
            rows += [("all", "", *row) for row in table.rows]
        elif table.title in ("clients", "endpoints"):
            rows += [(table.columns[0], *row) for row in table.rows]
    return Table("operations", ("scope", "name", *_COLUMNS), rows)


def _logs(analysis: Analysis) -> Table:
    columns = ("log", "rows", "bad_rows", "selected", "cut_off", "overlap_pct", "first_start", "last_end", "columns")
    rows: list[Cells] = [
        (
            *(log.path, log.rows, log.bad_rows, log.selected, "yes" if log.cut_off else "no", 100 * log.overlap),
            *(None if time is None else format_time(time) for time in (log.first_start_ns, log.last_end_ns)),
            " ".join(log.columns),
        )
        for log in analysis.logs
    ]
    return Table("logs", columns, rows)


def comparison_tables(comparison: Comparison) -> list[Table]:
    """The figures; what makes the sides differ; and how the figures were made."""
    columns = (
        *("operation", "size_bucket", "metric", "unit", "a", "b", "change", "change_unit", "low", "high", "p_value"),
        *("verdict", "reason", "a_count", "b_count", "a_errors", "b_errors"),
    )
    rows: list[Cells] = [
        (
            *(one.operation, ALL if one.bucket is None else one.size, one.metric, one.unit, _round(one.a)),
            *(_round(one.b), *(_maybe(value) for value in (one.change,)), one.change_unit, _maybe(one.low)),
            *(_maybe(one.high), None if one.p_value is None else round(one.p_value, 6), one.verdict, one.reason),
            *(one.a_calls, one.b_calls, one.a_errors, one.b_errors),
        )
        for one in comparison.changes
    ]
    sides: list[Cells] = [
        (side, run.name, format_time(run.begin_ns), _round(run.seconds), run.tally.count, run.tally.errors)
        for side, runs in (("A", comparison.a.runs), ("B", comparison.b.runs))
        for run in runs
    ]
    remarks = [("difference", text) for text in comparison.differences]
    remarks += [("note", text) for text in comparison.notes]
    return [
        Table("changes", columns, rows),
        Table("runs", ("side", "run", "start", "seconds", "count", "errors"), sides),
        Table("remarks", ("kind", "text"), remarks),
    ]


def by_stage(tables: Mapping[str, Sequence[Table]]) -> list[Table]:
    """The same tables of several stages as one each, with the stage before every row; of one without a name as they
    are.
    """
    if list(tables) == [""]:
        return list(tables[""])
    joined = []
    for same in zip(*tables.values(), strict=True):
        rows = [(stage, *row) for stage, table in zip(tables, same, strict=True) for row in table.rows]
        joined.append(Table(same[0].title, ("stage", *same[0].columns), rows))
    return joined


def _maybe(value: float | None) -> float | None:
    return None if value is None else _round(value)
