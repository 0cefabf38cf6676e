"""Threads that pull from one iterator: the concurrency of trees and batches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from penstock.scheduling import as_batch

__all__ = ["each"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_END = object()


def each(
    work: Callable[[_T], _R],
    items: Iterable[_T],
    threads: int,
    *,
    on_stop: Callable[[], None] | None = None,
) -> Iterator[_R]:
    """Yield ``work(item)`` as each is done, in no order, with at most ``threads`` under way.

    Items are pulled when a thread is free and results wait in bounded number, so any length takes constant memory.
    ``work`` returns its failures; an exception, from it or from ``items``, ends the crew: what was under way is
    yielded, then the first exception is raised. Closing the generator calls ``on_stop`` and waits for the threads.
    """
    crew = _Crew(work, iter(items), max(1, threads))
    try:
        yield from crew.results()
    finally:
        if not crew.done and on_stop is not None:
            on_stop()
        crew.stop()


class _Crew(Generic[_T, _R]):
    def __init__(self, work: Callable[[_T], _R], items: Iterator[_T], threads: int) -> None:
        self._work = work
        self._items = items
        self._pull = threading.Lock()
        self._room = threading.Semaphore(2 * threads)
        self._queue: queue.SimpleQueue[tuple[str, _R | BaseException | None]] = queue.SimpleQueue()
        self._stopping = False
        self.done = False
        self._threads = [
            threading.Thread(target=self._run, name=f"penstock-crew-{number}", daemon=True) for number in range(threads)
        ]

    def results(self) -> Iterator[_R]:
        for thread in self._threads:
            thread.start()
        failure: BaseException | None = None
        running = len(self._threads)
        while running:
            kind, value = self._queue.get()
            if kind == "ended":
                running -= 1
            elif kind == "failed":
                failure = failure or value  # type: ignore[assignment]
            else:
                self._room.release()
                yield value  # type: ignore[misc]
        self.done = True
        if failure is not None:
            raise failure

    def stop(self) -> None:
        self._stopping = True
        for _ in self._threads:
            self._room.release()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self) -> None:
        as_batch()
        try:
            while not self._stopping:
                self._room.acquire()
                item = self._next()
                if item is _END:
                    break
                self._queue.put(("result", self._work(item)))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - the consumer raises it
            self._stopping = True
            self._queue.put(("failed", error))
        finally:
            # Whoever waits for room must see that there is nothing more to do.
            self._room.release()
            self._queue.put(("ended", None))

    def _next(self) -> object:
        with self._pull:
            return _END if self._stopping else next(self._items, _END)
