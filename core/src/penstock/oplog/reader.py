"""Reading logs row by row: our own, and what other programs write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from penstock.errors import OpLogError
from penstock.oplog.parsing import JsonLines, Parser, Table, decode, delimiter_of, split
from penstock.oplog.rows import Layout, Row, bad_row, is_header
from penstock.oplog.source import Source, open_log

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Reader", "read"]


def read(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    skip_bad_rows: bool = False,
    strict: bool = False,
    on_bad_row: Callable[[int, ValueError], None] | None = None,
) -> Reader:
    """Read a log, in constant memory: TSV, CSV or JSON lines, plain or in any number of zstd frames.

    Which it is shows in the content. Columns are found by name. A malformed row is OpLogError with its line number,
    or with ``skip_bad_rows`` counted in ``bad_rows``. Of a log that was cut off every complete row comes, and
    then ``truncated`` is set; with ``strict`` that is an OpLogError. Raises OpLogError at once when there is no
    file, or no header in it. A file object is read from where it stands, and closed. ``on_bad_row`` hears of each row
    that is skipped: its line, and what is wrong.
    """
    if isinstance(path, str | os.PathLike):
        name = os.fspath(path)
        return Reader(open_log(name), name, skip_bad_rows=skip_bad_rows, strict=strict, on_bad_row=on_bad_row)
    name = str(getattr(path, "name", "the log"))
    return Reader(path, name, skip_bad_rows=skip_bad_rows, strict=strict, on_bad_row=on_bad_row)


class Reader:
    """The rows of a log, once; see :func:`read`."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        skip_bad_rows: bool,
        strict: bool,
        on_bad_row: Callable[[int, ValueError], None] | None = None,
    ) -> None:
        self.name = name
        #: Rows so far.
        self.count = 0
        #: Malformed rows that were skipped.
        self.bad_rows = 0
        #: The log ends in the middle. Known when all rows were read.
        self.truncated = False
        self._skip = skip_bad_rows
        self._strict = strict
        self._on_bad_row = on_bad_row
        self._source = Source(file, name)
        self._lines = self._source.lines()
        self._number = 0
        self._carriage = ""
        self._pending: tuple[str, bool] | None = None
        try:
            self._parser = self._read_header()
        except OpLogError:
            self._lines.close()
            raise
        self._ended = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns as penstock spells them; of JSON lines those of the first one."""
        return self._parser.columns

    @property
    def line(self) -> int:
        """The number of the last line that was read."""
        return self._number

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        while (line := self._next_line()) is not None:
            row = self._row(*line)
            if row is not None:
                self.count += 1
                return row
        self._end()
        raise StopIteration

    def close(self) -> None:
        """Stop reading and close the file. Harmless when all was read."""
        self._ended = True
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_header(self) -> Parser:
        while (line := self._next_line()) is not None:
            text, ended = line
            if not text or text.startswith("#"):
                continue
            if self._is_doubtful(ended):
                break
            if text.startswith("{"):
                self._pending = line
                rows = JsonLines(text)
                if not self._skip and not is_header(rows.columns):
                    raise OpLogError(
                        f"{self.name}:{self._number}: this is not the first row of a log in JSON lines, an object that "
                        "names at least op, file and start"
                    )
                return rows
            fields = _fields(text)
            if not is_header(fields):
                raise OpLogError(
                    f"{self.name}:{self._number}: this is not the header of a log, which names its columns "
                    "(op, file, start, …) with tabs or commas between them"
                )
            return self._table(fields, delimiter_of(text))
        raise OpLogError(f"{self.name} has no complete header line: it is empty, cut off, or not a log")

    def _table(self, fields: list[str], delimiter: str) -> Table:
        try:
            return Table(Layout(fields, escaped=delimiter == "\t"), delimiter)
        except OpLogError as error:
            raise OpLogError(f"{self.name}:{self._number}: {error}") from None

    def _row(self, text: str, ended: bool) -> Row | None:
        """The row of a line, or of several when it goes on; None when it is none."""
        if not text:
            return None
        carriage = self._carriage
        while self._parser.wants_more(text) and (more := self._next_line()) is not None:
            text, ended = f"{text}{carriage}\n{more[0]}", more[1]
            carriage = self._carriage
        doubtful = self._is_doubtful(ended)
        try:
            row = self._parser.row(text, self.count)
        except ValueError as error:
            if doubtful:
                self.truncated = True
            elif not self._is_no_row(text):
                self._bad(error)
            return None
        if doubtful and not self._parser.is_whole(text, row):
            self.truncated = True
            return None
        return row

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.truncated |= self._source.cut_off
        if self.truncated and self._strict:
            raise OpLogError(f"{self.name} is cut off after line {self._number}; {self.count} rows before are whole")

    def _next_line(self) -> tuple[str, bool] | None:
        """A line as text, and whether it had a line feed. What UTF-8 can't be becomes surrogates."""
        if self._pending is not None:
            line, self._pending = self._pending, None
            return line
        found = next(self._lines, None)
        if found is None:
            return None
        self._number += 1
        data, ended = found
        self._carriage = "\r" if data.endswith(b"\r") else ""
        return decode(data.removesuffix(b"\r")), ended

    def _is_doubtful(self, ended: bool) -> bool:
        """The last line may lack its end: always when it has no line feed, but for the end of a zstd frame."""
        return not ended and (self._source.cut_off or not self._source.compressed)

    def _is_no_row(self, text: str) -> bool:
        """Comments, and the headers of logs that were concatenated."""
        if text.startswith("#"):
            return True
        if isinstance(self._parser, Table):
            try:
                fields = split(text, self._parser.delimiter)
            except ValueError:
                return False
            if is_header(fields):
                self._parser = self._table(fields, self._parser.delimiter)
                return True
        return False

    def _bad(self, error: ValueError) -> None:
        if not self._skip:
            raise bad_row(self.name, self._number, error) from None
        self.bad_rows += 1
        if self._on_bad_row is not None:
            self._on_bad_row(self._number, error)


def _fields(text: str) -> list[str]:
    """The fields of what may be a header; none of what no table has, such as the bytes of a picture."""
    try:
        return split(text, delimiter_of(text))
    except ValueError:
        return []
