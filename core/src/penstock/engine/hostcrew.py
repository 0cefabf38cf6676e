"""The processes of a host, driven from threads: they are spoken to in an event loop of its own thread.

Each is asked every second whether it is there. One that does not answer, or drives operations and tells nothing of
them, is given up; the others go on.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.from_thread import BlockingPortal, start_blocking_portal

from penstock.errors import PenstockError, RunError, WorkerLostError
from penstock.launchers import Body, Launcher, LaunchSpec, WorkerHandle

__all__ = ["Event", "HostCrew"]

_PERIOD: Final = 1.0
#: For how many periods a process may leave a question unanswered. The controller gives up a whole host after ten.
_SILENT: Final = 8
_STOP_SECONDS: Final = 30.0


@attrs.frozen
class Event:
    """What comes of a process: an item of its stream; or else its end, by ``error`` if there was one."""

    rank: int
    item: Body | None = None
    error: PenstockError | None = None


class HostCrew:
    """``lost`` is called once for each process that is gone, with its rank and why, before anybody else gets to know.

    Ranks are those of the plan. All methods may be called from any thread but that of the loop.
    """

    def __init__(self, launcher: Launcher, lost: Callable[[int, str], None]) -> None:
        self._launcher = launcher
        self._tell = lost
        self._exit = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._handles: dict[int, WorkerHandle] = {}
        self._causes: dict[int, str] = {}
        self._lost: dict[int, str] = {}
        self._watching: TaskGroup | None = None
        self._lock = threading.Lock()

    def start(self, ranks: list[int], spec: LaunchSpec) -> None:
        """Start a process for each rank. Raises RunError for one that can't be started; then there is none."""
        self._portal = self._exit.enter_context(start_blocking_portal())
        handles = self._portal.call(self._launcher.start, len(ranks), spec)
        self._handles = dict(zip(ranks, handles, strict=True))
        self._portal.start_task_soon(self._watch)

    @property
    def pids(self) -> dict[int, int]:
        """The process id of each rank."""
        return {rank: handle.pid for rank, handle in self._handles.items()}

    @property
    def lost(self) -> Mapping[int, str]:
        """Those that are gone, and why."""
        return dict(self._lost)

    def live(self) -> list[int]:
        """The ranks of those that are there."""
        return [rank for rank in self._handles if rank not in self._lost]

    def call(self, method: str, bodies: Mapping[int, Body]) -> dict[int, Body | PenstockError]:
        """Ask several at once; what each answered, or the error of it."""
        answers: dict[int, Body | PenstockError] = {}

        async def one(rank: int, body: Body) -> None:
            try:
                answers[rank] = await self._handles[rank].call(method, body)
            except PenstockError as error:
                answers[rank] = self._noted(rank, error)

        async def every() -> None:
            async with anyio.create_task_group() as tasks:
                for rank, body in bodies.items():
                    tasks.start_soon(one, rank, body)

        self._running().call(every)
        return answers

    def stream(self, method: str, bodies: Mapping[int, Body]) -> queue.SimpleQueue[Event]:
        """Ask several for work that reports; each of them ends its events with one that has no item."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()

        async def one(rank: int, body: Body) -> None:
            try:
                async for item in self._handles[rank].stream(method, body):
                    events.put(Event(rank, item))
            except PenstockError as error:
                events.put(Event(rank, error=self._noted(rank, error)))
            except Exception as error:  # noqa: BLE001 - whoever waits for its end must hear of it
                events.put(Event(rank, error=RunError(f"{type(error).__name__}: {error}")))
            else:
                events.put(Event(rank))

        portal = self._running()
        for rank, body in bodies.items():
            portal.start_task_soon(one, rank, body)
        return events

    def give_up(self, rank: int, cause: str) -> None:
        """End a process that is stuck; it is lost for that cause."""
        self._causes.setdefault(rank, cause)
        self._running().call(self._handles[rank].kill)

    def stop(self) -> None:
        """End all, within seconds. Harmless where none was started, and twice."""
        portal, self._portal = self._portal, None
        if portal is None:
            return
        with contextlib.suppress(PenstockError):
            portal.call(self._stop)
        self._exit.close()

    async def _stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel_scope.cancel()
        with anyio.move_on_after(_STOP_SECONDS):
            await self._launcher.stop()

    async def _watch(self) -> None:
        async with anyio.create_task_group() as self._watching:
            for rank, handle in self._handles.items():
                self._watching.start_soon(self._watch_one, rank, handle)

    async def _watch_one(self, rank: int, handle: WorkerHandle) -> None:
        """Counted in periods, so that time in which this process was stopped says nothing of the other."""
        answered, silent = anyio.Event(), 0

        async def ask() -> None:
            try:
                await handle.call("beat", {})
            except PenstockError as error:
                self._noted(rank, error)
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            while rank not in self._lost:
                await anyio.sleep(_PERIOD)
                if answered.is_set():
                    answered, silent = anyio.Event(), 0
                    tasks.start_soon(ask)
                    continue
                silent += 1
                if silent >= _SILENT:
                    self._causes.setdefault(rank, f"it said nothing for {silent * _PERIOD:.0f} s")
                    handle.kill()

    def _noted(self, rank: int, error: PenstockError) -> PenstockError:
        """The error as others are to see it; it may be the first to tell that the process is gone."""
        if not isinstance(error, WorkerLostError):
            return error
        with self._lock:
            first = rank not in self._lost
            cause = self._lost.setdefault(rank, self._causes.get(rank, error.cause))
        if first:
            self._tell(rank, cause)
        return WorkerLostError(rank, error.host, cause)

    def _running(self) -> BlockingPortal:
        if self._portal is None:
            raise RunError("the host has no processes")
        return self._portal
