"""Reading one object as a stream of chunks, or as a seekable file."""

from __future__ import annotations

import io
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from penstock.buffers import PAGE, aligned_buffer, round_up
from penstock.errors import PreconditionFailedError, StoreError
from penstock.metering import TimedSink
from penstock.sinks import Into
from penstock.store import ObjectInfo, Sink

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["RangedFile", "ReadStream"]

_LEAST_ROOM = 64 * 1024


class _ClosedEarlyError(StoreError):
    """Ends the read of a stream that nobody wants any more."""


class _Channel:
    """A sink on the reading thread's side, an iterator on the other; holds at most ``limit`` bytes between them."""

    def __init__(self, chunk_size: int, limit: int) -> None:
        self._chunk_size = chunk_size
        self._limit = max(limit, chunk_size)
        self._state = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._held = 0
        self._closed = False
        self._ended = False
        self._failure: BaseException | None = None
        self._room = memoryview(b"")

    def write(self, data: Buffer, /) -> None:
        source = memoryview(data).cast("B")
        for begin in range(0, source.nbytes, self._chunk_size):
            self._pass(memoryview(bytes(source[begin : begin + self._chunk_size])))

    def reserve(self, nbytes: int, /) -> memoryview:
        if self._room.nbytes < min(nbytes, _LEAST_ROOM):
            self._room = aligned_buffer(self._chunk_size)
        return self._room

    def commit(self, nbytes: int, /) -> None:
        room = self._room
        # Chunks stay the consumer's, so the rest of the room is used, from the next page on, but never again.
        self._room = room[round_up(nbytes, PAGE) :]
        if nbytes:
            self._pass(room[:nbytes])

    def take(self) -> memoryview | None:
        """The next chunk; None at the end. Raises what the read raised."""
        with self._state:
            while not self._chunks and not self._ended:
                self._state.wait()
            if self._chunks:
                chunk = self._chunks.popleft()
                self._held -= chunk.nbytes
                self._state.notify_all()
                return chunk
            if self._failure is not None and not self._closed:
                raise self._failure
            return None

    def end(self, failure: BaseException | None) -> None:
        with self._state:
            self._failure = failure
            self._ended = True
            self._state.notify_all()

    def close(self) -> None:
        with self._state:
            self._closed = True
            self._chunks.clear()
            self._held = 0
            self._state.notify_all()

    def _pass(self, chunk: memoryview) -> None:
        with self._state:
            while self._held and self._held + chunk.nbytes > self._limit and not self._closed:
                self._state.wait()
            if self._closed:
                raise _ClosedEarlyError("the stream was closed")
            self._chunks.append(chunk)
            self._held += chunk.nbytes
            self._state.notify_all()


class ReadStream:
    """The chunks of one read as they arrive, each a memoryview that stays valid.

    An iterator and a context manager. A missing object raises at the first chunk. Closing early ends the read; the
    thread behind it is gone when ``close`` returns. At most the given number of bytes waits to be taken.
    """

    def __init__(self, read: Callable[[Sink], ObjectInfo], *, chunk_size: int, max_bytes: int) -> None:
        self._channel = channel = _Channel(chunk_size, max_bytes)
        self._timed = timed = TimedSink(channel)
        self._answer: list[ObjectInfo] = []
        self._thread = threading.Thread(
            target=_deliver, args=(read, timed, channel, self._answer), name="penstock-read", daemon=True
        )
        # Dropping the stream without closing it must not leave the thread waiting for room.
        self._drop = weakref.finalize(self, channel.close)
        self._thread.start()

    @property
    def first_byte_ns(self) -> int | None:
        """Monotonic nanoseconds (as of ``time.monotonic_ns``) when the first byte arrived; None before it."""
        return self._timed.first or None

    @property
    def info(self) -> ObjectInfo | None:
        """What the store said of the object; None until all of it has arrived."""
        return self._answer[0] if self._answer else None

    def close(self) -> None:
        """End the read. Harmless on one that is at its end."""
        self._drop()
        self._thread.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> memoryview:
        chunk = self._channel.take()
        if chunk is None:
            raise StopIteration
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _deliver(read: Callable[[Sink], ObjectInfo], sink: Sink, channel: _Channel, answer: list[ObjectInfo]) -> None:
    failure: BaseException | None = None
    try:
        answer.append(read(sink))
    except BaseException as error:  # noqa: BLE001 - the consumer raises it
        failure = error
    channel.end(failure)


class RangedFile(io.RawIOBase):
    """A read-only, seekable file over range reads. Every read is one request; wrap it to buffer.

    It is of the object as it was when opened: each read asks for that etag, so one that meets another object raises
    PreconditionFailedError. Where ``stat`` gives no etag, only another size is noticed.
    """

    def __init__(
        self,
        key: str,
        stat: Callable[[str], ObjectInfo],
        read: Callable[[str, Sink, int, int, str | None], ObjectInfo],
    ) -> None:
        """``read`` gets the key, the sink, the start, the length and the etag that the object must have."""
        super().__init__()
        self._key = key
        self._read = read
        self._info = stat(key)
        self._position = 0

    @property
    def info(self) -> ObjectInfo:
        """What the store said of the object when the file was opened."""
        return self._info

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size}
        if whence not in origins:
            raise ValueError(f"whence can't be {whence}")
        position = origins[whence] + offset
        if position < 0:
            raise ValueError(f"can't seek to {position}, before the start")
        self._position = position
        return position

    def readinto(self, buffer: Buffer, /) -> int:
        if self.closed:
            raise ValueError("the file is closed")
        view = memoryview(buffer).cast("B")
        count = min(view.nbytes, self._info.size - self._position)
        if count <= 0:
            return 0
        sink = Into(view[:count])
        info = self._read(self._key, sink, self._position, count, self._info.etag)
        if info.size != self._info.size:
            raise PreconditionFailedError("the object changed since it was opened", uri=self._key, operation="get")
        self._position += sink.nbytes
        return sink.nbytes
