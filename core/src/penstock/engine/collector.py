"""The consumer of one worker's records: statistics for each interval, and the op-log.

It runs in one thread. It takes full buffers from the lanes as they come, and at the end of each interval what the
lanes have in hand so far.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any, Protocol

from penstock.clocks import cpu_ns, monotonic_ns
from penstock.records import BufferPool, RecordBuffer, Recorder
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

__all__ = ["Collector", "LogWriter"]

#: Rows in flight per worker, divided among its lanes.
_ROWS = 131_072
_SPARE_BUFFERS = 4


class LogWriter(Protocol):
    """What writes rows to an op-log."""

    def write(self, buffer: RecordBuffer, begin: int, end: int) -> None: ...


class Collector:
    """See the module. ``log`` is None when nothing is logged."""

    def __init__(self, first_lane: int, lanes: int, log: LogWriter | None) -> None:
        capacity = max(256, min(4096, _ROWS // (lanes + _SPARE_BUFFERS)))
        self.pool = BufferPool(lanes + _SPARE_BUFFERS, capacity)
        self.recorders = [Recorder(first_lane + lane, self.pool.handover) for lane in range(lanes)]
        self._log = log
        self._working = lanes
        self._tally = Tally()
        self._errors = ErrorTable()

    def collect(self, begin: int, interval: int) -> Iterator[dict[str, Any]]:
        """Yield a snapshot at the end of each interval, and a last one when every lane has ended.

        ``begin`` and ``interval`` are in monotonic nanoseconds; before ``begin`` there are snapshots too, at least
        one, with the number -1. Raises what the log raises.
        """
        yield self._snapshot(-1, begin, begin)
        number = 0
        tick = begin + interval
        while self._working:
            self._take_full(min(tick, monotonic_ns() + interval))
            now = monotonic_ns()
            if now >= tick:
                yield self._snapshot(number, begin + number * interval, tick)
                behind = (now - tick) // interval
                number, tick = number + 1 + behind, tick + (1 + behind) * interval
            elif now < begin:
                yield self._snapshot(-1, now, now)
        yield self._snapshot(number, begin + number * interval, monotonic_ns())

    def ended(self) -> None:
        """Called by each lane when it has flushed its last rows."""
        self.pool.full.put(None)

    def give_up(self) -> None:
        """Nothing is collected any more: lanes that wait for an empty buffer go on, and their rows are lost."""
        self.pool.close()

    def _take_full(self, until: int) -> None:
        """Take what comes until a monotonic time, or until every lane has ended."""
        while self._working and (ahead := until - monotonic_ns()) > 0:
            try:
                self._take_one(self.pool.full.get(timeout=ahead / 1e9))
            except queue.Empty:
                return

    def _take_all(self) -> None:
        """Take also what the lanes have in hand; each lane's rows keep their order."""
        in_hand = [recorder.active for recorder in self.recorders]
        # No more than there are now: lanes that were waiting for a buffer fill it again while this goes on.
        for _ in range(self.pool.full.qsize()):
            self._take_one(self.pool.full.get())
        for buffer in in_hand:
            self._take(buffer)

    def _take_one(self, buffer: RecordBuffer | None) -> None:
        if buffer is None:
            self._working -= 1
            return
        self._take(buffer)
        self.pool.recycle(buffer)

    def _take(self, buffer: RecordBuffer) -> None:
        begin, end = self.pool.take(buffer)
        if begin == end:
            return
        self._tally.add(buffer.rows[begin:end])
        self._errors.add(buffer, begin, end)
        if self._log is not None:
            self._log.write(buffer, begin, end)

    def _snapshot(self, number: int, start: int, end: int) -> dict[str, Any]:
        self._take_all()
        message = {
            "number": number,
            "start": start,
            "end": end,
            "tally": self._tally.to_message(),
            "errors": self._errors.to_message(),
            "cpu_ns": cpu_ns(),
        }
        self._tally, self._errors = Tally(), ErrorTable()
        return message
