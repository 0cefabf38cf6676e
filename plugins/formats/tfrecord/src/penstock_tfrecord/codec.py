"""The format: options, framing and content together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from penstock.errors import UsageError
from penstock.formats import Fill, LocalBuffer, RangeReader, Sample
from penstock_tfrecord.compression import compress, decompress
from penstock_tfrecord.content import Content, Examples, Raw
from penstock_tfrecord.framing import frame, frames, frames_of_stream, runs
from penstock_tfrecord.index import FORMS, places_of, read_index, write_index
from penstock_tfrecord.plugin import TfrecordOptions
from penstock_tfrecord.reader import TfrecordReader

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["TfrecordFormat"]


class TfrecordFormat:
    """TFRecord files."""

    def __init__(self, options: TfrecordOptions) -> None:
        if not 1 <= options.level <= 9:
            raise UsageError("tfrecord: level is a number from 1 to 9")
        if options.sample_size < 1:
            raise UsageError("tfrecord: sample_size is at least 1 byte")
        self._options = options
        self._content: Content = Examples() if options.example else Raw()

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """One record for each sample; what is large is passed on as it lies in memory."""
        pieces = frame(map(self._content.encode, samples))
        if self._compressed:
            return compress(pieces, self._options.compression, self._options.level)
        return pieces

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        """All records. Arrays are views of ``data``, unless it is compressed."""
        view = _bytes_of(data)
        check = self._options.check
        if self._compressed:
            records = frames_of_stream(decompress(view, self._options.compression), check=check)
        else:
            records = frames(view, check=check)
        return map(self._content.decode, records)

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> TfrecordReader:
        """Without an index the heads are read, which takes long where many small records are far away.

        A compressed file is read whole and held decompressed; an index of it counts decompressed bytes.
        """
        options = self._options
        if self._compressed:
            file = self._decompressed(file)
        places = read_index(index, file.size) if index is not None else places_of(runs(file, check=options.check))
        return TfrecordReader(
            file,
            places,
            self._content,
            check=options.check,
            compression=options.compression,
            indexed=index is not None,
        )

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        """From the heads of the records. Of a compressed file the decompressed bytes count, so only a reader that
        decompresses it first has a use for it.
        """
        form = form or FORMS[0]
        if form not in FORMS:
            raise UsageError(f"tfrecord: no form of index is named {form}; use {' or '.join(FORMS)}")
        if self._compressed:
            file = self._decompressed(file)
        return write_index(runs(file, check=self._options.check), form)

    def _decompressed(self, file: RangeReader) -> RangeReader:
        return LocalBuffer(b"".join(decompress(file.read(0, file.size), self._options.compression)))

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """Records of ``sample_size`` bytes each, the last one of what is left."""
        for begin in range(0, nbytes, self._options.sample_size):
            data = bytearray(min(self._options.sample_size, nbytes - begin))
            fill(memoryview(data))
            yield self._content.synthetic(data)

    @property
    def _compressed(self) -> bool:
        return self._options.compression != "none"


def _bytes_of(data: Buffer) -> memoryview:
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")
