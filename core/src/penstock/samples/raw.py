"""raw: the bytes of a file are one sample, ``{"data": bytes}``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from penstock.buffers import aligned_buffer
from penstock.errors import FormatError, UsageError
from penstock.formats import Field, FileSummary, Fill, RangeReader, Sample

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["RawFormat"]

_FIELDS = (Field(name="data", dtype="bytes"),)


class RawFormat:
    """The format of files that have none. Samples that are read hold a memoryview."""

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """The bytes of the one sample's ``data``: of anything that has bytes in one piece."""
        count = 0
        for count, sample in enumerate(samples, 1):
            if count > 1 or set(sample) != {"data"}:
                raise FormatError("a raw file is one sample that has one value, data")
            yield _bytes(sample["data"])
        if not count:
            raise FormatError("a raw file is one sample; there is none")

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        yield {"data": _bytes(data)}

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> _RawReader:
        return _RawReader(file)

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        raise UsageError("raw has no index: a file is one sample")

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        room = aligned_buffer(nbytes)
        fill(room)
        yield {"data": room}


class _RawReader:
    def __init__(self, file: RangeReader) -> None:
        self._file: RangeReader | None = file

    def __len__(self) -> int:
        return 1

    def summary(self) -> FileSummary:
        return FileSummary(samples=1, fields=_FIELDS)

    def nbytes(self, number: int, /) -> int:
        return self._checked([number]).size

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        file = self._checked(numbers)
        size = file.size if numbers else 0
        return [{"data": view} for view in file.read_many([(0, size)] * len(numbers))]

    def close(self) -> None:
        self._file = None

    def _checked(self, numbers: Sequence[int]) -> RangeReader:
        if self._file is None:
            raise UsageError("the file is closed")
        for number in numbers:
            if number:
                raise IndexError(f"a raw file is one sample, there is no number {number}")
        return self._file


def _bytes(data: object) -> memoryview:
    try:
        view = memoryview(data)  # type: ignore[arg-type]
        if "O" in view.format:
            raise FormatError("data holds Python objects, which are no bytes")
        return view.cast("B") if view.nbytes else memoryview(b"")
    except (TypeError, ValueError) as error:
        raise FormatError(f"data is bytes in one piece, not {type(data).__name__}: {error}") from None
