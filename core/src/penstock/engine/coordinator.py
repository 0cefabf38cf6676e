"""The coordinator of a run: its phases in order, signals, and the outcome. It has no store itself.

Workers are processes of this host, whose plans are known before they start; or hosts, each with processes of its own,
whose plans are made when they have greeted.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus

from penstock.engine.barrier import why_not
from penstock.engine.course import Course, LegCourse, Observer, WorkerPart
from penstock.engine.fetching import fetch_all, send_file
from penstock.engine.findings import PreflightError, of_level
from penstock.engine.found import Found
from penstock.engine.measuring import Measuring, groups_of
from penstock.engine.parts import HostPlan
from penstock.engine.phases import clean_up, finish, needs_all, prepare
from penstock.engine.plan import Host
from penstock.engine.preflight import inspect
from penstock.engine.probing import Clocks
from penstock.engine.pulse import Pulse
from penstock.engine.remote import Remote
from penstock.engine.starting import forwarded, refuse_open
from penstock.engine.team import Rhythm, Team
from penstock.engine.watch import Watched
from penstock.errors import PenstockError, UsageError
from penstock.launchers import HOST_WORKER, Launcher, LaunchSpec, WorkerHandle
from penstock.report.live import LiveView

__all__ = ["Coordinator", "Found", "HostPlanner"]


class HostPlanner(Protocol):
    """Makes the plans for hosts once they are known."""

    def plans(self, hosts: Sequence[Host]) -> Sequence[HostPlan]:
        """The part of each. Raises UsageError for what can't be carried out there."""

    def questions(self) -> Sequence[Mapping[str, Any]]:
        """What each of them is to look at first; empty: nothing."""


