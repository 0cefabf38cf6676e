"""How a line of a log becomes a row: of one with tabs or commas, and of JSON lines."""

from __future__ import annotations

import csv
import json
from typing import Protocol

from penstock.oplog.rows import Layout, Row, column_names, row_from_json
from penstock.oplog.source import LONGEST_LINE

__all__ = ["JsonLines", "Parser", "Table", "decode", "delimiter_of", "split"]


class Parser(Protocol):
    """How lines become rows."""

    columns: tuple[str, ...]

    def wants_more(self, text: str) -> bool:
        """Whether the row goes on in the next line."""

    def row(self, text: str, number: int) -> Row:
        """Raises ValueError."""

    def is_whole(self, text: str, row: Row) -> bool:
        """Whether a row that was read from the cut-off last line shows that nothing of it is missing."""


class JsonLines:
    def __init__(self, first: str) -> None:
        try:
            self.columns = tuple(column_names(list(json.loads(first))))
        except (ValueError, TypeError):
            self.columns = ()

    def wants_more(self, text: str) -> bool:
        return False

    def row(self, text: str, number: int) -> Row:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("a line of JSON holds one object")
        return row_from_json(value, number)

    def is_whole(self, text: str, row: Row) -> bool:
        return True


class Table:
    def __init__(self, layout: Layout, delimiter: str) -> None:
        self.delimiter = delimiter
        self.columns = layout.columns
        self._layout = layout

    def wants_more(self, text: str) -> bool:
        if self.delimiter == "\t" or text.startswith("#") or text.count('"') % 2 == 0:
            return False
        try:
            split(text, self.delimiter)
        except ValueError:
            return len(text) <= LONGEST_LINE
        return False

    def row(self, text: str, number: int) -> Row:
        return self._layout.row(split(text, self.delimiter), number)

    def is_whole(self, text: str, row: Row) -> bool:
        whole = self._layout.checked and not text.endswith(self.delimiter)
        return whole and row.start_ns + row.duration_ns == row.end_ns


def decode(line: bytes) -> str:
    """Text. Lone surrogates, which CSV has no escape for, stand in UTF-8's pattern; other bytes become surrogates."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        pass
    try:
        return line.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return line.decode(errors="surrogateescape")


def delimiter_of(header: str) -> str:
    return "\t" if "\t" in header else ","


def split(text: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return text.split("\t")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
