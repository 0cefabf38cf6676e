"""The coordinator of a run: phases, signals, the watch over workers, and the outcome. It has no store itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from penstock.clocks import monotonic_ns, wall_ns
from penstock.engine.barrier import has_majority, stuck, why_not
from penstock.engine.course import Course, LegCourse, Observer, WorkerPart
from penstock.engine.found import Found, Measured
from penstock.engine.steady import SteadyWatch
from penstock.engine.watch import ErrorWindow, Watched, merge_intervals
from penstock.errors import PenstockError, WorkerLostError
from penstock.launchers import Launcher, LaunchSpec
from penstock.report.live import LiveView
from penstock.report.outcome import Interval, PhaseOutcome
from penstock.stats.machine import MachineMeter
from penstock.stats.system import CpuMeter

__all__ = ["Coordinator", "Found"]

#: How far ahead the common start lies, for every worker to have its lanes ready.
_START_DELAY_NS = 200_000_000
#: The same of a worker that goes on to the next leg by itself.
_BETWEEN_NS = 20_000_000
#: A worker that was silent for so many intervals is warned of; for so many it is given up.
_WARN_INTERVALS = 3
_LOST_INTERVALS = 10
_LOST_SECONDS = 10.0
#: How long a worker may take to hear that it is to stop.
_DRAIN_SECONDS = 5.0
#: And how long to close its log.
_FINISH_SECONDS = 60.0


class Coordinator:
    """Carries out one plan. ``found`` grows while it does, so that nothing measured is lost."""

    def __init__(
        self,
        course: Course,
        plans: Sequence[WorkerPart],
        launcher: Launcher,
        view: LiveView,
        observer: Observer | None = None,
    ) -> None:
        self._course = course
        self._observer = observer
        self._plans = plans
        self._launcher = launcher
        self._view = view
        self._draining = ""
        self.found = Found()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear interrupts, from before the run until its results are written: none gets past and loses them."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._watch_signals)
            yield
            tasks.cancel_scope.cancel()

    async def run(self, spec: LaunchSpec) -> None:
        """Carry the plan out. What goes wrong is in ``found``; only defects raise."""
        found = self.found
        try:
            handles = await self._launcher.start(len(self._plans), spec)
            found.workers.extend(Watched(handle, plan.lanes) for handle, plan in zip(handles, self._plans, strict=True))
            await self._phases()
        except PenstockError as error:
            found.failure = found.failure or str(error)
        finally:
            await self._launcher.stop()

    async def _phases(self) -> None:
        await self._each(lambda worker: self._call(worker, "open", self._plans[worker.handle.rank].to_message()))
        try:
            await self._prepare_all("prepare")
            await self._measure()
        finally:
            await self._finish()
            if self._course.cleanup:
                await self._clean_up()

    async def _measure(self) -> None:
        """One group of legs after the other, as far as it comes."""
        first = True
        for group in self._groups():
            if self._draining:
                return
            leg = group[0]
            if not first:
                if reason := why_not(leg.barrier, self.found.workers, len(self._plans)):
                    self.found.failure = f"{leg.label} was not begun: {reason}"
                    return
                if leg.again:
                    await self._prepare_all(f"prepare, {leg.label}")
            first = False
            if not self._draining:
                await self._run_group(group, self._next_barrier(group))

    def _groups(self) -> Iterator[Sequence[LegCourse]]:
        """Legs that follow each other without all workers coming together; all have a part in them, or only one leg."""
        group: list[LegCourse] = []
        for leg in self._course.legs:
            idle = any(not plan.lanes_of(each.share) for plan in self._plans for each in (leg, *group[-1:]))
            if group and (leg.gathers or leg.barrier is not None or idle):
                yield group
                group = []
            group.append(leg)
        yield group

    def _next_barrier(self, group: Sequence[LegCourse]) -> str | None:
        """What awaits those that come to the end of a group; None: the end of all."""
        later = self._course.legs[group[-1].number + 1 :]
        return (later[0].barrier or "best_effort") if later else None

    async def _finish(self) -> None:
        """Let the workers close what they have kept open."""

        async def one(worker: Watched) -> None:
            try:
                worker.log = (await worker.handle.call("finish", {})).get("log", worker.log)
            except WorkerLostError:
                raise
            except PenstockError as error:
                self.found.failure = self.found.failure or f"worker {worker.handle.rank}: {error}"

        with contextlib.suppress(WorkerLostError), anyio.move_on_after(_FINISH_SECONDS):
            await self._each(one)

    async def _prepare_all(self, name: str) -> None:
        if await self._prepare(name) and not self._draining and self._course.post_prepare_delay:
            await anyio.sleep(self._course.post_prepare_delay)

    async def _prepare(self, name: str) -> bool:
        """Whether anything was made."""
        if not self._course.prepares:
            return False
        reports: dict[int, Mapping[str, Any]] = {}
        began = monotonic_ns()
        self._view.phase(name, self._course.prepared, None)

        async def one(worker: Watched) -> None:
            async for report in worker.handle.stream("prepare", {}):
                worker.heard_ns = monotonic_ns()
                reports[worker.handle.rank] = report
                done = _sum(reports, "made") + _sum(reports, "found")
                self._view.progress(done, _sum(reports, "nbytes"))
            if self._observer is not None and worker.handle.rank in reports:
                self._observer.finished("prepare", reports[worker.handle.rank])

        try:
            await self._each(one)
        finally:
            self.found.phases.append(
                PhaseOutcome(
                    name=name,
                    seconds=(monotonic_ns() - began) / 1e9,
                    objects_made=_sum(reports, "made"),
                    objects_found=_sum(reports, "found"),
                    nbytes=_sum(reports, "nbytes"),
                    failed=_sum(reports, "failed"),
                )
            )
        return _sum(reports, "made") > 0

    async def _run_group(self, group: Sequence[LegCourse], barrier: str | None) -> None:
        """Legs between which nobody waits for others. All begin the first together."""
        legs = [self._new_leg(leg) for leg in group]
        self._begin(legs[0])
        try:
            await self._each(lambda worker: self._resolve(worker, legs[0]), self._of(legs[0]))
        except PenstockError as error:
            legs[0].failure = str(error)
            self._draining = str(error)
            legs[0].close()
            return
        legs[0].started_ns = wall_ns() + _START_DELAY_NS
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_silence, legs)
            if barrier is not None:
                tasks.start_soon(self._hasten, legs, barrier)
            async with anyio.create_task_group() as following:
                for worker in self._live():
                    following.start_soon(self._through, worker, legs)
            tasks.cancel_scope.cancel()
        for measured in legs:
            if measured.begun:
                await self._end(measured)

    def _new_leg(self, leg: LegCourse) -> Measured:
        rate = self._course.on_error.error_rate
        measured = Measured(leg, window=None if rate is None else ErrorWindow(rate.window))
        if leg.stable is not None:
            measured.steady = SteadyWatch(leg.stable, self._course.live_interval)
        for worker in self.found.workers:
            lanes = self._plans[worker.handle.rank].lanes_of(leg.share)
            if lanes:
                measured.workers.append(Watched(worker.handle, lanes))
        return measured

    def _begin(self, measured: Measured) -> None:
        leg = measured.leg
        measured.begun = True
        for worker in measured.workers:
            worker.lost = self.found.workers[worker.handle.rank].lost
        self.found.legs.append(measured)
        if leg.label:
            self._view.leg(leg.label, leg.number + 1, len(self._course.legs))

    def _start(self, measured: Measured) -> None:
        """The first worker starts with it."""
        leg = measured.leg
        measured.meter = CpuMeter(monotonic_ns())
        measured.measured_from_ns = measured.started_ns + round(leg.warmup * 1e9)
        if leg.warmup:
            self._view.phase("warm-up", None, leg.warmup)
        else:
            self._view.phase("run", leg.total, leg.duration)

    async def _end(self, measured: Measured) -> None:
        if not measured.ended:
            await self._emit(measured)
            measured.close()
            measured.ended_ns = wall_ns()
            if measured.failure or (measured.stopped and self._course.on_error.action == "stop"):
                self._draining = self._draining or measured.failure or measured.stopped

    async def _through(self, worker: Watched, legs: Sequence[Measured]) -> None:
        """One worker's way through the legs of a group."""
        for measured in legs:
            if self._draining or worker.lost is not None:
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
                measured.started_ns = measured.started_ns or wall_ns() + _BETWEEN_NS
            await self._follow(mine, measured, max(measured.started_ns, wall_ns() + _BETWEEN_NS))
            if all(each.arrived or each.lost is not None or each.failure for each in measured.workers):
                await self._end(measured)

    async def _resolve(self, worker: Watched, measured: Measured) -> None:
        await self._call(worker, "resolve", {"leg": measured.leg.number})

    async def _fail(self, worker: Watched, measured: Measured, error: PenstockError) -> None:
        if isinstance(error, WorkerLostError):
            await self._lose(worker, error.cause)
            return
        worker.failure = f"worker {worker.handle.rank}: {error}"
        await self._drain(f"worker {worker.handle.rank} failed")

    async def _follow(self, worker: Watched, measured: Measured, start_ns: int) -> None:
        if measured.meter is None:
            self._start(measured)
        body = {"leg": measured.leg.number, "start_ns": start_ns, "origin_ns": measured.started_ns}
        worker.running, worker.heard_ns = True, monotonic_ns()
        worker.progressed_ns = worker.heard_ns
        try:
            async for item in worker.handle.stream("run", body):
                worker.heard_ns = monotonic_ns()
                reason = self._observer.saw(worker, item) if self._observer is not None else ""
                if "done" in item:
                    worker.end(item)
                    continue
                measured.totals.merge(worker.take(item))
                await self._emit(measured)
                if reason:
                    self._too_many(measured, reason)
                    await self._drain(reason)
        except PenstockError as error:
            await self._fail(worker, measured, error)
        finally:
            worker.running = False

    async def _emit(self, measured: Measured) -> None:
        # Nothing waits within the loop, so intervals that come meanwhile can't overtake these.
        meter, course, leg = measured.meter, self._course, measured.leg
        if meter is None:
            return
        stable = False
        for interval in merge_intervals(measured.workers, meter):
            shown = measured is self.found.legs[-1]
            if shown and not measured.measuring and leg.warmup:
                self._view.phase("run", leg.total, leg.duration)
            if shown and (not measured.measuring or interval.seconds > course.live_interval / 2):
                self._view.interval(interval, measured.totals)
            if not measured.measuring:
                # From the first interval's end on, which is close enough: the meter counts from when it is made.
                measured.machine = MachineMeter(monotonic_ns())
            measured.measuring = True
            self._judge(measured, interval)
            if measured.steady is not None:
                stable = measured.steady.add(interval) or stable
            measured.timeline.add(interval)
        if measured.stopped and course.on_error.action == "stop":
            await self._drain(measured.stopped)
        elif stable:
            await self._stop_stable(measured)

    async def _stop_stable(self, measured: Measured) -> None:
        assert measured.steady is not None
        found = measured.steady.found
        self._note(f"stable from {found.from_s:.1f} s to {found.to_s:.1f} s: that is enough", measured)
        await self._come(measured)

    def _judge(self, measured: Measured, interval: Interval) -> None:
        """Hold the errors against the policy."""
        policy, errors = self._course.on_error, measured.totals.errors
        if measured.window is not None and policy.error_rate is not None:
            rate, limit = measured.window.add(interval), policy.error_rate.errors_per_second
            if rate > limit:
                self._too_many(measured, f"{rate:.1f} errors per second, more than {limit:g}")
        if policy.max_total_errors is not None and errors > policy.max_total_errors:
            self._too_many(measured, f"more than {policy.max_total_errors} operations failed")

    def _too_many(self, measured: Measured, reason: str) -> None:
        if not measured.stopped:
            measured.stopped = reason
            self._note(reason, measured)

    async def _come(self, measured: Measured) -> None:
        """Let every worker end a leg, as if it were over."""
        async with anyio.create_task_group() as tasks:
            for worker in measured.running:
                tasks.start_soon(self._drain_one, worker, {"reason": "", "leg": measured.leg.number})

    async def _hasten(self, legs: Sequence[Measured], barrier: str) -> None:
        """See to it that those which have come to a barrier don't wait for ever."""
        while True:
            await anyio.sleep(self._course.live_interval)
            arrived = sum(worker.arrived for worker in legs[-1].workers)
            if not arrived:
                continue
            for measured in legs:
                if barrier == "majority" and has_majority(arrived, len(self._plans)):
                    await self._come(measured)
                for worker in stuck(measured, self._course.live_interval):
                    text = f"worker {worker.handle.rank} makes no progress while others wait for it: giving it up"
                    self._note(text, measured)
                    worker.handle.kill()

    async def _clean_up(self) -> None:
        with contextlib.suppress(WorkerLostError):
            if self._live():
                await self._clean()
        for worker in self._lost():
            self._note(f"what worker {worker.handle.rank} made was not cleaned up, because it was lost")

    async def _clean(self) -> None:
        reports: dict[tuple[int, bool], Mapping[str, Any]] = {}
        began = monotonic_ns()
        self._view.phase("cleanup", None, None)

        async def one(worker: Watched, directories: bool) -> None:
            async for report in worker.handle.stream("cleanup", {"directories": directories}):
                reports[worker.handle.rank, directories] = report
                self._view.progress(_sum(reports, "made"), 0)
            if self._observer is not None:
                self._observer.finished("cleanup", reports.get((worker.handle.rank, directories), {}))

        await self._each(lambda worker: one(worker, False))
        # Directories of a tree are numbered from its root, so the last worker has the deepest ones.
        for worker in reversed(self._live()):
            await self._each(lambda worker: one(worker, True), [worker])
        failed = _sum(reports, "failed")
        if failed:
            example = next((report["example"] for report in reports.values() if report.get("example")), "")
            self._note(f"cleanup: {failed} objects could not be deleted, such as: {example}")
        seconds = (monotonic_ns() - began) / 1e9
        phase = PhaseOutcome(name="cleanup", seconds=seconds, objects_made=_sum(reports, "made"), failed=failed)
        self.found.phases.append(phase)

    async def _each(self, work: Callable[[Watched], Any], workers: Sequence[Watched] | None = None) -> None:
        """Do the same with every worker at once; the first error is raised when all have ended."""
        errors: list[PenstockError] = []

        async def one(worker: Watched) -> None:
            try:
                await work(worker)
            except WorkerLostError as error:
                await self._lose(worker, error.cause)
                errors.append(error)
            except PenstockError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            for worker in self._live() if workers is None else workers:
                tasks.start_soon(one, worker)
        if errors:
            raise errors[0]

    async def _call(self, worker: Watched, method: str, body: Mapping[str, Any]) -> None:
        await worker.handle.call(method, body)

    async def _lose(self, worker: Watched, cause: str) -> None:
        if worker.lost is None:
            worker.lost = cause
            self._note(f"worker {worker.handle.rank} on {worker.handle.host} was lost: {cause}")
            self.found.workers[worker.handle.rank].lost = cause
            for measured in self.found.legs:
                if not measured.ended:
                    for each in measured.workers:
                        each.lost = cause if each.handle.rank == worker.handle.rank else each.lost
                    await self._emit(measured)

    def _of(self, measured: Measured) -> list[Watched]:
        """The workers that are there and have a part in a leg."""
        ranks = {worker.handle.rank for worker in measured.workers}
        return [worker for worker in self._live() if worker.handle.rank in ranks]

    def _live(self) -> list[Watched]:
        return [worker for worker in self.found.workers if worker.lost is None]

    def _lost(self) -> list[Watched]:
        return [worker for worker in self.found.workers if worker.lost is not None]

    async def _drain(self, reason: str) -> None:
        if self._draining:
            return
        self._draining = reason
        async with anyio.create_task_group() as tasks:
            for worker in self._live():
                tasks.start_soon(self._drain_one, worker, {"reason": reason})

    async def _drain_one(self, worker: Watched, body: Mapping[str, Any]) -> None:
        with contextlib.suppress(PenstockError), anyio.move_on_after(_DRAIN_SECONDS):
            await self._call(worker, "drain", body)

    async def _watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                await self._on_signals(signals, tasks)

    async def _on_signals(self, signals: AsyncIterator[signal.Signals], tasks: TaskGroup) -> None:
        async for _ in signals:
            if self.found.interrupted:
                self._note("interrupted again: stopping at once")
                for worker in self._live():
                    worker.handle.kill()
                continue
            self.found.interrupted = True
            for measured in self.found.legs:
                measured.interrupted = measured.interrupted or not measured.ended
            self._note("interrupted: finishing the operations in flight (once more to stop at once)")
            # Not waited for: the next signal must be heard also while a worker does not answer.
            tasks.start_soon(self._drain, "interrupted")

    async def _watch_silence(self, legs: Sequence[Measured]) -> None:
        """Kill workers that say nothing any more; that they are gone is noticed as for any other."""
        interval = self._course.live_interval
        warned: set[int] = set()
        while True:
            await anyio.sleep(interval)
            for worker in (each for measured in legs for each in measured.running):
                silent = (monotonic_ns() - worker.heard_ns) / 1e9 - _START_DELAY_NS / 1e9
                rank = worker.handle.rank
                if silent > max(_LOST_INTERVALS * interval, _LOST_SECONDS):
                    self._note(f"worker {rank} has said nothing for {silent:.0f} s: giving it up")
                    worker.handle.kill()
                elif silent > max(_WARN_INTERVALS * interval, 3.0) and rank not in warned:
                    warned.add(rank)
                    self._note(f"worker {rank} has said nothing for {silent:.0f} s")

    def _note(self, text: str, measured: Measured | None = None) -> None:
        """Keep it with the leg that it is about; without one, with that which is under way."""
        several = len(self._course.legs) > 1
        under_way = next((each for each in reversed(self.found.legs) if not each.ended), None)
        about = (measured or under_way) if several else None
        (self.found if about is None else about).notes.append(text)
        self._view.note(text)


def _sum(reports: Mapping[Any, Mapping[str, Any]], name: str) -> int:
    return sum(int(report.get(name, 0)) for report in reports.values())
