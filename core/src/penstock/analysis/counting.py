"""Counting a block of a log's text without knowing what stands before it."""

from __future__ import annotations

from penstock.analysis.accumulating import Accumulator
from penstock.analysis.naming import TooManyNamesError
from penstock.analysis.sharing import Bad, Done, Failed, Work
from penstock.errors import OpLogError
from penstock.oplog.cells import Text
from penstock.oplog.columnar import ColumnParser

__all__ = ["Counter"]


class Counter:
    """Adds up blocks of logs in whatever order they come."""

    def __init__(self, accumulator: Accumulator) -> None:
        self.accumulator = accumulator
        # The columns' names are learned once, whatever the number of blocks.
        self._parsers: dict[tuple[str, ...], ColumnParser] = {}

    def count(self, work: Work, text: Text) -> Done | Failed:
        """Add up the rows of a block. Where one is bad, and that matters, those after it are left out."""
        parser = self._parsers.get(work.columns)
        if parser is None:
            parser = self._parsers[work.columns] = ColumnParser("", work.columns, bad=_ignore)
        parser.line = parser.bad_rows = 0
        parser.bad = _ignore if work.skip_bad_rows else _raise
        try:
            for columns in parser.parse(text):
                self.accumulator.add(work.log, columns)
        except _BadRow as found:
            return Done(work.number, work.place, parser.line, parser.bad_rows, found.bad)
        except (TooManyNamesError, OpLogError):
            return Failed(work.number)
        if parser.changed:
            return Failed(work.number)
        return Done(work.number, work.place, parser.line, parser.bad_rows)


class _BadRow(Exception):  # noqa: N818 - the end of a block, not an error of this program
    def __init__(self, bad: Bad) -> None:
        self.bad = bad


def _ignore(line: int, error: ValueError) -> None:
    pass


def _raise(line: int, error: ValueError) -> None:
    raise _BadRow(Bad(line, str(error)))