class Coordinator:
    """Carries out one plan. ``found`` grows while it does, so that nothing measured is lost."""

    def __init__(
        self,
        course: Course,
        plans: Sequence[WorkerPart],
        launcher: Launcher,
        view: LiveView,
        observer: Observer | None = None,
        *,
        for_hosts: HostPlanner | None = None,
        directory: Path | None = None,
        rhythm: Rhythm | None = None,
    ) -> None:
        """``plans`` are for processes of this host, ``for_hosts`` makes those of others, where ``launcher`` starts
        such. What hosts keep is fetched to ``directory``; None: nothing is.
        """
        self._launcher = launcher
        self._for_hosts = for_hosts
        self._directory = directory
        self._opened = False
        self._team = Team(course, view, observer, rhythm)
        self._team.plans = plans
        self._clocks = Clocks(self._team)
        self._measuring = Measuring(self._team, self._clocks)

    @property
    def found(self) -> Found:
        """What it knows so far."""
        return self._team.found

    @property
    def plans(self) -> Sequence[WorkerPart]:
        """The parts of its workers; of hosts, known once they have started."""
        return self._team.plans

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear interrupts, from before the run until its results are written: none gets past and loses them."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._watch_signals)
            yield
            tasks.cancel_scope.cancel()

    async def run(self, spec: LaunchSpec) -> None:
        """Carry the plan out. What goes wrong is in ``found``; only defects raise, and UsageError for what can't be
        carried out on the hosts that there are.
        """
        refused: UsageError | None = None
        try:
            await self._launch(spec)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Pulse(self._team).run)
                try:
                    await self._look()
                    # An interrupt may have come before anybody was there to hear of it.
                    if not self._team.draining:
                        await self._phases()
                except UsageError as error:
                    refused = error
                except PenstockError as error:
                    self.found.failure = self.found.failure or str(error)
                tasks.cancel_scope.cancel()
        except UsageError as error:
            refused = error
        except PenstockError as error:
            self.found.failure = self.found.failure or str(error)
        finally:
            await self._launcher.stop()
        if refused is not None and not self._opened:
            raise refused
        self.found.failure = self.found.failure or str(refused or "")

    async def _launch(self, spec: LaunchSpec) -> None:
        team, course = self._team, self._team.course
        if not self._launcher.hosts:
            handles = await self._launcher.start(len(team.plans), spec)
            pairs = zip(handles, team.plans, strict=True)
            team.found.workers.extend(Watched(handle, plan.lanes) for handle, plan in pairs)
            return
        assert self._for_hosts is not None
        distributed = course.distributed
        spec = attrs.evolve(spec, worker=HOST_WORKER, lease=distributed.lease)
        handles = await self._launcher.start(distributed.hosts, spec)
        hosts = [_host(handle) for handle in handles]
        handed = forwarded(distributed)
        plans = [
            attrs.evolve(plan, environment={**handed, **plan.environment}, about=team.course.about)
            for plan in self._for_hosts.plans(hosts)
        ]
        refuse_open((name for plan in plans for name in plan.environment), self._launcher.channel)
        team.plans = plans
        for handle, plan in zip(handles, plans, strict=True):
            remote = Remote(greeting=handle.greeting, processes=len(plan.parts), name=handle.host)
            team.found.workers.append(Watched(handle, plan.lanes, remote=remote))

    async def _look(self) -> None:
        """Ask every host whether what is to be done there can succeed. Raises PreflightError where it can't."""
        if not self._team.hosts or self._for_hosts is None:
            return
        questions, workers = self._for_hosts.questions(), self._team.found.workers
        if not questions:
            return
        environments = [dict(plan.environment) for plan in self._team.plans if isinstance(plan, HostPlan)]
        self._team.view.phase("preflight", None, None)

        async def call(rank: int, question: Mapping[str, Any]) -> Mapping[str, Any]:
            own = {**question, "environment": environments[rank]}
            return await self._team.call(workers[rank], "preflight", own)

        found = await inspect(questions, [worker.handle.host for worker in workers], call)
        if of_level(found, "error"):
            raise PreflightError(found)
        for finding in of_level(found, "warning"):
            self._team.note(str(finding))

    async def _phases(self) -> None:
        team = self._team
        await self._send()
        self._opened = not team.hosts
        await team.each(
            lambda worker: self._open(worker),
            spare=team.hosts and not needs_all(team),
        )
        self._opened = True
        try:
            if not team.draining:
                await prepare(team, "prepare")
            await self._measure()
        finally:
            await finish(team)
            if team.course.cleanup:
                await clean_up(team)
            if team.hosts and self._directory is not None:
                await fetch_all(team, self._directory)

    async def _send(self) -> None:
        """Give hosts the files that they need."""
        team, inputs = self._team, self._team.course.inputs
        if not team.hosts or not inputs:
            return
        team.view.phase("send", None, None)

        async def one(worker: Watched) -> None:
            for name, path in inputs.items():
                await send_file(team, worker, name, path)

        await team.each(one, spare=True)

    async def _open(self, worker: Watched) -> None:
        answer = await self._team.call(worker, "open", self._team.plans[worker.handle.rank].to_message())
        if worker.remote is not None:
            worker.remote.directory = str(answer.get("scratch", ""))

    async def _measure(self) -> None:
        """One group of legs after the other, as far as it comes."""
        team, first = self._team, True
        for group in groups_of(team):
            if team.draining:
                return
            leg = group[0]
            if not first:
                if reason := why_not(leg.barrier, team.found.workers, len(team.plans)):
                    team.found.failure = team.found.failure or f"{leg.label} was not begun: {reason}"
                    return
                if leg.again:
                    await prepare(team, f"prepare, {leg.label}")
            first = False
            if not team.draining:
                await self._measuring.run_group(group, self._next_barrier(group))

    def _next_barrier(self, group: Sequence[LegCourse]) -> str | None:
        """What awaits those that come to the end of a group; None: the end of all."""
        later = self._team.course.legs[group[-1].number + 1 :]
        return (later[0].barrier or "best_effort") if later else None

    async def _watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                await self._on_signals(signals, tasks)

    async def _on_signals(self, signals: AsyncIterator[signal.Signals], tasks: TaskGroup) -> None:
        team = self._team
        async for _ in signals:
            if team.found.interrupted:
                team.note("interrupted again: stopping at once")
                for worker in team.live():
                    worker.handle.kill()
                continue
            team.found.interrupted = True
            for measured in team.found.legs:
                measured.interrupted = measured.interrupted or not measured.ended
            team.note("interrupted: finishing the operations in flight (once more to stop at once)")
            # Not waited for: the next signal must be heard also while a worker does not answer.
            tasks.start_soon(team.drain, "interrupted")


def _host(handle: WorkerHandle) -> Host:
    names = dict.fromkeys((handle.host, handle.greeting.host))
    return Host(names=tuple(names), cpus=max(len(handle.greeting.cpus), 1))
