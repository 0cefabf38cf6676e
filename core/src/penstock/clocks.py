"""The clocks, and the only module that reads them.

Durations come from the monotonic clock. Each process anchors it to wall time once, so that stamps of one
process never run backwards when the system's clock is set.
"""

from __future__ import annotations

import time

import attrs

__all__ = ["Anchor", "cpu_ns", "monotonic_ns", "sleep", "thread_cpu_ns", "wall_ns"]

#: Nanoseconds of a clock that never goes back; its zero means nothing.
monotonic_ns = time.monotonic_ns
#: Nanoseconds since 1970 in UTC; may jump.
wall_ns = time.time_ns
#: Nanoseconds of processor time, user and system, that this process has used.
cpu_ns = time.process_time_ns
#: The same of the calling thread.
thread_cpu_ns = time.thread_time_ns
#: Sleep for a number of seconds.
sleep = time.sleep


@attrs.frozen(slots=True)
class Anchor:
    """One instant on both clocks; ``offset_ns`` is what to add to monotonic time to get wall time."""

    offset_ns: int

    @classmethod
    def now(cls) -> Anchor:
        """Take the tightest of several readings, so that a preempted one does not count."""
        best = None
        for _ in range(5):
            before = monotonic_ns()
            wall = wall_ns()
            after = monotonic_ns()
            if best is None or after - before < best[0]:
                best = (after - before, wall - (before + after) // 2)
        assert best is not None
        return cls(best[1])

    def wall(self, monotonic: int) -> int:
        """Wall-clock nanoseconds of a monotonic reading of this process."""
        return monotonic + self.offset_ns
