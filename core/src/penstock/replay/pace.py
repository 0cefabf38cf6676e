"""Whether a worker keeps the schedule, judged by the lag of each operation that starts."""

from __future__ import annotations

import threading
from collections import deque

import attrs

from penstock.replay.settings import Backpressure

__all__ = ["Flaps", "Pace"]

_MINUTE = 60_000_000_000


class Pace:
    """The state of one worker. ``behind`` and ``check`` cost a comparison; only a change takes a lock."""

    def __init__(self, backpressure: Backpressure) -> None:
        self.behind = False
        self._high = round(backpressure.lag_threshold * 1e9)
        self._low = round(backpressure.recovery_threshold * 1e9)
        self._lock = threading.Lock()
        self._changes: list[tuple[int, bool]] = []

    def check(self, lag: int, now: int) -> None:
        """An operation starts so late, at monotonic nanoseconds ``now``."""
        if lag > self._high if not self.behind else lag < self._low:
            self._change(lag, now)

    def _change(self, lag: int, now: int) -> None:
        with self._lock:
            behind = lag > self._high if not self.behind else lag >= self._low
            if behind != self.behind:
                self.behind = behind
                self._changes.append((now, behind))

    def take_changes(self) -> list[tuple[int, bool]]:
        """The changes since the last call: when, and whether it was behind from then on."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes


@attrs.define
class Flaps:
    """The state of the whole replay: behind while any worker is. Times are nanoseconds of one clock, seldom backward.

    ``stretches`` are the times behind, from and to; the last one may be open.
    """

    most: int
    count: int = 0
    stretches: list[tuple[int, int | None]] = attrs.field(factory=list)
    _behind: set[int] = attrs.field(factory=set, init=False)
    _recent: deque[int] = attrs.field(factory=deque, init=False)

    def change(self, rank: int, now: int, behind: bool) -> bool:
        """A worker's change; True when there were too many of the whole replay's within a minute."""
        before = bool(self._behind)
        if behind:
            self._behind.add(rank)
        else:
            self._behind.discard(rank)
        if before == bool(self._behind):
            return False
        if self._behind:
            self.stretches.append((now, None))
        else:
            self.stretches[-1] = (self.stretches[-1][0], now)
        self.count += 1
        self._recent.append(now)
        while self._recent[0] <= now - _MINUTE:
            self._recent.popleft()
        return bool(self.most) and len(self._recent) > self.most
