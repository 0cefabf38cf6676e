"""OpLog: the operation log of one process, from the metered stores to the file."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import attrs

from penstock.clocks import Anchor
from penstock.errors import OpLogError
from penstock.layers.switch import uninstall
from penstock.metering import Metered, ThreadRecorders
from penstock.oplog.writer import OpLogWriter
from penstock.options import option, resolve
from penstock.records import BufferPool, Endpoint, RecordBuffer, Recorder
from penstock.store import ObjectStore

if TYPE_CHECKING:
    from typing import Self

__all__ = ["OpLog", "OpLogOptions", "sort_in_place"]

_SPARE_BUFFERS: Final = 8
# Rows of buffers that are not full yet are written when nothing else came for a second, or after so many full ones.
_IDLE_SECONDS: Final = 1.0
_FULL_BETWEEN: Final = 64
# Rows that are sorted in memory; more go through a file.
_SORTED_AT_ONCE: Final = 500_000
# What the number of an endpoint has room for in a row.
_MOST_ENDPOINTS: Final = 1 << 16


@attrs.frozen(kw_only=True)
class OpLogOptions:
    """How an operation log is recorded."""

    level: int = option(1, help="zstd level, 1 (fast) to 22 (small)", env="PENSTOCK_OPLOG_LEVEL")
    buffer: int = option(4096, help="rows in each thread's buffer", env="PENSTOCK_OPLOG_BUF")
    lossless: bool = option(
        True, help="wait when the writer is behind, rather than drop rows", env="PENSTOCK_OPLOG_LOSSLESS"
    )
    sort: bool = option(
        False, help="bring the rows into the order of their start at the end", env="PENSTOCK_OPLOG_SORT"
    )
    client_id: str = option("", help="the client_id of every row", env="PENSTOCK_OPLOG_CLIENT_ID")
    clock_offset_ns: int = option(
        0, help="nanoseconds to add to this host's wall clock", env="PENSTOCK_OPLOG_CLOCK_OFFSET_NS"
    )


class OpLog:
    """Records every call on the stores it meters, from any thread, and writes them to a file in the background.

    Use it as a context manager, or ``close`` it; at the interpreter's exit it is closed all the same. When the file
    can't be written any more the stores work on, and ``close`` raises. Every row that was recorded is either accepted
    or dropped; the counts are exact once the log is closed. In a forked child it is closed, and the file its parent's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        client_id: str | None = None,
        clock_offset_ns: int | None = None,
        sort: bool | None = None,
        lossless: bool | None = None,
        level: int | None = None,
        buffer: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Replaces the file at ``path``, ``*.tsv.zst`` or ``*.tsv``. Raises OpLogError when it can't be written.

        ``clock_offset_ns`` is added to this host's wall clock; with ``sort`` the rows are sorted by their start when
        the log is closed, in bounded memory. What is None comes from ``environ`` (the process's own when that is None)
        or the defaults of :class:`OpLogOptions`, which also say what the rest means.
        """
        given = {"level": level, "buffer": buffer, "lossless": lossless, "sort": sort}
        options = self._options = _options(
            {**given, "client_id": client_id, "clock_offset_ns": clock_offset_ns}, environ
        )
        self._endpoints: list[Endpoint] = []
        self._numbers: dict[Endpoint, int] = {}
        self._writer = OpLogWriter(
            path,
            endpoints=self._endpoints,
            anchor=Anchor(Anchor.now().offset_ns + options.clock_offset_ns),
            client_id=options.client_id,
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
        _open.add(self)

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
            number = self._numbers.get(endpoint)
            if number is None:
                number = len(self._endpoints)
                if number >= _MOST_ENDPOINTS:
                    raise OpLogError(f"{self.path} has rows of {number} stores, which is the most; begin another log")
                self._endpoints.append(endpoint)
                self._numbers[endpoint] = number
            return Metered(store, self._recorders, number)

    def retried(self) -> None:
        """The call that this thread is in has to be repeated; its row counts the attempts."""
        self._recorders.current().retried()

    def close(self) -> None:
        """Write what was recorded and end the file. Closing twice is harmless. A capture ends with its log.

        Raises OpLogError, with the counts, when rows could not be written.
        """
        uninstall(self)
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
        if self._options.sort:
            sort_in_place(self.path, level=self._options.level)

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

    def _forsake(self) -> None:
        """In a forked child: the file and the thread that writes it are the parent's."""
        self._lock = threading.Lock()
        self._recorders.abandon()
        self._pool.abandon()
        self._closed = True

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


def sort_in_place(path: str, *, level: int = 1) -> None:
    """Sort a log by the start of its rows, in little memory, for it is that of somebody's program.

    Raises OpLogError; the log is as it was then.
    """
    from penstock.oplog.sorting import sort_log

    sort_log(path, path, rows_in_memory=_SORTED_AT_ONCE, level=level)


_open: weakref.WeakSet[OpLog] = weakref.WeakSet()


def _forsake_all() -> None:
    for log in tuple(_open):
        log._forsake()
    _open.clear()


os.register_at_fork(after_in_child=_forsake_all)


def _options(given: Mapping[str, Any], environ: Mapping[str, str] | None) -> OpLogOptions:
    explicit = {name: value for name, value in given.items() if value is not None}
    resolved = resolve(
        OpLogOptions, explicit=explicit, environ=os.environ if environ is None else environ, scheme="op-log"
    )
    options: OpLogOptions = resolved.options
    if options.buffer < 1:
        raise OpLogError(f"op-log: a buffer of {options.buffer} rows; use at least 1")
    return options
