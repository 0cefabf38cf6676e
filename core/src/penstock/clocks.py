"""The clocks, and the only module that reads them.

Durations come from the monotonic clock. Each process anchors it to wall time once, so that stamps of one
process never run backwards when the system's clock is set.

``PENSTOCK_CLOCK_SHIFT=+5s`` (or ``-250ms``) makes this process's wall clock wrong by that much: for tests of what
happens where the clocks of hosts differ.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time

import attrs

__all__ = ["Anchor", "cpu_ns", "monotonic_ns", "sent", "sleep", "thread_cpu_ns", "wall_ns"]

#: Nanoseconds of a clock that never goes back; its zero means nothing.
monotonic_ns = time.monotonic_ns


def _shift_ns(text: str) -> int:
    """How wrong the wall clock is to be, in nanoseconds."""
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(s|ms)", text.strip() or "0s")
    if match is None:
        # Nothing works with a clock that is not what was asked for, and nothing can have begun yet.
        sys.stderr.write(f"penstock: PENSTOCK_CLOCK_SHIFT={text}: write seconds or milliseconds, +5s or -250ms\n")
        raise SystemExit(2)
    return round(float(match[1]) * (10**9 if match[2] == "s" else 10**6))


_SHIFT = _shift_ns(os.environ.get("PENSTOCK_CLOCK_SHIFT", ""))


def _shifted_ns() -> int:
    return time.time_ns() + _SHIFT


#: Nanoseconds since 1970 in UTC; may jump.
wall_ns = _shifted_ns if _SHIFT else time.time_ns
#: Nanoseconds of processor time, user and system, that this process has used.
cpu_ns = time.process_time_ns
#: The same of the calling thread.
thread_cpu_ns = time.thread_time_ns
#: Sleep for a number of seconds.
sleep = time.sleep


class _Sent(threading.local):
    """``at`` is when this thread last handed over the whole body of a request, on the monotonic clock; 0: it did not
    since somebody set it to 0. Whoever sends bodies writes it, whoever times a put reads it.
    """

    at = 0


#: Of the calling thread.
sent = _Sent()


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
