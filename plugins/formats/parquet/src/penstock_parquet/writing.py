"""Samples to a file, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.errors import FormatError
from penstock.formats import Sample
from penstock_parquet.plugin import ParquetOptions
from penstock_parquet.schema import Column, column_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["write_file"]


class _Pieces:
    """A file that only grows, and is taken away in pieces."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, data: Buffer) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


def write_file(samples: Iterable[Sample], options: ParquetOptions) -> Iterator[Buffer]:
    """The file in pieces. It holds no more than the samples of one row group at a time."""
    out = _Pieces()
    groups = _groups(samples, options)
    columns, first = next(groups, ((), []))
    schema = pa.schema([column.field for column in columns])
    with pq.ParquetWriter(
        out,
        schema,
        version="2.6",
        compression=options.compression,
        # Arrays and random content have few equal values; a dictionary would be tried, and given up, at a cost.
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=options.checksums,
        store_schema=True,
    ) as writer:
        rows = first
        while rows:
            _write(writer, columns, rows, schema)
            yield from out.take()
            _, rows = next(groups, ((), []))
    yield from out.take()


def _write(writer: Any, columns: tuple[Column, ...], rows: list[Sample], schema: pa.Schema) -> None:
    try:
        arrays = [column.arrow_of([row[column.name] for row in rows]) for column in columns]
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(rows))
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise FormatError(f"Parquet can't hold these samples: {error}") from error


def _groups(samples: Iterable[Sample], options: ParquetOptions) -> Iterator[tuple[tuple[Column, ...], list[Sample]]]:
    columns: tuple[Column, ...] = ()
    rows: list[Sample] = []
    held = 0
    for number, sample in enumerate(samples):
        if not number:
            columns = _columns(sample, options)
        _require(columns, sample, number, lists=options.arrays == "lists")
        # The samples' memory may be used again by whoever makes them.
        rows.append({name: _kept(value) for name, value in sample.items()})
        held += sum(map(_nbytes, sample.values()))
        if held >= options.row_group_size:
            yield columns, rows
            rows, held = [], 0
    if rows:
        yield columns, rows


def _columns(sample: Sample, options: ParquetOptions) -> tuple[Column, ...]:
    if not sample:
        raise FormatError("a sample without values leaves nothing in a Parquet file to count it by")
    for name in sample:
        if not isinstance(name, str):
            raise FormatError(f"names are text, not {type(name).__name__}")
    try:
        names = sorted(sample, key=str.encode)
    except UnicodeEncodeError:
        raise FormatError("a name can't be written as UTF-8") from None
    return tuple(column_of(name, sample[name], lists=options.arrays == "lists") for name in names)


def _require(columns: tuple[Column, ...], sample: Sample, number: int, *, lists: bool) -> None:
    names = {column.name for column in columns}
    if sample.keys() != names:
        odd = ", ".join(sorted(set(map(str, sample)) ^ names))
        raise FormatError(f"sample {number} has not the names of sample 0; they differ in {odd}")
    for column in columns:
        value = sample[column.name]
        if isinstance(value, np.ndarray) and value.dtype == column.dtype and value.shape == column.shape:
            continue
        other = column_of(column.name, value, lists=lists)
        if other != column:
            raise FormatError(
                f"{column.name}: the rows of a column have one type and shape, sample 0 has {_shown(column)}, "
                f"sample {number} has {_shown(other)}"
            )


def _shown(column: Column) -> str:
    return column.kind if column.dtype is None else f"{column.dtype} {column.shape}"


def _kept(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _nbytes(value: Any) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, bytes | str) else 8
