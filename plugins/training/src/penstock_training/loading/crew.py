"""Threads that carry out jobs in order, until they are told to stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from penstock import as_batch

__all__ = ["Crew"]

Job = Callable[[], None]


class Crew:
    """A number of threads and what is to be done. A job raises nothing.

    Taking a job costs no lock while there are any, so jobs may be small. Without threads jobs wait until :meth:`help`
    does them.
    """

    def __init__(self, threads: int, *, begin_with: int | None = None) -> None:
        """``begin_with`` of the threads are there at once, the others after :meth:`grow`; None: all are."""
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition()
        self._stopped = False
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._start(threads if begin_with is None else min(begin_with, threads))
        #: How many jobs are done, while there is at most one thread; with more of them it is not exact.
        self.done = 0

    @property
    def may_grow(self) -> bool:
        """Whether there are fewer threads than there may be."""
        return len(self._threads) < self._most

    def grow(self) -> None:
        """Have all threads. One thread calls this, never while another does."""
        with self._change:
            if not self._stopped:
                self._start(self._most - len(self._threads))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have these done, after those submitted before."""
        self._jobs.extend(jobs)
        if self._threads:
            with self._change:
                self._change.notify(len(jobs))

    def help(self) -> None:
        """Do one job in this thread, if there is any."""
        job = self._take()
        if job is not None:
            job()

    def stop(self) -> None:
        """Begin no more jobs, and no more threads. Returns at once."""
        self._stopped = True
        self._jobs.clear()
        # Who starts threads holds the lock: afterwards all are known.
        with self._change:
            self._change.notify_all()

    def join(self) -> None:
        """Wait until the threads have ended; they do after :meth:`stop`."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _start(self, threads: int) -> None:
        for _ in range(threads):
            thread = threading.Thread(target=self._labour, name="penstock-loader", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _take(self) -> Job | None:
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def _labour(self) -> None:
        as_batch()
        while not self._stopped:
            job = self._take()
            if job is not None:
                job()
                self.done += 1
                # A job holds its batch, which must not outlive its use because this thread sleeps.
                del job
                continue
            with self._change:
                while not self._jobs and not self._stopped:
                    self._change.wait()
