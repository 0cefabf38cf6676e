"""Threads that carry out jobs in order, until they are told to stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

__all__ = ["Crew"]

Job = Callable[[], None]


class Crew:
    """A fixed number of threads and what is to be done. A job raises nothing.

    Taking a job costs no lock while there are any, so jobs may be small. Without threads jobs wait until :meth:`help`
    does them.
    """

    def __init__(self, threads: int) -> None:
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._labour, name="penstock-loader", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

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
        """Begin no more jobs. Returns at once."""
        self._stopped = True
        self._jobs.clear()
        with self._change:
            self._change.notify_all()

    def join(self) -> None:
        """Wait until the threads have ended; they do after :meth:`stop`."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _take(self) -> Job | None:
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def _labour(self) -> None:
        while not self._stopped:
            job = self._take()
            if job is not None:
                job()
                # A job holds its batch, which must not outlive its use because this thread sleeps.
                del job
                continue
            with self._change:
                while not self._jobs and not self._stopped:
                    self._change.wait()
