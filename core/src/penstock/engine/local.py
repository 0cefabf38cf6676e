"""The local launcher: worker processes of this host, spawned, and spoken to through pipes.

A worker that ends, however it ends, is noticed at once: its pipe closes. A worker whose coordinator ends closes
itself the same way.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO, Any

import anyio
from anyio.abc import Process, TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from penstock.engine import messages
from penstock.errors import RunError, WorkerLostError
from penstock.launchers import Body, LaunchSpec, WorkerHandle

__all__ = ["LocalLauncher", "LocalWorker"]

_GREETING_SECONDS = 60.0
_STOP_SECONDS = 10.0


class LocalLauncher:
    """A :class:`~penstock.launchers.Launcher`. ``start`` and ``stop`` are called by one task."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._workers: list[LocalWorker] = []

    async def start(self, workers: int, spec: LaunchSpec, /) -> list[WorkerHandle]:
        self._tasks = await anyio.create_task_group().__aenter__()
        try:
            for rank in range(workers):
                self._workers.append(await LocalWorker.spawn(rank, spec))
            with anyio.fail_after(_GREETING_SECONDS):
                for worker in self._workers:
                    await worker.greet()
        except BaseException:
            await self.stop()
            raise
        for worker in self._workers:
            self._tasks.start_soon(worker.listen)
        return list(self._workers)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return
        for worker in self._workers:
            await worker.end()
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)


class LocalWorker:
    """A :class:`~penstock.launchers.WorkerHandle` on a child process."""

    def __init__(self, rank: int, process: Process, log: str) -> None:
        self._rank = rank
        self._process = process
        self._log = log
        self._next = 0
        self._waiting: dict[int, MemoryObjectSendStream[dict[str, Any]]] = {}
        self._lost: str | None = None
        self._sending = anyio.Lock()

    @classmethod
    async def spawn(cls, rank: int, spec: LaunchSpec) -> LocalWorker:
        """Start the process; what it prints goes to a file of its own in the scratch directory."""
        path = os.path.join(spec.scratch, f"worker-{rank}.log")
        with open(path, "wb") as log:
            process = await _spawn(spec.worker, log, {**os.environ, **spec.environment})
        return cls(rank, process, path)

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def host(self) -> str:
        return socket.gethostname()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def kill(self) -> None:
        """End the process at once."""
        if self._process.returncode is None:
            self._process.kill()

    async def greet(self) -> None:
        """Wait for the greeting. Raises RunError when the worker can't start or is of another version."""
        message = await self._read()
        if message is None:
            raise RunError(f"worker {self._rank} could not start: {await self._cause()}")
        if message.get("protocol") != messages.PROTOCOL:
            raise RunError(f"worker {self._rank} speaks protocol {message.get('protocol')}, not {messages.PROTOCOL}")

    async def call(self, method: str, body: Body, /) -> Body:
        async with contextlib.aclosing(self._ask(method, body)) as answers:
            async for message in answers:
                answer: Body = message["body"]
                return answer
        raise RunError(f"worker {self._rank} did not answer {method}")

    async def stream(self, method: str, body: Body, /) -> AsyncIterator[Body]:
        async with contextlib.aclosing(self._ask(method, body)) as answers:
            async for message in answers:
                yield message["item"]

    async def _ask(self, method: str, body: Body) -> AsyncGenerator[dict[str, Any], None]:
        number, self._next = self._next, self._next + 1
        send, receive = anyio.create_memory_object_stream[dict[str, Any]](math.inf)
        self._waiting[number] = send
        try:
            await self._send({"id": number, "method": method, "body": body})
            async with receive:
                async for message in receive:
                    if "error" in message:
                        raise messages.to_error(message["error"])
                    if "end" in message:
                        return
                    yield message
            raise WorkerLostError(self._rank, self.host, self._lost or "its channel closed")
        finally:
            self._waiting.pop(number, None)
            send.close()

    async def listen(self) -> None:
        """Hand out what the worker sends, until it is gone."""
        while (message := await self._read()) is not None:
            waiting = self._waiting.get(message.get("id", -1))
            if waiting is not None:
                waiting.send_nowait(message)
        self._lost = await self._cause()
        for waiting in list(self._waiting.values()):
            waiting.close()

    async def end(self) -> None:
        """Close the channel, which ends a worker; kill one that does not end."""
        stdin = self._process.stdin
        assert stdin is not None
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(OSError, anyio.BrokenResourceError):
                await stdin.aclose()
            with anyio.move_on_after(_STOP_SECONDS):
                await self._process.wait()
            self.kill()
            await self._process.wait()

    async def _send(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async with self._sending:
                await stdin.send(messages.encode(message))
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise WorkerLostError(self._rank, self.host, self._lost or await self._cause()) from None

    async def _read(self) -> dict[str, Any] | None:
        header = await self._exactly(messages.HEADER_BYTES)
        if header is None:
            return None
        body = await self._exactly(messages.body_length(header))
        return None if body is None else messages.decode(body)

    async def _exactly(self, nbytes: int) -> bytes | None:
        stdout = self._process.stdout
        assert stdout is not None
        parts: list[bytes] = []
        while nbytes:
            try:
                part = await stdout.receive(nbytes)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return None
            parts.append(part)
            nbytes -= len(part)
        return b"".join(parts)

    async def _cause(self) -> str:
        """What is known of the end of the process."""
        with anyio.move_on_after(2.0):
            await self._process.wait()
        code = self._process.returncode
        said = _last_line(self._log)
        if code is None:
            return "it closed its channel"
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (the kernel may have been out of memory)" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}"
        return f"exit code {code}{': ' + said if said else ''}"


async def _spawn(worker: str, log: IO[bytes], environment: dict[str, str]) -> Process:
    # A session of its own keeps the terminal's Ctrl-C for the coordinator, which decides what it means.
    return await anyio.open_process(
        [sys.executable, "-m", worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


def _last_line(path: str) -> str:
    try:
        with open(path, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
    except OSError:
        return ""
    return lines[-1] if lines else ""
