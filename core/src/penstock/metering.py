"""Metered: the only code that times a store.

It wraps any store and appends one record for each logical call, also for calls that fail. A listing is one
call: its duration is the time spent in the store, not that of whoever consumes the pages.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from penstock.clocks import monotonic_ns, sent
from penstock.errors import StoreError
from penstock.records import Op, Recorder
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Metered", "OneRecorder", "RecorderSource", "ThreadRecorders", "TimedSink", "describe_error"]


class RecorderSource(Protocol):
    """Gives the recorder of the thread that asks."""

    def current(self) -> Recorder: ...


class ThreadRecorders:
    """One recorder for each thread that asks, made when it first does. ``all`` are those so far.

    The recorder of a thread that ended goes to the next new one, with a new number, so there are never more of them
    than threads at once.
    """

    def __init__(self, make: Callable[[int], Recorder]) -> None:
        """``make`` gets the thread's number, counted from 0."""
        self._make = make
        self._local = threading.local()
        self._lock = threading.Lock()
        self._owners: list[threading.Thread] = []
        self._numbers = itertools.count()
        self.all: list[Recorder] = []

    def current(self) -> Recorder:
        recorder: Recorder | None = getattr(self._local, "recorder", None)
        if recorder is None:
            with self._lock:
                recorder = self._local.recorder = self._assign(threading.current_thread())
        return recorder

    def abandon(self) -> None:
        """Called in a forked child: forget the parent's threads, one of which may have held the lock."""
        self._local, self._lock = threading.local(), threading.Lock()
        self._owners, self.all = [], []

    def _assign(self, thread: threading.Thread) -> Recorder:
        for place, owner in enumerate(self._owners):
            if not owner.is_alive():
                self._owners[place] = thread
                self.all[place].reassign(next(self._numbers))
                return self.all[place]
        self.all.append(self._make(next(self._numbers)))
        self._owners.append(thread)
        return self.all[-1]


