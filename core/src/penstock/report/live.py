"""What a run shows while it runs: a display that is redrawn on a terminal, plain lines elsewhere, and a log of both.

All of it goes to standard error, so that standard output is for results.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from penstock.quantities import format_bytes, format_count, format_duration, format_rate
from penstock.report.crew import WorkerState
from penstock.report.outcome import Interval
from penstock.report.roster import roster_line, roster_table
from penstock.report.terminal import print_summary, summary_table
from penstock.report.text import printable, round_rate
from penstock.stats.histogram import Histogram
from penstock.stats.tally import Cell, Tally

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress
    from rich.table import Table

__all__ = ["LineView", "LiveView", "RichView", "open_view", "print_summary", "several", "summary_table"]


class LiveView(Protocol):
    """Who watches a run. One thread calls it."""

    def leg(self, label: str, number: int, of: int) -> None:
        """One of several legs begins, the ``number``-th, from 1; phases and figures are its own from here on."""

    def phase(self, name: str, total: int | None, seconds: float | None) -> None:
        """A phase begins, of so many objects or operations, so many seconds, whichever ends first, or unknown."""

    def progress(self, done: int, nbytes: int) -> None:
        """How far a phase of objects is: objects and bytes since it began."""

    def interval(self, interval: Interval, total: Tally) -> None:
        """An interval was measured; ``total`` is everything so far."""

    def workers(self, states: Sequence[WorkerState]) -> None:
        """How the workers of a run on several hosts are doing, all of them, by rank; called before each interval, and
        as often while there are none.
        """

    def note(self, text: str) -> None:
        """Something to know."""

    def close(self) -> None:
        """Nothing more comes. May be called twice."""


def open_view(
    log: str | os.PathLike[str] | None = None, *, quiet: bool = False, stream: TextIO | None = None
) -> LiveView:
    """The view for ``stream``, by default standard error, which also appends plain lines to the file ``log``."""
    target = sys.stderr if stream is None else stream
    views: list[LiveView] = []
    if not quiet:
        views.append(RichView(target) if target.isatty() else LineView(target))
    if log is not None:
        file = open(log, "a", encoding="utf-8")  # noqa: SIM115 closed with the view
        shown = _Several(tuple(views))
        views.append(LineView(file, owned=True, broken=lambda error: shown.note(f"{log} ends here: {error}")))
    return _Several(views)


def several(views: Sequence[LiveView]) -> LiveView:
    """One view for several; it closes them all."""
    return _Several(views)


class _Several:
    """Passes everything on to several views, or to none."""

    def __init__(self, views: Sequence[LiveView]) -> None:
        self._views = views

    def leg(self, label: str, number: int, of: int) -> None:
        for view in self._views:
            view.leg(label, number, of)

    def phase(self, name: str, total: int | None, seconds: float | None) -> None:
        for view in self._views:
            view.phase(name, total, seconds)

    def progress(self, done: int, nbytes: int) -> None:
        for view in self._views:
            view.progress(done, nbytes)

    def interval(self, interval: Interval, total: Tally) -> None:
        for view in self._views:
            view.interval(interval, total)

    def workers(self, states: Sequence[WorkerState]) -> None:
        for view in self._views:
            view.workers(states)

    def note(self, text: str) -> None:
        for view in self._views:
            view.note(text)

    def close(self) -> None:
        for view in self._views:
            view.close()


class LineView:
    """One line for each phase, interval and note; of progress, a line whenever it has grown by a quarter.

    A stream that can't be written any more, because its disk is full or its reader gone, gets no further line: what
    is watched goes on.
    """

    def __init__(
        self, stream: TextIO, *, owned: bool = False, broken: Callable[[OSError], None] = lambda error: None
    ) -> None:
        """A stream that is ``owned`` is closed with the view. ``broken`` hears why there are no further lines."""
        self._stream = stream
        self._owned = owned
        self._broken = broken
        self._open = True
        self._next = 0.0
        self._roster = ""

    def leg(self, label: str, number: int, of: int) -> None:
        self._line(f"{label} ({number} of {of})")

    def phase(self, name: str, total: int | None, seconds: float | None) -> None:
        self._next = 0.0
        self._line(f"{name}: {limits}" if (limits := _limits(total, seconds)) else name)

    def progress(self, done: int, nbytes: int) -> None:
        if done >= self._next and done:
            self._next = done * 1.25
            self._line(f"  {format_count(done)} objects, {format_bytes(nbytes)}")

    def interval(self, interval: Interval, total: Tally) -> None:
        if interval.start_s < 0:
            self._line(f"  {interval.start_s:9.1f} s  warming up, {format_count(total.warmup)} operations so far")
            return
        parts = [
            f"{name} {_rates(cell, interval.seconds)} p50 {_latency(cell.service, 50)} p99 {_latency(cell.service, 99)}"
            for name, cell in _cells(interval.tally)
        ]
        parts.append(f"errors {format_count(total.errors)}")
        if interval.client_cpu_pct is not None and interval.seconds >= _SHORTEST:
            parts.append(f"client CPU {interval.client_cpu_pct:.0f} %")
        self._line(f"  {interval.start_s + interval.seconds:9.1f} s  {' | '.join(parts)}")

    def workers(self, states: Sequence[WorkerState]) -> None:
        line = roster_line(states)
        # While nothing is measured, a line for each change is enough.
        if line != self._roster:
            self._roster = line
            self._line(f"  {line}")

    def note(self, text: str) -> None:
        self._line(f"  note: {text}")

    def close(self) -> None:
        if self._open and self._owned:
            self._stream.close()
        self._open = False

    def _line(self, text: str) -> None:
        if not self._open:
            return
        try:
            self._stream.write(printable(text) + "\n")
            self._stream.flush()
        except OSError as error:
            self._open = False
            if self._owned:
                # What could not be written is written again when it is closed.
                with contextlib.suppress(OSError):
                    self._stream.close()
            self._broken(error)


#: Seconds below which no clock tells how much of the processors was used.
_SHORTEST: Final = 0.02
#: Lines that the live view needs for all but the workers, and how many of them there are at least.
_ABOVE: Final = 18
_FEWEST_ROWS: Final = 4


class RichView:
    """A bar with elapsed and remaining time, and under it a table of the last interval, and one of the workers where
    these are hosts; redrawn in place.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(file=stream, highlight=False, markup=False)
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._live = Live(self._progress, console=self._console, transient=True, refresh_per_second=4)
        self._live.start()
        self._total: int | None = None
        self._seconds: float | None = None
        self._leg = ""
        self._below: list[RenderableType] = []
        self._roster: list[RenderableType] = []

    def leg(self, label: str, number: int, of: int) -> None:
        self._leg = f"{printable(label)} ({number} of {of}) "

    def phase(self, name: str, total: int | None, seconds: float | None) -> None:
        # What is prepared or cleaned up belongs to no leg.
        leg = self._leg if name in ("run", "warm-up") else ""
        for task in list(self._progress.task_ids):
            self._progress.remove_task(task)
        bounded = total is not None or seconds is not None
        self._total, self._seconds = total, seconds
        self._progress.add_task(
            f"{leg}{printable(name)}", total=1.0 if bounded else None, detail=_limits(total, seconds)
        )
        self._below = []
        self._draw()

    def progress(self, done: int, nbytes: int) -> None:
        share = done / self._total if self._total else 0.0
        self._update(share, f"{format_count(done)} objects, {format_bytes(nbytes)}")

    def interval(self, interval: Interval, total: Tally) -> None:
        if interval.start_s < 0:
            self._update(0.0, f"{-interval.start_s:.0f} s of warm-up left")
            return
        elapsed = interval.start_s + interval.seconds
        by_time = elapsed / self._seconds if self._seconds else 0.0
        by_count = (total.count + total.errors) / self._total if self._total else 0.0
        share = min(max(by_time, by_count), 1.0)
        left = elapsed * (1 - share) / share if share else None
        self._update(share, "" if left is None else f"{format_duration(left)} left")
        self._below = [_interval_table(interval, total)]
        self._draw()

    def workers(self, states: Sequence[WorkerState]) -> None:
        # What stands above takes a line for each operation, and twice the frame of a table.
        most = max(self._console.height - _ABOVE, _FEWEST_ROWS)
        self._roster = [roster_table(states, most)] if states else []
        self._draw()

    def note(self, text: str) -> None:
        self._console.print(f"note: {printable(text)}")

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> None:
        from rich.console import Group

        self._live.update(Group(self._progress, *self._below, *self._roster), refresh=True)

    def _update(self, share: float, detail: str) -> None:
        for task in self._progress.task_ids:
            self._progress.update(task, completed=share, detail=detail)


