"""How the kernel wakes threads that move data.

A thread of the usual kind that wakes up because bytes have come pushes aside whoever runs: another thread, which then
keeps what the first one waits for, the interpreter's lock, or the server, which then has sent little. Either way both
go to sleep and wake again for a few bytes. A batch thread (``SCHED_BATCH``, sched(7)) gets the same share of the
processor and runs at once where one is idle, but lets who is running come to its end first: so it finds more to do
when its turn comes.
"""

from __future__ import annotations

import os

__all__ = ["as_batch"]


def as_batch(thread: int = 0) -> bool:
    """Make a thread of this process, by its native id (0: the calling one), and all that it starts from then on, batch
    threads. Whether it is one now: a thread with another policy than the usual one keeps it, and some systems forbid
    or lack it.

    For threads that work as fast as they can, such as those of a pool: ``ThreadPoolExecutor(8, initializer=as_batch)``.
    What has to begin on time, beside threads that don't sleep, should not be one: it may begin some milliseconds late.
    """
    try:
        if os.sched_getscheduler(thread) == os.SCHED_OTHER:
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
        return os.sched_getscheduler(thread) == os.SCHED_BATCH
    except (OSError, AttributeError):
        return False
