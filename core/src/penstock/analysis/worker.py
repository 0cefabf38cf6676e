"""A worker of a pool: ``python -m penstock.analysis.worker CHANNEL MEMORY``, two descriptors that it inherits.

It ends when its parent is gone.
"""

from __future__ import annotations

import gc
import sys
from multiprocessing.connection import Connection

from penstock.analysis.accumulating import Accumulator
from penstock.analysis.counting import Counter
from penstock.analysis.sharing import Share, Start

__all__ = ["main"]


def main() -> None:
    """Serve the parent until it says that there is no more, and give it what all blocks added up to."""
    channel, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
    try:
        # What was imported stays, and need not be looked through again and again.
        gc.freeze()
        start: Start = channel.recv()
        share = Share(memory, start.places)
        counter = Counter(Accumulator(start.selection, start.limits, exact=True))
        while (work := channel.recv()) is not None:
            channel.send(counter.count(work, share.text(work)))
        channel.send(counter.accumulator)
    except (EOFError, ConnectionError):
        pass


if __name__ == "__main__":
    main()
