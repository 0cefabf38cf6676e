"""What runs on a node: an actor that serves one controller, through the calls and the one stream of Ray."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator
from importlib.metadata import version

from penstock.launching import serve_host

__all__ = ["PIECE", "Piece", "RayHost", "split"]

#: Bytes of a frame that go in one call or item. Ray puts what is larger than 100 KB into its object store.
PIECE = 64 * 1024

#: A part of a frame, and whether it is the frame's last.
Piece = tuple[bytes, bool]


class RayHost:
    """The actor. Ray may start its calls in another order than they were made, so each piece has its number."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._link = _HostLink()

    async def facts(self) -> dict[str, str]:
        """What the controller wants to know of a node before it trusts it with anything."""
        return {
            "python": platform.python_version(),
            "version": version("penstock"),
            "mode": os.environ.get("RAY_AUTH_MODE", ""),
            "tls": os.environ.get("RAY_USE_TLS", ""),
        }

    async def take(self, number: int, piece: Piece | None) -> None:
        """The piece of that number, None: the controller closes the link."""
        self._link.taken(number, piece)

    async def end(self) -> None:
        """The controller gives this host up. What ends the worker and removes its directory goes on meanwhile."""
        self._link.kill()

    async def frames(self) -> AsyncIterator[Piece | str]:
        """Serve, and give the pieces of all frames towards the controller; at the end why the worker was gone, where it
        was gone first. Called once.
        """
        allowed = [name for name in os.environ.get("PENSTOCK_ALLOW_ENV", "").split(",") if name]
        serving = asyncio.create_task(serve_host(self._link, allow_environment=allowed, name=self._name))
        async for piece in self._link.pieces():
            yield piece
        if cause := await serving:
            yield cause


class _HostLink:
    """A :class:`penstock.launching.Link` on the node's side."""

    def __init__(self) -> None:
        self._due = 0
        self._early: dict[int, Piece | None] = {}
        self._inbox: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._outbox: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._closed = False

    def taken(self, number: int, piece: Piece | None) -> None:
        self._early[number] = piece
        while self._due in self._early:
            self._inbox.put_nowait(self._early.pop(self._due))
            self._due += 1

    async def pieces(self) -> AsyncIterator[Piece]:
        while (piece := await self._outbox.get()) is not None:
            yield piece

    async def send(self, frame: bytes, /) -> None:
        if self._closed:
            raise ConnectionError("the controller is gone")
        for piece in split(frame):
            self._outbox.put_nowait(piece)

    async def receive(self) -> bytes | None:
        parts = []
        while not self._closed and (piece := await self._inbox.get()) is not None:
            part, last = piece
            parts.append(part)
            if last:
                return b"".join(parts)
        # Whoever asks again gets the same answer.
        self._inbox.put_nowait(None)
        return None

    async def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        if not self._closed:
            self._closed = True
            self._inbox.put_nowait(None)
            self._outbox.put_nowait(None)

    async def cause(self) -> str:
        return "the controller closed the link"


def split(frame: bytes) -> list[Piece]:
    """A frame's pieces; at least one."""
    starts = range(0, max(len(frame), 1), PIECE)
    return [(frame[start : start + PIECE], start + PIECE >= len(frame)) for start in starts]
