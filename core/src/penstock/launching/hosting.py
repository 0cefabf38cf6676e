"""The host's side of a launcher: the host's worker, and the way between it and the controller."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence

import anyio
import attrs

from penstock.errors import RunError
from penstock.launchers import LaunchSpec
from penstock.launching import messages
from penstock.launching.links import Link
from penstock.launching.process import WorkerProcess
from penstock.launching.rules import RESERVED, read_spec

__all__ = ["RECORD", "HostProcess", "HostSettings", "pump", "serve_host"]

#: The file in a host's directory that makes it worth keeping.
RECORD = "host.json"
#: How long the specification may take to come.
_SPEC_SECONDS = 60.0
#: How long a worker may take to end, beyond its lease.
_END_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class HostSettings:
    """What a host's worker has to know before it is asked anything: it comes to it in its environment.

    ``scratch`` is its directory, ``name`` what the host is called, ``lease`` its seconds of silence, ``allow`` the
    variables that the host's owner allows beyond the usual ones.
    """

    scratch: str
    name: str
    lease: float
    allow: tuple[str, ...] = ()

    def to_environment(self) -> dict[str, str]:
        """The variables."""
        return {
            f"{RESERVED}SCRATCH": self.scratch,
            f"{RESERVED}NAME": self.name,
            f"{RESERVED}LEASE": repr(self.lease),
            f"{RESERVED}ALLOW": ",".join(self.allow),
        }

    @classmethod
    def from_environment(cls) -> HostSettings:
        """Those of this process. Raises RunError in one that was not started as a host's worker."""
        try:
            scratch, name, lease, allow = (
                os.environ[f"{RESERVED}{key}"] for key in ("SCRATCH", "NAME", "LEASE", "ALLOW")
            )
        except KeyError:
            raise RunError("a host's worker is started by a launcher, not by hand") from None
        return cls(scratch=scratch, name=name, lease=float(lease), allow=tuple(filter(None, allow.split(","))))


class HostProcess:
    """A host's worker as a child process: a :class:`~penstock.launching.links.Link`, with a directory of its own that
    stays when the worker left in it what is to be collected.
    """

    def __init__(self, process: WorkerProcess, scratch: str) -> None:
        self._process = process
        self.scratch = scratch

    @classmethod
    async def spawn(
        cls, spec: LaunchSpec, *, name: str, allow: Sequence[str] = (), scratch: str | None = None
    ) -> HostProcess:
        """Start it, in a new directory below ``scratch``, None: below that for temporary files."""
        directory = tempfile.mkdtemp(prefix="penstock-host-", dir=scratch)
        settings = HostSettings(scratch=directory, name=name, lease=spec.lease, allow=tuple(allow))
        try:
            process = await WorkerProcess.spawn(
                spec.worker,
                name="host",
                scratch=directory,
                environment={**spec.environment, **settings.to_environment()},
                patience=spec.lease + _END_SECONDS,
            )
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return cls(process, directory)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def send(self, frame: bytes, /) -> None:
        await self._process.send(frame)

    async def receive(self) -> bytes | None:
        return await self._process.receive()

    async def close(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                # A worker that still has something to say must not wait for somebody to read it.
                tasks.start_soon(self._process.discard)
                await self._process.close()
                tasks.cancel_scope.cancel()
        finally:
            if not os.path.exists(os.path.join(self.scratch, RECORD)):
                shutil.rmtree(self.scratch, ignore_errors=True)

    def kill(self) -> None:
        self._process.kill()

    async def cause(self) -> str:
        return await self._process.cause()


async def serve_host(
    link: Link, *, allow_environment: Sequence[str] = (), scratch: str | None = None, name: str = ""
) -> str | None:
    """Serve one controller at the other end of a link: start the worker that it specifies, and carry frames both ways
    until one of the two is gone. Then the worker has its lease to end by itself, and is killed after it; returns when
    it has ended: why, where it was the worker that was gone first, for who brings the controller the end of the link.

    What may not be is refused; the controller gets to know. ``allow_environment`` are patterns of variables that it may
    set beyond the usual ones; ``scratch`` is where directories for workers are made; ``name`` is what this host is
    called, empty: as it calls itself.
    """
    called = name or socket.gethostname()
    try:
        worker = await _begin(link, called, allow_environment, scratch)
        if worker is None:
            return None
        try:
            return await worker.cause() if await _carry(link, worker) else None
        finally:
            with anyio.CancelScope(shield=True):
                await worker.close()
    finally:
        with anyio.CancelScope(shield=True):
            await link.close()


async def pump(source: Link, target: Link) -> Link:
    """Carry frames one way until either end is gone; which."""
    with contextlib.suppress(ConnectionError):
        while (frame := await source.receive()) is not None:
            await target.send(frame)
        return source
    return target


async def _begin(link: Link, name: str, allow: Sequence[str], scratch: str | None) -> HostProcess | None:
    frame = None
    with anyio.move_on_after(_SPEC_SECONDS), contextlib.suppress(ConnectionError):
        frame = await link.receive()
    if frame is None:
        return None
    try:
        spec = read_spec(_decode(frame, name), host=name, allow=allow)
        return await HostProcess.spawn(spec, name=name, allow=allow, scratch=scratch)
    except RunError as error:
        refusal = error
    except OSError as error:
        refusal = RunError(f"host {name} could not start a worker: {error}")
    with contextlib.suppress(ConnectionError):
        await link.send(messages.encode({"error": messages.from_error(refusal)}))
    return None


def _decode(frame: bytes, name: str) -> dict[str, object]:
    try:
        return messages.decode(frame)
    except ValueError as error:
        raise RunError(f"host {name}: what came first is no message: {error}") from error


async def _carry(link: Link, worker: HostProcess) -> bool:
    """Whether the worker was gone before the controller."""
    gone: list[Link] = []
    async with anyio.create_task_group() as tasks:

        async def one_way(source: Link, target: Link) -> None:
            gone.append(await pump(source, target))
            tasks.cancel_scope.cancel()

        tasks.start_soon(one_way, link, worker)
        await one_way(worker, link)
    return gone[0] is worker
