"""The consumer of one worker's records: statistics for each interval, and the op-log.

It runs in one thread. It takes full buffers from the lanes as they come, and at the end of each interval what the
lanes have in hand so far.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from penstock.clocks import cpu_ns, monotonic_ns
from penstock.records import BufferPool, Endpoint, RecordBuffer, Recorder
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

__all__ = ["COOLING", "Collector", "LogWriter"]

#: The number of snapshots of a cool-down.
COOLING = -2

#: Rows in flight per worker, divided among its lanes.
_ROWS = 131_072
_SPARE_BUFFERS = 4


class LogWriter(Protocol):
    """What writes rows to an op-log."""

    def write(self, buffer: RecordBuffer, begin: int, end: int) -> None: ...


class Collector:
    """See the module."""

    def __init__(
        self,
        first_lane: int,
        lanes: int,
        log: LogWriter | None,
        *,
        most_lanes: int = 0,
        endpoints: Sequence[Endpoint] = (),
        more: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """``log`` is None when nothing is logged.

        There are ``lanes`` at first, and up to ``most_lanes`` when :meth:`recruit` was called often enough.
        ``endpoints``, which may grow, are what the records' numbers stand for: calls are counted by their names too.
        ``more`` gives further fields of each snapshot, as what JSON can hold.
        """
        most = max(lanes, most_lanes)
        capacity = max(256, min(4096, _ROWS // (most + _SPARE_BUFFERS)))
        self.pool = BufferPool(lanes + _SPARE_BUFFERS, capacity)
        self.recorders = [Recorder(first_lane + lane, self.pool.handover) for lane in range(lanes)]
        self._first_lane = first_lane
        self._log = log
        self._endpoints = endpoints
        self._more = more
        self._lock = threading.Lock()
        self._working = lanes
        self._leaving: int | None = None
        self._first: tuple[int, int] | None = None
        self._tally = Tally()
        self._errors = ErrorTable()
        #: The calls of the interval by endpoint, once there are several; else all are those of ``_only``.
        self._by_endpoint: dict[str, Tally] = {}
        self._only = ""

    def collect(
        self, begin: int, interval: int, *, first: int = 0, closed: Callable[[], int | None] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield a snapshot at the end of each interval, and a last one when every lane has ended.

        ``begin`` and ``interval`` are in monotonic nanoseconds; before ``begin`` there are snapshots too, at least
        one, with the number -1. Intervals before the one of number ``first`` are past. ``closed`` says since when
        nothing counts any more, None: it still does; later snapshots have the number COOLING. Raises what the log
        raises.
        """
        yield self._snapshot(-1, begin, begin)
        number, over = first, None
        tick = begin + (first + 1) * interval
        while self._working and not self._left():
            self._take_full(min(tick, monotonic_ns() + interval))
            now = monotonic_ns()
            if over is None and closed is not None and (over := closed()) is not None:
                yield self._snapshot(number, begin + number * interval, over)
                number, tick = COOLING, now + interval
            elif now >= tick:
                begun = now if over is not None else begin + number * interval
                yield self._snapshot(number, begun, tick)
                behind = (now - tick) // interval
                number, tick = number + 1 + behind if over is None else number, tick + (1 + behind) * interval
            elif now < begin:
                yield self._snapshot(-1, now, now)
        yield self._snapshot(number, begin + number * interval if over is None else monotonic_ns(), monotonic_ns())
        if self._working:
            self.give_up()

    def began(self, begin: int) -> int | None:
        """When the first call was begun that was to be at ``begin``, in monotonic nanoseconds; None: there was none.

        Of planned calls: when it would have been, had it been due then.
        """
        if self._first is None:
            return None
        start, due = self._first
        return begin + start - due if due else start

    def recruit(self) -> Recorder:
        """The recorder of one more lane, which calls :meth:`ended` as the others do. Any thread may call it, as long
        as a lane still works.
        """
        with self._lock:
            self._working += 1
            recorder = Recorder(self._first_lane + len(self.recorders), self.pool.handover)
            self.recorders.append(recorder)
            return recorder

    def ended(self) -> None:
        """Called by each lane when it has flushed its last rows."""
        self.pool.full.put(None)

    def leave(self, at: int) -> None:
        """Collect no longer than until a monotonic time, whether or not every lane has ended."""
        self._leaving = at

    def give_up(self) -> None:
        """Nothing is collected any more: lanes that wait for an empty buffer go on, and their rows are lost."""
        self.pool.close()

    def _left(self) -> bool:
        return self._leaving is not None and monotonic_ns() >= self._leaving

    def _take_full(self, until: int) -> None:
        """Take what comes until a monotonic time, or until every lane has ended."""
        while self._working and not self._left() and (ahead := until - monotonic_ns()) > 0:
            try:
                self._take_one(self.pool.full.get(timeout=ahead / 1e9))
            except queue.Empty:
                return

    def _take_all(self) -> None:
        """Take also what the lanes have in hand; each lane's rows keep their order."""
        in_hand = [recorder.active for recorder in tuple(self.recorders)]
        # No more than there are now: lanes that were waiting for a buffer fill it again while this goes on.
        for _ in range(self.pool.full.qsize()):
            self._take_one(self.pool.full.get())
        for buffer in in_hand:
            self._take(buffer)

    def _take_one(self, buffer: RecordBuffer | None) -> None:
        if buffer is None:
            with self._lock:
                self._working -= 1
            return
        self._take(buffer)
        self.pool.recycle(buffer)

    def _take(self, buffer: RecordBuffer) -> None:
        begin, end = self.pool.take(buffer)
        if begin == end:
            return
        rows = buffer.rows[begin:end]
        first = int(rows["start"][0]), int(rows["due"][0])
        self._first = first if self._first is None else min(self._first, first)
        if self._endpoints:
            self._add_by_endpoint(rows)
        self._tally.add(rows)
        self._errors.add(buffer, begin, end)
        if self._log is not None:
            self._log.write(buffer, begin, end)

    def _add_by_endpoint(self, rows: np.ndarray[Any, np.dtype[Any]]) -> None:
        numbers = np.unique(rows["endpoint"]).tolist()
        names = {self._endpoints[number].name for number in numbers}
        if not self._by_endpoint and len(names | {self._only} - {""}) == 1:
            self._only = names.pop()
            return
        if not self._by_endpoint and self._only:
            self._by_endpoint[self._only] = before = Tally()
            before.merge(self._tally)
        for number in numbers:
            tally = self._by_endpoint.setdefault(self._endpoints[number].name, Tally())
            tally.add(rows[rows["endpoint"] == number])

    def _snapshot(self, number: int, start: int, end: int) -> dict[str, Any]:
        self._take_all()
        message: dict[str, Any] = {
            "number": number,
            "start": start,
            "end": end,
            "tally": self._tally.to_message(),
            "errors": self._errors.to_message(),
            "cpu_ns": cpu_ns(),
        }
        if self._by_endpoint:
            message["endpoints"] = {name: tally.to_message() for name, tally in self._by_endpoint.items()}
        elif self._only:
            message["endpoint"] = self._only
        if self._more is not None:
            message |= self._more()
        self._tally, self._errors, self._by_endpoint, self._only = Tally(), ErrorTable(), {}, ""
        return message
