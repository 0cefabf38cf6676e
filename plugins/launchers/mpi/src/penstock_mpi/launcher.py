"""The launcher ``mpi``: workers at the ranks of the job that this process is rank 0 of."""

from __future__ import annotations

from penstock.errors import RunError
from penstock.launchers import Channel, LaunchSpec, WorkerHandle
from penstock.launching import Crew, Link
from penstock_mpi.links import MpiLink
from penstock_mpi.own import OwnHost
from penstock_mpi.placing import Place, place
from penstock_mpi.plugin import MpiOptions
from penstock_mpi.ranks import Ranks
from penstock_mpi.serving import ranks

__all__ = ["MpiLauncher"]


class MpiLauncher:
    """A :class:`penstock.launchers.Launcher`. Each start begins a session with the ranks, each stop ends it."""

    hosts = True

    def __init__(self, options: MpiOptions) -> None:
        self._options = options
        self._channel: Channel = "open"
        self._crew: Crew | None = None
        self._links: list[MpiLink] = []

    @property
    def channel(self) -> Channel:
        """MPI encrypts nothing; within one node it goes through its memory."""
        return self._channel

    async def start(self, workers: int | None, spec: LaunchSpec, /) -> list[WorkerHandle]:
        them = ranks()
        if self._options.ulfm == "off":
            them.post.asks = False
        others = await them.roll_call(self._options.timeout)
        places = _choose(place(them.mine, others, self._options), workers)
        everywhere = {them.mine.key, *(others[each.rank].key for each in places if each.rank)}
        self._channel = "local" if len(everywhere) == 1 else "open"
        session = them.begin()
        links = [self._open(them, each, session, spec) for each in places]
        self._crew = Crew(links, [each.name for each in places], patience=self._options.timeout)
        try:
            return await self._crew.start(spec)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            await crew.stop()
            ranks().forget(self._links)
            self._links = []

    def _open(self, them: Ranks, place: Place, session: int, spec: LaunchSpec) -> Link:
        options = self._options
        if place.rank == 0:
            return OwnHost(spec, name=place.name, scratch=options.scratch)
        orders = {
            "name": place.name,
            "scratch": options.scratch,
            "cpus": list(place.cpus) if options.per == "node" else None,
            "lease": options.lease,
            "asks": options.ulfm == "auto",
        }
        link = them.open(place.rank, session, orders)
        self._links.append(link)
        return link


def _choose(places: list[Place], workers: int | None) -> list[Place]:
    places = sorted(places, key=lambda place: (place.name, place.rank))
    if workers is None:
        return places
    if workers > len(places):
        names = ", ".join(place.name for place in places)
        raise RunError(
            f"{workers} hosts are asked for, and the job has {len(places)} ({names}): start it on more nodes, or give "
            "per=rank to make each rank but 0 a host"
        )
    return places[:workers]
