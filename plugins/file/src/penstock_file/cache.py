"""What the kernel is told about its page cache, by mode.

Each function answers with what is to be called around a read or after a write, or with None where the mode has
nothing to say, so that a get without a hint costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["after_read", "after_write", "before_read"]

_SEQUENTIAL_FROM = 64 * 1024 * 1024
# No read-ahead window is smaller, so a hint for less saves nothing.
_WINDOW = 128 * 1024


def before_read(mode: str) -> Callable[[int, int, int, int], None] | None:
    """Called with the descriptor, the first byte, the number of bytes wanted and the object's size."""
    return {"auto": _choose, "sequential": _sequential, "random": _random}.get(mode)


def after_read(mode: str) -> Callable[[int, int, int], None] | None:
    """Called with the descriptor, the first byte and the number of bytes read."""
    return _drop if mode == "dontneed" else None


def after_write(mode: str) -> Callable[[int], None] | None:
    """Called with the descriptor of a file that was written whole."""
    return _write_and_drop if mode == "dontneed" else None


def _choose(fd: int, start: int, count: int, size: int) -> None:
    if count >= _SEQUENTIAL_FROM:
        os.posix_fadvise(fd, start, count, os.POSIX_FADV_SEQUENTIAL)
    elif size - count > _WINDOW:
        # Read-ahead would fetch bytes beyond the part; for a whole object it ends at the object's end anyway.
        os.posix_fadvise(fd, start, count, os.POSIX_FADV_RANDOM)


def _sequential(fd: int, start: int, count: int, size: int) -> None:
    os.posix_fadvise(fd, start, count, os.POSIX_FADV_SEQUENTIAL)


def _random(fd: int, start: int, count: int, size: int) -> None:
    os.posix_fadvise(fd, start, count, os.POSIX_FADV_RANDOM)


def _drop(fd: int, start: int, count: int) -> None:
    os.posix_fadvise(fd, start, count, os.POSIX_FADV_DONTNEED)


def _write_and_drop(fd: int) -> None:
    # Only pages that are on the disk can leave the cache.
    os.fdatasync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
