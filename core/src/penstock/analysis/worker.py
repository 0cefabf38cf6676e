"""A worker of a pool: ``python -m penstock.analysis.worker CHANNEL MEMORY``, two descriptors that it inherits.

It ends when its parent is gone.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from penstock.analysis.accumulating import Accumulator
from penstock.analysis.naming import TooManyNamesError
from penstock.analysis.sharing import Bad, Done, Failed, Share, Start, Work
from penstock.errors import OpLogError
from penstock.oplog.columnar import ColumnParser

__all__ = ["main"]


def main() -> None:
    """Serve the parent until it says that there is no more, and give it what all blocks added up to."""
    channel, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
    try:
        start: Start = channel.recv()
        share = Share(memory, start.places)
        accumulator = Accumulator(start.selection, start.limits, exact=True)
        parsers: dict[tuple[str, ...], ColumnParser] = {}
        while (work := channel.recv()) is not None:
            channel.send(_done(work, share, accumulator, parsers))
        channel.send(accumulator)
    except (EOFError, ConnectionError):
        pass


class _BadRow(Exception):  # noqa: N818 - the end of a block, not an error of this program
    def __init__(self, bad: Bad) -> None:
        self.bad = bad


def _done(
    work: Work, share: Share, accumulator: Accumulator, parsers: dict[tuple[str, ...], ColumnParser]
) -> Done | Failed:
    parser = parsers.get(work.columns)
    if parser is None:
        # The columns' names are learned once, whatever the number of blocks.
        parser = parsers[work.columns] = ColumnParser("", work.columns, bad=_ignore)
    parser.line = parser.bad_rows = 0
    parser.bad = _ignore if work.skip_bad_rows else _raise
    try:
        for columns in parser.parse(share.text(work.place, work.size)):
            accumulator.add(work.log, columns)
    except _BadRow as found:
        return Done(work.number, work.place, parser.line, parser.bad_rows, found.bad)
    except (TooManyNamesError, OpLogError):
        return Failed(work.number)
    if parser.changed:
        return Failed(work.number)
    return Done(work.number, work.place, parser.line, parser.bad_rows)


def _ignore(line: int, error: ValueError) -> None:
    pass


def _raise(line: int, error: ValueError) -> None:
    raise _BadRow(Bad(line, str(error)))


if __name__ == "__main__":
    main()
