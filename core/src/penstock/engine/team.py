"""The workers of a run as the coordinator deals with them: all at once, with an eye on those that are lost."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.course import Course, Observer, WorkerPart
from penstock.engine.found import Found, Measured
from penstock.engine.roster import states_of
from penstock.engine.watch import Watched
from penstock.errors import PenstockError, RunError, WorkerLostError
from penstock.report.live import LiveView

__all__ = ["Rhythm", "Team"]

#: How long a worker may take to hear that it is to stop.
_DRAIN_SECONDS = 5.0
#: One that others wait for may take so many times as long as the slowest of these, and so many seconds at least.
_TIMES = 10
_LEAST_SECONDS = 60.0


@attrs.frozen(kw_only=True)
class Rhythm:
    """In seconds: between two questions to a worker, between two looks at who has answered; for how long one may say
    nothing before people are told, and before it is given up; and how far ahead an agreed start of hosts lies, beside
    what it takes to reach them.
    """

    period: float = 1.0
    look: float = 0.5
    warn: float = 3.0
    lost: float = 9.0
    ahead: float = 0.5


class Team:
    """See the module. ``found`` grows; ``draining`` says why the run is to end early, empty: it isn't."""

    def __init__(
        self, course: Course, view: LiveView, observer: Observer | None = None, rhythm: Rhythm | None = None
    ) -> None:
        self.course = course
        self.rhythm = rhythm if rhythm is not None else Rhythm()
        self.view = view
        self.observer = observer
        self.plans: Sequence[WorkerPart] = ()
        self.found = Found()
        self.draining = ""
        #: What is to be done when a worker was lost in the middle of a leg.
        self.on_lost: Callable[[Measured], Awaitable[None]] | None = None

    @property
    def hosts(self) -> bool:
        """Whether its workers are hosts with processes of their own."""
        return any(worker.remote is not None for worker in self.found.workers)

    def live(self) -> list[Watched]:
        """Those that are there."""
        return [worker for worker in self.found.workers if worker.lost is None]

    def lost(self) -> list[Watched]:
        """Those that are not."""
        return [worker for worker in self.found.workers if worker.lost is not None]

    def able(self) -> list[Watched]:
        """Those that are there and take part in what is measured."""
        return [worker for worker in self.live() if not worker.failed]

    def of(self, measured: Measured) -> list[Watched]:
        """Those of them that have a part in a leg."""
        ranks = {worker.handle.rank for worker in measured.workers}
        return [worker for worker in self.able() if worker.handle.rank in ranks]

    def called(self, worker: Watched) -> str:
        """What messages call it: by its rank alone where all are processes of this host."""
        return worker.called if worker.remote is not None else f"worker {worker.handle.rank}"

    def show(self) -> None:
        """Tell who watches how each host is doing."""
        if self.hosts:
            self.view.workers(states_of(self.found, warn=self.rhythm.warn))

    async def call(self, worker: Watched, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask one, whose answer is a sign of life."""
        answer = await worker.handle.call(method, body)
        worker.heard_ns = worker.progressed_ns = monotonic_ns()
        return answer

    async def each(
        self,
        work: Callable[[Watched], Awaitable[None]],
        workers: Sequence[Watched] | None = None,
        *,
        spare: bool = False,
    ) -> None:
        """Do the same with every worker at once; the first error is raised when all have ended.

        One that makes no progress while others wait for it is given up. With ``spare`` a worker that is lost is no
        error as long as the run may go on without it.
        """
        errors: list[PenstockError] = []
        begun, ended = monotonic_ns(), dict[int, int]()
        chosen = self.live() if workers is None else list(workers)

        async def one(worker: Watched) -> None:
            worker.progressed_ns, worker.busy = begun, True
            try:
                await work(worker)
            except WorkerLostError as error:
                await self.lose(worker, error.cause)
                if not spare:
                    errors.append(error)
            except PenstockError as error:
                errors.append(self._told(worker, error))
            ended[worker.handle.rank] = monotonic_ns()
            worker.busy = False

        async def wait() -> None:
            async with anyio.create_task_group() as tasks:
                for worker in chosen:
                    tasks.start_soon(one, worker)

        async with anyio.create_task_group() as watching:
            watching.start_soon(self._hurry, chosen, begun, ended)
            await wait()
            watching.cancel_scope.cancel()
        if errors:
            raise errors[0]
        if spare and (reason := self.why_not()):
            raise RunError(reason)

    def _told(self, worker: Watched, error: PenstockError) -> PenstockError:
        """The error, with the host that it comes from."""
        return type(error)(f"{worker.called}: {error}") if self.hosts and type(error) is RunError else error

    async def _hurry(self, workers: Sequence[Watched], begun: int, ended: Mapping[int, int]) -> None:
        while True:
            await anyio.sleep(1.0)
            if not ended:
                continue
            limit = max(_TIMES * (max(ended.values()) - begun) / 1e9, _LEAST_SECONDS)
            for worker in workers:
                idle = (monotonic_ns() - worker.progressed_ns) / 1e9
                if worker.handle.rank not in ended and worker.lost is None and idle > limit:
                    await self.give_up(worker, f"it made no progress for {idle:.0f} s while others waited for it")

    def why_not(self) -> str:
        """Why the run can't go on with those that are left; empty if it can."""
        distributed = self.course.distributed
        gone = [worker for worker in self.found.workers if worker.lost is not None or worker.failed]
        if not gone:
            return ""
        if distributed.on_worker_lost == "abort":
            first = gone[0]
            return f"{self.called(first)} was lost, and on_worker_lost is abort: {first.lost or first.failed}"
        left = len(self.found.workers) - len(gone)
        if left < distributed.min_workers:
            few = f"{left} workers are left, and min_workers is {distributed.min_workers}"
            return f"{few}; the last was lost: {gone[-1].lost or gone[-1].failed}"
        return ""

    async def give_up(self, worker: Watched, cause: str) -> None:
        """Lose a worker that is still there."""
        await self.lose(worker, cause)
        worker.handle.kill()

    async def lose(self, worker: Watched, cause: str) -> None:
        """Note that a worker is gone, and end the run where it can't go on without it."""
        mine = self.found.workers[worker.handle.rank]
        if mine.lost is not None:
            worker.lost = worker.lost or mine.lost
            return
        worker.lost = mine.lost = cause
        self.note(f"{mine.called} was lost: {cause}")
        await self._leave(worker, cause)

    async def fail(self, worker: Watched, cause: str) -> None:
        """Note that a host can't measure any more. It is there to close and delete what it has made."""
        mine = self.found.workers[worker.handle.rank]
        if mine.lost is None and not mine.failed:
            mine.failed = cause
            self.note(f"{mine.called} failed: {cause}")
            await self._leave(worker, f"it failed: {cause}")

    async def _leave(self, worker: Watched, cause: str) -> None:
        """Go on without a worker in what is measured, or end the run where it can't."""
        for measured in self.found.legs:
            if not measured.ended:
                for each in measured.workers:
                    mine = each.handle.rank == worker.handle.rank and each.lost is None
                    each.lost = cause if mine else each.lost
                if self.on_lost is not None:
                    await self.on_lost(measured)
        if (reason := self.why_not()) and self.able():
            self.found.failure = self.found.failure or reason
            await self.drain(reason)

    async def drain(self, reason: str) -> None:
        """Let all come to an end, for a reason that people read."""
        if self.draining:
            return
        self.draining = reason
        async with anyio.create_task_group() as tasks:
            for worker in self.live():
                tasks.start_soon(self.drain_one, worker, {"reason": reason})

    async def drain_one(self, worker: Watched, body: Mapping[str, Any]) -> None:
        """Let one come to an end."""
        with contextlib.suppress(PenstockError), anyio.move_on_after(_DRAIN_SECONDS):
            await worker.handle.call("drain", body)

    def note(self, text: str, measured: Measured | None = None) -> None:
        """Keep it with the leg that it is about; without one, with that which is under way."""
        several = len(self.course.legs) > 1
        under_way = next((each for each in reversed(self.found.legs) if not each.ended), None)
        about = (measured or under_way) if several else None
        (self.found if about is None else about).notes.append(text)
        self.view.note(text)
