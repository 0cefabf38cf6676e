"""Comparing the clocks of hosts with the coordinator's.

The offset is how far a host's clock is ahead. Of several round trips the fastest tells it best: the answer was given
somewhere within it, so its middle is wrong by half of it at most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from penstock.clocks import Anchor, monotonic_ns, wall_ns
from penstock.engine.team import Team
from penstock.engine.watch import Watched
from penstock.errors import RunError
from penstock.quantities import format_duration
from penstock.report.crew import ClockReading

__all__ = ["Clocks", "read_clock"]

#: Hosts that are asked at the same time: more of them would make each other's answers late.
_AT_ONCE = 4


async def read_clock(ask: Callable[[], Awaitable[int]], probes: int, anchor: Anchor) -> ClockReading:
    """Compare a clock: ``ask`` gives what it shows, in nanoseconds; it is asked so often."""
    best: tuple[int, int, int] | None = None
    for _ in range(probes):
        before = monotonic_ns()
        shown = await ask()
        after = monotonic_ns()
        if best is None or after - before < best[0]:
            best = after - before, (before + after) // 2, shown
    assert best is not None
    trip, middle, shown = best
    at = anchor.wall(middle)
    return ClockReading(at_ns=at, offset_ns=shown - at, uncertainty_ns=-(-trip // 2), probes=probes)


class Clocks:
    """The clocks of a run. ``anchor`` is the coordinator's own, which never jumps."""

    def __init__(self, team: Team) -> None:
        self._team = team
        self._told: set[int] = set()
        self.anchor = Anchor.now()

    def now(self) -> int:
        """The coordinator's wall clock, in nanoseconds.

        Processes of this host read the same one, also when it was set since; the offsets of others are from the anchor.
        """
        return self.anchor.wall(monotonic_ns()) if self._team.hosts else wall_ns()

    def theirs(self, worker: Watched, wall_ns: int) -> int:
        """What a worker's clock shows when the coordinator's shows that."""
        return wall_ns + (worker.remote.offset_ns if worker.remote is not None else 0)

    @property
    def slowest_ns(self) -> int:
        """The longest of the last round trips to hosts."""
        return max((each.remote.round_trip_ns for each in self._team.live() if each.remote is not None), default=0)

    async def compare(self) -> None:
        """Take a reading of every host's clock."""
        if not self._team.hosts:
            return
        probes, room = self._team.course.distributed.clock.probes, anyio.Semaphore(_AT_ONCE)

        async def one(worker: Watched) -> None:
            async def ask() -> int:
                answer = await self._team.call(worker, "clock", {})
                return int(answer["wall_ns"])

            async with room:
                reading = await read_clock(ask, probes, self.anchor)
            assert worker.remote is not None
            worker.remote.readings.append(reading)
            worker.remote.round_trip_ns = max(worker.remote.round_trip_ns, 2 * reading.uncertainty_ns)

        await self._team.each(one, spare=True)

    def judge(self) -> None:
        """Hold the last readings against the policy. Raises RunError where they are too uncertain to begin."""
        policy = self._team.course.distributed.clock
        for worker in self._team.live():
            if worker.remote is None or not worker.remote.readings:
                continue
            uncertain = worker.remote.readings[-1].uncertainty_ns / 1e9
            if uncertain <= policy.max_uncertainty:
                continue
            text = (
                f"the clock of {worker.called} is known to ± {format_duration(uncertain)} only, more than "
                f"distributed.clock.max_uncertainty, {format_duration(policy.max_uncertainty)}"
            )
            if policy.action == "refuse":
                raise RunError(f"{text}; use a faster network, raise it, or write action: warn")
            if worker.handle.rank not in self._told:
                self._told.add(worker.handle.rank)
                self._team.note(text)
