"""Calls as they come to an agent: who is let in, and the call of a session as a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import grpc.aio
import structlog

from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.links import FrameLink
from penstock_grpc.tokens import Token

__all__ = ["AgentPipe", "Context", "Gate", "outlive"]

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Context(Protocol):
    """What an agent uses of gRPC's context of a call."""

    async def read(self) -> Any:
        """The next message, or EOF."""

    async def write(self, message: pb.FromAgent, /) -> None:
        """Send one."""

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call, and raise."""

    def peer(self) -> str:
        """Where it comes from."""


class AgentPipe:
    """The agent's end of a session's call."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self) -> pb.Piece | None:
        try:
            message = await self._context.read()
        except Exception:  # noqa: BLE001 - gRPC has many words for a call that is over, some of them private
            return None
        return None if message is grpc.aio.EOF else message.piece

    async def write(self, piece: pb.Piece, /) -> None:
        try:
            await self._context.write(pb.FromAgent(piece=piece))
        except Exception as error:
            raise ConnectionError("the controller is gone") from error

    async def finish(self) -> bool:
        return False

    def cancel(self) -> None:
        """The call ends when its method returns."""

    async def cause(self) -> str:
        return "the controller is gone"


async def outlive(task: asyncio.Task[_T], link: FrameLink) -> _T:
    """Wait within a call for the task that serves its link.

    When the controller goes, gRPC cancels the call and what runs in it; the task loses its link instead, and ends in
    order.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        link.kill()
        raise


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets calls through that carry the token, whatever they call."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_service(self, go_on: Callable[[Any], Awaitable[Any]], call: Any) -> Any:
        if self._token.fits(call.invocation_metadata or ()):
            return await go_on(call)
        # This kind of method begins without waiting for a message, whatever kind was called.
        return grpc.stream_stream_rpc_method_handler(_turn_away)


async def _turn_away(requests: object, context: Context) -> None:
    _log.warning("token_refused", peer=context.peer())
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token, or a wrong one")
