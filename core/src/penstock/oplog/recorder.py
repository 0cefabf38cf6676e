"""OpLog: the operation log of a command or a program, from the metered stores to the file."""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import attrs

from penstock.clocks import Anchor
from penstock.errors import OpLogError
from penstock.metering import Metered, ThreadRecorders
from penstock.oplog.writer import OpLogWriter
from penstock.options import option, resolve
from penstock.records import BufferPool, Endpoint, RecordBuffer, Recorder
from penstock.store import ObjectStore

if TYPE_CHECKING:
    from typing import Self

__all__ = ["OpLog", "OpLogOptions"]

_SPARE_BUFFERS: Final = 8
# Rows of buffers that are not full yet are written when nothing else came for a second, or after so many full ones.
_IDLE_SECONDS: Final = 1.0
_FULL_BETWEEN: Final = 64


@attrs.frozen(kw_only=True)
class OpLogOptions:
    """How an operation log is recorded."""

    level: int = option(1, help="zstd level, 1 (fast) to 22 (small)", env="PENSTOCK_OPLOG_LEVEL")
    buffer: int = option(4096, help="rows in each thread's buffer", env="PENSTOCK_OPLOG_BUF")
    lossless: bool = option(
        True, help="wait when the writer is behind, rather than drop rows", env="PENSTOCK_OPLOG_LOSSLESS"
    )


class OpLog:
    """Records every call on the stores it meters, from any thread, and writes them to a file in the background.

    Use it as a context manager, or ``close`` it; at the interpreter's exit it is closed all the same. When the file
    can't be written any more the stores work on, and ``close`` raises. Every row that was recorded is either accepted
    or dropped; the counts are exact once the log is closed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        client_id: str = "",
        clock_offset_ns: int = 0,
        lossless: bool | None = None,
        level: int | None = None,
        buffer: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Replaces the file at ``path``, ``*.tsv.zst`` or ``*.tsv``. Raises OpLogError when it can't be written.

        ``clock_offset_ns`` is added to this host's wall clock. What is None comes from ``environ`` (the process's
        own when that is None) or the defaults of :class:`OpLogOptions`.
        """
        options = _options({"level": level, "buffer": buffer, "lossless": lossless}, environ)
        self._endpoints: list[Endpoint] = []
        self._writer = OpLogWriter(
            path,
            endpoints=self._endpoints,
            anchor=Anchor(Anchor.now().offset_ns + clock_offset_ns),
            client_id=client_id,
            level=options.level,
        )
        self._pool = BufferPool(_SPARE_BUFFERS, options.buffer, lossless=options.lossless)
        self._recorders = ThreadRecorders(lambda thread: Recorder(thread, self._pool.handover))
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._consume, name="penstock-oplog", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def path(self) -> str:
        return self._writer.path

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def accepted(self) -> int:
        """Rows that the writer took."""
        return self._writer.accepted

    @property
    def written(self) -> int:
        """Rows that are in the file."""
        return self._writer.written

    @property
    def dropped(self) -> int:
        """Rows that were recorded while all buffers were full and ``lossless`` was off, or after ``close``."""
        late = 0
        if self._closed:
            late = sum(recorder.active.count - recorder.active.seen for recorder in self._recorders.all)
        return self._pool.dropped + late

    def meter(self, store: ObjectStore, base_uri: str, endpoint_name: str) -> Metered:
        """The same store, recorded. ``base_uri`` plus a key is the URI of an object; ``endpoint_name`` is its scheme
        and authority, for the log's ``endpoint`` column.
        """
        endpoint = Endpoint(base_uri, endpoint_name)
        with self._lock:
            if endpoint not in self._endpoints:
                self._endpoints.append(endpoint)
            return Metered(store, self._recorders, self._endpoints.index(endpoint))

    def close(self) -> None:
        """Write what was recorded and end the file. Closing twice is harmless.

        Raises OpLogError, with the counts, when rows could not be written.
        """
        with self._lock:
            if self._closed:
                return
            self._pool.close()
            self._pool.full.put(None)
            self._thread.join()
            self._take_all()
            self._closed = True
        atexit.unregister(self.close)
        try:
            self._writer.close()
        except OpLogError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            raise OpLogError(
                f"the operation log {self.path} is incomplete: {self.accepted} rows accepted, {self.written} written, "
                f"{self.dropped} dropped: {self._failure.__cause__ or self._failure}"
            ) from self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OpLogError as failure:
            if error is None:
                raise
            # What went wrong first is what the caller must see.
            error.add_note(str(failure))

    def _consume(self) -> None:
        taken = 0
        while True:
            try:
                buffer = self._pool.full.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                if self._take_all():
                    return
                continue
            if buffer is None:
                return
            self._take(buffer)
            self._pool.recycle(buffer)
            taken += 1
            if taken % _FULL_BETWEEN == 0 and self._take_all():
                return

    def _take_all(self) -> bool:
        """Take also the rows of buffers that are not full; True when the end came.

        The rows of a thread must keep their order: what is full goes first, and no buffer may change its owner
        between the look at who has which and the taking.
        """
        active = [recorder.active for recorder in tuple(self._recorders.all)]
        full = []
        while not self._pool.full.empty():
            full.append(self._pool.full.get())
        for buffer in (*full, *active):
            if buffer is not None:
                self._take(buffer)
        for buffer in full:
            if buffer is not None:
                self._pool.recycle(buffer)
        return None in full

    def _take(self, buffer: RecordBuffer) -> None:
        begin, end = self._pool.take(buffer)
        if begin == end:
            return
        try:
            self._writer.write(buffer, begin, end)
        except Exception as error:  # noqa: BLE001 - whatever it is, threads that wait for buffers must go on
            self._failure = self._failure or error


def _options(given: Mapping[str, Any], environ: Mapping[str, str] | None) -> OpLogOptions:
    explicit = {name: value for name, value in given.items() if value is not None}
    resolved = resolve(
        OpLogOptions, explicit=explicit, environ=os.environ if environ is None else environ, scheme="op-log"
    )
    options: OpLogOptions = resolved.options
    if options.buffer < 1:
        raise OpLogError(f"op-log: a buffer of {options.buffer} rows; use at least 1")
    return options
