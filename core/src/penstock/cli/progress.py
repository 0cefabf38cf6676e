"""Progress on standard error, only when it is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from penstock.clocks import monotonic_ns
from penstock.errors import PenstockError
from penstock.quantities import format_bytes, format_count, format_duration, format_rate

if TYPE_CHECKING:
    from typing import Self

    from rich.progress import Progress

__all__ = ["Bar"]


class Bar:
    """A bar with bytes, rate and remaining time; a context manager that any thread may advance.

    Without a terminal it only counts: ``objects``, ``nbytes`` and :meth:`summary` are there in any case.
    """

    def __init__(self, label: str, *, nbytes: int | None = None) -> None:
        """``nbytes`` is the whole, where it is known."""
        self._label = label
        self._total = nbytes
        self._lock = threading.Lock()
        self._begin = monotonic_ns()
        self._rich: Progress | None = None
        self._counting: threading.Thread | None = None
        self.objects = 0
        self.nbytes = 0

    def advance(self, nbytes: int) -> None:
        """So many bytes more."""
        with self._lock:
            self.nbytes += nbytes
        self._show()

    def object_done(self, nbytes: int = 0) -> None:
        """One object more, with bytes that were not counted by ``advance``."""
        with self._lock:
            self.objects += 1
            self.nbytes += nbytes
        self._show()

    def expect(self, total: Callable[[], int]) -> None:
        """Find out in the background how many bytes there will be, when somebody is watching."""
        if self._rich is None:
            return

        def run() -> None:
            # The work itself meets the same failure, and reports it.
            with contextlib.suppress(PenstockError):
                self._total = total()

        self._counting = threading.Thread(target=run, name="penstock-total", daemon=True)
        self._counting.start()

    @property
    def seconds(self) -> float:
        """Since the bar was made."""
        return (monotonic_ns() - self._begin) / 1e9

    def summary(self) -> str:
        """``3 objects, 60.0 MiB in 0.21 s, 286 MiB/s``."""
        seconds = max(self.seconds, 1e-9)
        noun = "object" if self.objects == 1 else "objects"
        rate = format_rate(self.nbytes / seconds)
        return f"{self.objects:,} {noun}, {format_bytes(self.nbytes)} in {format_duration(seconds)}, {rate}"

    def __enter__(self) -> Self:
        self._begin = monotonic_ns()
        if sys.stderr.isatty():
            self._rich = _rich_bar(self._label, self._total)
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def _show(self) -> None:
        bar = self._rich
        if bar is not None:
            seconds = max(self.seconds, 1e-9)
            bar.update(
                bar.task_ids[0],
                completed=self.nbytes,
                total=self._total,
                done=f"{format_bytes(self.nbytes)}  {format_rate(self.nbytes / seconds)}",
                objects=f"{format_count(self.objects)} objects, {format_count(self.objects / seconds)}/s",
            )


def _rich_bar(label: str, total: int | None) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[objects]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )
    progress.add_task(label, total=total, done="", objects="")
    return progress
