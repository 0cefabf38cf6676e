"""A batch while it is being read."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch"]


class Batch:
    """One batch: which samples, where they go, and what became of them.

    ``values[i]`` is the sample of ``numbers[i]`` once it is there. Where files are samples, sample i is to lie in
    ``view[offsets[i] : offsets[i] + sizes[i]]``, memory of ``root``, which has ``room`` bytes; ``stacked``: they are
    the rows of an array. ``nbytes`` is the memory that reading takes. Those who read a batch share it; what more than
    one of them sets is guarded by ``change``, which the consumer waits for.
    """

    __slots__ = (
        "_change",
        "_pending",
        "_watched",
        "done",
        "failed_at",
        "failure",
        "nbytes",
        "number",
        "numbers",
        "offsets",
        "room",
        "root",
        "sizes",
        "stacked",
        "value",
        "values",
        "view",
    )

    def __init__(self, number: int, numbers: list[int], change: threading.Condition) -> None:
        self.number = number
        self.numbers = numbers
        self.nbytes = 0
        self.values: list[Any] = [None] * len(numbers)
        self.root: NDArray[np.uint8] | None = None
        self.view = memoryview(b"")
        self.sizes: list[int] = []
        self.offsets: list[int] = []
        self.room = 0
        self.stacked = False
        self.value: Any = None
        self.failure: BaseException | None = None
        #: The first place of a failure; what comes after it need not be read.
        self.failed_at = len(numbers)
        self.done = False
        self._pending = 1
        self._change = change
        self._watched: weakref.ref[NDArray[np.uint8]] | None = None

    def lay(self, root: NDArray[np.uint8]) -> None:
        """Give it the memory in which the samples are to lie."""
        self.root, self.view = root, root.data
        self._watched = weakref.ref(root)

    def room_of(self, place: int) -> memoryview:
        """Where a sample is to lie."""
        offset = self.offsets[place]
        return self.view[offset : offset + self.sizes[place]]

    def expect(self, jobs: int) -> None:
        """So many jobs read this batch."""
        self._pending = jobs

    def fail(self, place: int, error: BaseException) -> None:
        """Keep the failure of the first place that has one."""
        with self._change:
            if self.failure is None or place < self.failed_at:
                self.failed_at, self.failure = place, error

    def settle(self) -> bool:
        """A job is done with it. Whether it was the last one."""
        with self._change:
            self._pending -= 1
            return not self._pending

    def finish(self, value: Any) -> None:
        """All is done: let the consumer have the value, or the failure."""
        self.root, self.view, self.values = None, memoryview(b""), []
        self.value = value
        with self._change:
            self.done = True
            self._change.notify_all()

    def take(self) -> Any:
        """The value, which nothing here keeps."""
        value, self.value = self.value, None
        return value

    @property
    def let_go(self) -> bool:
        """Whether its memory is known to be free again: nobody looks at what was read into it."""
        return self._watched is not None and self._watched() is None
