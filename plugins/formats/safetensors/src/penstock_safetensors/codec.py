"""The format: options, writing and reading together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import UsageError
from penstock.formats import Fill, RangeReader, Sample
from penstock_safetensors.header import header_length, read_header
from penstock_safetensors.plugin import SafetensorsOptions
from penstock_safetensors.reader import SafetensorsReader, array_of, chosen, rows_in
from penstock_safetensors.types import Types
from penstock_safetensors.writing import write_rows, write_tensors

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SafetensorsFormat"]


class SafetensorsFormat:
    """safetensors files."""

    def __init__(self, options: SafetensorsOptions) -> None:
        if options.sample_size < 1:
            raise UsageError("safetensors: sample_size is at least 1 byte")
        self._options = options
        self._types = Types(options.small_floats)
        self._rows = options.samples == "rows"

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """The header, then each tensor as it lies in memory."""
        return (write_rows if self._rows else write_tensors)(samples, self._types)

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        """Views of ``data``."""
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        length = header_length(view[:8], len(view))
        header = read_header(view[8 : 8 + length], len(view), self._types)
        tensors = chosen(header, self._options.tensors)
        arrays = {one.name: array_of(view[one.start : one.stop], one.dtype, one.shape) for one in tensors}
        if not self._rows:
            yield arrays
            return
        for number in range(rows_in(tensors)):
            # A row of no dimensions is an array too.
            yield {name: array[number, ...] for name, array in arrays.items()}

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> SafetensorsReader:
        """Reads the header, which says where everything lies."""
        if index is not None:
            raise UsageError("safetensors: a file has its index in its header; leave the index out")
        return SafetensorsReader(file, self._types, rows=self._rows, wanted=self._options.tensors)

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        """Raises UsageError: safetensors files need none."""
        raise UsageError("safetensors: a file has its index in its header, none is written")

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """One tensor of bytes; where rows are samples, rows of ``sample_size`` or as near to it as divides evenly."""
        count, length = _rows(nbytes, self._options.sample_size) if self._rows else (1, nbytes)
        for _ in range(count):
            data = bytearray(length)
            fill(memoryview(data))
            yield {"data": np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)}


def _rows(nbytes: int, size: int) -> tuple[int, int]:
    """How many rows of how many bytes: the first length from ``size`` upward that divides, or one row of all."""
    if nbytes <= 0:
        return 0, 0
    if nbytes % size == 0:
        return nbytes // size, size
    count = next((count for count in range(nbytes // size, 0, -1) if nbytes % count == 0), 1)
    return count, nbytes // count
