"""Records of operations: fixed-size rows in buffers that one thread owns.

A thread appends to its own :class:`RecordBuffer`, with no lock and no allocation but the name's reference, and
hands it over when it is full. The same rows feed the op-log, the statistics and the live view. Consumers see
them as a NumPy structured array (:attr:`RecordBuffer.rows`).
"""

from __future__ import annotations

import enum
import queue
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WARMUP", "BufferPool", "Endpoint", "Op", "RecordBuffer", "Recorder", "record_dtype"]


class Op(enum.IntEnum):
    """The operations of an op-log, by the names that stand in its ``op`` column."""

    GET = 1
    GET_RANGE = 2
    PUT = 3
    LIST = 4
    STAT = 5
    DELETE = 6
    DELETE_BATCH = 7
    DELETE_PREFIX = 8
    COPY = 9
    MKDIR = 10
    RMDIR = 11
    CREATE_CONTAINER = 12
    DELETE_CONTAINER = 13


#: Flag of a row that was measured while the run was warming up.
WARMUP: Final = 1

_ROW = struct.Struct("<qqqqqIIIHBB")
# Room beyond a buffer's capacity, for rows that come when a signal kept a full one from being handed over.
_SLACK = 16
_FIELDS = [
    ("start", "<i8"),  # monotonic nanoseconds
    ("first", "<i8"),  # when the first body byte arrived; 0: does not apply
    ("end", "<i8"),
    ("due", "<i8"),  # when the operation was planned to start; 0: it was not planned
    ("nbytes", "<i8"),
    ("n_objects", "<u4"),
    ("error", "<u4"),  # 0: success, else 1 + the index in the buffer's errors
    ("attempts", "<u4"),
    ("endpoint", "<u2"),
    ("op", "u1"),
    ("flags", "u1"),
]


def record_dtype() -> np.dtype[Any]:
    """The NumPy type of a row."""
    import numpy as np

    return np.dtype(_FIELDS)


@attrs.frozen(slots=True)
class Endpoint:
    """What a row's endpoint number stands for: ``base`` is the store's URI to which the key is appended, ``name``
    what the op-log's ``endpoint`` column says, scheme and authority.
    """

    base: str
    name: str


