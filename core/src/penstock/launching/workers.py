"""A worker at the other end of a link."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from penstock.errors import RunError, WorkerLostError
from penstock.launchers import Body, Greeting, LaunchSpec
from penstock.launching import messages
from penstock.launching.greeting import own_version
from penstock.launching.links import Link
from penstock.launching.rules import announce

__all__ = ["Worker"]

#: How long what a worker sent may still be received when nothing can be sent to it any more.
_REST_SECONDS = 5.0


class Worker:
    """A :class:`~penstock.launchers.WorkerHandle`. It must have been greeted, and :meth:`listen` must run, before it
    is asked anything.
    """

    def __init__(self, link: Link, rank: int, name: str = "") -> None:
        """``name`` is what its host is called; empty: as it calls itself."""
        self._link = link
        self._rank = rank
        self._name = name
        self._greeting: Greeting | None = None
        self._next = 0
        self._waiting: dict[int, MemoryObjectSendStream[dict[str, Any]]] = {}
        self._lost: str | None = None
        self._heard = False
        self._outbox, self._sent = anyio.create_memory_object_stream[bytes](math.inf)

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def host(self) -> str:
        return self._name or (self._greeting.host if self._greeting is not None else "")

    @property
    def pid(self) -> int:
        return self.greeting.pid

    @property
    def greeting(self) -> Greeting:
        if self._greeting is None:
            raise RunError(f"{self.called} has not greeted yet")
        return self._greeting

    @property
    def called(self) -> str:
        """What messages for users call it."""
        return f"worker {self._rank} on {self.host}" if self.host else f"worker {self._rank}"

    async def greet(self, spec: LaunchSpec | None = None) -> None:
        """Send the specification, if there is one to send, and wait for the greeting.

        Raises RunError, with the remedy, when the worker can't start, was refused, or is of another version.
        """
        frame = None
        with contextlib.suppress(ConnectionError):
            if spec is not None:
                await self._link.send(messages.encode(announce(spec)))
            frame = await self._link.receive()
        if frame is None:
            raise RunError(f"{self.called} could not start: {await self._link.cause()}")
        try:
            message = messages.decode(frame)
            if "error" in message:
                raise RunError(f"{self.called} could not start: {message['error']['message']}")
            greeting = Greeting.from_message(message)
        except ValueError as error:
            raise RunError(f"{self.called} could not start: {error}; is it penstock that answers there?") from error
        mine = own_version()
        if greeting.protocol != messages.PROTOCOL or greeting.version != mine:
            raise RunError(
                f"{self.called} has penstock {greeting.version} (messages {greeting.protocol}), here it is {mine} "
                f"(messages {messages.PROTOCOL}): install the same version there, pip install penstock=={mine}"
            )
        self._greeting = greeting

    async def call(self, method: str, body: Body, /) -> Body:
        async with contextlib.aclosing(self._ask(method, body)) as answers:
            async for message in answers:
                answer: Body = message["body"]
                return answer
        raise RunError(f"{self.called} did not answer {method}")

    async def stream(self, method: str, body: Body, /) -> AsyncIterator[Body]:
        async with contextlib.aclosing(self._ask(method, body)) as answers:
            async for message in answers:
                yield message["item"]

    async def _ask(self, method: str, body: Body) -> AsyncGenerator[dict[str, Any], None]:
        number, self._next = self._next, self._next + 1
        send, receive = anyio.create_memory_object_stream[dict[str, Any]](math.inf)
        with send, receive:
            if self._lost is None:
                self._waiting[number] = send
                self._outbox.send_nowait(messages.encode({"id": number, "method": method, "body": body}))
            else:
                send.close()
            try:
                async for message in receive:
                    if "error" in message:
                        raise messages.to_error(message["error"])
                    if "end" in message:
                        return
                    yield message
            finally:
                self._waiting.pop(number, None)
        raise WorkerLostError(self._rank, self.host, self._lost or "its channel closed")

    async def listen(self) -> None:
        """Hand out what the worker sends, and bring it what it is asked, until it is gone."""
        self._heard = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send_all)
                self._lose(await self._receive_all())
                tasks.cancel_scope.cancel()
        finally:
            self._lose("nobody listens to it any more")

    def kill(self) -> None:
        self._lose("it was given up")
        self._link.kill()

    async def end(self) -> None:
        """Close the link, which ends a worker."""
        await self._link.close()
        self._lose("it was ended")
        if not self._heard:
            self._sent.close()

    async def _receive_all(self) -> str:
        """Why nothing more comes."""
        while (frame := await self._receive()) is not None:
            try:
                message = messages.decode(frame)
            except ValueError as error:
                self._link.kill()
                return f"it sent what is no message: {error}"
            waiting = self._waiting.get(message.get("id", -1))
            # Who waits for a worker that was given up is yet to hear of it, and takes nothing more.
            if waiting is not None and self._lost is None:
                waiting.send_nowait(message)
        return await self._link.cause()

    async def _receive(self) -> bytes | None:
        try:
            return await self._link.receive()
        except ConnectionError:
            return None

    async def _send_all(self) -> None:
        with self._sent:
            try:
                async for frame in self._sent:
                    await self._link.send(frame)
            except ConnectionError:
                # It is gone; what it said before is still to come, and then the end.
                await anyio.sleep(_REST_SECONDS)
                self.kill()

    def _lose(self, cause: str) -> None:
        if self._lost is None:
            self._lost = cause
            self._outbox.close()
        for waiting in list(self._waiting.values()):
            waiting.close()
