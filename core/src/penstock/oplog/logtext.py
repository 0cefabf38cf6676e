"""A log as chunks of text in columns that the reader chooses.

Tab-separated logs stay text, and what their cells hold is kept to the byte. Others, and tab-separated ones that
lack a column which has to be computed, are read row by row.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from penstock.errors import OpLogError
from penstock.oplog.chunks import Chunk, scan
from penstock.oplog.columns import COLUMNS, COLUMNS_15, escape, format_time, parse_time
from penstock.oplog.reader import Reader
from penstock.oplog.rows import Layout, Row, bad_row, is_header
from penstock.oplog.source import Source, open_log

__all__ = ["PEEK", "LogText", "tabbed_columns", "union"]

#: Text that is understood at once: enough to hide what NumPy's calls cost, few enough to stay in the cache.
_BLOCK: Final = 1 << 20
_ROWS: Final = 4096
#: Bytes of a file in which the header of a log is looked for.
PEEK: Final = 64 * 1024
#: What a row holds in a column that its log lacks. Other columns are empty; the end and the duration are computed.
_DEFAULTS: Final = {"thread": b"0", "n_objects": b"1", "bytes": b"0", "cat": b"0"}
_COMPUTED: Final = ("end", "duration_ns")
_TIMES: Final = ("start", "first_byte", "last_byte", "end", "due")


def union(columns: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The columns that some log has: those that penstock knows in its order, then the others."""
    present = dict.fromkeys(name for names in columns for name in names) | {"idx": None}
    known = [name for name in COLUMNS_15 if name in present]
    return (*known, *(name for name in present if name not in COLUMNS_15))


