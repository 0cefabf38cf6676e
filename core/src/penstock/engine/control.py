"""What the lanes of one worker share while they run: the window in time, the budget, and the error limit."""

from __future__ import annotations

import threading

from penstock.clocks import monotonic_ns

__all__ = ["ENDLESS", "Control"]

#: A deadline that never comes.
ENDLESS = (1 << 63) - 1


class Control:
    """Read by every lane before each operation; only ``failed`` takes a lock.

    ``begin``, ``warm`` and ``deadline`` are monotonic nanoseconds: work starts at ``begin``, counts from ``warm``
    on and none starts at or after ``deadline``. ``budget`` operations are counted (None: no limit). More than
    ``max_errors`` failures stop the lanes. After what is counted they go on for ``cooldown`` nanoseconds, by a control
    of its own, ``cooling``; ``closed`` is when the last of ``lanes`` came to that, None until then.
    """

    def __init__(
        self,
        *,
        begin: int,
        warm: int,
        deadline: int | None,
        budget: int | None,
        max_errors: int | None,
        cooldown: int = 0,
        lanes: int = 0,
    ) -> None:
        self.begin = begin
        self.warm = warm
        self.deadline = deadline if deadline is not None else ENDLESS
        self.stopping = False
        self.reason = ""
        self.fatal: BaseException | None = None
        self.errors = 0
        self.cooling: Control | None = None
        self.cooldown = cooldown
        self.closed: int | None = None
        if cooldown:
            self.cooling = Control(begin=begin, warm=warm, deadline=None, budget=None, max_errors=max_errors)
        self._counting = lanes
        self._max_errors = max_errors
        self._lock = threading.Lock()
        self._budget = None if budget is None else iter(range(budget))
        self._returned: list[None] = []
        self._idle = threading.Event()

    def take(self) -> bool:
        """Take one operation from the budget; False when it is used up."""
        # One C call, so threads need no lock around it.
        return self._budget is None or next(self._budget, None) is not None or self._take_returned()

    def give_back(self) -> None:
        """Return what was taken and could not be used."""
        self._returned.append(None)

    def _take_returned(self) -> bool:
        try:
            self._returned.pop()
        except IndexError:
            return False
        return True

    def failed(self) -> None:
        """Count a failed operation, and stop everything above the limit."""
        with self._lock:
            self.errors += 1
            if self._max_errors is not None and self.errors > self._max_errors:
                self.stop(f"more than {self._max_errors} operations failed")

    def broke(self, error: BaseException) -> None:
        """Stop everything for an error that is no operation's: a defect, or a store that can't go on."""
        with self._lock:
            self.fatal = self.fatal or error
        self.stop(f"{type(error).__name__}: {error}")

    def leave(self) -> None:
        """A lane has come to the end of what is counted."""
        with self._lock:
            self._counting -= 1
            if not self._counting:
                self.closed = monotonic_ns()

    def finish(self) -> None:
        """End what is counted now; the cool-down follows."""
        self.stopping = True
        self._idle.set()

    def stop(self, reason: str) -> None:
        """Let every lane end after the operation it is in; the first reason stays."""
        self.reason = self.reason or reason
        self.finish()
        if self.cooling is not None:
            self.cooling.stop(reason)

    def wait_until(self, due: int) -> None:
        """Sleep until a monotonic time, or until the lanes are stopped."""
        while not self.stopping and (ahead := due - monotonic_ns()) > 0:
            self._idle.wait(ahead / 1e9)
