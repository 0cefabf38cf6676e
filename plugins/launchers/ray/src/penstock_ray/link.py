"""The controller's end of the way to one node."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import ray
from ray.exceptions import RayActorError, RayError

from penstock_ray.host import Piece, split

__all__ = ["RayLink", "why"]

_T = TypeVar("_T")

#: Pieces of one frame that are on their way at a time.
_WINDOW = 32
#: How long a node may take to end its worker before it is ended by force, beyond the worker's own time.
_CLOSE_SECONDS = 12.0
#: The same where it was given up before.
_GONE_SECONDS = 3.0


class RayLink:
    """A :class:`penstock.launching.Link` over the calls and the stream of one actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._number = 0
        self._pieces = actor.frames.options(num_returns="streaming").remote()
        self._gone = anyio.Event()
        self._cause = ""
        self._receiving = False

    async def send(self, frame: bytes, /) -> None:
        pieces = split(frame)
        for start in range(0, len(pieces), _WINDOW):
            await self._hand_over(pieces[start : start + _WINDOW])

    async def receive(self) -> bytes | None:
        parts = []
        self._receiving = True
        try:
            while (piece := await self._unless_gone(self._next())) is not None:
                parts.append(piece[0])
                if piece[1]:
                    return b"".join(parts)
        finally:
            self._receiving = False
        self._lose("")
        return None

    async def close(self) -> None:
        with anyio.move_on_after(_GONE_SECONDS if self._gone.is_set() else _CLOSE_SECONDS):
            with contextlib.suppress(ConnectionError):
                await self._hand_over([None])
                if self._receiving:
                    await self._gone.wait()
            # Also one that was given up ends its worker and removes what that wrote.
            while await self._next() is not None:
                pass
        self._lose("it was ended")
        _quietly(ray.kill, self._actor)

    def kill(self) -> None:
        self._lose("it was given up")
        _quietly(self._actor.end.remote)

    async def cause(self) -> str:
        return self._cause or "its worker ended there; what it printed is in the log of its host's directory"

    async def _hand_over(self, pieces: list[Piece] | list[None]) -> None:
        if self._gone.is_set():
            raise ConnectionError(self._cause)
        calls = []
        for piece in pieces:
            calls.append(self._actor.take.remote(self._number, piece))
            self._number += 1
        for call in calls:
            await self._unless_gone(self._answer(call))
        if self._gone.is_set():
            raise ConnectionError(self._cause)

    async def _answer(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except RayError as error:
            self._lose(why(error))

    async def _next(self) -> Piece | None:
        try:
            item: Piece | str = await (await self._pieces.__anext__())
        except StopAsyncIteration:
            return None
        except RayError as error:
            self._lose(why(error))
            return None
        if isinstance(item, str):
            self._lose(item)
            return None
        return item

    async def _unless_gone(self, question: Awaitable[_T]) -> _T | None:
        """The answer; None when the node is given up before there is one."""
        answer: _T | None = None

        async def ask() -> None:
            nonlocal answer
            answer = await question
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await self._gone.wait()
            tasks.cancel_scope.cancel()
        return answer

    def _lose(self, cause: str) -> None:
        if not self._gone.is_set():
            self._cause = cause
            self._gone.set()


def _quietly(function: Callable[..., object], *arguments: object) -> None:
    """Call what fails where the actor is gone, or Ray was shut down: there is nobody left to end."""
    try:
        function(*arguments)
    except Exception:  # noqa: BLE001  (whatever it is, there is nothing more to do)
        return


def why(error: RayError) -> str:
    """What Ray knows of the end of an actor, in a few words."""
    text = " ".join(str(error).split())
    if isinstance(error, RayActorError):
        known = re.search(r"The actor (?:is dead because|died because of|is temporarily unavailable)[^.]*", text)
        detail = re.search(r"Worker exit type: (\w+)", text)
        if known:
            return known[0] + (f" ({detail[1]})" if detail else "")
    return f"{type(error).__name__}: {text[:300]}"
