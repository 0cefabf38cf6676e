"""A stream cut into parts that are sent at the same time, in bounded memory: what multipart uploads share.

One thread writes. Each part that is full goes to a thread of its own, which lives as long as the sending does, so
nothing idles and nothing has to be stopped. A part of some MiB costs far more than a thread's start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from penstock.buffers import aligned_buffer
from penstock.errors import StoreError, UsageError
from penstock.scheduling import as_batch

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Parts"]

_T = TypeVar("_T")


class _Part:
    """A part that is being sent, or waits to be sent again. ``told``: its failure was raised to the writer."""

    __slots__ = ("error", "memory", "nbytes", "number", "told")

    def __init__(self, number: int, memory: memoryview, nbytes: int) -> None:
        self.number = number
        self.memory = memory
        self.nbytes = nbytes
        self.error: BaseException | None = None
        self.told = False


class Parts(Generic[_T]):
    """Cuts a stream into parts and sends them, at most ``in_flight`` at once, each from memory of its own.

    ``send(number, bytes)`` is called in other threads; numbers count from 1, and all parts but the last hold
    ``part_size`` bytes. At most ``part_size × (in_flight + 1)`` bytes are held, and the buffers are used again.

    A failure of ``send`` is raised by the next ``write`` or ``finish``, never lost. A retryable one keeps its part:
    the call after the one that raised it sends it again. What a failing ``write`` was given has been taken all
    the same; only then, when no buffer is left for it, the bytes of that one call are held beyond the bound.
    """

    def __init__(self, part_size: int, send: Callable[[int, memoryview], _T], *, in_flight: int = 4) -> None:
        if part_size < 1 or in_flight < 1:
            raise UsageError(f"parts of {part_size} bytes, {in_flight} in flight: both are at least 1")
        #: A part was full, or finished, and was sent.
        self.started = False
        #: Bytes taken so far.
        self.nbytes = 0
        self._part_size = part_size
        self._send = send
        self._in_flight = in_flight
        # Reentrant, as the collector may abort a dropped writer in any thread and at any line.
        self._state = threading.Condition()
        self._active = 0
        self._senders: set[int] = set()
        self._failed: list[_Part] = []
        self._fatal: BaseException | None = None
        self._cancelled = False
        self._results: dict[int, _T] = {}
        self._spare: list[memoryview] = []
        self._filling: memoryview | None = None
        self._filled = 0
        self._count = 0
        self._late = bytearray()

    def write(self, data: Buffer, /) -> None:
        """Take all of ``data``, which may be reused on return, and send the parts that it fills."""
        view = memoryview(data).cast("B")
        self._resume()
        self.nbytes += view.nbytes
        self._take_late()
        self._take(view)
        self._raise_failure()

    def rest(self) -> memoryview:
        """What is gathered and unsent: the whole stream, if no part was started."""
        return self._filling[: self._filled] if self._filling is not None else memoryview(b"")

    def finish(self) -> list[_T]:
        """Send the rest as the last part, none if it is empty and a part was started, and wait for all.

        Answers what ``send`` returned, in the order of the parts. After a retryable failure it may be called
        again; called once more after that it sends nothing and answers the same.
        """
        self._resume()
        self._take_late()
        if not self._late and (self._filled or not self._count):
            self._ship()
        with self._state:
            while self._active:
                self._state.wait()
        self._raise_failure()
        self._spare.clear()
        return [self._results[number] for number in range(1, self._count + 1)]

    def cancel(self) -> None:
        """Send nothing more and let the memory go. Returns when no ``send`` is running."""
        with self._state:
            self._cancelled = True
            # Within a sender (by the collector) waiting for oneself would never end.
            mine = threading.get_ident() in self._senders
            while self._active > mine:
                self._state.wait()
            self._failed.clear()
            self._spare.clear()
        self._filling, self._filled, self._late = None, 0, bytearray()

    def _resume(self) -> None:
        """Send again what failed and was told."""
        with self._state:
            if self._fatal is not None:
                raise self._fatal
            if self._cancelled:
                raise StoreError("the parts were aborted already", operation="write")
            again = [part for part in self._failed if part.told]
            self._failed = [part for part in self._failed if not part.told]
            for part in again:
                part.error, part.told = None, False
                self._start(part)

    def _take_late(self) -> None:
        if self._late:
            late, self._late = self._late, bytearray()
            self._take(memoryview(late))

    def _take(self, view: memoryview) -> None:
        size = self._part_size
        while view.nbytes or self._filled == size:
            if self._late or (self._filled == size and not self._ship()):
                self._late += view
                return
            if view.nbytes:
                if self._filling is None:
                    self._filling = self._spare.pop() if self._spare else aligned_buffer(size)
                count = min(size - self._filled, view.nbytes)
                self._filling[self._filled : self._filled + count] = view[:count]
                self._filled += count
                view = view[count:]

    def _ship(self) -> bool:
        """Send what is gathered, once fewer than ``in_flight`` are being sent. False when a failure stands."""
        with self._state:
            while self._active >= self._in_flight and not (self._failed or self._fatal):
                self._state.wait()
            if self._failed or self._fatal is not None:
                return False
            self._count += 1
            memory = self._filling if self._filling is not None else memoryview(bytearray())
            part = _Part(self._count, memory, self._filled)
            self._filling, self._filled = None, 0
            self.started = True
            self._start(part)
        return True

    def _start(self, part: _Part) -> None:
        self._active += 1
        thread = threading.Thread(target=self._run, args=(part,), name="penstock-part", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._active -= 1
            part.error = StoreError(f"no thread could be started for a part: {error}", retryable=True)
            self._failed.append(part)

    def _run(self, part: _Part) -> None:
        as_batch()
        me = threading.get_ident()
        with self._state:
            self._senders.add(me)
        try:
            result = self._send(part.number, part.memory[: part.nbytes])
        except BaseException as error:  # noqa: BLE001  (it is raised in the writer's thread)
            part.error = error
        with self._state:
            self._senders.discard(me)
            self._active -= 1
            if part.error is None:
                self._results[part.number] = result
                if part.memory.nbytes:
                    self._spare.append(part.memory)
            elif isinstance(part.error, StoreError) and part.error.retryable:
                self._failed.append(part)
            elif self._fatal is None:
                self._fatal = part.error
            self._state.notify_all()

    def _raise_failure(self) -> None:
        with self._state:
            if self._fatal is not None:
                raise self._fatal
            news = [part for part in self._failed if not part.told]
            if not news:
                return
            for part in news:
                part.told = True
            error = news[0].error
            assert error is not None
            if len(news) > 1:
                error.add_note(f"{len(news) - 1} more parts failed at the same time; last: {news[-1].error}")
            raise error
