"""Reading a file, or a part of it, to a place in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock import ObjectInfo, ObjectStore
from penstock.errors import LengthMismatchError, StoreError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Landing", "StoppedError"]

#: A body that broke off is asked for so many times; calls that got no byte the store itself repeats.
_ATTEMPTS = 3


class StoppedError(Exception):
    """Breaks off a read that nobody wants any more."""


class Landing:
    """Fills one place after another; a sink that one thread uses for one read at a time."""

    __slots__ = ("_nbytes", "_room", "_stopped")

    def __init__(self, stopped: Callable[[], bool]) -> None:
        """``stopped`` says whether reads are to break off."""
        self._stopped = stopped
        self._room = memoryview(b"")
        self._nbytes = 0

    def fill(self, store: ObjectStore, key: str, room: memoryview, *, start: int = 0, whole: bool = True) -> ObjectInfo:
        """Read a file that has just the size of ``room``, or as many bytes of it from ``start`` on.

        Raises LengthMismatchError where the file has another size than was listed, StoppedError, and what the store
        raises.
        """
        length = None if whole else room.nbytes
        for attempt in range(_ATTEMPTS):
            self._room, self._nbytes = room, 0
            try:
                info = store.get(key, self) if whole else store.get(key, self, start=start, length=length)
                break
            except StoreError as error:
                if not (error.retryable and self._nbytes and attempt + 1 < _ATTEMPTS):
                    raise
        if self._nbytes != room.nbytes:
            raise LengthMismatchError(
                f"{self._nbytes} bytes where {room.nbytes} were listed; list anew where files change", operation="get"
            )
        return info

    def write(self, data: Buffer, /) -> None:
        source = memoryview(data).cast("B")
        self.reserve(source.nbytes)
        end = self._nbytes + source.nbytes
        if end > self._room.nbytes:
            raise self._longer()
        self._room[self._nbytes : end] = source
        self._nbytes = end

    def reserve(self, nbytes: int, /) -> memoryview:
        if self._stopped():
            raise StoppedError
        if self._nbytes == self._room.nbytes and nbytes:
            raise self._longer()
        return self._room[self._nbytes :] if self._nbytes else self._room

    def commit(self, nbytes: int, /) -> None:
        self._nbytes += nbytes

    def _longer(self) -> LengthMismatchError:
        return LengthMismatchError(
            f"more than the {self._room.nbytes} bytes that were listed; list anew where files change", operation="get"
        )