_COLUMNS: Final = ("operation", "ops/s", "throughput", "p50", "p99", "so far", "errors")


def _interval_table(interval: Interval, total: Tally) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=_machine(interval), caption_justify="left")
    for place, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for name, whole in _cells(total):
        cell = interval.tally.operation(name)
        table.add_row(
            name,
            format_count(round_rate(cell.count / interval.seconds)) if interval.seconds > 0 else "-",
            format_rate(cell.nbytes / interval.seconds) if interval.seconds > 0 and cell.nbytes else "-",
            _latency(cell.service, 50),
            _latency(cell.service, 99),
            format_count(whole.count),
            format_count(whole.errors),
            style="red" if cell.errors else None,
        )
    return table


def _machine(interval: Interval) -> str:
    parts = []
    if interval.client_cpu_pct is not None:
        parts.append(f"client CPU {interval.client_cpu_pct:.0f} %")
    if interval.cpu_user_pct is not None and interval.cpu_system_pct is not None:
        parts.append(f"host user {interval.cpu_user_pct:.0f} %, system {interval.cpu_system_pct:.0f} %")
    if interval.active_workers is not None:
        parts.append(f"{interval.active_workers} workers")
    return "  ".join(parts)


def _cells(tally: Tally) -> Iterator[tuple[str, Cell]]:
    for name in tally.operations():
        yield name, tally.operation(name)


def _rates(cell: Cell, seconds: float) -> str:
    if seconds <= 0:
        return f"{format_count(cell.count)} ops"
    rate = f"{format_count(round_rate(cell.count / seconds))} ops/s"
    return f"{rate} {format_rate(cell.nbytes / seconds)}" if cell.nbytes else rate


def _latency(histogram: Histogram, percent: float) -> str:
    return format_duration(histogram.percentile(percent) / 1e9) if histogram.count else "-"


def _limits(total: int | None, seconds: float | None) -> str:
    parts = [] if total is None else [format_count(total)]
    if seconds is not None:
        parts.append(format_duration(seconds))
    return " or ".join(parts)
