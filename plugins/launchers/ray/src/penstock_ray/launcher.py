"""The launcher: a place on each node, an actor there, and a link to it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio

from penstock.errors import RunError
from penstock.launchers import Channel, LaunchSpec, WorkerHandle
from penstock.launching import Crew
from penstock_ray.entrance import Entrance
from penstock_ray.host import RayHost
from penstock_ray.plugin import RayOptions

if TYPE_CHECKING:
    from ray.exceptions import RayError

    from penstock_ray.cluster import Cluster, Node

__all__ = ["RayLauncher"]

#: How long an actor may take to start: it imports Ray and penstock.
_START_SECONDS = 60.0


class RayLauncher:
    """A :class:`~penstock.launchers.Launcher` over one Ray cluster."""

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._entrance = Entrance(options)
        self._cluster: Cluster | None = None
        self._crew: Crew | None = None

    @property
    def hosts(self) -> bool:
        return True

    @property
    def channel(self) -> Channel:
        return "protected" if self._cluster is not None and self._cluster.protected else "open"

    async def start(self, workers: int | None, spec: LaunchSpec, /) -> list[WorkerHandle]:
        try:
            self._entrance.open()
            # Only now: Ray reads the environment when it is imported, which takes half a second.
            from penstock_ray.cluster import Cluster
            from penstock_ray.link import RayLink

            self._cluster = cluster = Cluster(self._options)
            await cluster.connect()
            nodes = await cluster.place(workers)
            actors = [cluster.start(RayHost, node) for node in nodes]
            await self._check(nodes, actors)
            self._crew = Crew([RayLink(actor) for actor in actors], [node.name for node in nodes])
            return await self._crew.start(spec)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        crew, self._crew = self._crew, None
        cluster, self._cluster = self._cluster, None
        try:
            if crew is not None:
                await crew.stop()
        finally:
            if cluster is not None:
                await cluster.leave()
            self._entrance.close()

    async def _check(self, nodes: Sequence[Node], actors: Sequence[Any]) -> None:
        """Raises RunError that names every node that can't be used, before any of them is told anything."""
        from ray.exceptions import RayError

        late = f"Ray started nothing there within {_START_SECONDS:g} s; is the node overloaded, or cut off?"
        found: list[dict[str, str] | str] = [late] * len(nodes)

        async def ask(number: int) -> None:
            try:
                found[number] = await actors[number].facts.remote()
            except RayError as error:
                found[number] = _cannot(error)

        with anyio.move_on_after(_START_SECONDS):
            async with anyio.create_task_group() as tasks:
                for number in range(len(nodes)):
                    tasks.start_soon(ask, number)
        wrong = [
            f"node {node.name}: {reason}"
            for node, said in zip(nodes, found, strict=True)
            if (reason := self._wrong(said))
        ]
        if wrong:
            raise RunError("; ".join(wrong))

    def _wrong(self, said: dict[str, str] | str) -> str:
        """Why a node can't be used, empty: it can."""
        if isinstance(said, str):
            return said
        mine = platform.python_version()
        if said["python"].split(".")[:2] != mine.split(".")[:2]:
            return f"it has Python {said['python']}, here it is {mine}: install the same minor version on all nodes"
        if not self._options.insecure and said["mode"].lower() != "token":
            return (
                "its Ray asks for no token, so that whoever reaches it may run code there: start Ray with "
                "RAY_AUTH_MODE=token on every node, or say insecure"
            )
        return ""


def _cannot(error: RayError) -> str:
    """Why an actor did not start."""
    from penstock_ray.link import why

    text = " ".join(str(error).split())
    if "ModuleNotFoundError" in text or "ImportError" in text:
        return (
            f"it has no penstock-ray that works there; on that node, into the environment of its Ray: pip install "
            f"penstock-ray=={version('penstock-ray')}"
        )
    return why(error)
