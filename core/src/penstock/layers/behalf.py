"""Threads that work on behalf of a call of another one, such as those that each fetch a range of one read.

What they note belongs to that call: it is kept, and noted by the caller's thread, for whom thread-local things are what
they should be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Helpers", "note"]

Note = Callable[[], None]


class _Kept(threading.local):
    """Where the notes of this thread go; None: nowhere, it notes by itself."""

    notes: list[Note] | None = None


_kept = _Kept()


def note(action: Note) -> None:
    """Carry out ``action`` in the thread whose call this is: here, unless this thread helps another one."""
    if _kept.notes is None:
        action()
    else:
        _kept.notes.append(action)


class Helpers:
    """The threads that help one call. Each works within :meth:`helping`; the caller then calls :meth:`settle`."""

    def __init__(self) -> None:
        self._notes: list[Note] = []

    @contextmanager
    def helping(self) -> Iterator[None]:
        """What this thread notes from here on is kept for the caller."""
        _kept.notes = self._notes
        try:
            yield
        finally:
            _kept.notes = None

    def settle(self) -> None:
        """Note in this thread what the others have kept; they have ended."""
        notes, self._notes = self._notes, []
        for each in notes:
            note(each)
