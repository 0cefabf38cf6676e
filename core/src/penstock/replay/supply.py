"""Tasks on their way from the planner to the lanes.

The planner runs ahead of the lanes by a bounded number of tasks. A lane takes its task itself and waits with it until
it is due, so none is handed from thread to thread at that time.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Final, Protocol

from penstock.replay.planning import Task

__all__ = ["AHEAD", "Lanes", "Shared", "Source", "Streams", "Supply"]

#: Tasks that each worker plans ahead.
AHEAD: Final = 8192

#: What a lane takes tasks from. None: there are no more; put back, it ends the other lanes of the source too.
Source = queue.SimpleQueue[Task | None]


class Supply(Protocol):
    """Where the planner's one thread puts tasks."""

    def put(self, task: Task) -> None:
        """Add the next one."""

    def queued(self) -> int:
        """How many no lane has taken."""

    def end(self) -> None:
        """There are no more."""


class Lanes(Protocol):
    """Who makes lanes. ``add`` returns False when there may be no more of them."""

    def add(self, source: Source) -> bool: ...


class Shared:
    """One queue: whichever lane is free takes the next task."""

    def __init__(self) -> None:
        self.source: Source = queue.SimpleQueue()
        self.put: Callable[[Task], None] = self.source.put

    def queued(self) -> int:
        return self.source.qsize()

    def end(self) -> None:
        self.source.put(None)


class Streams:
    """A queue for each lane, and a lane for each recorded thread, so that its operations keep their order.

    When there can be no more lanes, further threads share them.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._sources: list[Source] = []
        self._of: dict[str, Source] = {}
        self._full = False
        self._next = 0

    def put(self, task: Task) -> None:
        thread = task.entry.thread
        source = self._of.get(thread)
        if source is None:
            source = self._of[thread] = self._new()
        source.put(task)

    def queued(self) -> int:
        return sum(source.qsize() for source in self._sources)

    def end(self) -> None:
        for source in self._sources:
            source.put(None)

    def _new(self) -> Source:
        if not self._full:
            source: Source = queue.SimpleQueue()
            if self._lanes.add(source):
                self._sources.append(source)
                return source
            self._full = True
        if not self._sources:
            # Everything stops already; nobody will take what is put here.
            return queue.SimpleQueue()
        self._next += 1
        return self._sources[(self._next - 1) % len(self._sources)]