class OneRecorder:
    """A source for a store that one thread calls."""

    __slots__ = ("_recorder",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def current(self) -> Recorder:
        return self._recorder


def describe_error(error: BaseException) -> str:
    """The error column of an op-log: class and message."""
    message = error.message if isinstance(error, StoreError) else str(error)
    return f"{type(error).__name__}: {message}"


class Metered:
    """A store whose calls are recorded; see the module.

    ``due`` and ``flags`` are put into the records of the calls that follow; they are for a store that one
    thread calls, such as a lane of the engine.
    """

    __slots__ = ("_endpoint", "_source", "_store", "capabilities", "due", "flags")

    def __init__(self, store: ObjectStore, source: RecorderSource, endpoint: int = 0) -> None:
        """``endpoint`` is the number by which the records' consumer knows the store."""
        self._store = store
        self._source = source
        self._endpoint = endpoint
        self.capabilities: Capabilities = store.capabilities
        self.due = 0
        self.flags = 0

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        timed = TimedSink(sink)
        op = Op.GET if start == 0 and length is None else Op.GET_RANGE
        begin = monotonic_ns()
        try:
            info = self._store.get(key, timed, start=start, length=length, if_match=if_match)
        except BaseException as error:
            self._add(op, key, begin, timed.first, timed.nbytes, error=error)
            raise
        end = monotonic_ns()
        self._source.current().add(
            op, key, begin, timed.first, end, timed.nbytes, 1, "", self._endpoint, self.due, self.flags
        )
        return info

    def put(
        self,
        key: str,
        data: Buffer,
        /,
        *,
        create: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        op = Op.MKDIR if key.endswith("/") else Op.PUT
        sent.at = 0
        begin = monotonic_ns()
        try:
            info = self._store.put(
                key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
            )
        except BaseException as error:
            self._add(op, key, begin, error=error)
            raise
        end = monotonic_ns()
        # Of a body that other threads sent, or a store that sends none, nobody knows when it was sent.
        first = sent.at if op == Op.PUT else 0
        self._source.current().add(op, key, begin, first, end, info.size, 1, "", self._endpoint, self.due, self.flags)
        return info

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectWriter:
        begin = monotonic_ns()
        try:
            writer = self._store.open_writer(
                key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
            )
        except BaseException as error:
            self._add(Op.PUT, key, begin, error=error)
            raise
        return _MeteredWriter(self, writer, key, begin)

    def stat(self, key: str, /) -> ObjectInfo:
        begin = monotonic_ns()
        try:
            info = self._store.stat(key)
        except BaseException as error:
            self._add(Op.STAT, key, begin, error=error)
            raise
        self._add(Op.STAT, key, begin)
        return info

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        begin = monotonic_ns()
        spent, found, failure = 0, 0, None
        pages: Iterator[Page] | None = None
        try:
            while True:
                asked = monotonic_ns()
                try:
                    if pages is None:
                        pages = self._store.list_pages(
                            prefix, delimiter=delimiter, start_after=start_after, page_size=page_size
                        )
                    page = next(pages, None)
                except BaseException as error:
                    failure = error
                    raise
                finally:
                    spent += monotonic_ns() - asked
                if page is None:
                    return
                found += len(page.objects) + len(page.prefixes)
                yield page
        finally:
            self._add(Op.LIST, prefix, begin, n_objects=found, error=failure, end=begin + spent)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        op = Op.DELETE if len(keys) == 1 else Op.DELETE_BATCH
        if len(keys) == 1 and keys[0].endswith("/"):
            op = Op.RMDIR
        name = keys[0] if keys else ""
        begin = monotonic_ns()
        try:
            failed = self._store.delete(keys)
        except BaseException as error:
            self._add(op, name, begin, n_objects=len(keys), error=error)
            raise
        self._add(op, name, begin, n_objects=len(keys), error=failed[0] if failed else None)
        return failed

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        begin = monotonic_ns()
        try:
            info = self._store.copy(source, target, metadata=metadata)
        except BaseException as error:
            self._add(Op.COPY, target, begin, error=error)
            raise
        self._add(Op.COPY, target, begin)
        return info

    def close(self) -> None:
        self._store.close()

    def _add(
        self,
        op: Op,
        key: str,
        begin: int,
        first: int = 0,
        nbytes: int = 0,
        *,
        n_objects: int = 1,
        error: BaseException | None = None,
        end: int | None = None,
    ) -> None:
        if end is None:
            end = monotonic_ns()
        text = describe_error(error) if error is not None else ""
        recorder = self._source.current()
        recorder.add(op, key, begin, first, end, nbytes, n_objects, text, self._endpoint, self.due, self.flags)


class TimedSink:
    """Forwards to a sink and notes when the first byte arrived: ``first``, monotonic nanoseconds, 0 before it."""

    __slots__ = ("_commit", "_write", "first", "nbytes", "reserve")

    def __init__(self, sink: Sink) -> None:
        self.reserve = sink.reserve
        self._commit = sink.commit
        self._write = sink.write
        self.first = 0
        self.nbytes = 0

    def write(self, data: Buffer, /) -> None:
        if not self.first:
            self.first = monotonic_ns()
        self._write(data)
        self.nbytes += memoryview(data).nbytes

    def commit(self, nbytes: int, /) -> None:
        if not self.first:
            self.first = monotonic_ns()
        self._commit(nbytes)
        self.nbytes += nbytes


class _MeteredWriter:
    """One PUT record for a whole writer, from its opening to its commit or abort.

    After a retryable failure the writer is still open; if it is aborted then, the failure is why.
    """

    __slots__ = ("_begin", "_done", "_failure", "_key", "_meter", "_nbytes", "_sent", "_writer")

    def __init__(self, meter: Metered, writer: ObjectWriter, key: str, begin: int) -> None:
        self._meter = meter
        self._writer = writer
        self._key = key
        self._begin = begin
        self._nbytes = 0
        self._sent = 0
        self._done = False
        self._failure: BaseException | None = None

    def write(self, data: Buffer, /) -> None:
        try:
            self._writer.write(data)
        except BaseException as error:
            if self._failed(error):
                self._nbytes += memoryview(data).nbytes
            raise
        self._nbytes += memoryview(data).nbytes
        self._sent = monotonic_ns()

    def commit(self) -> ObjectInfo:
        try:
            info = self._writer.commit()
        except BaseException as error:
            self._failed(error)
            raise
        self._finish(None)
        return info

    def abort(self) -> None:
        self._writer.abort()
        self._finish(self._failure or StoreError("the writer was aborted"))

    def _failed(self, error: BaseException) -> bool:
        """Whether the writer is open all the same."""
        if isinstance(error, StoreError) and error.retryable:
            self._failure = error
            return True
        self._finish(error)
        return False

    def _finish(self, error: BaseException | None) -> None:
        if not self._done:
            self._done = True
            self._meter._add(Op.PUT, self._key, self._begin, self._sent, self._nbytes, error=error)
