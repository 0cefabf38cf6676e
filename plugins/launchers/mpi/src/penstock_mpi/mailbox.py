"""What the post's thread hands to an event loop."""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Flag", "Mailbox"]

_T = TypeVar("_T")


class Mailbox(Generic[_T]):
    """A queue without bounds between threads; tasks of event loops read it."""

    def __init__(self) -> None:
        self._items: collections.deque[_T] = collections.deque()
        self._cause: str | None = None
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] = []

    @property
    def cause(self) -> str | None:
        """Why nothing more comes; None: more may come."""
        return self._cause

    def put(self, item: _T) -> None:
        """Add an item."""
        with self._lock:
            self._items.append(item)
        self._wake()

    def close(self, cause: str) -> None:
        """Nothing more comes. The first cause is kept."""
        with self._lock:
            if self._cause is None:
                self._cause = cause
        self._wake()

    async def get(self) -> _T | None:
        """The next item; None when it is closed and empty."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._cause is not None:
                    return None
                flag = self._flag()
            await flag.wait()

    async def closed(self) -> None:
        """Wait until it is closed, whatever is in it."""
        while True:
            with self._lock:
                if self._cause is not None:
                    return
                flag = self._flag()
            await flag.wait()

    def _flag(self) -> Flag:
        flag = Flag()
        self._waiting.append(lambda: flag.set(True))
        return flag

    def _wake(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()


class Flag:
    """A value that a task waits for and any thread sets. Made in the event loop of the task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[bool] = self._loop.create_future()

    def set(self, value: bool) -> None:
        """Set it, once; a loop that has ended no longer cares."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set, value)

    async def wait(self) -> bool:
        """The value, as soon as it is set."""
        return await self._future

    def _set(self, value: bool) -> None:
        if not self._future.done():
            self._future.set_result(value)
