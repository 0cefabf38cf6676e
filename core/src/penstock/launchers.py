"""The contract of a launcher: where worker processes start, and how one talks to them.

Plans and snapshots travel as versioned messages (:mod:`penstock.engine.messages`); a worker takes plans that
drive I/O, never a command or code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import attrs

__all__ = ["API_VERSION", "LaunchSpec", "Launcher", "LauncherType", "WorkerHandle"]

API_VERSION = 1

#: A message body: what JSON can write.
Body = Mapping[str, Any]


@attrs.frozen(slots=True, kw_only=True)
class LaunchSpec:
    """What every worker needs before its first message: variables to set, and a place for its own output.

    ``worker`` is the module of penstock that a worker runs, by the kind of job; a launcher that takes it from another
    host accepts no module but those that it knows.
    """

    environment: Mapping[str, str] = attrs.field(factory=dict)
    scratch: str = "."
    worker: str = "penstock.engine.worker"


class WorkerHandle(Protocol):
    """One running worker. Both calls raise WorkerLostError as soon as it is known to be gone."""

    @property
    def rank(self) -> int:
        """0, 1, 2, … in the order of the hosts."""

    @property
    def pid(self) -> int:
        """The worker's process id on its host."""

    @property
    def host(self) -> str:
        """The host's name."""

    async def call(self, method: str, body: Body, /) -> Body:
        """Ask, and wait for the answer. An error of the worker is raised here."""

    def stream(self, method: str, body: Body, /) -> AsyncIterator[Body]:
        """Ask for work that reports until it is done."""

    def kill(self) -> None:
        """End the worker at once, whatever it is doing; its calls raise WorkerLostError."""


class Launcher(Protocol):
    """Starts workers and ends them."""

    async def start(self, workers: int, spec: LaunchSpec, /) -> list[WorkerHandle]:
        """Start that many workers and return when all of them answer."""

    async def stop(self) -> None:
        """End every worker that still runs. Stopping twice is harmless."""


@attrs.frozen(slots=True, kw_only=True)
class LauncherType:
    """A launcher as its plugin offers it. ``open`` gets an instance of ``options``."""

    name: str
    summary: str
    options: type[Any]
    open: Callable[[Any], Launcher]
    api: int = API_VERSION
