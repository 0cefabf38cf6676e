"""Rows of logs as columns: NumPy arrays of what statistics need, a block of text at once.

What is usual is understood by arithmetic on whole columns (:mod:`penstock.oplog.block`). A line that holds anything
else goes the way of the row reader, so that what comes out is the same, and a bad row the same error.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs
import numpy as np

from penstock.errors import OpLogError
from penstock.oplog.block import Block, Columns
from penstock.oplog.cells import ROOM, Array, Text, keep_memory, pad
from penstock.oplog.logtext import PEEK, tabbed_columns
from penstock.oplog.names import Names, Operations
from penstock.oplog.parsing import Table, decode
from penstock.oplog.reader import Reader
from penstock.oplog.rows import Layout, Row, bad_row, is_header
from penstock.oplog.source import Source, open_log
from penstock.oplog.usual import UsualLines

__all__ = ["BLOCK", "PLACE", "BadRow", "ColumnLog", "ColumnParser", "RowColumns", "make_room"]

#: Bytes of text that are understood at once: enough to hide what NumPy's calls cost, few enough for the cache.
BLOCK: Final = 1 << 20
#: Bytes of the room for such a text.
PLACE: Final = BLOCK + 2 * ROOM
_ROWS: Final = 4096

#: Different texts after which a table of names begins anew, so that it stays small whatever a log holds.
_MOST_NAMES: Final = 4096

#: What hears of a malformed row: the number of its line, counted from 1, and what is wrong.
BadRow = Callable[[int, ValueError], None]


def make_room() -> Array:
    """Room for the lines that are understood at once."""
    return np.zeros(PLACE, np.uint8)


class ColumnParser:
    """Makes columns of a log's text. ``line`` counts its lines, ``rows`` and ``bad_rows`` what came of them."""

    def __init__(self, name: str, columns: Sequence[str], *, bad: BadRow, line: int = 0) -> None:
        """``columns`` are those of the header. ``bad`` may raise what shall end it. ``name`` is for messages."""
        self.name = name
        self.line = line
        self.rows = 0
        self.bad_rows = 0
        #: Whether a further header named other columns than the first one.
        self.changed = False
        self.bad = bad
        self._clients = Names()
        self._endpoints = Names()
        self._operations = Operations()
        self._table = Table(Layout(columns, escaped=True), "\t")
        self._usual = UsualLines(self._table.columns)
        keep_memory()

    def parse(self, text: Text) -> Iterator[Columns]:
        """The rows of whole lines. A header on the way that names other columns divides them."""
        begin = text.begin
        while begin < text.end:
            if len(self._clients.texts) > _MOST_NAMES:
                self._clients = Names()
            if len(self._endpoints.texts) > _MOST_NAMES:
                self._endpoints = Names()
            made, begin = self._parse(attrs.evolve(text, begin=begin))
            if len(made):
                self.rows += len(made)
                yield made

    def _parse(self, text: Text) -> tuple[Columns, int]:
        columns = self._table.columns
        block = Block(text, columns, self._operations, self._clients, self._endpoints, self._usual)
        for at in block.unusual():
            data = block.line(at)
            if data and self._is_another_header(block, at, data):
                self.line += at + 1
                return block.columns(at), block.end(at)
        self.line += block.lines
        return block.columns(block.lines), text.end

    def _is_another_header(self, block: Block, at: int, data: bytes) -> bool:
        """Read a line the careful way. Whether it is a header that changes how those after it are read."""
        text = decode(data)
        try:
            block.put(at, self._table.row(text, 0))
        except ValueError as error:
            if text.startswith("#"):
                return False
            if is_header(text.split("\t")):
                return self._take_header(text.split("\t"), self.line + at + 1)
            self.bad_rows += 1
            self.bad(self.line + at + 1, error)
        return False

    def _take_header(self, fields: Sequence[str], line: int) -> bool:
        before = self._table.columns
        try:
            self._table = Table(Layout(fields, escaped=True), "\t")
        except OpLogError as error:
            raise OpLogError(f"{self.name}:{line}: {error}") from None
        if self._table.columns == before:
            return False
        self._usual = UsualLines(self._table.columns)
        self.changed = True
        return True

    def last(self, data: bytes, *, doubtful: bool) -> Columns | None:
        """The row of the last line, which has no line feed; None when it is none, or ``doubtful`` and not whole."""
        if doubtful:
            text = decode(data.removesuffix(b"\r"))
            try:
                row = self._table.row(text, 0)
            except ValueError:
                return None
            if not self._table.is_whole(text, row):
                return None
        return next(iter([*self.parse(pad(data + b"\n")), None]))


