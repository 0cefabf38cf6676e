"""Workers that are child processes of this one: a link over their pipes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

import anyio
from anyio.abc import Process

from penstock.environment import CALM
from penstock.launching import messages

__all__ = ["WorkerProcess"]

_STOP_SECONDS = 10.0
_CAUSE_SECONDS = 2.0
_PIPE_ENDS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class WorkerProcess:
    """A :class:`~penstock.launching.links.Link`. A worker that ends, however it ends, is noticed at once: its pipe
    closes. A worker whose parent ends sees the same.
    """

    def __init__(self, process: Process, log: str, patience: float) -> None:
        self._process = process
        self._log = log
        self._patience = patience
        # Who closes reads on beside who listens: a stream takes one reader at a time.
        self._reading = anyio.Lock()

    @classmethod
    async def spawn(
        cls,
        module: str,
        *,
        name: str,
        scratch: str,
        environment: Mapping[str, str],
        patience: float = _STOP_SECONDS,
    ) -> WorkerProcess:
        """Start ``python -m module`` with this process's variables and those of ``environment``.

        What it prints goes to ``name.log`` in ``scratch``. It is killed ``patience`` seconds after it was told to end.
        """
        path = os.path.join(scratch, f"{name}.log")
        with open(path, "wb") as log:
            process = await _spawn(module, log, {**CALM, **os.environ, **environment})
        return cls(process, path, patience)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def send(self, frame: bytes, /) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            await stdin.send(messages.header_of(frame) + frame)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionError("the process closed its input") from error

    async def receive(self) -> bytes | None:
        async with self._reading:
            return await self._receive()

    async def _receive(self) -> bytes | None:
        header = await self._exactly(messages.HEADER_BYTES)
        if header is None:
            return None
        try:
            length = messages.body_length(header)
        except ValueError:
            # Something printed into the pipe; there is no telling where the next frame begins.
            self.kill()
            return None
        return await self._exactly(length)

    async def close(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, anyio.BrokenResourceError):
            await stdin.aclose()
        with anyio.move_on_after(self._patience):
            await self._process.wait()
        self.kill()
        await self._process.wait()

    async def discard(self) -> None:
        """Read what it still sends, and throw it away, until it ends."""
        stdout = self._process.stdout
        assert stdout is not None
        # Not by frames: whoever read before may have been stopped within one.
        async with self._reading:
            with contextlib.suppress(*_PIPE_ENDS):
                while True:
                    await stdout.receive()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def cause(self) -> str:
        with anyio.move_on_after(_CAUSE_SECONDS):
            await self._process.wait()
        code = self._process.returncode
        if code is None:
            return "it closed its channel"
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (the kernel may have been out of memory)" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}"
        said = _last_line(self._log)
        return f"exit code {code}{': ' + said if said else ''}"

    async def _exactly(self, nbytes: int) -> bytes | None:
        stdout = self._process.stdout
        assert stdout is not None
        parts: list[bytes] = []
        while nbytes:
            try:
                part = await stdout.receive(nbytes)
            except _PIPE_ENDS:
                return None
            parts.append(part)
            nbytes -= len(part)
        return b"".join(parts)


async def _spawn(module: str, log: IO[bytes], environment: dict[str, str]) -> Process:
    # A session of its own keeps the terminal's Ctrl-C for the coordinator, which decides what it means.
    return await anyio.open_process(
        [sys.executable, "-m", module],
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
