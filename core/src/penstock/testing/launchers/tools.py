"""What the laws are made of: a launcher at work beside the test, and what it leaves."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from penstock.errors import WorkerLostError
from penstock.launchers import Launcher, LaunchSpec, WorkerHandle
from penstock.testing.tools import broken

__all__ = [
    "Left",
    "Opener",
    "Running",
    "Stage",
    "ended",
    "lost",
    "running",
]

_T = TypeVar("_T")

#: A call without arguments that opens the launcher, which nobody has started yet.
Opener = Callable[[], Launcher]

_LISTENING = "0A"
_POLL_S = 0.02


@attrs.define
class Running:
    """A launcher that has started its workers, in an event loop of another thread."""

    portal: BlockingPortal
    launcher: Launcher
    handles: list[WorkerHandle]
    patience: float
    _over: anyio.Event
    _stopped: Any

    def run(self, function: Callable[..., Awaitable[_T]], *arguments: Any, law: str) -> _T:
        """Run a coroutine beside the launcher's own tasks. A hang breaks the law."""

        async def limited() -> _T:
            with anyio.fail_after(self.patience):
                return await function(*arguments)

        try:
            return self.portal.call(limited)
        except TimeoutError:
            what = f"nothing came for {self.patience:g} s"
            raise broken(law, what, "hand out each frame, and wake who waits when the worker is gone") from None
        except BaseExceptionGroup as group:
            raise _first(group, law) from None

    def stop(self, law: str) -> None:
        """Stop the launcher twice, by the task that started it."""
        self.portal.call(self._over.set)
        try:
            self._stopped.result(self.patience)
        except TimeoutError:
            raise broken(law, f"stop() took more than {self.patience:g} s", "give every step of it a limit") from None


@contextmanager
def running(
    opener: Opener, spec: LaunchSpec, *, workers: int | None, patience: float, law: str = "law 5 (start and stop)"
) -> Iterator[Running]:
    """Start a launcher and stop it at the end of the block, unless the block has done so."""

    begun: Future[tuple[Launcher, list[WorkerHandle]]] = Future()

    async def hold(over: anyio.Event) -> None:
        # No scope may be left between start and stop: the launcher may have tasks of its own from the one to the other.
        launcher = opener()
        try:
            handles = await launcher.start(workers, spec)
        except Exception as error:  # noqa: BLE001  (it is raised where it is waited for)
            await launcher.stop()
            begun.set_exception(error)
            return
        begun.set_result((launcher, list(handles)))
        await over.wait()
        await launcher.stop()
        await launcher.stop()

    with start_blocking_portal() as portal:
        over = portal.call(anyio.Event)
        stopped = portal.start_task_soon(hold, over)
        try:
            launcher, handles = begun.result(patience)
        except TimeoutError:
            portal.start_task_soon(portal.stop, True)
            raise broken(law, f"start() took more than {patience:g} s", "give up, and name the host") from None
        started = Running(portal, launcher, handles, patience, over, stopped)
        yield started
        started.stop(law)


class Stage:
    """Where workers come on: those that many tests share, or those of one test, never both, as not every launcher can
    be there twice in a process.
    """

    def __init__(self, opener: Opener, spec: LaunchSpec, *, workers: int, patience: float) -> None:
        self.opener = opener
        self.spec = spec
        self._workers = workers
        self._patience = patience
        self._shared: tuple[AbstractContextManager[Running], Running] | None = None
        self._hosts: list[str] = []

    @property
    def hosts(self) -> list[str]:
        """The hosts' names, as all workers had them when they were started last."""
        if not self._hosts:
            self.shared()
        return self._hosts

    def shared(self) -> Running:
        """The workers that tests share which end none."""
        if self._shared is None:
            coming = self._come(self.spec, self._workers)
            self._shared = coming, coming.__enter__()
        return self._shared[1]

    def clear(self) -> None:
        """End those that are shared."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared[0].__exit__(None, None, None)

    def alone(self, spec: LaunchSpec | None = None, workers: int = 0) -> AbstractContextManager[Running]:
        """Workers of a test's own; 0: as many as a class has."""
        self.clear()
        return self._come(spec or self.spec, workers or self._workers)

    @contextmanager
    def _come(self, spec: LaunchSpec, workers: int) -> Iterator[Running]:
        with running(self.opener, spec, workers=workers, patience=self._patience) as crew:
            if workers == self._workers:
                self._hosts = [handle.host for handle in crew.handles]
            yield crew


def _first(group: BaseExceptionGroup[Any], law: str) -> BaseException:
    """The first error of those that were raised at once; what is no broken law breaks this one."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, AssertionError):
        return error
    return broken(law, f"{type(error).__name__}: {error}", "raise what the contract of a handle says, and nothing else")


async def lost(question: Awaitable[Any], handle: WorkerHandle, law: str) -> WorkerLostError:
    """The error of a question to a worker that is gone, after the check of what it says."""
    try:
        answer = await question
    except WorkerLostError as error:
        _require_told(error, handle, law)
        return error
    except Exception as error:
        what = f"a question to a lost worker raised {type(error).__name__} ({error})"
        raise broken(law, what, "raise WorkerLostError, whatever the transport raises") from error
    raise broken(law, f"a lost worker answered {str(answer)[:80]!r}", "raise WorkerLostError in every call and stream")


def _require_told(error: WorkerLostError, handle: WorkerHandle, law: str) -> None:
    if (error.rank, error.host) != (handle.rank, handle.host):
        what = f"it is said to be worker {error.rank} on {error.host}, but it was {handle.rank} on {handle.host}"
        raise broken(law, what, "give the rank and the host of the handle")
    if not error.cause.strip():
        raise broken(law, "nothing is said of the cause", "say what was seen: a signal, an exit code, silence")


@attrs.frozen
class Left:
    """What there is of threads and listening sockets in this process, to be compared with what there is later."""

    threads: frozenset[threading.Thread]
    sockets: frozenset[str]

    @classmethod
    def now(cls) -> Left:
        """As it is."""
        return cls(frozenset(threading.enumerate()), _listening())

    def require_nothing_more(self, law: str, grace: float) -> None:
        """What was not there before ends within a grace of some seconds."""
        for _ in range(round(grace / _POLL_S)):
            if not self._more():
                return
            threading.Event().wait(_POLL_S)
        if more := self._more():
            raise broken(law, f"there are still {', '.join(more)}", "end in stop() whatever start() began")

    def _more(self) -> list[str]:
        now = Left.now()
        threads = [f"the thread {each.name}" for each in now.threads - self.threads if each.is_alive()]
        return threads + [f"a socket that listens at {each}" for each in sorted(now.sockets - self.sockets)]


def _listening() -> frozenset[str]:
    """Addresses at which this process accepts connections, as hexadecimal text."""
    mine = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            mine.add(os.readlink(f"/proc/self/fd/{name}"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTENING and f"socket:[{columns[9]}]" in mine:
                found.add(columns[1])
    return frozenset(found)


def ended(pid: int, seconds: float) -> bool:
    """Whether a process of this machine ends within a time. A zombie has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
