"""The part of the HTML report that shows the workers of a run on several hosts, and how they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

from penstock.quantities import format_count, format_duration
from penstock.report.charts import Chart, line_chart
from penstock.report.crewfindings import (
    SLOW_RATE,
    SLOW_TAIL,
    Reading,
    clock_finding,
    lost_sentences,
    rate_finding,
    read_workers,
    skew_finding,
    speed_words,
    tail_finding,
)
from penstock.report.crewplots import Mark, Shade, plane_plot, strip_plot, typical_of
from penstock.report.findings import Finding, time_finding
from penstock.report.outcome import Outcome, WorkerOutcome
from penstock.report.page import chart_grid, grid
from penstock.report.pieces import badge, card, error_count, finding_line, number, section, table
from penstock.report.series import Point
from penstock.report.words import figure, many
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL

__all__ = ["crew_charts", "crew_section"]

#: So many are drawn as lines in one chart; more as rows of a plane.
_MOST_LINES: Final = 8
_MOST_COLUMNS: Final = 100
_MOST_WORKERS: Final = 200
_RATE, _TAIL = "workers_rate", "workers_p99"
_MEANING: Final = {
    "rate": "Operations per second of each worker, while it measured. Good is one height, near the line, their median;"
    " a worker far below has less to give, or less to ask.",
    "speed": "MiB per second of each worker, while it measured. Good is one height.",
    "latency": "Each bar reaches from a worker's median to its 99th percentile, of all its operations. Good are"
    " bars of one length at one height; one that reaches up has a slower path to the storage.",
    "skew": "From the agreed instant to each worker's first operation, with what its clock leaves uncertain. Good is"
    " under 2 ms, and less uncertainty than that.",
    _RATE: "Good are lines that lie on one another; one that falls away is a worker in trouble, and a line that ends"
    " early is a worker that was lost.",
    _TAIL: "Good are lines that lie on one another; spikes of one worker are its host's, those of all the storage's.",
    "plane_rate": "Each row is a worker. Good is one pale plane: a strong row is a worker that is slower than others"
    " all along, a strong patch one that was for a while, a row that ends a worker that was lost.",
    "plane_tail": "Each row is a worker. Good is one pale plane; a strong row or patch is a worker whose slow calls are"
    " slower than those of the others.",
}
_BELOW: Final = (
    Shade(limit=math.inf, label="above 90 % of the median worker"),
    Shade(limit=0.9, label="75 to 90 %"),
    Shade(limit=0.75, label="50 to 75 %"),
    Shade(limit=0.5, label="25 to 50 %"),
    Shade(limit=0.25, label="below 25 %"),
)
_ABOVE: Final = (
    Shade(limit=1.1, label="up to 1.1 times the median worker"),
    Shade(limit=1.5, label="1.1 to 1.5 times"),
    Shade(limit=2.0, label="1.5 to 2 times"),
    Shade(limit=4.0, label="2 to 4 times"),
    Shade(limit=math.inf, label="more"),
)


def crew_charts(outcome: Outcome) -> list[Chart]:
    """Each worker's rate and p99 over time as lines, where they are few; else nothing."""
    if not 2 <= len(outcome.hosts) <= _MOST_LINES:
        return []
    binned = _Binned(outcome)
    if binned.count < 2:
        return []
    found = []
    for name, title, unit, values, log in (
        (_RATE, "Operations of each worker", "ops/s", binned.rates, False),
        (_TAIL, "Latency of each worker, 99th percentile", "µs", binned.tails, True),
    ):
        lines = [
            {"label": f"{worker.rank} {worker.host}", "values": [_short(value) for value in row]}
            for worker, row in zip(outcome.workers, values, strict=True)
        ]
        if any(value for line in lines for value in line["values"]):
            chart = line_chart(name, title, unit, binned.middles, binned.end, lines, log=log, joined=1)
            told = time_finding(chart, rising="bad" if log else "good")
            found.append(chart | {"meaning": _MEANING[name], "finding": told, "gaps": "broken"})
    return found


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def crew_section(outcome: Outcome, charts: Sequence[Chart]) -> str:
    """All of it; empty where workers are no hosts. ``charts`` are those of :func:`crew_charts`."""
    if not outcome.hosts:
        return ""
    readings = read_workers(outcome)
    cards = [_rate_card(readings), _speed_card(readings), _latency_card(readings), _skew_card(outcome.workers)]
    lines = chart_grid(charts, (_RATE, _TAIL))
    planes = [] if lines else _plane_cards(outcome)
    content = _lost(outcome) + grid([each for each in cards if each]) + lines + grid(planes)
    return section("Workers", content + _clocks(outcome) + _table(outcome, readings))


def _lost(outcome: Outcome) -> str:
    told = lost_sentences(outcome)
    if not told:
        return ""
    lost = len(outcome.lost_workers)
    head = f"{lost} of {many(len(outcome.workers), 'worker')} lost." if lost else "Processes of workers were lost."
    items = "".join(f"<li>{escape(each)}</li>" for each in told)
    return f"<div class='banner warn'><strong>{head}</strong><ul>{items}</ul></div>"


