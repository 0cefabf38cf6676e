"""The launcher: one session with each agent, all begun at once."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio
import structlog

from penstock.errors import RunError, UsageError
from penstock.launchers import Channel, LaunchSpec, WorkerHandle
from penstock.launching import PROTOCOL, Crew
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.addresses import Address, parse_addresses
from penstock_grpc.connecting import Access, Connection
from penstock_grpc.links import FrameLink
from penstock_grpc.plugin import GrpcOptions
from penstock_grpc.service import version
from penstock_grpc.tokens import VARIABLE

__all__ = ["GrpcLauncher"]

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

_CLOSE_SECONDS = 2.0


class GrpcLauncher:
    """A :class:`penstock.launchers.Launcher`."""

    hosts = True

    def __init__(self, agents: Sequence[Address], access: Access) -> None:
        self._agents = tuple(agents)
        self._access = access
        self._connections: list[Connection] = []
        self._crew: Crew | None = None

    @classmethod
    def from_options(cls, options: GrpcOptions) -> GrpcLauncher:
        """Raises UsageError for what can't be used as it is written."""
        agents = parse_addresses(options.agents or "")
        if not agents:
            raise UsageError("grpc: no agents are named; write where they listen: --agents bench1:7167,bench2:7167")
        return cls(agents, Access.from_options(options))

    @property
    def channel(self) -> Channel:
        # A token keeps others from sending, not from reading.
        return "open" if self._access.tls is None else "protected"

    async def start(self, workers: int | None, spec: LaunchSpec, /) -> list[WorkerHandle]:
        agents = self._chosen(workers)
        if VARIABLE in spec.environment:
            raise UsageError(f"{VARIABLE} opens the agents; no worker needs it, so it is not sent to one")
        self._connections = [Connection(address, self._access) for address in agents]
        names = _names(self._agents)[: len(agents)]
        try:
            infos = await _all(self._connections, Connection.info)
            _check(agents, infos)
            sessions = dict(zip(self._connections, names, strict=True))
            links = await _all(self._connections, lambda each: each.session(sessions[each]), undo=FrameLink.close)
            self._crew = Crew(links, names)
            return await self._crew.start(spec)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        crew, self._crew = self._crew, None
        connections, self._connections = self._connections, []
        with anyio.CancelScope(shield=True):
            if crew is not None:
                await crew.stop()
            with anyio.move_on_after(_CLOSE_SECONDS):
                for connection in connections:
                    await connection.close()

    def _chosen(self, workers: int | None) -> tuple[Address, ...]:
        known = len(self._agents)
        if workers is not None and workers > known:
            raise RunError(f"{workers} workers, and {known} agents are named; name as many, or ask for fewer workers")
        return self._agents[:workers]


def _names(agents: Sequence[Address]) -> list[str]:
    """What hosts are called: by their names alone, where these differ."""
    names = Counter(address.host for address in agents)
    return [address.host if names[address.host] == 1 else str(address) for address in agents]


async def _all(
    connections: Sequence[Connection],
    ask: Callable[[Connection], Awaitable[_T]],
    *,
    undo: Callable[[_T], Coroutine[Any, Any, None]] | None = None,
) -> list[_T]:
    """Ask all at once; the answers in the same order. Raises RunError that tells of each which refused; what others
    answered is undone then.
    """
    answers: dict[int, _T] = {}
    errors: dict[int, str] = {}

    async def one(number: int, connection: Connection) -> None:
        try:
            answers[number] = await ask(connection)
        except RunError as error:
            errors[number] = str(error)

    try:
        async with anyio.create_task_group() as tasks:
            for number, connection in enumerate(connections):
                tasks.start_soon(one, number, connection)
        if errors:
            raise RunError(_together([errors[number] for number in sorted(errors)], len(connections)))
    except BaseException:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for answer in answers.values():
                    if undo is not None:
                        tasks.start_soon(undo, answer)
        raise
    return [answers[number] for number in range(len(connections))]


def _together(errors: Sequence[str], asked: int) -> str:
    if len(errors) == 1:
        return f"agent {errors[0]}"
    lines = "".join(f"\n  {error}" for error in errors)
    return f"{len(errors)} of {asked} agents can't be used:{lines}"


def _check(agents: Sequence[Address], infos: Sequence[pb.InfoReply]) -> None:
    """Raises RunError for agents of another version, and for two names of one."""
    seen: dict[str, Address] = {}
    wrong = []
    for address, info in zip(agents, infos, strict=True):
        if info.instance in seen:
            wrong.append(f"{address} and {seen[info.instance]} are one agent; name each once")
        seen.setdefault(info.instance, address)
        if info.protocol != PROTOCOL:
            mine = version("penstock")
            wrong.append(
                f"{address} has penstock {info.penstock} (messages {info.protocol}), here it is {mine} (messages "
                f"{PROTOCOL}); install the same version there: pip install penstock=={mine}"
            )
        if _minor(info.python) != _minor(platform.python_version()):
            _log.warning("other_python", agent=str(address), there=info.python, here=platform.python_version())
    if wrong:
        raise RunError(_together(wrong, len(agents)))


def _minor(python: str) -> list[str]:
    return python.split(".")[:2]
