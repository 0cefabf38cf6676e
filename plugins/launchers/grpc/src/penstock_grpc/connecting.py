"""A controller's connection to one agent, and what can be wrong with it, in words."""

from __future__ import annotations

import asyncio
import os
import re

import anyio
import anyio.to_thread
import attrs
import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.errors import RunError, UsageError
from penstock.launching import PROTOCOL
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.addresses import Address
from penstock_grpc.diagnosis import diagnose
from penstock_grpc.links import FrameLink
from penstock_grpc.plugin import AccessOptions
from penstock_grpc.service import INFO, SERVICE, SESSION, channel_options, controller_name, version
from penstock_grpc.tls import Tls, read_tls
from penstock_grpc.tokens import VARIABLE, Token, read_token

__all__ = ["Access", "Connection", "ControllerPipe"]

_DIAGNOSIS_SECONDS = 3.0
_INNER = re.compile(r"Stream removed \((.*)\)\Z", re.DOTALL)
#: What gRPC says of a connection on which a ping was not answered.
_NO_ANSWER = ("ping timeout", "keepalive")
_CANNOT_REACH = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@attrs.frozen(kw_only=True)
class Access:
    """How to get to agents, as the options say; what they name has been read."""

    tls: Tls | None
    token: Token | None
    server_name: str | None
    connect_timeout: float
    keepalive: float

    @classmethod
    def from_options(cls, options: AccessOptions) -> Access:
        """Raises UsageError for files that can't be used."""
        tls = None
        if options.tls_ca is not None:
            tls = read_tls(ca=options.tls_ca, cert=options.tls_cert, key=options.tls_key)
        elif options.tls_cert is not None or options.tls_key is not None or options.server_name is not None:
            raise UsageError("tls_ca is missing: without it nobody knows whether the agent is the one you mean")
        return cls(
            tls=tls,
            token=read_token(options.token_file, os.environ),
            server_name=options.server_name,
            connect_timeout=options.connect_timeout,
            keepalive=options.keepalive,
        )


class Connection:
    """Made in the event loop that it is used in. Nothing is sent before the first call."""

    def __init__(self, address: Address, access: Access) -> None:
        self.address = address
        self._access = access
        self._metadata = () if access.token is None else access.token.metadata()
        options = channel_options(access.keepalive, access.server_name)
        if access.tls is None:
            self._channel = grpc.aio.insecure_channel(address.target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address.target, access.tls.for_controller(), options=options)

    async def close(self) -> None:
        """Cut it, also where a call runs. It can't be used again."""
        # Whoever keeps the connection, such as a traceback, must not keep gRPC's threads alive with it.
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def info(self) -> pb.InfoReply:
        """Ask what it is. Raises RunError that names it and the remedy."""
        await self._check_way()
        ask = self._channel.unary_unary(
            INFO, request_serializer=pb.InfoRequest.SerializeToString, response_deserializer=pb.InfoReply.FromString
        )
        try:
            reply: pb.InfoReply = await ask(
                pb.InfoRequest(), timeout=self._access.connect_timeout, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from None
        return reply

    async def health(self) -> str:
        """What its health service says: ``SERVING`` or ``NOT_SERVING``."""
        health = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        try:
            reply = await health.Check(request, timeout=self._access.connect_timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from None
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))

    async def session(self, called: str) -> FrameLink:
        """Begin a session; ``called`` is what the agent's host is to be called in it. Raises as :meth:`info` does."""
        call = self._channel.stream_stream(
            SESSION,
            request_serializer=pb.FromController.SerializeToString,
            response_deserializer=pb.FromAgent.FromString,
        )(metadata=self._metadata)
        opening = pb.Opening(controller=controller_name(), protocol=PROTOCOL, called=called)
        try:
            with anyio.fail_after(self._access.connect_timeout):
                await call.write(pb.FromController(opening=opening))
                answer = await call.read()
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from None
        except TimeoutError:
            seconds = self._access.connect_timeout
            raise RunError(f"{self.address}: no answer within {seconds:g} s; look at what its agent logs") from None
        except asyncio.InvalidStateError:
            answer = grpc.aio.EOF
        if answer is grpc.aio.EOF:
            raise RunError(f"{self.address}: the agent ended the session at once; look at what it logs")
        return FrameLink(ControllerPipe(call))

    async def _check_way(self) -> None:
        if self._access.tls is not None:
            return
        try:
            loopback = await anyio.to_thread.run_sync(self.address.is_loopback)
        except OSError:
            return  # which is said better when connecting fails
        if not loopback:
            raise RunError(
                f"{self.address}: without TLS everybody on the way could read and change what is sent, so only agents "
                "on this host's loopback are spoken to; start it with --tls-cert and --tls-key, and give the "
                "certificate of their signer by tls_ca"
            )

    async def _explain(self, error: grpc.aio.AioRpcError) -> RunError:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return RunError(f"{self.address}: {self._of_token()}")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return RunError(
                f"{self.address}: what answers there does not know {SERVICE}; install penstock-grpc "
                f"{version('penstock-grpc')} there, as here"
            )
        if code in _CANNOT_REACH and (found := await self._diagnose()) is not None:
            return RunError(f"{self.address}: {found}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return RunError(
                f"{self.address}: no answer within {self._access.connect_timeout:g} s; its host is overloaded, or its "
                "agent hangs: start that again, or allow more by connect_timeout"
            )
        return RunError(f"{self.address}: {details or code.name}")

    def _of_token(self) -> str:
        if self._access.token is None:
            return f"it wants a token; give the one that it was started with by {VARIABLE} or token_file"
        return f"it was started with another token than yours ({VARIABLE} or token_file); give both the same"

    async def _diagnose(self) -> str | None:
        seconds = min(_DIAGNOSIS_SECONDS, self._access.connect_timeout)
        tls, name = self._access.tls, self._access.server_name
        return await anyio.to_thread.run_sync(diagnose, self.address, tls, name, seconds, abandon_on_cancel=True)


class ControllerPipe:
    """The controller's end of a session's call."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call

    async def read(self) -> pb.Piece | None:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError:
            return None
        return None if message is grpc.aio.EOF else message.piece

    async def write(self, piece: pb.Piece, /) -> None:
        try:
            await self._call.write(pb.FromController(piece=piece))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise ConnectionError("the agent is gone") from error

    async def finish(self) -> bool:
        await self._call.done_writing()
        return True

    def cancel(self) -> None:
        self._call.cancel()

    async def cause(self) -> str:
        if not self._call.done():
            return "its session is over"
        code, details = await self._call.code(), await self._call.details() or ""
        if code is grpc.StatusCode.OK:
            return "its worker ended"
        if code is grpc.StatusCode.CANCELLED:
            return "its session was cancelled"
        if code is grpc.StatusCode.UNAVAILABLE and any(word in details.lower() for word in _NO_ANSWER):
            return "no sign of life any more; its host is down or cut off"
        if code is grpc.StatusCode.UNAVAILABLE and not details.startswith("the agent"):
            inner = _INNER.match(details)
            return f"the connection to its agent broke ({inner[1] if inner else details})"
        return details or code.name
