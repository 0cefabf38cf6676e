"""Frames over one gRPC call, the same on both of its ends.

A frame travels in pieces. Each way has room for one frame that waits and one that is on its way, besides what HTTP/2
lets into flight; who sends waits for who receives. Reading and writing are tasks of their own, because a gRPC call
does not survive a read or write that is cancelled, and whoever waits for a frame may be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

import anyio

from penstock.launching import messages
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.service import PIECE_BYTES

__all__ = ["FrameLink", "Pipe"]

#: How long an end in good order may take: the worker on the other side has its files to close.
_CLOSE_SECONDS = 15.0


class Pipe(Protocol):
    """One end of the call."""

    async def read(self) -> pb.Piece | None:
        """The next piece; None when the other end is gone or has ended the call."""

    async def write(self, piece: pb.Piece, /) -> None:
        """Send one; waits for the other end's room. Raises ConnectionError when that is gone."""

    async def finish(self) -> bool:
        """Say that nothing more comes. True when the other end now ends the call, False when that is for this end's
        owner to do. Raises ConnectionError when the other end is gone."""

    def cancel(self) -> None:
        """End the call at once."""

    async def cause(self) -> str:
        """Why the call is over."""


class _Over:
    """The pipe of a link that is closed."""

    async def read(self) -> pb.Piece | None:
        return None

    async def write(self, piece: pb.Piece, /) -> None:
        raise ConnectionError("the link is closed")

    async def finish(self) -> bool:
        return False

    def cancel(self) -> None:
        """It is."""

    async def cause(self) -> str:
        return "the link is closed"


class _Slot:
    """Room for one frame between one task that puts and one that gets."""

    def __init__(self) -> None:
        self._frame: bytes | None = None
        self._changed = anyio.Event()
        self._closed = False

    async def put(self, frame: bytes) -> None:
        """Raises ConnectionError when it has been closed."""
        while self._frame is not None and not self._closed:
            await self._changed.wait()
        if self._closed:
            raise ConnectionError("the other end is gone")
        self._frame = frame
        self._notify()

    async def get(self) -> bytes | None:
        """None when it has been closed and is empty."""
        while self._frame is None:
            if self._closed:
                return None
            await self._changed.wait()
        frame, self._frame = self._frame, None
        self._notify()
        return frame

    def close(self) -> None:
        self._closed = True
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class FrameLink:
    """A :class:`penstock.launching.Link`. Made in the event loop that it is used in."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe: Pipe = pipe
        self._inbox = _Slot()
        self._outbox = _Slot()
        self._discarding = False
        self._broken: str | None = None
        self._reading = asyncio.create_task(self._read_all())
        self._writing = asyncio.create_task(self._write_all())

    async def send(self, frame: bytes, /) -> None:
        await self._outbox.put(frame)

    async def receive(self) -> bytes | None:
        return await self._inbox.get()

    async def close(self) -> None:
        self._outbox.close()
        # Nobody receives any more, and what still comes must not keep the end from coming.
        self._discarding = True
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_CLOSE_SECONDS), contextlib.suppress(ConnectionError):
                await asyncio.wait({self._writing})
                if await self._pipe.finish():
                    while await self._inbox.get() is not None:
                        pass
            self.kill()
            await asyncio.wait({self._reading, self._writing})
            # Whoever keeps the link must not keep gRPC's threads alive with it.
            self._broken = await self.cause()
            self._pipe = _Over()

    def kill(self) -> None:
        self._pipe.cancel()
        self._inbox.close()
        self._outbox.close()
        self._reading.cancel()
        self._writing.cancel()

    async def cause(self) -> str:
        return self._broken or await self._pipe.cause()

    async def _read_all(self) -> None:
        frame = bytearray()
        try:
            while (piece := await self._pipe.read()) is not None:
                frame += piece.data
                if len(frame) > messages.MAX_FRAME:
                    self._broken = f"it sent a frame of more than {messages.MAX_FRAME} bytes"
                    self._pipe.cancel()
                    return
                if piece.last and not self._discarding:
                    await self._inbox.put(bytes(frame))
                if piece.last:
                    frame = bytearray()
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._inbox.close()
            self._outbox.close()

    async def _write_all(self) -> None:
        try:
            while (frame := await self._outbox.get()) is not None:
                for piece in _pieces(frame):
                    await self._pipe.write(piece)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._outbox.close()


def _pieces(frame: bytes) -> Iterator[pb.Piece]:
    view = memoryview(frame)
    for start in range(0, max(1, len(frame)), PIECE_BYTES):
        yield pb.Piece(data=bytes(view[start : start + PIECE_BYTES]), last=start + PIECE_BYTES >= len(frame))
