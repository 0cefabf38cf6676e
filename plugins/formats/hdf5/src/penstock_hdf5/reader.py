"""Samples of an HDF5 file by number."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import h5py

from penstock.errors import FormatError, PenstockError
from penstock.formats import FileSummary, RangeReader, Sample
from penstock_hdf5.blocks import BlockFile
from penstock_hdf5.columns import Column, columns_of
from penstock_hdf5.plugin import Hdf5Options

__all__ = ["Hdf5Reader", "Opened", "decoding"]

#: What h5py raises for damaged files.
_RAISED = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, MemoryError, ArithmeticError)


@contextlib.contextmanager
def decoding(blocks: BlockFile) -> Iterator[None]:
    """Turn what h5py raises for damaged bytes into FormatError, and raise what reading the file raised."""
    try:
        yield
    except PenstockError:
        raise
    except _RAISED as error:
        blocks.check()
        raise FormatError(f"not an HDF5 file, or damaged: {error}") from error
    blocks.check()


class Opened:
    """A file in h5py. It is closed when nobody needs it, and at the latest before Python ends: HDF5 would do it
    afterwards, by calling a file object that is not there any more. Raises what h5py raises.
    """

    def __init__(self, blocks: BlockFile) -> None:
        if not blocks.size:
            raise FormatError("the file is empty")
        self.file = h5py.File(blocks, "r", locking=False)
        self.close = weakref.finalize(self, self.file.close)


class Hdf5Reader:
    """The rows of one file. What lies as it is in memory is read by all threads at once; what HDF5 has to decode, one
    at a time in the whole process, after its bytes have come.
    """

    def __init__(self, file: RangeReader, options: Hdf5Options) -> None:
        self._file: RangeReader | None = file
        self._blocks = BlockFile(file, block_size=options.block_size, cache_size=options.cache_size)
        with decoding(self._blocks):
            self._h5 = Opened(self._blocks)
            try:
                self._columns = columns_of(self._h5.file, self._blocks.size, options.datasets)
            except BaseException:
                self._h5.close()
                raise

    def __len__(self) -> int:
        return self._columns[0].rows if self._columns else 0

    def summary(self) -> FileSummary:
        """From what was read when the file was opened."""
        self._opened()
        details = {column.name: column.details for column in self._columns}
        return FileSummary(samples=len(self), fields=tuple(column.field for column in self._columns), details=details)

    def nbytes(self, number: int, /) -> int:
        """The row itself; of datasets with chunks also the chunk, stored and decoded; of texts and bytes, the file."""
        self._check(number)
        return sum(column.nbytes() for column in self._columns)

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        """These rows: all ranges that they take are asked for together, then decoded."""
        file = self._opened()
        for number in numbers:
            self._check(number)
        unique = list(dict.fromkeys(numbers))
        direct = [column for column in self._columns if column.offset is not None]
        decoded = [column for column in self._columns if column.offset is None]
        ranges = [_row(column, number) for column in direct for number in unique]
        with decoding(self._blocks):
            chunks = [
                (chunk.start, chunk.length)
                for column in decoded
                if column.chunks is not None and column.content == "array"
                for row in column.chunks_of(unique).values()
                for chunk in row
            ]
        views = file.read_many([*ranges, *chunks])
        values: dict[str, dict[int, Any]] = {}
        taken = iter(views)
        for column in direct:
            values[column.name] = {number: column.take(next(taken)) for number in unique}
        lent = dict(zip((start for start, _ in chunks), taken, strict=True))
        with decoding(self._blocks), self._blocks.lend(lent):
            for column in decoded:
                values[column.name] = column.read(unique)
        return [{column.name: values[column.name][number] for column in self._columns} for number in numbers]

    def close(self) -> None:
        """Close the file in h5py."""
        self._file = None
        self._h5.close()
        self._blocks.let_go()

    def _opened(self) -> RangeReader:
        if self._file is None:
            raise ValueError("the reader is closed")
        return self._file

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no row {number}, the file has {len(self)}")


def _row(column: Column, number: int) -> tuple[int, int]:
    assert column.offset is not None
    return column.offset + number * column.row_bytes, column.row_bytes
