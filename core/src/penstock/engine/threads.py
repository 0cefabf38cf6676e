"""Threads: where they run, and work by several of them with progress for whoever waits."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from penstock.clocks import monotonic_ns
from penstock.scheduling import as_batch

__all__ = ["bind", "starved_ns", "sum_known", "work_through"]

#: Of the calling thread: nanoseconds on a processor, those that it waited for one, and how often it had one.
_SCHEDULED = "/proc/thread-self/schedstat"

_T = TypeVar("_T")

_REPORT_SECONDS = 0.5


def bind(cpu: int) -> None:
    """Keep every thread of this process, and those that they start, on one of the usable processors."""
    usable = sorted(os.sched_getaffinity(0))
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {usable[cpu % len(usable)]})


def starved_ns() -> int | None:
    """How long this thread has waited for a processor so far, ready to run; None where the system does not tell."""
    try:
        with open(_SCHEDULED, encoding="ascii") as file:
            return int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None


def sum_known(each: Sequence[int | None]) -> int | None:
    """The sum; None where one is not known."""
    known = [one for one in each if one is not None]
    return sum(known) if len(known) == len(each) else None


def work_through(items: Iterable[_T], threads: int, start: Callable[[], Callable[[_T], None]]) -> Iterator[None]:
    """Call ``start()`` in each thread, and what it returns on every item, each item once, in no order.

    Yields about twice a second while it goes on, and once at the end. The first error stops all threads and is
    raised when they have ended.
    """
    source, lock = iter(items), threading.Lock()
    failures: list[BaseException] = []

    def take() -> Iterator[_T]:
        while not failures:
            with lock:
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def loop() -> None:
        as_batch()
        try:
            work = start()
            for item in take():
                work(item)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            failures.append(error)

    workers = [threading.Thread(target=loop, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            before = monotonic_ns()
            worker.join(_REPORT_SECONDS)
            if monotonic_ns() - before > _REPORT_SECONDS * 0.9e9:
                yield
    yield
    if failures:
        raise failures[0]
