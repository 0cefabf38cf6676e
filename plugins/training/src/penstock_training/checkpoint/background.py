"""Saves that go on while training does: what is to be written is copied, and a thread writes it.

At most so many bytes wait in copies, of all saves together. A save that is larger takes the caller's time until the
rest of it fits.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

from penstock.buffers import aligned_buffer
from penstock.errors import UsageError
from penstock_training.checkpoint.content import Piece

__all__ = ["Background", "PendingSave"]

_T = TypeVar("_T")
_log = logging.getLogger("penstock_training.checkpoint")
#: What is copied, and held, as one.
_STEP: Final = 8 * 1024 * 1024
_LARGE: Final = 2 * 1024 * 1024


class _AbandonedError(Exception):
    """Ends the writing of a save whose caller has failed to hand over the rest."""


class PendingSave(Generic[_T]):
    """A save that may be under way. Its failure is raised once: by :meth:`result` or :meth:`exception`, else by the
    store's next save, ``wait`` or ``close``.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._future: Future[_T] = Future()
        self._told = False

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> _T:
        """Wait for the checkpoint. Raises what the save raised, or TimeoutError after ``timeout`` seconds."""
        self._tell(self._future.exception(timeout))
        return self._future.result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and return what the save raised; None when all is well."""
        return self._tell(self._future.exception(timeout))

    def _tell(self, error: BaseException | None) -> BaseException | None:
        self._told = True
        return error


class _Job(Generic[_T]):
    """The pieces of one save on their way from the caller to the thread."""

    def __init__(self, owner: Background[_T], handle: PendingSave[_T], write: Callable[[Iterator[Piece]], _T]) -> None:
        self._owner = owner
        self._pieces: deque[Piece] = deque()
        self._ended = False
        self._abandoned = False
        self.handle = handle
        self.write = write
        self.stopped = False

    def feed(self, view: memoryview, ends: bool) -> None:
        """Copy a piece, as soon as there is room for it."""
        if not view.nbytes:
            self._add(view, ends)
        step = min(_STEP, self._owner.limit)
        for begin in range(0, view.nbytes, step):
            part = view[begin : begin + step]
            if not self._owner.reserve(part.nbytes, self):
                return
            self._add(_copy(part), ends and begin + part.nbytes == view.nbytes)

    def end(self, *, abandoned: bool = False) -> None:
        with self._owner.state:
            self._ended, self._abandoned = True, abandoned
            self._owner.state.notify_all()

    def pieces(self) -> Generator[Piece, None, None]:
        """What the thread writes; it waits for the caller."""
        while True:
            with self._owner.state:
                while not self._pieces and not self._ended:
                    self._owner.state.wait()
                if self._abandoned:
                    raise _AbandonedError
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
            try:
                yield piece
            finally:
                self._owner.release(piece[0].nbytes)

    def stop(self) -> None:
        """Take nothing more: the caller need not wait for room any longer."""
        with self._owner.state:
            self.stopped = True
            held = sum(view.nbytes for view, _ in self._pieces)
            self._pieces.clear()
            self._owner.state.notify_all()
        self._owner.release(held)

    def _add(self, view: memoryview, ends: bool) -> None:
        with self._owner.state:
            if self.stopped:
                self._owner.release(view.nbytes)
            else:
                self._pieces.append((view, ends))
            self._owner.state.notify_all()


class Background(Generic[_T]):
    """Writes saves one after the other, in a thread that lives as long as there is one.

    The thread is no daemon: a program that ends waits for the saves that it has begun.
    """

    def __init__(self, limit: int) -> None:
        """``limit`` is the most bytes in copies."""
        if limit < 1:
            raise UsageError(f"max_pending_bytes is {limit}; write 1 or more")
        self.limit = limit
        self.state = threading.Condition()
        self._held = 0
        #: The most that was held so far.
        self.peak = 0
        self._jobs: deque[_Job[_T]] = deque()
        self._all: list[PendingSave[_T]] = []
        self._thread: threading.Thread | None = None
        # One caller at a time: the pieces of a second save would take the room that the first one waits for.
        self._feeding = threading.Lock()

    def submit(self, step: int, pieces: Iterator[Piece], write: Callable[[Iterator[Piece]], _T]) -> PendingSave[_T]:
        """Copy all pieces and have them written. What ``pieces`` raises is raised here, and the save is given up."""
        with self._feeding:
            job = _Job(self, PendingSave[_T](step), write)
            self._begin(job)
            try:
                for view, ends in pieces:
                    job.feed(view, ends)
            except BaseException:
                job.end(abandoned=True)
                raise
            job.end()
            return job.handle

    def wait(self) -> None:
        """Wait for all saves, then raise a failure that nobody was told of."""
        for handle in list(self._all):
            handle._future.exception()
        self.check()

    def check(self) -> None:
        """Raise the first failure, among saves that have ended, that nobody was told of."""
        with self.state:
            ended = [handle for handle in self._all if handle.done()]
            failed = [h for h in ended if not h._told and h._future.exception() is not None]
            if not failed:
                self._all = [handle for handle in self._all if handle not in ended]
                return
        error = failed[0].exception()
        assert error is not None
        error.add_note(f"raised by the save of step {failed[0].step} that was made in the background")
        raise error

    def reserve(self, nbytes: int, job: _Job[_T]) -> bool:
        """Wait for room. False where nobody wants the bytes any more."""
        with self.state:
            while self._held and self._held + nbytes > self.limit and not job.stopped:
                self.state.wait()
            if job.stopped:
                return False
            self._held += nbytes
            self.peak = max(self.peak, self._held)
            return True

    def release(self, nbytes: int) -> None:
        """Give room back."""
        with self.state:
            self._held -= nbytes
            self.state.notify_all()

    def _begin(self, job: _Job[_T]) -> None:
        with self.state:
            self._jobs.append(job)
            self._all.append(job.handle)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-checkpoint")
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self.state:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs.popleft()
            self._carry_out(job)

    def _carry_out(self, job: _Job[_T]) -> None:
        future = job.handle._future
        try:
            # A failed write's traceback would keep its pieces.
            with contextlib.closing(job.pieces()) as pieces:
                result = job.write(pieces)
        except BaseException as error:  # noqa: BLE001 (it is raised where the user looks next)
            job.stop()
            if isinstance(error, _AbandonedError):
                # Its caller knows.
                job.handle._told = True
            else:
                _log.error("the save of step %d in the background failed: %s", job.handle.step, error)
            future.set_exception(error)
        else:
            future.set_result(result)


def _copy(view: memoryview) -> memoryview:
    if view.nbytes < _LARGE:
        return memoryview(bytes(view))
    room = aligned_buffer(view.nbytes)
    room[:] = view
    return room
