"""The contract of a launcher: where workers start, and how one talks to them.

A worker is a process of this host, or the one process of a host of its own that drives processes there; both speak
the same messages (:mod:`penstock.launching.messages`). A worker takes plans that drive I/O, never a command or code.
A launcher brings frames to a worker and back; what is the same for all of them is in :mod:`penstock.launching`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal, Protocol

import attrs

__all__ = [
    "API_VERSION",
    "HOST_WORKER",
    "PROBE",
    "WORKER",
    "WORKERS",
    "Channel",
    "Greeting",
    "LaunchSpec",
    "Launcher",
    "LauncherType",
    "WorkerHandle",
]

API_VERSION = 1

#: The modules that a worker may run: a process that runs a workload, one that replays, the one of a host that drives
#: processes there, and one that drives nothing and answers about the way to it.
WORKER = "penstock.engine.worker"
HOST_WORKER = "penstock.engine.host"
PROBE = "penstock.engine.probe"
WORKERS = (WORKER, "penstock.replay.worker", HOST_WORKER, PROBE)

#: What the frames pass through. ``local``: pipes of this host. ``protected``: encrypted, or within a cluster whose
#: members hold a token; credentials may be forwarded. ``open``: anybody on the way can read it.
Channel = Literal["local", "protected", "open"]

#: A message body: what JSON can write.
Body = Mapping[str, Any]


@attrs.frozen(slots=True, kw_only=True)
class LaunchSpec:
    """What every worker needs before its first message.

    ``environment`` are variables to set; a host takes only those that it allows. Its values may be secret, so they are
    in no ``repr``. ``scratch`` is a directory of this host for what its processes print. ``worker`` is the module that
    a worker runs, one of :data:`WORKERS`. A worker on another host that hears nothing for ``lease`` seconds drains,
    keeps what it has and ends.
    """

    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    scratch: str = "."
    worker: str = WORKER
    lease: float = 30.0


@attrs.frozen(slots=True, kw_only=True)
class Greeting:
    """A worker's first words: what it is and what it has.

    ``protocol`` is that of the messages, ``version`` that of penstock. ``cpus`` are the numbers of the processors that
    it may use. ``plugins`` has the version of each distribution there that offers any.
    """

    protocol: int
    version: str
    python: str
    host: str
    pid: int
    cpus: tuple[int, ...]
    plugins: Mapping[str, str]

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Greeting:
        """What :meth:`to_message` was called on. Raises ValueError for what is no greeting."""
        try:
            return cls(
                protocol=int(message["protocol"]),
                version=str(message["version"]),
                python=str(message["python"]),
                host=str(message["host"]),
                pid=int(message["pid"]),
                cpus=tuple(int(cpu) for cpu in message["cpus"]),
                plugins={str(name): str(version) for name, version in message["plugins"].items()},
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"it greets in words of another version: {error!r}") from error


class WorkerHandle(Protocol):
    """One running worker. Both kinds of calls raise WorkerLostError as soon as it is known to be gone."""

    @property
    def rank(self) -> int:
        """0, 1, 2, … in the order of the hosts."""

    @property
    def pid(self) -> int:
        """The worker's process id on its host."""

    @property
    def host(self) -> str:
        """The host's name: as its launcher calls it, else as it calls itself."""

    @property
    def greeting(self) -> Greeting:
        """What it said of itself when it started."""

    async def call(self, method: str, body: Body, /) -> Body:
        """Ask, and wait for the answer. An error of the worker is raised here."""

    def stream(self, method: str, body: Body, /) -> AsyncIterator[Body]:
        """Ask for work that reports until it is done."""

    def kill(self) -> None:
        """Give the worker up, whatever it is doing: end it at once where it can be reached.

        Never waits, also where its host is cut off; its calls raise WorkerLostError at once.
        """


class Launcher(Protocol):
    """Starts workers and ends them. Making one starts nothing; ``start`` and ``stop`` are called by one task."""

    @property
    def hosts(self) -> bool:
        """Whether each of its workers is a host with processes of its own, so that :data:`HOST_WORKER` is what it is
        to run. Known before it starts."""

    @property
    def channel(self) -> Channel:
        """What the frames pass through. Known once it has started."""

    async def start(self, workers: int | None, spec: LaunchSpec, /) -> list[WorkerHandle]:
        """Start that many workers, None: one on each host that it knows, and return when all of them answer.

        They come by rank. Where they are hosts, these are in the order of their names. Raises RunError that names the
        host and the remedy; then nothing is left running.
        """

    async def stop(self) -> None:
        """End every worker that still runs, within seconds, also where a host is cut off. Stopping twice is
        harmless."""


@attrs.frozen(slots=True, kw_only=True)
class LauncherType:
    """A launcher as its plugin offers it. ``open`` gets an instance of ``options`` and starts nothing.

    Raises UsageError where the options make no sense.

    ``serve`` is for launchers whose hosts all start the same command, as MPI does: a command that is to use the
    launcher calls it before anything else. It returns None in the process that goes on with the command, and controls;
    in every other it serves as a host until that one has ended, and returns the exit status. Harmless when called
    again. Raises PenstockError where nothing of the kind was started.
    """

    name: str
    summary: str
    options: type[Any]
    open: Callable[[Any], Launcher]
    serve: Callable[[], int | None] | None = None
    api: int = API_VERSION