class ColumnLog:
    """One log in columns, whatever its form. ``columns`` names those that it has.

    ``rows`` and ``bad_rows`` count as it is read; ``truncated``, known when all was read, says that it ends in the
    middle. Rows that the row reader takes for bad are bad here, and those with times or numbers beyond 64 bits.
    """

    def __init__(self, path: str, *, skip_bad_rows: bool = False) -> None:
        """Raises OpLogError when there is no log."""
        self.name = path
        self.rows = 0
        self.bad_rows = 0
        self.truncated = False
        self._skip = skip_bad_rows
        file = io.BufferedReader(open_log(path).detach(), PEEK)  # type: ignore[attr-defined]
        self._file = file
        self._source = Source(file, path)
        self._reader: Reader | None = None
        columns = tabbed_columns(file)
        if columns is None:
            self._reader = Reader(file, path, skip_bad_rows=skip_bad_rows, strict=False)
            columns = self._reader.columns
        self.columns = columns
        #: What is left when :meth:`texts` has ended: the last line, if it has no line feed.
        self.rest = b""
        #: Lines up to the header.
        self.header_line = 0
        self._unfit = 0

    @property
    def divisible(self) -> bool:
        """Whether :meth:`texts` can be used."""
        return self._reader is None

    @property
    def position(self) -> int:
        """How many bytes of the file were read, 0 if it does not say."""
        try:
            return os.path.getsize(self.name) if self._file.closed else self._file.tell()
        except OSError:
            return 0

    def close(self) -> None:
        """Close the file. Harmless when all was read."""
        if self._reader is not None:
            self._reader.close()
        self._file.close()

    def __iter__(self) -> Iterator[Columns]:
        return self._by_row(self._reader) if self._reader is not None else self._by_block()

    def texts(self, room: Callable[[], Array]) -> Iterator[Text]:
        """The lines after the header, about BLOCK bytes at once, in what ``room`` gives (:meth:`Source.texts`)."""
        in_header = True
        for text, ended in self._source.texts(BLOCK, room):
            lines = text
            if in_header:
                begin = self._skip_header(text.cell(text.begin, text.end))
                if begin is None:
                    continue
                lines, in_header = attrs.evolve(text, begin=text.begin + begin), False
            if not ended:
                self.rest = lines.cell(lines.begin, lines.end)
            elif lines.begin < lines.end:
                yield lines

    def last(self, parser: ColumnParser) -> Columns | None:
        """The row of the last line, when all blocks were read, if it lacks its line feed and nothing else."""
        self.truncated = self._source.cut_off
        if not self.rest.removesuffix(b"\r"):
            return None
        doubtful = self._source.cut_off or not self._source.compressed
        rows = parser.last(self.rest, doubtful=doubtful)
        self.truncated |= doubtful and rows is None
        return rows

    def raise_bad(self, line: int, error: ValueError | str) -> None:
        """What happens to a bad row: nothing when such are skipped, else OpLogError."""
        if not self._skip:
            raise bad_row(self.name, line, error) from None

    def _by_block(self) -> Iterator[Columns]:
        room = make_room()
        parser: ColumnParser | None = None
        for text in self.texts(lambda: room):
            if parser is None:
                parser = ColumnParser(self.name, self.columns, bad=self.raise_bad, line=self.header_line)
            for columns in parser.parse(text):
                self.rows, self.bad_rows = parser.rows, parser.bad_rows
                yield columns
        if parser is None:
            parser = ColumnParser(self.name, self.columns, bad=self.raise_bad, line=self.header_line)
        rows = self.last(parser)
        self.rows, self.bad_rows = parser.rows, parser.bad_rows
        if rows is not None:
            yield rows

    def _skip_header(self, data: bytes) -> int | None:
        """Where the line after the header begins, None when it is not in here."""
        begin = 0
        while begin < len(data):
            end = data.find(b"\n", begin) + 1 or len(data)
            self.header_line += 1
            line = data[begin:end].removesuffix(b"\n").removesuffix(b"\r")
            if line and not line.startswith(b"#"):
                return end
            begin = end
        return None

    def _by_row(self, reader: Reader) -> Iterator[Columns]:
        made = RowColumns()
        rows: list[tuple[int, Row]] = []
        for row in reader:
            rows.append((reader.line, row))
            if len(rows) == _ROWS:
                yield self._made(made, rows, reader)
                rows.clear()
        if rows:
            yield self._made(made, rows, reader)
        self.truncated = reader.truncated
        self.bad_rows = self._unfit + reader.bad_rows

    def _made(self, made: RowColumns, rows: Sequence[tuple[int, Row]], reader: Reader) -> Columns:
        columns, unfit = made.columns(rows, self.raise_bad)
        self._unfit += unfit
        self.rows += len(columns)
        self.bad_rows = self._unfit + reader.bad_rows
        return columns


class RowColumns:
    """Makes columns of rows that were read one by one."""

    def __init__(self) -> None:
        self._clients = Names()
        self._endpoints = Names()

    def columns(self, rows: Sequence[tuple[int, Row]], bad: BadRow) -> tuple[Columns, int]:
        """Those of rows, each with the number of its line; and how many were bad, as they don't fit into 64 bits."""
        block = Block.empty(len(rows), self._clients, self._endpoints)
        wrong = 0
        for at, (line, row) in enumerate(rows):
            try:
                block.put(at, row)
            except ValueError as error:
                wrong += 1
                bad(line, error)
        return block.columns(len(rows)), wrong
