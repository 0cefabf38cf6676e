"""Which requests serve many ranges: neighbours as one, long ones in parts, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import attrs

__all__ = ["Plan", "cut", "merge", "together"]


@attrs.frozen(slots=True)
class Plan:
    """``spans`` are ``(start, length)`` by start; range number i lies in ``places[i]``: the number of the span and
    the offset in it. An empty range lies in span -1.
    """

    spans: Sequence[tuple[int, int]]
    places: Sequence[tuple[int, int]]


def merge(ranges: Sequence[tuple[int, int]], *, gap: int, most: int) -> Plan:
    """Join ranges that overlap, touch, or have at most ``gap`` bytes between them, as long as they are together at
    most ``most`` bytes long. A range that is longer by itself stays whole.
    """
    spans: list[tuple[int, int]] = []
    places = [(-1, 0)] * len(ranges)
    start, end = 0, -1
    for number in sorted(range(len(ranges)), key=ranges.__getitem__):
        begin, length = ranges[number]
        if not length:
            continue
        stop = begin + length
        joined = spans and begin <= end + gap and max(end, stop) - start <= max(most, end - start)
        if joined:
            end = max(end, stop)
            spans[-1] = (start, end - start)
        else:
            start, end = begin, stop
            spans.append((start, length))
        places[number] = (len(spans) - 1, begin - start)
    return Plan(spans, places)


def cut(start: int, length: int, most: int) -> list[tuple[int, int]]:
    """A span as parts as equal as they can be, none longer than ``most``."""
    count = -(-length // most)
    least, longer = divmod(length, count)
    parts = []
    for number in range(count):
        size = least + (number < longer)
        parts.append((start, size))
        start += size
    return parts


def together(work: Callable[[int], None], count: int, width: int) -> None:
    """Call ``work`` for each number below ``count``, at most ``width`` at once, one of them in this thread.

    After a failure nothing new is begun; what was begun ends, then the failure of the lowest number is raised.
    """
    if count == 1 or width == 1:
        for number in range(count):
            work(number)
        return
    crew = _Crew(work, count)
    threads: list[threading.Thread] = []
    try:
        for _ in range(min(width, count) - 1):
            thread = threading.Thread(target=crew.labour, name="penstock-span", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break  # no thread to be had: this one does it all
            threads.append(thread)
        crew.labour()
    finally:
        crew.stop()
        for thread in threads:
            thread.join()
    crew.check()


class _Crew:
    def __init__(self, work: Callable[[int], None], count: int) -> None:
        self._work = work
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self._stopped = False
        self._failures: dict[int, BaseException] = {}

    def labour(self) -> None:
        while (number := self._take()) is not None:
            try:
                self._work(number)
            except BaseException as error:  # noqa: BLE001  (it is raised in the caller's thread)
                with self._lock:
                    self._failures[number] = error
                    self._stopped = True

    def stop(self) -> None:
        with self._lock:
            self._stopped = True

    def check(self) -> None:
        if self._failures:
            raise self._failures[min(self._failures)]

    def _take(self) -> int | None:
        with self._lock:
            return None if self._stopped else next(self._numbers, None)
