"""The clock of the layers that wait or let things grow old, and the only one of them that reads it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from penstock import clocks

__all__ = ["REAL", "Timing"]


@attrs.frozen(slots=True)
class Timing:
    """``clock`` gives monotonic nanoseconds, ``sleep`` takes seconds. Tests give others."""

    clock: Callable[[], int] = clocks.monotonic_ns
    sleep: Callable[[float], None] = clocks.sleep


#: The computer's own.
REAL = Timing()
