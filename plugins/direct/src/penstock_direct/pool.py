"""Aligned buffers, made when needed and used again."""

from __future__ import annotations

from penstock.buffers import aligned_buffer

__all__ = ["BufferPool"]


class BufferPool:
    """Buffers of one size for any thread.

    At most ``keep`` idle ones are kept. A taker never waits, so callers that hold several, such as open writers,
    can't block each other: each call and each writer holds one.
    """

    def __init__(self, nbytes: int, keep: int) -> None:
        self.nbytes = nbytes
        self._keep = keep
        # The last one given back is taken first: it is warm. Both list operations are atomic.
        self._idle: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer whose content means nothing."""
        try:
            return self._idle.pop()
        except IndexError:
            return aligned_buffer(self.nbytes)

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back."""
        if len(self._idle) < self._keep:
            self._idle.append(buffer)

    def clear(self) -> None:
        """Let the idle ones go."""
        self._idle.clear()
