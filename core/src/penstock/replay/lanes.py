"""Lanes: threads that take the operations of a replay, wait until each is due, and carry it out.

A lane that waits for its operation's time is the next one's stand-by; there are as many lanes as the log had calls at
once, and more as soon as few are left waiting.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import attrs

from penstock.clocks import monotonic_ns, sleep
from penstock.engine.collector import Collector
from penstock.engine.control import Control
from penstock.errors import PenstockError
from penstock.records import Recorder
from penstock.replay.calls import Calls
from penstock.replay.pace import Pace
from penstock.replay.planning import Task
from penstock.replay.supply import Source

__all__ = ["Crew", "Lane"]

#: Until so shortly before an operation is due a lane can be woken to stop.
_LAST_WAIT: Final = 1_000_000
#: Lanes that are to be waiting, so that a burst finds them.
_SPARE: Final = 4
_PR_SET_TIMERSLACK: Final = 29
#: A sleep of so many nanoseconds, and by how much it may be longer where processor and interpreter have time left.
_NAP: Final = 200_000
_LATE: Final = 3_000_000


@attrs.define(eq=False)
class Lane:
    """One thread. ``played`` gets every task that was begun, ``outcomes`` counts how they ended."""

    crew: Crew
    source: Source
    calls: Calls
    recorder: Recorder
    begin: int | None
    outcomes: Counter[str] = attrs.field(factory=Counter)

    def run(self) -> None:
        """Work until there are no more tasks, or everything stops."""
        try:
            _be_punctual()
            self._work()
        except BaseException as error:  # noqa: BLE001 - whatever it is must reach the coordinator
            self.crew.control.broke(error)
        finally:
            self.recorder.flush()
            self.crew.ended(self)

    def _work(self) -> None:
        crew, source = self.crew, self.source
        idle, control = crew.idle, crew.control
        while True:
            idle.append(None)
            task = source.get()
            if task is None or control.stopping:
                idle.pop()
                source.put(None)
                return
            body, failure = None, None
            due = 0 if self.begin is None else self.begin + task.due
            if due and (lead := self.calls.lead(task)):
                _wait(control, due - lead)
            try:
                body = self.calls.ready(task)
            except PenstockError as error:
                failure = error
            if due:
                _wait(control, due)
            idle.pop()
            if self.crew.control.stopping:
                self.calls.release(body)
                source.put(None)
                return
            self._play(task, body, due, failure)

    def _play(self, task: Task, body: memoryview | None, due: int, failure: PenstockError | None) -> None:
        crew = self.crew
        crew.started(task, due)
        failed = False
        try:
            if failure is None:
                self.calls.run(task, body, due)
            else:
                failed = True
                self.calls.refuse(task, failure, due)
        except PenstockError:
            failed = True
        if failed:
            crew.control.failed()
        self.calls.release(body)
        if failed or task.entry.failed:
            both = "failed_as_recorded" if failed and task.entry.failed else "failed_anew"
            self.outcomes[both if failed else "succeeded_anew"] += 1


class Crew:
    """The lanes of one worker: at most ``most``, at first none."""

    def __init__(
        self,
        *,
        most: int,
        control: Control,
        collector: Collector,
        pace: Pace,
        calls: Callable[[Recorder], Calls],
        begin: int | None,
    ) -> None:
        """``begin`` is when the first operation is due, in monotonic nanoseconds; None: each as soon as it can be.

        The collector must have as many lanes at work as the crew is to begin with; each ``add`` recruits one.
        """
        self.control = control
        self.pace = pace
        self.lanes: list[Lane] = []
        #: One item for each lane that has nothing to do, or whose operation is not due yet.
        self.idle: deque[None] = deque()
        #: Tasks that were begun since somebody took them away.
        self.played: deque[Task] = deque()
        self.most = most
        self.peak = 0
        self._collector = collector
        self._calls = calls
        self._begin = begin
        self._lock = threading.Lock()
        self._short = threading.Event()
        self._left = 0

    def add(self, source: Source) -> bool:
        """Start one more lane on a source; False when there are as many as may be."""
        with self._lock:
            if len(self.lanes) >= self.most or self.control.stopping:
                return False
            recorder = self._collector.recruit()
            lane = Lane(self, source, self._calls(recorder), recorder, self._begin)
            self.lanes.append(lane)
        threading.Thread(target=lane.run, daemon=True).start()
        return True

    def grow(self, source: Source, lanes: int) -> None:
        """Have at least so many lanes on a source that they share."""
        while len(self.lanes) < min(lanes, self.most) and self.add(source):
            pass

    def keep_spare(self, source: Source) -> None:
        """Add lanes whenever few are left waiting, until everything has ended."""
        while not self.control.stopping and self._left < len(self.lanes):
            self._short.wait(0.1)
            self._short.clear()
            missing = _SPARE - len(self.idle)
            if missing > 0 and self._left == 0 and not _is_saturated():
                # A burst is seldom over with one: each time a quarter more.
                self.grow(source, len(self.lanes) + max(missing, len(self.lanes) // 4))

    def started(self, task: Task, due: int) -> None:
        """An operation begins."""
        self.played.append(task)
        waiting = len(self.idle)
        if waiting < _SPARE:
            self._short.set()
        busy = len(self.lanes) - waiting
        if busy > self.peak:
            self.peak = busy
        if due:
            now = monotonic_ns()
            self.pace.check(now - due, now)

    def ended(self, lane: Lane) -> None:
        """Called by a lane when it has nothing left to do."""
        with self._lock:
            self._left += 1
        self._short.set()
        self._collector.ended()

    def working(self) -> int:
        """Lanes that have not ended."""
        return len(self.lanes) - self._left

    def outcomes(self) -> Counter[str]:
        """How operations ended, where that is not as the log has it, and what was odd about them."""
        total: Counter[str] = Counter()
        for lane in tuple(self.lanes):
            total.update(dict(lane.outcomes))
            total.update(dict(lane.calls.odd))
        return total


def _wait(control: Control, due: int) -> None:
    """Wait for a monotonic time, or until everything stops; the last moment can't be cut short."""
    ahead = due - monotonic_ns()
    if ahead > _LAST_WAIT:
        control.wait_until(due - _LAST_WAIT)
        ahead = due - monotonic_ns()
    if ahead > 0 and not control.stopping:
        sleep(ahead / 1e9)


def _is_saturated() -> bool:
    """Whether threads that could run have to wait for it: then more of them would only make each later."""
    before = monotonic_ns()
    sleep(_NAP / 1e9)
    return monotonic_ns() - before > _NAP + _LATE


def _be_punctual() -> None:
    """Ask the kernel to wake this thread when it said, not up to 50 µs later to save wake-ups."""
    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
