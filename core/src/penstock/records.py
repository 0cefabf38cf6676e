"""Records of operations: fixed-size rows in buffers that one thread owns.

A thread appends to its own :class:`RecordBuffer`, with no lock and no allocation but the name's reference, and
hands it over when it is full. The same rows feed the op-log, the statistics and the live view. Consumers see
them as a NumPy structured array (:attr:`RecordBuffer.rows`).
"""

from __future__ import annotations

import enum
import queue
import struct
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

    __slots__ = ("_data", "_view", "capacity", "count", "errors", "names", "seen", "thread")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.thread = 0
        self.count = 0
        self.seen = 0
        self.names: list[str] = []
        self.errors: list[str] = []
        self._data = bytearray(capacity * _ROW.size)
        self._view: Any = None

    @property
    def rows(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The rows so far, without a copy."""
        if self._view is None:
            import numpy as np

            self._view = np.frombuffer(self._data, dtype=record_dtype())
        return self._view[: self.count]  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Forget all rows."""
        self.count = self.seen = 0
        self.names = []
        self.errors = []


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
        count = buffer.count
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
        buffer.names.append(name)
        buffer.count = count + 1
        self.retries = 0
        if count + 1 == buffer.capacity:
            self.flush()

    def retried(self) -> None:
        """Note that the call under way had to be repeated."""
        self.retries += 1

    def flush(self) -> None:
        """Hand over what there is."""
        if self.active.count:
            self.active = self._handover(self.active)
            self.active.thread = self.thread


class BufferPool:
    """A bounded set of buffers that go round between threads and one consumer.

    ``handover`` is what a Recorder takes. With ``lossless`` it waits for a free buffer when the consumer is
    behind; otherwise the rows of the full buffer are counted in ``dropped`` and forgotten.
    """

    def __init__(self, buffers: int, capacity: int, *, lossless: bool = True) -> None:
        self.full: queue.SimpleQueue[RecordBuffer | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[RecordBuffer] = queue.SimpleQueue()
        self._lossless = lossless
        self.dropped = 0
        for _ in range(buffers):
            self._free.put(RecordBuffer(capacity))

    def handover(self, filled: RecordBuffer | None, /) -> RecordBuffer:
        """Pass on a filled buffer and get an empty one."""
        if filled is not None and not self._lossless and self._free.empty():
            self.dropped += filled.count - filled.seen
            filled.clear()
            return filled
        if filled is not None:
            self.full.put(filled)
        return self._free.get()

    def recycle(self, buffer: RecordBuffer) -> None:
        """Called by the consumer when it is done with a buffer."""
        buffer.clear()
        self._free.put(buffer)
