"""Rows of a Parquet file by number: the row groups that hold them, of the columns that are wanted."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.errors import FormatError, PenstockError, UsageError
from penstock.formats import FileSummary, RangeReader, Sample
from penstock_parquet.plugin import ParquetOptions
from penstock_parquet.ranges import Parts
from penstock_parquet.schema import Column, Rows, column_of_field, describe, rows_of

__all__ = ["Footer", "ParquetReader", "Table", "decoding", "read_footer"]

_MAGIC = b"PAR1"
#: What is read of the end at once: most footers lie in it.
_TAIL = 64 * 1024
_RAISED = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, RuntimeError)

#: The columns of a row group by name.
Table = dict[str, Rows]


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Turn what Arrow raises for damaged bytes into FormatError."""
    try:
        yield
    except PenstockError:
        raise
    except _RAISED as error:
        raise FormatError(f"not a Parquet file, or damaged: {error}") from error


class Footer:
    """What a file says of itself, and the columns of it that are read."""

    def __init__(self, tail: memoryview, file_size: int, options: ParquetOptions) -> None:
        """``tail`` ends with the file and holds the footer whole."""
        self.size = file_size
        self._check = options.check
        self._tail = (file_size - len(tail), tail)
        with decoding():
            # Arrow calls file objects from threads of its own only to read ahead, which is off.
            self.metadata = pq.read_metadata(Parts(file_size, [self._tail]))
            schema = self.metadata.schema.to_arrow_schema()
        self.columns = _wanted(schema, options.columns)
        self._leaves = _leaves(self.metadata, self.columns)
        counts = [self.metadata.row_group(number).num_rows for number in range(self.metadata.num_row_groups)]
        if min(counts, default=0) < 0 or sum(counts) != self.metadata.num_rows:
            raise FormatError("the row groups do not add up to the rows of the file")
        self.starts: list[int] = list(itertools.accumulate(counts, initial=0))

    @property
    def rows(self) -> int:
        """Of the whole file."""
        return self.starts[-1]

    def group_of(self, number: int) -> int:
        """The row group of a row."""
        return bisect.bisect_right(self.starts, number) - 1

    def ranges(self, group: int) -> list[tuple[int, int]]:
        """Where the columns of a row group lie. Raises FormatError where that is outside the file."""
        found = []
        for leaf in self._leaves:
            chunk = self.metadata.row_group(group).column(leaf)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                start = min(start, chunk.dictionary_page_offset)
            length = chunk.total_compressed_size
            if start < 0 or length < 0 or start + length > self.size:
                raise FormatError(f"a column of row group {group} lies outside the file")
            found.append((start, length))
        return found

    def nbytes(self, group: int) -> int:
        """The most memory that reading a row group takes: its bytes, what they decode to, and that as arrays.

        A string in a dictionary may stand in many rows; how often, nothing says, so once for each row is assumed at
        most where there is a dictionary.
        """
        rows = self.starts[group + 1] - self.starts[group]
        total: int = sum(length for _, length in self.ranges(group))
        for leaf in self._leaves:
            chunk = self.metadata.row_group(group).column(leaf)
            values = max(chunk.num_values, rows)
            # Beside a value stand an offset or a flag, and Python's own object of bytes or text.
            total += 2 * chunk.total_uncompressed_size + 80 * values
            if chunk.has_dictionary_page and chunk.physical_type.endswith("BYTE_ARRAY"):
                total += chunk.total_uncompressed_size * values
        return total + sum(2 * rows * column.row_bytes for column in self.columns)

    def decode(self, group: int, views: Sequence[memoryview]) -> Table:
        """A row group from the bytes of its :meth:`ranges`."""
        parts = [(start, view) for (start, _), view in zip(self.ranges(group), views, strict=True)]
        with decoding():
            source = pa.PythonFile(Parts(self.size, [*parts, self._tail]), mode="r")
            names = [column.name for column in self.columns]
            # Without options given, a file opened with metadata reads no footer again.
            with pq.ParquetFile(
                source, metadata=self.metadata, pre_buffer=False, page_checksum_verification=self._check
            ) as file:
                table = file.read_row_group(group, columns=names, use_threads=False)
            rows = self.starts[group + 1] - self.starts[group]
            if table.num_rows != rows:
                raise FormatError(f"row group {group} has {table.num_rows} rows, the footer says {rows}")
            table.validate(full=True)
            return {column.name: rows_of(column, table.column(column.name)) for column in self.columns}


def _wanted(schema: pa.Schema, wanted: str) -> tuple[Column, ...]:
    if len(set(schema.names)) != len(schema.names):
        raise FormatError("two columns have one name")
    names = [name.strip() for name in wanted.split(",")] if wanted else schema.names
    for name in names:
        if name not in schema.names:
            raise UsageError(f"parquet: the file has no column {name}; it has {', '.join(schema.names)}")
    return tuple(column_of_field(schema.field(name)) for name in names)


