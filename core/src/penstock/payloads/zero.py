"""Content of zero bytes."""

from __future__ import annotations

import numpy as np

__all__ = ["ZeroPayload"]


class ZeroPayload:
    """A :class:`~penstock.payload.Payload` whose objects are all zeros."""

    def __init__(self, seed: int) -> None:
        """Every seed gives the same bytes."""

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Overwrite ``buffer`` with zeros."""
        if buffer.nbytes:
            np.frombuffer(buffer, dtype=np.uint8).fill(0)
