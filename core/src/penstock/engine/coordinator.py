"""The coordinator of a run: phases, signals, the watch over workers, and the outcome. It has no store itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus

from penstock.clocks import monotonic_ns, wall_ns
from penstock.engine.course import Course, Observer, WorkerPart
from penstock.engine.watch import ErrorWindow, Watched, merge_intervals
from penstock.errors import PenstockError, WorkerLostError
from penstock.launchers import Launcher, LaunchSpec
from penstock.report.live import LiveView
from penstock.report.outcome import Interval, PhaseOutcome, Timeline, join
from penstock.stats.errors import ErrorTable
from penstock.stats.machine import DeviceUse, MachineMeter
from penstock.stats.system import CpuMeter
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

__all__ = ["Coordinator", "Found"]

#: How far ahead the common start lies, for every worker to have its lanes ready.
_START_DELAY_NS = 200_000_000
#: A worker that was silent for so many intervals is warned of; for so many it is given up.
_WARN_INTERVALS = 3
_LOST_INTERVALS = 10
_LOST_SECONDS = 10.0
#: How long a worker may take to hear that it is to stop.
_DRAIN_SECONDS = 5.0


@attrs.define
class Found:
    """What the coordinator knows when it is done, however that came about."""

    totals: Tally = attrs.field(factory=Tally)
    errors: ErrorTable = attrs.field(factory=ErrorTable)
    timeline: Timeline = attrs.field(factory=Timeline)
    phases: list[PhaseOutcome] = attrs.field(factory=list)
    workers: list[Watched] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    measured_from_ns: int = 0
    interrupted: bool = False
    failure: str = ""
    stopped: str = ""
    disks: Mapping[str, DeviceUse] = attrs.field(factory=dict)
    links: Mapping[str, DeviceUse] = attrs.field(factory=dict)

    def intervals(self) -> list[Interval]:
        """The time series. What came after the last full interval, while calls ended, belongs to that one."""
        intervals = self.timeline.intervals()
        if len(intervals) > 1 and intervals[-1].seconds < intervals[0].seconds / 2:
            intervals[-2:] = [join(intervals[-2:])]
        return intervals

    def endpoints(self) -> dict[str, Tally]:
        """The calls of all workers by endpoint."""
        endpoints: dict[str, Tally] = {}
        for worker in self.workers:
            for name, tally in worker.endpoints.items():
                endpoints.setdefault(name, Tally()).merge(tally)
        return endpoints

    def verification(self) -> Verification | None:
        """What all workers checked in the measured window; None if nothing was to be checked."""
        known = [worker.verified.since(worker.first_verified) for worker in self.workers if worker.verified is not None]
        counts = Verification()
        for each in known:
            counts.merge(each)
        return counts if known else None

    @property
    def measured_seconds(self) -> float:
        """From the end of the warm-up until the last lane ended."""
        return max((worker.end_s for worker in self.workers), default=0.0)


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
        self._meter = CpuMeter(monotonic_ns())
        self._measuring = False
        self._machine: MachineMeter | None = None
        self._draining = ""
        rate = course.on_error.error_rate
        self._window = None if rate is None else ErrorWindow(rate.window)
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
            for worker in found.workers:
                found.errors.merge(worker.errors)

    async def _phases(self) -> None:
        await self._each(lambda worker: self._call(worker, "open", self._plans[worker.handle.rank].to_message()))
        made = False
        try:
            made = await self._prepare()
            if not self._draining:
                if made and self._course.post_prepare_delay:
                    await anyio.sleep(self._course.post_prepare_delay)
                await self._each(lambda worker: self._call(worker, "resolve", {}))
                await self._measure()
        finally:
            if self._course.cleanup:
                await self._clean_up()

    async def _prepare(self) -> bool:
        if not self._course.prepares:
            return False
        reports: dict[int, Mapping[str, Any]] = {}
        began = monotonic_ns()
        self._view.phase("prepare", self._course.prepared, None)

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
                    name="prepare",
                    seconds=(monotonic_ns() - began) / 1e9,
                    objects_made=_sum(reports, "made"),
                    objects_found=_sum(reports, "found"),
                    nbytes=_sum(reports, "nbytes"),
                    failed=_sum(reports, "failed"),
                )
            )
        return _sum(reports, "made") > 0

    async def _measure(self) -> None:
        course, found = self._course, self.found
        start_ns = wall_ns() + _START_DELAY_NS
        found.measured_from_ns = start_ns + round(course.warmup * 1e9)
        if course.warmup:
            self._view.phase("warm-up", None, course.warmup)
        else:
            self._view.phase("run", course.total, course.duration)
        for worker in self._live():
            worker.running, worker.heard_ns = True, monotonic_ns()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_silence)
            async with anyio.create_task_group() as following:
                for worker in self._live():
                    following.start_soon(self._follow, worker, start_ns)
            tasks.cancel_scope.cancel()
        await self._emit()
        if self._machine is not None:
            now = monotonic_ns()
            found.disks, found.links = self._machine.disks(now), self._machine.links(now)
        for worker in found.workers:
            found.failure = found.failure or worker.failure
            found.stopped = found.stopped or worker.reason
        if found.workers and all(worker.lost for worker in found.workers):
            found.failure = found.failure or f"every worker was lost; the last: {found.workers[-1].lost}"

    async def _follow(self, worker: Watched, start_ns: int) -> None:
        try:
            async for item in worker.handle.stream("run", {"start_ns": start_ns}):
                worker.heard_ns = monotonic_ns()
                reason = self._observer.saw(worker, item) if self._observer is not None else ""
                if "done" in item:
                    worker.reason, worker.log = str(item["reason"]), item["log"]
                    worker.missed = int(item.get("missed", 0))
                    worker.generating_ns = int(item.get("generating_ns", 0))
                    continue
                self.found.totals.merge(worker.take(item))
                await self._emit()
                if reason:
                    self._too_many(reason)
                    await self._drain(reason)
        except WorkerLostError as error:
            await self._lose(worker, error.cause)
        except PenstockError as error:
            worker.failure = f"worker {worker.handle.rank}: {error}"
            await self._drain(f"worker {worker.handle.rank} failed")
        finally:
            worker.running = False

    async def _emit(self) -> None:
        # Nothing waits within the loop, so intervals that come meanwhile can't overtake these.
        for interval in merge_intervals(self.found.workers, self._meter):
            if not self._measuring and self._course.warmup:
                self._view.phase("run", self._course.total, self._course.duration)
            if not self._measuring or interval.seconds > self._course.live_interval / 2:
                self._view.interval(interval, self.found.totals)
            if not self._measuring:
                # From the first interval's end on, which is close enough: the meter counts from when it is made.
                self._machine = MachineMeter(monotonic_ns())
            self._measuring = True
            self._judge(interval)
            self.found.timeline.add(interval)
        if self.found.stopped and self._course.on_error.action == "stop":
            await self._drain(self.found.stopped)

    def _judge(self, interval: Interval) -> None:
        """Hold the errors against the policy."""
        policy, errors = self._course.on_error, self.found.totals.errors
        if self._window is not None and policy.error_rate is not None:
            rate, limit = self._window.add(interval), policy.error_rate.errors_per_second
            if rate > limit:
                self._too_many(f"{rate:.1f} errors per second, more than {limit:g}")
        if policy.max_total_errors is not None and errors > policy.max_total_errors:
            self._too_many(f"more than {policy.max_total_errors} operations failed")

    def _too_many(self, reason: str) -> None:
        if not self.found.stopped:
            self.found.stopped = reason
            self._note(reason)

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
            await self._emit()

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
                tasks.start_soon(self._drain_one, worker, reason)

    async def _drain_one(self, worker: Watched, reason: str) -> None:
        with contextlib.suppress(PenstockError), anyio.move_on_after(_DRAIN_SECONDS):
            await self._call(worker, "drain", {"reason": reason})

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
            self._note("interrupted: finishing the operations in flight (once more to stop at once)")
            # Not waited for: the next signal must be heard also while a worker does not answer.
            tasks.start_soon(self._drain, "interrupted")

    async def _watch_silence(self) -> None:
        """Kill workers that say nothing any more; that they are gone is noticed as for any other."""
        interval = self._course.live_interval
        warned: set[int] = set()
        while True:
            await anyio.sleep(interval)
            for worker in self._live():
                silent = (monotonic_ns() - worker.heard_ns) / 1e9 - _START_DELAY_NS / 1e9
                rank = worker.handle.rank
                if worker.running and silent > max(_LOST_INTERVALS * interval, _LOST_SECONDS):
                    self._note(f"worker {rank} has said nothing for {silent:.0f} s: giving it up")
                    worker.handle.kill()
                elif worker.running and silent > max(_WARN_INTERVALS * interval, 3.0) and rank not in warned:
                    warned.add(rank)
                    self._note(f"worker {rank} has said nothing for {silent:.0f} s")

    def _note(self, text: str) -> None:
        self.found.notes.append(text)
        self._view.note(text)


def _sum(reports: Mapping[Any, Mapping[str, Any]], name: str) -> int:
    return sum(int(report.get(name, 0)) for report in reports.values())
