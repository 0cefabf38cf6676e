"""The format: options, writing and reading together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from penstock.errors import UsageError
from penstock.formats import Fill, LocalBuffer, RangeReader, Sample
from penstock_parquet.plugin import ParquetOptions
from penstock_parquet.reader import ParquetReader, read_footer
from penstock_parquet.writing import write_file

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ParquetFormat"]


class ParquetFormat:
    """Parquet files whose rows are samples."""

    def __init__(self, options: ParquetOptions) -> None:
        if min(options.row_group_size, options.sample_size) < 1 or options.cache_size < 0:
            raise UsageError("parquet: row_group_size and sample_size are at least 1 byte")
        self._options = options

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """A row group after another; samples are taken as they come."""
        return write_file(samples, self._options)

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        """A row group after another."""
        file = LocalBuffer(data)
        footer = read_footer(file, self._options)
        for group in range(footer.metadata.num_row_groups):
            table = footer.decode(group, file.read_many(footer.ranges(group)))
            names = list(table)
            for row in zip(*table.values(), strict=True):
                yield dict(zip(names, row, strict=True))

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> ParquetReader:
        """Reads the footer, which says where row groups are; there is no other index."""
        if index is not None:
            raise UsageError("parquet: a file has its index in its footer; leave the index out")
        return ParquetReader(file, self._options)

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        """Raises UsageError: Parquet files need none."""
        raise UsageError("parquet: a file has its index in its footer, none is written")

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """Rows of bytes, of ``sample_size`` each, the last one of what is left."""
        for begin in range(0, nbytes, self._options.sample_size):
            data = bytearray(min(self._options.sample_size, nbytes - begin))
            fill(memoryview(data))
            yield {"data": bytes(data)}
