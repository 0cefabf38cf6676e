"""Filling one large buffer from several threads: the bytes are the same however many there are."""

from __future__ import annotations

import os
import threading

from penstock.payload import Payload
from penstock.payloads.shaping import BLOCK

__all__ = ["fill"]

#: A thread must have so much to do that starting it does not matter.
_LEAST = 4 * BLOCK


def fill(payload: Payload, buffer: memoryview, *, obj: int, offset: int = 0, threads: int | None = None) -> None:
    """Overwrite ``buffer`` with the bytes of object ``obj`` from ``offset`` on.

    ``threads`` is the most that work at once, None: as many as there are usable processors. A buffer of a few
    mebibytes is filled by the caller alone.
    """
    most = len(os.sched_getaffinity(0)) if threads is None else threads
    count = max(min(most, buffer.nbytes // _LEAST), 1)
    # Cut between blocks, so that no thread makes a part of what another makes whole.
    share = -(-buffer.nbytes // count // BLOCK) * BLOCK or BLOCK
    failures: list[BaseException] = []

    def work(begin: int) -> None:
        try:
            payload.fill(buffer[begin : begin + share], obj=obj, offset=offset + begin)
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            failures.append(error)

    helpers = [threading.Thread(target=work, args=(begin,)) for begin in range(share, buffer.nbytes, share)]
    for helper in helpers:
        helper.start()
    work(0)
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