def _leaves(metadata: Any, columns: tuple[Column, ...]) -> list[int]:
    """Numbers of the columns as Parquet counts them: of a list its elements."""
    names = {column.name for column in columns}
    tops = _tops(metadata)
    return [number for number in range(metadata.num_columns) if tops[number] in names]


def _tops(metadata: Any) -> list[str]:
    # A path is the names of the levels joined by dots; a name may have dots itself.
    schema = metadata.schema.to_arrow_schema()
    tops = []
    for field in schema:
        tops += [field.name] * _count(field.type)
    if len(tops) != metadata.num_columns:
        raise FormatError("the columns of the file are not those of its schema")
    return tops


def _count(arrow: Any) -> int:
    if pa.types.is_struct(arrow) or pa.types.is_map(arrow):
        return sum(_count(arrow.field(number).type) for number in range(arrow.num_fields))
    if isinstance(arrow, pa.BaseExtensionType):
        return _count(arrow.storage_type)
    if arrow.num_fields:
        return _count(arrow.value_type)
    return 1


def read_footer(file: RangeReader, options: ParquetOptions) -> Footer:
    """The footer of a file: one range of its end, or two where the footer is long."""
    size = file.size
    if size < 12:
        raise FormatError(f"a file of {size} bytes is no Parquet file")
    tail = file.read(size - min(size, _TAIL), min(size, _TAIL))
    if bytes(tail[-4:]) != _MAGIC:
        raise FormatError("the file does not end as a Parquet file does; was it cut?")
    length = struct.unpack("<I", tail[-8:-4])[0] + 8
    if length > size - 4:
        raise FormatError(f"the footer of {length} bytes is longer than the file")
    if length > len(tail):
        tail = file.read(size - length, length)
    return Footer(tail, size, options)


class ParquetReader:
    """The rows of one file. Row groups that were decoded last are kept, up to ``cache_size`` bytes of them."""

    def __init__(self, file: RangeReader, options: ParquetOptions) -> None:
        self._file: RangeReader | None = file
        self._footer = read_footer(file, options)
        self._kept: OrderedDict[int, Table] = OrderedDict()
        self._most = options.cache_size
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._footer.rows

    def summary(self) -> FileSummary:
        """From the footer."""
        metadata = self._footer.metadata
        with decoding():
            details = {
                "row groups": str(metadata.num_row_groups),
                "written by": metadata.created_by or "",
                "version": metadata.format_version,
            }
            if metadata.num_row_groups and metadata.num_columns:
                details["compression"] = metadata.row_group(0).column(0).compression.lower()
        fields = tuple(describe(column) for column in self._footer.columns)
        return FileSummary(samples=len(self), fields=fields, details=details)

    def nbytes(self, number: int, /) -> int:
        """What reading the row group takes."""
        self._check(number)
        return self._footer.nbytes(self._footer.group_of(number))

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        """These rows, of each row group all that is asked for at once."""
        file = self._opened()
        for number in numbers:
            self._check(number)
        footer = self._footer
        groups = dict.fromkeys(footer.group_of(number) for number in numbers)
        tables = {group: table for group in groups if (table := self._take(group)) is not None}
        missing = [group for group in groups if group not in tables]
        ranges = [footer.ranges(group) for group in missing]
        views = iter(file.read_many([one for several in ranges for one in several]))
        for group, several in zip(missing, ranges, strict=True):
            tables[group] = footer.decode(group, list(itertools.islice(views, len(several))))
            self._keep(group, tables[group])
        return [self._sample(tables, number) for number in numbers]

    def _sample(self, tables: dict[int, Table], number: int) -> Sample:
        group = self._footer.group_of(number)
        row = number - self._footer.starts[group]
        return {name: _own(rows[row]) for name, rows in tables[group].items()}

    def close(self) -> None:
        """Forget the file and what was kept of it."""
        self._file = None
        with self._lock:
            self._kept.clear()

    def _take(self, group: int) -> Table | None:
        with self._lock:
            table = self._kept.get(group)
            if table is not None:
                self._kept.move_to_end(group)
            return table

    def _keep(self, group: int, table: Table) -> None:
        with self._lock:
            if self._file is None:
                return
            self._kept[group] = table
            while self._kept and sum(map(self._footer.nbytes, self._kept)) > self._most:
                self._kept.popitem(last=False)

    def _opened(self) -> RangeReader:
        if self._file is None:
            raise ValueError("the reader is closed")
        return self._file

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no row {number}, the file has {len(self)}")


def _own(value: Any) -> Any:
    """A value that keeps no row group in memory."""
    return value.copy() if hasattr(value, "copy") else value
