"""The agent: a port at which controllers get sessions with workers of this host."""

from __future__ import annotations

import asyncio
import platform
import re
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Callable

import anyio
import attrs
import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from penstock.clocks import wall_ns
from penstock.errors import RunError
from penstock.launching import PROTOCOL, serve_host
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.incoming import AgentPipe, Context, Gate, outlive
from penstock_grpc.links import FrameLink
from penstock_grpc.service import INFO, SERVICE, SESSION, server_options, version
from penstock_grpc.settings import Settings

__all__ = ["Agent", "run"]

_log = structlog.get_logger(__name__)

_OPENING_SECONDS = 10.0
_STOP_SECONDS = 2.0
_NOT_SHOWN = re.compile(r"[^ -~]")


@attrs.define(slots=True, eq=False)
class _Session:
    """One controller's."""

    number: int
    controller: str
    peer: str
    since_ms: int
    called: str
    link: FrameLink | None = None
    cut: bool = False


class Agent:
    """``serve`` runs it until it was told to end; sessions are tasks of the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._instance = uuid.uuid4().hex
        self._sessions: list[_Session] = []
        self._tasks: set[asyncio.Task[str | None]] = set()
        self._served = 0
        self._draining = False
        self._free = anyio.Event()
        self._told = anyio.Event()
        self._hurried = anyio.Event()
        self._health = health_aio.HealthServicer()

    async def serve(self, ready: Callable[[int], None]) -> None:
        """Listen, call ``ready`` with the port, and serve. Raises RunError when nothing can be listened on."""
        server = self._server()
        port = self._listen(server)
        await server.start()
        await self._say_health(health_pb2.HealthCheckResponse.SERVING)
        _log.info("listening", address=f"{self._settings.address.host}:{port}", protection=self._settings.protection)
        self._warn()
        ready(port)
        try:
            await self._told.wait()
            await self._drain()
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop(server)

    def tell(self, why: str) -> None:
        """Take no new sessions, and end when those that run have; told a second time: end at once."""
        if self._told.is_set():
            self._hurried.set()
            return
        _log.info("ending", why=why, sessions=len(self._sessions))
        self._draining = True
        self._told.set()

    def _warn(self) -> None:
        settings = self._settings
        if settings.tls is not None and settings.tls.has_expired():
            _log.warning("certificate_expired", file=settings.tls.cert, remedy="renew it, and start again")
        if settings.is_unreachable:
            bound = ", ".join(each.host for each in settings.bind)
            remedy = "listen on 0.0.0.0, or on the number that others have for this host"
            _log.warning("listening_on_loopback_alone", name=settings.address.host, leads_to=bound, remedy=remedy)

    def _server(self) -> grpc.aio.Server:
        interceptors = [] if self._settings.token is None else [Gate(self._settings.token)]
        server = grpc.aio.server(options=server_options(self._settings.keepalive), interceptors=interceptors)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers((_handlers(self),))
        return server

    def _listen(self, server: grpc.aio.Server) -> int:
        credentials = self._settings.credentials()
        port = self._settings.address.port
        for address in self._settings.bind:
            where = str(attrs.evolve(address, port=port))
            try:
                if credentials is None:
                    port = server.add_insecure_port(where)
                else:
                    port = server.add_secure_port(where, credentials)
            except RuntimeError as error:
                raise RunError(
                    f"can't listen on {where}; is another agent there, or is it no address of this host? Look at: "
                    f"ss -ltnp 'sport = :{port}'"
                ) from error
        return port

    async def _drain(self) -> None:
        await self._say_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if not self._sessions:
            return
        with anyio.move_on_after(self._settings.grace):
            async with anyio.create_task_group() as tasks:

                async def until(event: anyio.Event) -> None:
                    await event.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until, self._free)
                tasks.start_soon(until, self._hurried)

    async def _stop(self, server: grpc.aio.Server) -> None:
        self._draining = True
        for session in self._sessions:
            _log.warning("session_cut", session=session.number, controller=session.controller)
            session.cut = True
            if session.link is not None:
                session.link.kill()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await server.stop(_STOP_SECONDS)
        _log.info("ended")

    async def _say_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def info(self, request: pb.InfoRequest, context: Context) -> pb.InfoReply:
        """The method Info."""
        return pb.InfoReply(
            instance=self._instance,
            host=socket.gethostname(),
            penstock=version("penstock"),
            agent=version("penstock-grpc"),
            python=platform.python_version(),
            protocol=PROTOCOL,
            max_sessions=self._settings.max_sessions,
            running=[pb.Running(controller=each.controller, since_ms=each.since_ms) for each in self._sessions],
            draining=self._draining,
        )

    async def session(self, requests: object, context: Context) -> None:
        """The method Session."""
        session = await self._enter(context)
        session.link = FrameLink(AgentPipe(context))
        task: asyncio.Task[str | None] = asyncio.create_task(self._serve(session, session.link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        cause = await outlive(task, session.link)
        if session.cut:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the agent was told to end")
        if cause is not None:
            await context.abort(grpc.StatusCode.ABORTED, cause)

    async def _enter(self, context: Context) -> _Session:
        """Take the opening, and a place. Aborts the call when there is none."""
        message = None
        with anyio.move_on_after(_OPENING_SECONDS):
            message = await context.read()
        if not isinstance(message, pb.FromController) or message.WhichOneof("message") != "opening":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "a session begins with an opening")
        opening = message.opening
        controller = _shown(opening.controller)
        if opening.protocol != PROTOCOL:
            await self._refuse(context, controller, grpc.StatusCode.FAILED_PRECONDITION, _of_protocol(opening.protocol))
        if self._draining:
            await self._refuse(context, controller, grpc.StatusCode.UNAVAILABLE, "the agent is about to end")
        if len(self._sessions) >= self._settings.max_sessions:
            await self._refuse(context, controller, grpc.StatusCode.RESOURCE_EXHAUSTED, self._of_busy())
        self._served += 1
        session = _Session(self._served, controller, context.peer(), wall_ns() // 1_000_000, _shown(opening.called))
        self._sessions.append(session)
        _log.info("session_begins", session=session.number, controller=controller, peer=session.peer)
        try:
            await context.write(pb.FromAgent(opened=pb.Opened()))
        except BaseException:
            self._leave(session)
            raise
        return session

    async def _refuse(self, context: Context, controller: str, code: grpc.StatusCode, why: str) -> None:
        _log.warning("session_refused", controller=controller, peer=context.peer(), why=why)
        await context.abort(code, why)

    def _of_busy(self) -> str:
        now = wall_ns() // 1_000_000
        runs = ", ".join(f"{each.controller} for {(now - each.since_ms) // 1000} s" for each in self._sessions)
        return f"it is busy: {runs}; wait for it, or start the agent with a larger --max-sessions"

    async def _serve(self, session: _Session, link: FrameLink) -> str | None:
        """Why its worker was gone first, None: it was not."""
        try:
            return await serve_host(
                link,
                allow_environment=self._settings.allow_env,
                scratch=self._settings.scratch,
                name=session.called,
            )
        except Exception as error:  # noqa: BLE001 - one session's failure must not take the agent along
            _log.error("session_failed", session=session.number, error=f"{type(error).__name__}: {error}")
            return f"its agent failed ({type(error).__name__})"
        finally:
            self._leave(session)

    def _leave(self, session: _Session) -> None:
        self._sessions.remove(session)
        _log.info("session_ends", session=session.number, controller=session.controller)
        if not self._sessions:
            self._free.set()
            self._free = anyio.Event()
        if self._settings.once:
            self.tell("its one session is over")


def _handlers(agent: Agent) -> grpc.GenericRpcHandler:
    info = grpc.unary_unary_rpc_method_handler(
        agent.info,
        request_deserializer=pb.InfoRequest.FromString,
        response_serializer=pb.InfoReply.SerializeToString,
    )
    session = grpc.stream_stream_rpc_method_handler(
        agent.session,
        request_deserializer=pb.FromController.FromString,
        response_serializer=pb.FromAgent.SerializeToString,
    )
    methods = {path.rpartition("/")[2]: method for path, method in ((INFO, info), (SESSION, session))}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _shown(text: str) -> str:
    """What another host said, fit for a line of a log."""
    return _NOT_SHOWN.sub("?", text)[:200]


def _of_protocol(theirs: int) -> str:
    mine = version("penstock")
    return (
        f"the agent has penstock {mine} (messages {PROTOCOL}), the controller messages {theirs}; install the same "
        f"version on both: pip install penstock=={mine}"
    )


def run(settings: Settings, ready: Callable[[int], None]) -> None:
    """Be an agent until SIGTERM or SIGINT. ``ready`` is called with the port. Raises as :meth:`Agent.serve` does."""
    anyio.run(_run, settings, ready, backend="asyncio")


async def _run(settings: Settings, ready: Callable[[int], None]) -> None:
    agent = Agent(settings)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        listening = asyncio.create_task(_hear(agent, signals))
        try:
            await agent.serve(ready)
        finally:
            listening.cancel()


async def _hear(agent: Agent, signals: AsyncIterator[signal.Signals]) -> None:
    async for number in signals:
        agent.tell(number.name)
