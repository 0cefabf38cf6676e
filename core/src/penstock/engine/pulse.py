"""The pulse of a run's workers: each is asked every second whether it is there, in every phase.

What they answer keeps a host's lease, and shows how long a round trip takes. One that says nothing is warned of, and
given up before ten seconds are over; so is one that drives operations and tells nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from penstock.clocks import monotonic_ns
from penstock.engine.found import Measured
from penstock.engine.remote import Remote
from penstock.engine.team import Rhythm, Team
from penstock.engine.watch import Watched
from penstock.errors import PenstockError, WorkerLostError

__all__ = ["Pulse"]


#: Intervals, and seconds at least, that one at work may go without a word of its calls: a process, and a host, which
#: has to do the same for processes of its own first.
_INTERVALS = 10
_SILENT_SECONDS = 10.0
_HOST_INTERVALS = 25
_HOST_SECONDS = 25.0


class Pulse:
    """See the module."""

    def __init__(self, team: Team) -> None:
        self._team = team
        self._rhythm: Rhythm = team.rhythm
        self._last: dict[int, int] = {}
        self._warned: set[int] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            for worker in self._team.found.workers:
                tasks.start_soon(self._ask, worker)
            tasks.start_soon(self._watch)

    async def _ask(self, worker: Watched) -> None:
        while worker.lost is None:
            await anyio.sleep(self._rhythm.period)
            began = monotonic_ns()
            try:
                answer = await worker.handle.call("beat", _known_clock(worker))
            except WorkerLostError as error:
                await self._team.lose(worker, error.cause)
                return
            except PenstockError as error:
                await self._team.give_up(worker, f"it does not answer as it should: {error}")
                return
            worker.heard_ns = monotonic_ns()
            if worker.remote is not None:
                worker.remote.round_trip_ns = worker.heard_ns - began
                self._hear_of(worker, worker.remote, answer.get("processes", ()))

    def _hear_of(self, worker: Watched, remote: Remote, lost: Sequence[Mapping[str, Any]]) -> None:
        """Processes of a host that were lost, which goes on without them."""
        for each in lost:
            rank, cause = int(each["rank"]), str(each["lost"])
            if rank not in remote.lost:
                remote.lost[rank] = cause
                self._team.note(f"{worker.called} lost its process {rank}: {cause}")

    async def _watch(self) -> None:
        before, seconds, look = monotonic_ns(), 0.0, self._rhythm.look
        while True:
            await anyio.sleep(look)
            now = monotonic_ns()
            # Time in which this process was stopped, too, says nothing of the others.
            passed, before = min((now - before) / 1e9, 2 * look), now
            heard = self._heard()
            for worker in self._team.live():
                await self._look_at(worker, max(worker.heard_ns, heard.get(worker.handle.rank, 0)), passed)
            await self._look_at_calls()
            seconds += passed
            if seconds >= self._rhythm.period:
                seconds = 0.0
                self._show()

    async def _look_at(self, worker: Watched, heard: int, passed: float) -> None:
        rank = worker.handle.rank
        if heard != self._last.get(rank):
            self._last[rank], worker.silent_s = heard, 0.0
            self._warned.discard(rank)
            return
        worker.silent_s = silent = worker.silent_s + passed
        if silent > self._rhythm.lost:
            await self._give_up(worker, silent)
        elif silent > self._rhythm.warn and rank not in self._warned:
            self._warned.add(rank)
            self._team.note(f"{self._team.called(worker)} has said nothing for {silent:.0f} s")

    async def _look_at_calls(self) -> None:
        interval = self._team.course.live_interval
        for measured in self._team.found.legs:
            for worker in measured.running if not measured.ended else ():
                host = worker.remote is not None
                times, least = (_HOST_INTERVALS, _HOST_SECONDS) if host else (_INTERVALS, _SILENT_SECONDS)
                silent = (monotonic_ns() - max(worker.snapshot_ns, self._begins(measured))) / 1e9
                if silent > max(times * interval, least) and worker.lost is None:
                    await self._give_up(worker, silent, " of its calls")

    async def _give_up(self, worker: Watched, silent: float, what: str = "") -> None:
        self._team.note(f"{self._team.called(worker)} has said nothing{what} for {silent:.0f} s: giving it up")
        await self._team.give_up(worker, f"it said nothing{what} for {silent:.0f} s")

    def _show(self) -> None:
        """While operations are measured each interval shows how the hosts are doing."""
        if not any(measured.running and measured.measuring for measured in self._team.found.legs):
            self._team.show()

    def _begins(self, measured: Measured) -> int:
        return measured.began_ns

    def _heard(self) -> dict[int, int]:
        """When each worker last said something in a leg that is under way, by rank."""
        heard: dict[int, int] = {}
        for measured in self._team.found.legs:
            for worker in measured.workers if not measured.ended else ():
                heard[worker.handle.rank] = max(heard.get(worker.handle.rank, 0), worker.heard_ns)
        return heard


def _known_clock(worker: Watched) -> dict[str, Any]:
    """What is known of a host's clock, for it to keep."""
    readings = worker.remote.readings if worker.remote is not None else []
    names = ("at_ns", "offset_ns", "uncertainty_ns")
    return {"clock": [{name: getattr(each, name) for name in names} for each in readings]} if readings else {}