def _clocks(outcome: Outcome) -> str:
    return finding_line(clock_finding(outcome.workers))


def _rate_card(readings: Sequence[Reading]) -> str:
    middle = typical_of([each.rate for each in readings if each.worker.lost is None])
    marks = [
        _mark(each, each.rate, each.rate, odd=middle is not None and each.rate < SLOW_RATE * middle)
        for each in readings
    ]
    plot = strip_plot("Operations by worker", marks, _ops, from_zero=True, typical=middle)
    return card("Operations by worker", "ops/s", plot, _MEANING["rate"], rate_finding(readings)) if plot else ""


def _speed_card(readings: Sequence[Reading]) -> str:
    if not any(each.speed for each in readings):
        return ""
    speeds = [each.speed / 2**20 for each in readings]
    middle = typical_of([speed for speed, each in zip(speeds, readings, strict=True) if each.worker.lost is None])
    marks = [
        _mark(each, speed, speed, odd=middle is not None and speed < SLOW_RATE * middle)
        for speed, each in zip(speeds, readings, strict=True)
    ]
    plot = strip_plot("Throughput by worker", marks, figure, from_zero=True, typical=middle)
    words = speed_words(readings)
    told = Finding("plain", f"From {words}.") if words else None
    return card("Throughput by worker", "MiB/s", plot, _MEANING["speed"], told)


def _latency_card(readings: Sequence[Reading]) -> str:
    known = [each for each in readings if each.p50 is not None]
    middle = typical_of([each.p99 for each in known])
    marks = []
    for each in readings:
        high = each.p99 if each.p99 is not None else each.p50
        odd = middle is not None and each.p99 is not None and each.p99 > SLOW_TAIL * middle
        marks.append(_mark(each, each.p50, high, odd=odd))
    plot = strip_plot("Latency by worker", marks, _time, log=True, typical=middle)
    if not plot:
        return ""
    return card(
        "Latency by worker, p50 to p99", "the line: their median p99", plot, _MEANING["latency"], tail_finding(readings)
    )


def _skew_card(workers: Sequence[WorkerOutcome]) -> str:
    marks = []
    for worker in workers:
        clock = worker.clock
        skew = None if clock is None else clock.start_skew_ns
        unsure = 0 if clock is None else clock.uncertainty_ns or 0
        low, high = (None, None) if skew is None else (skew - unsure, skew + unsure)
        marks.append(Mark(rank=worker.rank, name=worker.host, low=low, high=high, lost=worker.lost is not None))
    plot = strip_plot("Start by worker", marks, _time, typical=None)
    if not plot:
        return ""
    return card("Start after the agreed instant", "with its uncertainty", plot, _MEANING["skew"], skew_finding(workers))


def _mark(each: Reading, low: float | None, high: float | None, *, odd: bool) -> Mark:
    worker = each.worker
    return Mark(rank=worker.rank, name=worker.host, low=low, high=high, lost=worker.lost is not None, odd=odd)


def _ops(rate: float) -> str:
    return format_count(rate if rate >= 1000 else round(rate, 1))


def _time(nanoseconds: float) -> str:
    sign = "\N{MINUS SIGN}" if nanoseconds < 0 else ""
    return "0" if nanoseconds == 0 else sign + format_duration(abs(nanoseconds) / 1e9)


class _Binned:
    """The series of all workers on one grid of columns, as many as can be told apart."""

    def __init__(self, outcome: Outcome) -> None:
        series = [worker.series for worker in outcome.workers]
        self.end = round(max((each.end_s for each in series if each is not None), default=0.0), 3)
        widest = max((each.width for each in series if each is not None), default=1.0)
        self._width = max(widest, self.end / _MOST_COLUMNS) or 1.0
        self.count = max(1, math.ceil(self.end / self._width - 0.01))
        self.middles = [round((place + 0.5) * self._width, 3) for place in range(self.count)]
        self.rates: list[list[float | None]] = []
        self.tails: list[list[float | None]] = []
        for each in series:
            self._add(() if each is None else each.points())

    def _add(self, points: Iterable[Point]) -> None:
        """One worker's row; those of all at once would take hundreds of megabytes."""
        counts, seconds = [0] * self.count, [0.0] * self.count
        times = [Histogram() for _ in range(self.count)]
        for point in points:
            place = min(int((point.start_s + point.seconds / 2) / self._width), self.count - 1)
            cell = point.cell(ALL)
            counts[place] += cell.count
            seconds[place] += point.seconds
            times[place].merge(cell.service)
        self.rates.append([n / length if length > 0 else None for n, length in zip(counts, seconds, strict=True)])
        self.tails.append([max(each.percentile(99), 1) / 1000 if each.count else None for each in times])