class RecordBuffer:
    """Rows of one thread. ``names[i]`` is the key of row ``i``.

    The owner alone appends; a consumer may read rows below ``count`` at any time, and keeps in ``seen`` how many
    it has taken.
    """

    __slots__ = ("_data", "_view", "capacity", "errors", "names", "seen", "thread")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.thread = 0
        self.seen = 0
        self.names: list[str] = []
        self.errors: list[str] = []
        self._data = bytearray((capacity + _SLACK) * _ROW.size)
        self._view: Any = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        # A row's name is appended last, in one step, so no signal and no reader finds half a row.
        return len(self.names)

    @property
    def rows(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The rows so far, without a copy."""
        if self._view is None:
            import numpy as np

            self._view = np.frombuffer(self._data, dtype=record_dtype())
        return self._view[: self.count]  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Forget all rows."""
        self.seen = 0
        self.names = []
        self.errors = []


_NO_ROWS: Final = RecordBuffer(0)


class Recorder:
    """Appends rows for one thread. ``active`` is the buffer being filled.

    ``handover`` takes a full buffer and returns an empty one; it may wait, which is how a slow consumer holds
    back the thread instead of losing rows.
    """

    __slots__ = ("_handover", "_pack", "active", "retries", "thread")

    def __init__(self, thread: int, handover: Callable[[RecordBuffer | None], RecordBuffer]) -> None:
        """``handover(None)`` gives the first buffer."""
        self.thread = thread
        self.retries = 0
        self._handover = handover
        self._pack = _ROW.pack_into
        self.active = handover(None)
        self.active.thread = thread

    def add(
        self,
        op: int,
        name: str,
        start: int,
        first: int,
        end: int,
        nbytes: int,
        n_objects: int = 1,
        error: str = "",
        endpoint: int = 0,
        due: int = 0,
        flags: int = 0,
    ) -> None:
        """Append one row; times are monotonic nanoseconds. ``retries`` is taken into the row and reset."""
        buffer = self.active
        names = buffer.names
        count = len(names)
        if error:
            buffer.errors.append(error)
            failed = len(buffer.errors)
        else:
            failed = 0
        attempts = 1 + self.retries
        self._pack(
            buffer._data,
            count * _ROW.size,
            start,
            first,
            end,
            due,
            nbytes,
            n_objects,
            failed,
            attempts,
            endpoint,
            op,
            flags,
        )
        names.append(name)
        self.retries = 0
        if count + 1 >= buffer.capacity:
            self.flush()

    def retried(self) -> None:
        """Note that the call under way had to be repeated."""
        self.retries += 1

    def flush(self) -> None:
        """Hand over what there is."""
        filled = self.active
        if not filled.count:
            return
        # Once it is handed over the buffer may soon be another thread's; nobody must find it here then.
        self.active = _NO_ROWS
        try:
            self.active = self._handover(filled)
        except BaseException:
            # A signal ended the wait for an empty buffer. The full one is on its way all the same.
            self.active = self._handover(None)
            raise
        finally:
            self.active.thread = self.thread

    def reassign(self, thread: int) -> None:
        """Go over to another thread, when the one before has ended; its rows are handed over."""
        self.flush()
        self.thread = self.active.thread = thread


class BufferPool:
    """A bounded set of buffers that go round between threads and one consumer.

    ``handover`` is what a Recorder takes. With ``lossless`` it waits for a free buffer when the consumer is
    behind; otherwise the rows of the full buffer are counted in ``dropped`` and forgotten. The consumer gets full
    buffers from ``full``, claims their rows with ``take``, also those of a recorder's ``active`` buffer, and gives
    each full one back with ``recycle``.
    """

    def __init__(self, buffers: int, capacity: int, *, lossless: bool = True) -> None:
        """There are ``buffers`` of ``capacity`` rows, or one for each recorder and one more if that is more."""
        self.full: queue.SimpleQueue[RecordBuffer | None] = queue.SimpleQueue()
        self.dropped = 0
        self._free: queue.SimpleQueue[RecordBuffer] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._capacity = capacity
        self._lossless = lossless
        self._limit = buffers
        self._made = 0
        self._recorders = 0
        self._closed = False

    def handover(self, filled: RecordBuffer | None, /) -> RecordBuffer:
        """Pass on a filled buffer and get an empty one; ``None`` gets a recorder its first one, without a wait."""
        if filled is None:
            return self._first()
        with self._lock:
            if self._closed or (not self._lossless and self._free.empty() and self._made >= self._most()):
                self.dropped += filled.count - filled.seen
                filled.seen = filled.count
                # A consumer may still be reading the old one.
                return RecordBuffer(self._capacity)
            self.full.put(filled)
            if self._free.empty() and self._made < self._most():
                return self._make()
        return self._free.get()

    def take(self, buffer: RecordBuffer) -> tuple[int, int]:
        """Claim the rows that nobody took yet: the first one's number and the one after the last."""
        with self._lock:
            begin, buffer.seen = buffer.seen, buffer.count
            return begin, buffer.seen

    def recycle(self, buffer: RecordBuffer) -> None:
        """Called by the consumer when it is done with a buffer."""
        buffer.clear()
        self._free.put(buffer)

    def close(self) -> None:
        """Nobody consumes any more: buffers filled from now on are dropped, and who waits for one gets one."""
        with self._lock:
            self._closed = True
            for _ in range(self._recorders):
                self._free.put(RecordBuffer(self._capacity))

    def abandon(self) -> None:
        """Called in a forked child, which has no consumer: its rows are dropped, and nobody waits."""
        self._lock = threading.Lock()
        self.dropped = 0
        self.full, self._free = queue.SimpleQueue(), queue.SimpleQueue()
        self._closed = True

    def _first(self) -> RecordBuffer:
        with self._lock:
            self._recorders += 1
            # A free one may be what another recorder is about to wait for, so it is taken only where there are more.
            if self._made < self._most():
                return self._make()
            try:
                return self._free.get_nowait()
            except queue.Empty:
                return self._make()

    def _make(self) -> RecordBuffer:
        self._made += 1
        return RecordBuffer(self._capacity)

    def _most(self) -> int:
        return max(self._limit, self._recorders + self._lossless)
