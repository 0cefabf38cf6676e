"""What is measured: groups of legs, begun at an agreed instant, followed to their ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anyio

from penstock.clocks import monotonic_ns
from penstock.engine.barrier import BARRIER, END, Patience, has_majority, stuck
from penstock.engine.course import LegCourse
from penstock.engine.found import Measured
from penstock.engine.probing import Clocks
from penstock.engine.remote import Seen
from penstock.engine.steady import SteadyWatch
from penstock.engine.team import Team
from penstock.engine.watch import ErrorWindow, Watched, merge_intervals
from penstock.errors import PenstockError, WorkerLostError
from penstock.report.outcome import Interval
from penstock.report.series import Series
from penstock.stats.machine import MachineMeter
from penstock.stats.system import CpuMeter

__all__ = ["Measuring", "groups_of"]

#: How far ahead the common start lies, for every worker to have its lanes ready; and how much more for each host.
_START_DELAY_NS = 200_000_000
_HOST_DELAY_NS = 2_000_000
#: The same of a worker that goes on to the next leg by itself.
_BETWEEN_NS = 20_000_000
#: Round trips after which a host has heard of the start, however slow it is to reach.
_TRIPS = 3


def groups_of(team: Team) -> Iterator[Sequence[LegCourse]]:
    """Legs that follow each other without all workers coming together; all have a part in them, or only one leg."""
    group: list[LegCourse] = []
    for leg in team.course.legs:
        idle = any(not plan.lanes_of(each.share) for plan in team.plans for each in (leg, *group[-1:]))
        if group and (leg.gathers or leg.barrier is not None or idle):
            yield group
            group = []
        group.append(leg)
    yield group


class Measuring:
    """See the module."""

    def __init__(self, team: Team, clocks: Clocks) -> None:
        self._team = team
        self._clocks = clocks
        team.on_lost = self.emit

    async def run_group(self, group: Sequence[LegCourse], barrier: str | None) -> None:
        """Legs between which nobody waits for others. All begin the first together; ``barrier`` is what awaits those
        that come to the end of it, None: the end of all.
        """
        team = self._team
        legs = [self._new_leg(leg) for leg in group]
        self._begin(legs[0])
        try:
            await team.each(lambda worker: self._resolve(worker, legs[0]), team.of(legs[0]), spare=team.hosts)
            await self._clocks.compare()
            self._clocks.judge()
        except PenstockError as error:
            legs[0].failure = str(error)
            team.draining = team.draining or str(error)
            legs[0].close()
            return
        self._agree(legs[0])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hasten, legs, barrier)
            async with anyio.create_task_group() as following:
                for worker in team.able():
                    following.start_soon(self._through, worker, legs)
            tasks.cancel_scope.cancel()
        for measured in legs:
            if measured.begun:
                await self._end(measured)
        if team.live() and team.hosts:
            await self._compare_after()

    def _agree(self, measured: Measured) -> None:
        delay = _START_DELAY_NS
        if self._team.hosts:
            reaching = _TRIPS * self._clocks.slowest_ns + _HOST_DELAY_NS * len(self._team.live())
            delay = round(self._team.rhythm.ahead * 1e9) + reaching
        measured.started_ns, measured.began_ns = self._clocks.now() + delay, monotonic_ns() + delay

    async def _compare_after(self) -> None:
        try:
            await self._clocks.compare()
        except WorkerLostError:
            raise
        except PenstockError as error:
            self._team.found.failure = self._team.found.failure or str(error)

    def _new_leg(self, leg: LegCourse) -> Measured:
        team, found = self._team, self._team.found
        rate = team.course.on_error.error_rate
        measured = Measured(leg, window=None if rate is None else ErrorWindow(rate.window))
        if leg.stable is not None:
            measured.steady = SteadyWatch(leg.stable, team.course.live_interval)
        for worker in found.workers:
            lanes = team.plans[worker.handle.rank].lanes_of(leg.share)
            if lanes:
                each = Watched(worker.handle, lanes, remote=worker.remote)
                if worker.remote is not None:
                    each.seen, each.series = Seen(), Series.one_of(len(found.workers), team.course.live_interval)
                measured.workers.append(each)
        return measured

    def _begin(self, measured: Measured) -> None:
        leg, team = measured.leg, self._team
        measured.begun = True
        for worker in measured.workers:
            mine = team.found.workers[worker.handle.rank]
            worker.lost = mine.lost or (f"it failed: {mine.failed}" if mine.failed else None)
        team.found.legs.append(measured)
        if leg.label:
            team.view.leg(leg.label, leg.number + 1, len(team.course.legs))

    def _start(self, measured: Measured) -> None:
        """The first worker starts with it."""
        leg = measured.leg
        measured.meter = CpuMeter(monotonic_ns())
        measured.measured_from_ns = measured.started_ns + round(leg.warmup * 1e9)
        if leg.warmup:
            self._team.view.phase("warm-up", None, leg.warmup)
        else:
            self._team.view.phase("run", leg.total, leg.duration)

    async def _end(self, measured: Measured) -> None:
        if not measured.ended:
            await self.emit(measured)
            measured.close()
            measured.ended_ns = self._clocks.now()
            if measured.failure or (measured.stopped and self._team.course.on_error.action == "stop"):
                self._team.draining = self._team.draining or measured.failure or measured.stopped

    async def _through(self, worker: Watched, legs: Sequence[Measured]) -> None:
        """One worker's way through the legs of a group."""
        for measured in legs:
            if self._team.draining or worker.lost is not None or worker.failed:
                return
            mine = next((each for each in measured.workers if each.handle.rank == worker.handle.rank), None)
            if mine is None:
                continue
            if measured is not legs[0]:
                if not measured.begun:
                    self._begin(measured)
                try:
                    await self._resolve(worker, measured)
                except PenstockError as error:
                    await self._fail(mine, measured, error)
                    return
                if not measured.started_ns:
                    measured.started_ns, measured.began_ns = self._clocks.now() + _BETWEEN_NS, monotonic_ns()
            await self._follow(mine, measured, max(measured.started_ns, self._clocks.now() + self._between(worker)))
            if all(each.arrived or each.lost is not None or each.failure for each in measured.workers):
                await self._end(measured)

    def _between(self, worker: Watched) -> int:
        """How far ahead a start lies at least, for the worker to hear of it before."""
        return _BETWEEN_NS + (worker.remote.round_trip_ns if worker.remote is not None else 0)

    async def _resolve(self, worker: Watched, measured: Measured) -> None:
        leg = measured.leg
        await self._team.call(worker, "resolve", {"leg": leg.number, "share": leg.share})

    async def _fail(self, worker: Watched, measured: Measured, error: PenstockError) -> None:
        if isinstance(error, WorkerLostError):
            await self._team.lose(worker, error.cause)
            return
        if self._team.hosts and self._team.course.distributed.on_worker_lost == "continue":
            # What one host can't do, others can: its disk may be full.
            await self._team.fail(worker, str(error))
            return
        called = self._team.called(worker)
        worker.failure = f"{called}: {error}"
        await self._team.drain(f"{called} failed")

    async def _follow(self, worker: Watched, measured: Measured, start_ns: int) -> None:
        if measured.meter is None:
            self._start(measured)
        body = {
            "leg": measured.leg.number,
            "share": measured.leg.share,
            "start_ns": self._clocks.theirs(worker, start_ns),
            "origin_ns": self._clocks.theirs(worker, measured.started_ns),
        }
        now = monotonic_ns()
        worker.running, worker.started_ns = True, start_ns
        measured.behind.add(worker.handle.rank)
        worker.heard_ns = worker.snapshot_ns = worker.progressed_ns = now
        observer = self._team.observer
        try:
            async for item in worker.handle.stream("run", body):
                worker.heard_ns = worker.snapshot_ns = monotonic_ns()
                reason = observer.saw(worker, item) if observer is not None else ""
                if "done" in item:
                    worker.end(item)
                    continue
                measured.totals.merge(worker.take(item))
                if measured.past(worker):
                    await self.emit(measured)
                if reason:
                    self._too_many(measured, reason)
                    await self._team.drain(reason)
        except PenstockError as error:
            await self._fail(worker, measured, error)
        finally:
            worker.running = False
            measured.behind.discard(worker.handle.rank)

    async def emit(self, measured: Measured) -> None:
        """Show and judge the intervals that all have got past."""
        # Nothing waits within the loop, so intervals that come meanwhile can't overtake these.
        meter, course, leg = measured.meter, self._team.course, measured.leg
        if meter is None:
            return
        stable = False
        for interval in merge_intervals(measured.workers, meter):
            shown = measured is self._team.found.legs[-1]
            if shown and not measured.measuring and leg.warmup:
                self._team.view.phase("run", leg.total, leg.duration)
            if shown and (not measured.measuring or interval.seconds > course.live_interval / 2):
                self._team.show()
                self._team.view.interval(interval, measured.totals)
            if not measured.measuring:
                # From the first interval's end on, which is close enough: the meter counts from when it is made.
                measured.machine = MachineMeter(monotonic_ns())
            measured.measuring = True
            self._judge(measured, interval)
            if measured.steady is not None:
                stable = measured.steady.add(interval) or stable
            measured.timeline.add(interval)
        measured.await_next()
        if measured.stopped and course.on_error.action == "stop":
            await self._team.drain(measured.stopped)
        elif stable:
            await self._stop_stable(measured)

    async def _stop_stable(self, measured: Measured) -> None:
        assert measured.steady is not None
        found = measured.steady.found
        self._team.note(f"stable from {found.from_s:.1f} s to {found.to_s:.1f} s: that is enough", measured)
        await self._come(measured)

    def _judge(self, measured: Measured, interval: Interval) -> None:
        """Hold the errors against the policy."""
        policy, errors = self._team.course.on_error, measured.totals.errors
        if measured.window is not None and policy.error_rate is not None:
            rate, limit = measured.window.add(interval), policy.error_rate.errors_per_second
            if rate > limit:
                self._too_many(measured, f"{rate:.1f} errors per second, more than {limit:g}")
        if policy.max_total_errors is not None and errors > policy.max_total_errors:
            self._too_many(measured, f"more than {policy.max_total_errors} operations failed")

    def _too_many(self, measured: Measured, reason: str) -> None:
        if not measured.stopped:
            measured.stopped = reason
            self._team.note(reason, measured)

    async def _come(self, measured: Measured) -> None:
        """Let every worker end a leg, as if it were over."""
        async with anyio.create_task_group() as tasks:
            for worker in measured.running:
                body = {"reason": "", "leg": measured.leg.number}
                tasks.start_soon(self._team.drain_one, worker, body)

    async def _hasten(self, legs: Sequence[Measured], barrier: str | None) -> None:
        """See to it that those which have come to a barrier, or to the end, don't wait for ever."""
        interval = self._team.course.live_interval
        patience: Patience = END if barrier is None else BARRIER
        while True:
            await anyio.sleep(interval)
            arrived = sum(worker.arrived for worker in legs[-1].workers)
            if not arrived:
                continue
            for measured in legs:
                if barrier == "majority" and has_majority(arrived, len(self._team.plans)):
                    await self._come(measured)
                for worker in stuck(measured, interval, patience):
                    text = f"{self._team.called(worker)} makes no progress while others wait for it: giving it up"
                    self._team.note(text, measured)
                    await self._team.give_up(worker, "it made no progress while others waited for it")
