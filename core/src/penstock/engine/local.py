"""The local launcher: worker processes of this host, spawned, and spoken to through pipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import attrs

from penstock.errors import RunError
from penstock.launchers import Channel, LaunchSpec, WorkerHandle
from penstock.launching import Crew, HostProcess, Link, WorkerProcess, check_environment, check_worker

__all__ = ["LocalLauncher"]


class LocalLauncher:
    """A :class:`~penstock.launchers.Launcher`. Its workers are processes of this host, unless it is asked for pretended
    hosts: so many host workers on this machine, each with processes of its own.
    """

    def __init__(
        self, hosts: int | None = None, *, environments: Sequence[Mapping[str, str]] = (), first: int = 0
    ) -> None:
        """``environments`` has variables for each of the first pretended hosts. ``first`` is from where on what
        processes print is numbered.
        """
        self._hosts = hosts
        self._environments = environments
        self._first = first
        self._crew: Crew | None = None

    @property
    def hosts(self) -> bool:
        return self._hosts is not None

    @property
    def channel(self) -> Channel:
        return "local"

    async def start(self, workers: int | None, spec: LaunchSpec, /) -> list[WorkerHandle]:
        names, links = self._names(workers), list[Link]()
        try:
            for rank, name in enumerate(names):
                links.append(await self._spawn(rank, name, spec))
        except BaseException:
            with anyio.CancelScope(shield=True):
                for link in links:
                    link.kill()
                    await link.close()
            raise
        self._crew = Crew(links, names if self.hosts else ())
        return await self._crew.start(None)

    async def stop(self) -> None:
        if self._crew is not None:
            await self._crew.stop()

    def _names(self, workers: int | None) -> list[str]:
        if self._hosts is None:
            return [f"worker-{self._first + rank}" for rank in range(workers or 1)]
        if workers is not None and workers > self._hosts:
            raise RunError(
                f"{workers} workers on {self._hosts} pretended hosts; give the local launcher hosts: {workers}"
            )
        return [f"host-{rank}" for rank in range(workers or self._hosts)]

    async def _spawn(self, rank: int, name: str, spec: LaunchSpec) -> Link:
        if self._hosts is None:
            return await WorkerProcess.spawn(spec.worker, name=name, scratch=spec.scratch, environment=spec.environment)
        check_worker(spec.worker, host=name)
        check_environment(spec.environment, host=name)
        own = self._environments[rank] if rank < len(self._environments) else {}
        return await HostProcess.spawn(attrs.evolve(spec, environment={**spec.environment, **own}), name=name)
