"""The host that the controller itself is on, where no other rank could serve it."""

from __future__ import annotations

from penstock.launchers import LaunchSpec
from penstock.launching import HostProcess

__all__ = ["OwnHost"]


class OwnHost:
    """A :class:`penstock.launching.Link` to a host's worker that is a child of this process: the first frame, the
    specification, starts it.
    """

    def __init__(self, spec: LaunchSpec, *, name: str, scratch: str | None) -> None:
        self._spec = spec
        self._name = name
        self._scratch = scratch
        self._process: HostProcess | None = None
        self._cause = "it was not started"

    async def send(self, frame: bytes, /) -> None:
        if self._process is not None:
            await self._process.send(frame)
            return
        try:
            self._process = await HostProcess.spawn(self._spec, name=self._name, scratch=self._scratch)
        except OSError as error:
            self._cause = str(error)
            raise ConnectionError(self._cause) from error

    async def receive(self) -> bytes | None:
        return None if self._process is None else await self._process.receive()

    async def close(self) -> None:
        if self._process is not None:
            await self._process.close()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def cause(self) -> str:
        return self._cause if self._process is None else await self._process.cause()
