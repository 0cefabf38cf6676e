"""Memory for batches, used again as soon as nobody looks at it any more."""

from __future__ import annotations

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
        """``limit``: bytes that are kept for the next time, at most."""
        self._limit = limit
        # By the identity of the reference: an array has no hash, so neither has a reference to it.
        self._lent: dict[int, tuple[weakref.ref[Any], memoryview]] = {}
        self._back: deque[memoryview] = deque()

    @staticmethod
    def capacity(nbytes: int) -> int:
        """How much memory lending ``nbytes`` takes: up to an eighth more, so that batches of like sizes share it."""
        return round_up(nbytes, max(PAGE, 1 << max(nbytes.bit_length() - 4, 0)))

    def lend(self, nbytes: int) -> NDArray[np.uint8]:
        """An array of at least ``nbytes`` bytes, aligned to a page, of any content. One thread calls this."""
        memory = self._reused(nbytes) or aligned_buffer(self.capacity(nbytes))
        root = np.frombuffer(memory, dtype=np.uint8)
        reference = weakref.ref(root, self._take_back)
        self._lent[id(reference)] = reference, memory
        return root

    def clear(self) -> None:
        """Keep nothing that is not lent."""
        self._limit = 0
        self._back.clear()

    def _reused(self, nbytes: int) -> memoryview | None:
        found: memoryview | None = None
        for _ in range(len(self._back)):
            memory = self._back.popleft()
            if found is None and nbytes <= memory.nbytes <= 2 * self.capacity(nbytes):
                found = memory
            else:
                self._back.append(memory)
        while self._back and sum(memory.nbytes for memory in self._back) > self._limit:
            self._back.popleft()
        return found

    def _take_back(self, reference: weakref.ref[Any]) -> None:
        # Called wherever the last view goes, also while a lock is held: it must not wait for anything.
        _, memory = self._lent.pop(id(reference))
        if self._limit:
            self._back.append(memory)