class LogText:
    """One log. ``columns`` are its own, the row's number first; ``rows`` and what follows it count as it is read."""

    def __init__(self, path: str, *, skip_bad_rows: bool = False) -> None:
        """Raises OpLogError when there is no log."""
        self.name = path
        self.rows = 0
        self.bad_rows = 0
        #: The log ends in the middle. Known when all was read.
        self.truncated = False
        self._skip = skip_bad_rows
        self._line = 0
        self._header: tuple[str, ...] = ()
        self._lay: Callable[[list[bytes]], list[bytes]] | None = None
        self._change: Callable[[list[bytes]], None] | None = None
        self._reader: Reader | None = None
        file = io.BufferedReader(open_log(path).detach(), PEEK)  # type: ignore[attr-defined]
        self._source = Source(file, path)
        names = tabbed_columns(file)
        if names is None:
            self._reader = Reader(file, path, skip_bad_rows=skip_bad_rows, strict=False)
            names = self._reader.columns
            if not {"last_byte", "cat"} & set(names):
                names = (*COLUMNS, *(name for name in names if name not in COLUMNS))
            names = union([names, COLUMNS])
        self._file = file
        self._own = names
        self.columns = ("idx", *(name for name in names if name != "idx"))

    def close(self) -> None:
        """Close the file. Harmless when all was read."""
        if self._reader is not None:
            self._reader.close()
        self._file.close()

    def chunks(
        self,
        columns: Sequence[str] | None = None,
        *,
        offset_ns: int | Callable[[int], int] = 0,
        client_id: str | None = None,
    ) -> Iterator[Chunk]:
        """All rows, in these columns, of which the number is the first.

        ``offset_ns`` is added to every time, which is written in UTC then; as a function it tells that of a row, by
        when it started. ``client_id`` replaces what is there.
        """
        columns = self.columns if columns is None else columns
        self._change = _change(columns, offset_ns, client_id)
        if self._reader is None and any(name in columns and name not in self._own for name in _COMPUTED):
            self._reader = Reader(self._file, self.name, skip_bad_rows=self._skip, strict=False)
        chunks = self._text_chunks(columns) if self._reader is None else self._row_chunks(self._reader, columns)
        for chunk in chunks:
            if len(chunk):
                self.rows += len(chunk)
                yield chunk

    def _row_chunks(self, reader: Reader, columns: Sequence[str]) -> Iterator[Chunk]:
        lines: list[bytes] = []
        for row in reader:
            _require(row, columns, reader)
            cells = [text.encode() for text in row.texts(columns)]
            if "cat" in columns and not cells[columns.index("cat")] and "cat" not in self._own:
                cells[columns.index("cat")] = _DEFAULTS["cat"]
            if self._change is not None:
                self._change(cells)
            lines.append(b"\t".join(cells))
            if len(lines) == _ROWS:
                yield _scanned(lines, columns)
                lines.clear()
        if lines:
            yield _scanned(lines, columns)
        self.bad_rows, self.truncated = reader.bad_rows, reader.truncated

    def _text_chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        start = columns.index("start")
        for data in self._blocks():
            if self._header and self._lay is None:
                found = scan(data, width=len(columns), start=start)
                if found is not None and not found.bad:
                    self._line += len(found.chunk)
                    yield found.chunk
                    continue
            # The block holds something else, such as a comment, or has to be laid out: line by line.
            lines, numbers = [], []
            for line in data[:-1].split(b"\n"):
                self._line += 1
                cells = self._cells(line.removesuffix(b"\r"), columns)
                if cells is not None:
                    lines.append(b"\t".join(cells))
                    numbers.append(self._line)
            if lines:
                yield self._cleaned(lines, numbers, columns)
        self.truncated |= self._source.cut_off

    def _cells(self, line: bytes, columns: Sequence[str]) -> list[bytes] | None:
        """The cells of a line in the wanted order, or None for one that is no row."""
        if not line:
            return None
        cells = line.split(b"\t")
        # Most rows are told from a header by their number of cells and by a digit where its word start stands.
        if len(cells) != len(self._header) or cells[self._header.index("start")][:1].isalpha():
            names = _header(cells)
            if names is not None:
                self._take_header(names, columns)
                return None
            if line.startswith(b"#"):
                return None
        try:
            if len(cells) != len(self._header):
                raise ValueError(f"{len(cells)} columns where the header has {len(self._header)}")
            if self._lay is not None:
                cells = self._lay(cells)
                if self._change is not None:
                    self._change(cells)
        except ValueError as error:
            if not line.startswith(b"#"):
                self._bad(self._line, error)
            return None
        return cells

    def _take_header(self, names: Sequence[str], columns: Sequence[str]) -> None:
        """A log that was appended may name other columns, but none that would be lost."""
        if lost := [name for name in names if name not in columns]:
            raise OpLogError(f"{self.name}:{self._line}: a second header names {', '.join(lost)}, the first one not")
        self._header = tuple(names)
        self._lay = _layout(names, columns)
        if self._change is not None and self._lay is None:
            self._lay = list

    def _cleaned(self, lines: list[bytes], numbers: list[int], columns: Sequence[str]) -> Chunk:
        found = scan(b"\n".join(lines) + b"\n", width=len(columns), start=columns.index("start"))
        assert found is not None
        for place, error in sorted(found.bad.items()):
            if not lines[place].startswith(b"#"):
                self._bad(numbers[place], error)
        return found.good()

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, many at once."""
        for pieces, ended in self._source.blocks(_BLOCK):
            data = b"".join(pieces)
            if ended:
                yield data
            elif self._is_whole(data):
                yield data + b"\n"

    def _is_whole(self, line: bytes) -> bool:
        """Whether the last line, which lacks its line feed, lacks nothing else."""
        if (self._source.compressed and not self._source.cut_off) or line.startswith(b"#"):
            return True
        layout = Layout(self._own, escaped=True)
        try:
            row = layout.row(line.decode(errors="surrogateescape").removesuffix("\r").split("\t"), 0)
        except ValueError:
            whole = False
        else:
            whole = layout.checked and row.start_ns + row.duration_ns == row.end_ns and not line.endswith(b"\t")
        self.truncated |= not whole
        return whole

    def _bad(self, number: int, error: ValueError | str) -> None:
        if not self._skip:
            raise bad_row(self.name, number, error)
        self.bad_rows += 1


def tabbed_columns(file: io.BufferedReader) -> tuple[str, ...] | None:
    """The names in the header of a log with tabs, without reading on; None when there is none, or too far off."""
    peeked = io.BytesIO(file.peek(PEEK))
    try:
        for line, ended in Source(peeked, "").lines():
            if line and ended and not line.startswith(b"#"):
                names = _header(line.removesuffix(b"\r").split(b"\t"))
                if names is None or b"\t" not in line:
                    return None
                layout = Layout(names, escaped=True)
                return layout.columns
    except OpLogError:
        pass  # whoever reads all of it will say what is wrong
    return None


def _header(cells: list[bytes]) -> list[str] | None:
    fields = [cell.decode(errors="surrogateescape") for cell in cells]
    return list(Layout(fields, escaped=True).columns) if is_header(fields) else None


def _layout(names: Sequence[str], columns: Sequence[str]) -> Callable[[list[bytes]], list[bytes]] | None:
    """What brings cells into the order of ``columns``; None when they stand so."""
    if tuple(names) == tuple(columns):
        return None
    added = [name for name in columns if name not in names]
    extra = [_DEFAULTS.get(name, b"") for name in added]
    every = [*names, *added]
    pick: Any = itemgetter(*(every.index(name) for name in columns))
    return lambda cells: list(pick(cells + extra))


def _change(
    columns: Sequence[str], offset_ns: int | Callable[[int], int], client_id: str | None
) -> Callable[[list[bytes]], None] | None:
    """What moves the times and sets the client, if that is wanted. It raises ValueError."""
    if not offset_ns and client_id is None:
        return None
    times = [place for place, name in enumerate(columns) if name in _TIMES] if offset_ns else []
    start = columns.index("start")
    client = None if client_id is None else escape(client_id).encode()
    at = columns.index("client_id") if client is not None else -1

    def change(cells: list[bytes]) -> None:
        offset = offset_ns if isinstance(offset_ns, int) else offset_ns(parse_time(cells[start].decode()))
        for place in times:
            if cells[place]:
                cells[place] = format_time(parse_time(cells[place].decode()) + offset).encode()
        if client is not None:
            cells[at] = client

    return change


def _require(row: Row, columns: Sequence[str], reader: Reader) -> None:
    for name, _ in row.extra:
        if name not in columns:
            raise OpLogError(f"{reader.name}:{reader.line}: the first row has no {name}; give every row one")


def _scanned(lines: list[bytes], columns: Sequence[str]) -> Chunk:
    found = scan(b"\n".join(lines) + b"\n", width=len(columns), start=columns.index("start"))
    assert found is not None
    return found.chunk
