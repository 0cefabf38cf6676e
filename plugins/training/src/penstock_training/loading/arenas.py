"""Memory for batches, used again as soon as nobody looks at it any more."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.buffers import PAGE, aligned_buffer, round_up

__all__ = ["Arenas"]


class Arenas:
    """Lends arrays of bytes. Fresh memory costs a page fault for each 4 KiB, more than reading into it.

    An array that was lent comes back when it and every view of it are gone, wherever they went; so what a consumer
    keeps is never overwritten. Any thread may drop the last view.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: bytes that are lent or kept for the next time; what is lent may be more, then nothing is kept."""
        self._limit = limit
        # By the identity of the reference: an array has no hash, so neither has a reference to it.
        self._lent: dict[int, tuple[weakref.ref[Any], memoryview]] = {}
        self._back: deque[memoryview] = deque()
        self._lock = threading.RLock()

    @staticmethod
    def capacity(nbytes: int) -> int:
        """How much memory lending ``nbytes`` takes: up to an eighth more, so that batches of like sizes share it."""
        return round_up(nbytes or 1, max(PAGE, 1 << max(nbytes.bit_length() - 4, 0)))

    def lend(self, nbytes: int) -> NDArray[np.uint8]:
        """An array of :meth:`capacity` bytes, aligned to a page, of any content."""
        capacity = self.capacity(nbytes)
        with self._lock:
            memory = self._kept(capacity)
        if memory is None:
            memory = aligned_buffer(capacity)
        root = np.frombuffer(memory, dtype=np.uint8)
        reference = weakref.ref(root, self._take_back)
        self._lent[id(reference)] = reference, memory
        return root

    @property
    def nbytes(self) -> int:
        """The memory that is lent or kept."""
        return sum(memory.nbytes for _, memory in [*self._lent.values()]) + sum(
            memory.nbytes for memory in [*self._back]
        )

    def clear(self) -> None:
        """Keep nothing that is not lent."""
        with self._lock:
            self._limit = 0
            self._back.clear()

    def _kept(self, capacity: int) -> memoryview | None:
        """Memory of this size that came back, if there is any; else there is room for it afterwards."""
        # What came back last is looked at first: it may be in the CPU's cache still.
        for _ in range(len(self._back)):
            memory = self._back.pop()
            if memory.nbytes == capacity:
                return memory
            self._back.appendleft(memory)
        while self._back and self.nbytes + capacity > self._limit:
            self._back.popleft()
        return None

    def _take_back(self, reference: weakref.ref[Any]) -> None:
        # Called wherever the last view goes, also while a lock is held: it must not wait for anything.
        _, memory = self._lent.pop(id(reference))
        if self._limit:
            self._back.append(memory)
