"""The format: options, writing and reading together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import UsageError
from penstock.formats import Fill, LocalBuffer, RangeReader, Sample
from penstock_hdf5.blocks import BlockFile
from penstock_hdf5.columns import columns_of
from penstock_hdf5.plugin import Hdf5Options
from penstock_hdf5.reader import Hdf5Reader, Opened, decoding
from penstock_hdf5.writing import write_file

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Hdf5Format"]


class Hdf5Format:
    """HDF5 files whose datasets have a row for each sample."""

    def __init__(self, options: Hdf5Options) -> None:
        if options.chunk_rows < 0 or not 0 <= options.level <= 9:
            raise UsageError("hdf5: chunk_rows is at least 0, level a number from 0 to 9")
        if min(options.block_size, options.sample_size) < 1 or options.cache_size < 0:
            raise UsageError("hdf5: block_size and sample_size are at least 1 byte")
        self._options = options

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """The whole file is made in memory: HDF5 goes back to write where things are."""
        yield from write_file(samples, self._options)

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        """All rows. Those of datasets without chunks are views of ``data``."""
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else view
        file = LocalBuffer(view)
        blocks = BlockFile(file, block_size=max(file.size, 1), cache_size=0)
        with decoding(blocks):
            h5 = Opened(blocks)
        try:
            with decoding(blocks):
                columns = columns_of(h5.file, file.size, self._options.datasets)
                names = [column.name for column in columns]
                for row in zip(*(column.all_rows(view) for column in columns), strict=True):
                    blocks.check()
                    yield dict(zip(names, row, strict=True))
        finally:
            h5.close()
            blocks.let_go()

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> Hdf5Reader:
        """Reads what tells where data lies. There is no index: HDF5 has its own."""
        if index is not None:
            raise UsageError("hdf5: files have an index of their own; leave the index out")
        return Hdf5Reader(file, self._options)

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        """Raises UsageError: HDF5 files need none."""
        raise UsageError("hdf5: files have an index of their own, none is written")

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """Rows of one length in all, of ``sample_size`` bytes or as near to it as divides ``nbytes`` evenly."""
        count, length = _rows(nbytes, self._options.sample_size)
        for _ in range(count):
            data = bytearray(length)
            fill(memoryview(data))
            yield {"data": np.frombuffer(data, np.uint8)}


def _rows(nbytes: int, size: int) -> tuple[int, int]:
    """How many rows of how many bytes: the first length from ``size`` upward that divides, or one row of all."""
    if nbytes <= 0:
        return 0, 0
    if nbytes % size == 0:
        return nbytes // size, size
    count = next((count for count in range(nbytes // size, 0, -1) if nbytes % count == 0), 1)
    return count, nbytes // count