def _plane_cards(outcome: Outcome) -> list[str]:
    binned = _Binned(outcome)
    if binned.count < 2 or len(outcome.workers) < 2:
        return []
    names, edges = [str(worker.rank) for worker in outcome.workers], (0.0, binned.end)
    slow, tail = _ratios(binned.rates), _ratios(binned.tails)
    title, other = "Operations of each worker over time", "p99 of each worker over time"
    planes = plane_plot(title, names, slow, edges, _BELOW, worst="min")
    tails = plane_plot(other, names, tail, edges, _ABOVE, worst="max")
    return [
        card(title, "share of the median worker", planes, _MEANING["plane_rate"], _slow(outcome, slow)),
        card(other, "multiple of the median worker", tails, _MEANING["plane_tail"], _tailed(outcome, tail)),
    ]


def _ratios(values: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """Each to the median of all workers in its column."""
    middles = [typical_of(column) for column in zip(*values, strict=True)]
    return [
        [None if value is None or not middle else value / middle for value, middle in zip(row, middles, strict=True)]
        for row in values
    ]


def _slow(outcome: Outcome, rows: Sequence[Sequence[float | None]]) -> Finding:
    return _patches(outcome, rows, lambda ratio: ratio < SLOW_RATE, f"below {100 * SLOW_RATE:g} % of the median worker")


def _tailed(outcome: Outcome, rows: Sequence[Sequence[float | None]]) -> Finding:
    return _patches(
        outcome, rows, lambda ratio: ratio > 2 * SLOW_TAIL, f"above {2 * SLOW_TAIL:g} times the median worker"
    )


def _patches(
    outcome: Outcome, rows: Sequence[Sequence[float | None]], bad: Callable[[float], bool], what: str
) -> Finding:
    """Which workers are odd for how much of the time, the worst first."""
    shares = {}
    for worker, row in zip(outcome.workers, rows, strict=True):
        known = [ratio for ratio in row if ratio is not None]
        if known:
            shares[worker.rank] = sum(map(bad, known)) / len(known)
    often = sorted((rank for rank, share in shares.items() if share >= 0.1), key=lambda rank: -shares[rank])
    if not often:
        return Finding("good", f"No worker was {what} for a tenth of its time.")
    named = ", ".join(f"{rank} ({100 * shares[rank]:.0f} %)" for rank in often[:5])
    more = f" and {len(often) - 5} more" if len(often) > 5 else ""
    were = "was" if len(often) == 1 else "were"
    words = f"{len(often)} of {many(len(rows), 'worker')} {were} {what} for a tenth of the time or more"
    return Finding("warn", f"{words}: {named}{more}.")


_COLUMNS: Final = [
    ("Worker", ""), ("Host", ""), ("State", ""), ("Processes", ""), ("Lanes", ""), ("Measured", ""), ("Count", ""),
    ("Rate", "ops/s"), ("Throughput", "MiB/s"), ("p50", "µs"), ("p99", "µs"), ("Errors", ""), ("CPU", "s"),
    ("Clock", "ms"), ("known to ±", "µs"), ("Start", "µs"),
]  # fmt: skip


def _table(outcome: Outcome, readings: Sequence[Reading]) -> str:
    """A row for each worker; of very many, those lost and those that did least."""
    ordered = sorted(readings, key=lambda each: (each.worker.lost is None, each.rate, each.worker.rank))
    shown = sorted(ordered[:_MOST_WORKERS], key=lambda each: each.worker.rank)
    note = ""
    if len(shown) < len(readings):
        note = (
            f"<p class='note'>{len(shown)} of {len(readings)} workers: those lost, and those that did least. All are in"
            " workers.tsv.</p>"
        )
    return note + table(_COLUMNS, [_row(each) for each in shown], words=3)


def _row(each: Reading) -> Sequence[str]:
    worker, clock = each.worker, each.worker.clock
    offset, unsure, skew = (
        (None,) * 3 if clock is None else (clock.offset_ns, clock.uncertainty_ns, clock.start_skew_ns)
    )
    return (
        str(worker.rank),
        escape(worker.host),
        badge("finished", "good")
        if worker.lost is None
        else f"{badge('lost', 'bad')} <span class='long'>{escape(worker.lost)}</span>",
        f"{worker.processes}{f' ({len(worker.processes_lost)} lost)' if worker.processes_lost else ''}",
        str(worker.lanes),
        format_duration(each.seconds),
        number(worker.tally.count),
        number(each.rate),
        number(each.speed / 2**20),
        number(None if each.p50 is None else each.p50 / 1000),
        number(None if each.p99 is None else each.p99 / 1000),
        error_count(worker.tally.errors),
        number(worker.cpu_seconds),
        "\N{EN DASH}" if offset is None else f"{offset / 1e6:+.3f}",
        number(None if unsure is None else unsure / 1000),
        "\N{EN DASH}" if skew is None else f"{skew / 1000:+.0f}",
    )
