"""How a benchmark ends that is told to by a signal: its servers with it, and what it made on disks."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

__all__ = ["orderly"]


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP leave it as Ctrl-C does: through every ``finally``."""
    told = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, _leave) for number in told]
    try:
        yield
    finally:
        for number, handler in zip(told, before, strict=True):
            signal.signal(number, handler)


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)
