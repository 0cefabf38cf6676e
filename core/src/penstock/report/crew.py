"""Workers of a run on several hosts: their clocks, and what is seen of them while they work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

__all__ = ["ClockReading", "State", "WorkerClock", "WorkerState"]


@attrs.frozen(kw_only=True)
class ClockReading:
    """One comparison of a worker's wall clock with the controller's.

    ``offset_ns`` is how far the worker's clock is ahead, negative: behind, and true to ``uncertainty_ns`` either way,
    which is half of the shortest round trip. ``at_ns`` is the controller's wall clock then; ``probes`` how many round
    trips were made.
    """

    at_ns: int
    offset_ns: int
    uncertainty_ns: int
    probes: int = 0


def _readings(items: Iterable[ClockReading]) -> tuple[ClockReading, ...]:
    return tuple(items)


@attrs.frozen(kw_only=True)
class WorkerClock:
    """The readings of a worker's clock in order of time, at least one before what was measured and one after it.

    ``start_skew_ns`` is how long after the agreed instant (negative: before it) its first operation began, by the
    controller's clock: None if none did, or that is not known. It is as uncertain as the reading before the start.
    """

    readings: Sequence[ClockReading] = attrs.field(factory=tuple, converter=_readings)
    start_skew_ns: int | None = None

    @property
    def offset_ns(self) -> int | None:
        """The last reading's; None without any."""
        return self.readings[-1].offset_ns if self.readings else None

    @property
    def uncertainty_ns(self) -> int | None:
        """The largest of all readings; None without any."""
        return max((each.uncertainty_ns for each in self.readings), default=None)

    @property
    def drift_ns(self) -> int:
        """How much the offset changed from the first reading to the last."""
        return self.readings[-1].offset_ns - self.readings[0].offset_ns if self.readings else 0

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"readings": [attrs.asdict(each) for each in self.readings], "start_skew_ns": self.start_skew_ns}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> WorkerClock:
        """What :meth:`to_message` was called on."""
        readings = [ClockReading(**each) for each in message["readings"]]
        return cls(readings=readings, start_skew_ns=message["start_skew_ns"])


#: ``waiting``: has nothing to do now; ``preparing``: also while it resolves or cleans up; ``silent``: at work, but not
#: heard of for longer than it should take.
State = Literal["waiting", "preparing", "running", "silent", "done", "lost"]


@attrs.frozen(kw_only=True)
class WorkerState:
    """A worker as it is seen at one moment of a run.

    ``count``, ``errors`` and ``nbytes`` are all so far; ``rate`` (calls that succeeded) and ``speed`` (bytes), per
    second, are of the last interval. ``silent_s`` is how long ago it was last heard of, ``lost`` how it was lost.
    """

    rank: int
    host: str
    state: State
    count: int = 0
    errors: int = 0
    nbytes: int = 0
    rate: float = 0.0
    speed: float = 0.0
    p50_ns: int | None = None
    p99_ns: int | None = None
    silent_s: float = 0.0
    lost: str | None = None

    @property
    def up(self) -> bool:
        """Whether it is there, as far as is known."""
        return self.state not in ("silent", "lost")
