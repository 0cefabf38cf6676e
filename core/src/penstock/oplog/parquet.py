"""Logs as Parquet files, through pyarrow, which the extra ``penstock[parquet]`` installs."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Generator, Sequence
from typing import Any, BinaryIO, Final

from penstock.errors import OpLogError
from penstock.oplog.columns import escape, format_time, parse_time, unescape

__all__ = ["ParquetSink", "open_parquet", "require"]

_NUMBERS: Final = frozenset({"idx", "thread", "n_objects", "bytes", "duration_ns"})
_TIMES: Final = frozenset({"start", "first_byte", "last_byte", "end"})
_GROUP: Final = 128 * 1024
_BATCH: Final = 4096
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_TEXT: Final = re.compile(r"\\ud[89a-f][0-9a-f]{2}")


def require() -> Any:
    """The module ``pyarrow``. Raises OpLogError that names the extra."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise OpLogError("Parquet needs pyarrow; install it with: pip install 'penstock[parquet]'") from error


class ParquetSink:
    """Writes lines as rows: numbers as int64, times as nanoseconds in UTC, text as strings."""

    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        arrow = require()
        self._types = [(name, _type_of(arrow, name)) for name in columns]
        self._schema = arrow.schema(self._types)
        self._arrow = arrow
        self._writer = importlib.import_module("pyarrow.parquet").ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[list[str]] = []

    def append(self, text: bytes) -> None:
        """Take whole lines."""
        self._rows += [line.split("\t") for line in text.decode(errors="surrogateescape")[:-1].split("\n")]
        if len(self._rows) >= _GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what is left, and the end of the file."""
        if self._rows:
            self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the file, which will be removed."""
        self._rows = []
        self._writer.close()

    def _flush(self) -> None:
        arrays = []
        for (name, kind), cells in zip(self._types, zip(*self._rows, strict=True), strict=True):
            values: list[Any]
            if name in _NUMBERS:
                values = [_number(name, cell) for cell in cells]
            elif name in _TIMES:
                values = [_time(name, cell) for cell in cells]
            else:
                # Arrow's strings are UTF-8, so a lone surrogate keeps its escape.
                values = [_SURROGATE.sub(_escaped, unescape(cell)) for cell in cells]
            try:
                arrays.append(self._arrow.array(values, kind))
            except (OverflowError, self._arrow.ArrowException) as error:
                raise OpLogError(f"column {name} holds what 64 bits can't: {error}") from error
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []


def _type_of(arrow: Any, name: str) -> Any:
    if name in _NUMBERS:
        return arrow.int64()
    return arrow.timestamp("ns", tz="UTC") if name in _TIMES else arrow.string()


def _number(name: str, cell: str) -> int | None:
    try:
        return int(cell) if cell else None
    except ValueError:
        raise OpLogError(
            f"column {name} of a row holds {cell!r}, which is no number; Parquet has no place for it"
        ) from None


def _time(name: str, cell: str) -> int | None:
    try:
        return parse_time(cell) if cell else None
    except ValueError as error:
        raise OpLogError(f"column {name} of a row: {error}; Parquet has no place for it") from None


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _surrogate(match: re.Match[str]) -> str:
    return chr(int(match[0][2:], 16))


def open_parquet(path: str) -> BinaryIO:
    """The rows of a Parquet log as the text of a log with tabs. Raises OpLogError."""
    arrow = require()
    try:
        file = importlib.import_module("pyarrow.parquet").ParquetFile(path)
    except (OSError, arrow.ArrowException) as error:
        raise OpLogError(f"{path} can't be read as Parquet: {error}") from error
    return io.BufferedReader(_Text(_texts(file)))


class _Text(io.RawIOBase):
    """Pieces of text as a file."""

    def __init__(self, texts: Generator[bytes, None, None]) -> None:
        self._texts = texts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._texts, b""))
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._texts.close()
        super().close()


def _texts(file: Any) -> Generator[bytes, None, None]:
    with file:
        names = file.schema_arrow.names
        yield "\t".join(names).encode() + b"\n"
        for batch in file.iter_batches(batch_size=_BATCH):
            if batch.num_rows:
                columns = [_cells(name.lower(), batch.column(place)) for place, name in enumerate(names)]
                yield ("\n".join(map("\t".join, zip(*columns, strict=True))) + "\n").encode()


def _cells(name: str, column: Any) -> list[str]:
    if name in _TIMES:
        arrow = require()
        values = column.cast(arrow.timestamp("ns", tz="UTC")).cast("int64").to_pylist()
        return ["" if value is None else format_time(value) for value in values]
    if name in _NUMBERS:
        return ["" if value is None else str(value) for value in column.to_pylist()]
    return [
        "" if value is None else escape(_SURROGATE_TEXT.sub(_surrogate, str(value))) for value in column.to_pylist()
    ]
