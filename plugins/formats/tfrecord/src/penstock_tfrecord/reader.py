"""Single records of a file, found by an index or by its heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.errors import FormatError
from penstock.formats import Field, FileSummary, RangeReader, Sample
from penstock_tfrecord.content import Content
from penstock_tfrecord.framing import record_of
from penstock_tfrecord.index import Places

__all__ = ["TfrecordReader"]


class TfrecordReader:
    """The records of one file. ``places`` has an ``(offset, size)`` with the frame for each."""

    def __init__(
        self, file: RangeReader, places: Places, content: Content, *, check: bool, compression: str, indexed: bool
    ) -> None:
        self._file: RangeReader | None = file
        self._places = places
        self._content = content
        self._check = check
        self._compression = compression
        self._indexed = indexed

    def __len__(self) -> int:
        return len(self._places)

    def summary(self) -> FileSummary:
        """Reads the first record. What all records hold no file says, so of Examples no field is promised."""
        details = {
            "records": "tf.train.Example" if self._content.example else "raw",
            "compression": self._compression,
            "checksums": "compared" if self._check else "not compared",
        }
        if len(self):
            (sample,) = self.read([0])
            details["first record"] = ", ".join(_shown(name, value) for name, value in sample.items())
            sizes = self._places[:, 1]
            details["bytes of a record"] = f"{sizes.min():,} to {sizes.max():,}"
        fields = () if self._content.example else (Field(name="data", dtype="bytes"),)
        return FileSummary(samples=len(self), fields=fields, details=details)

    def nbytes(self, number: int, /) -> int:
        """The record; where it may hold a list of integers, which can take 8 times as much in memory, 9 times it."""
        return int(self._places[self._at(number), 1]) * self._content.expansion

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        """These records. What others ask at the same time does not wait."""
        places = [tuple(self._places[self._at(number)].tolist()) for number in numbers]
        views = self._opened().read_many(places)
        return [
            self._content.decode(self._record(view, offset)) for (offset, _), view in zip(places, views, strict=True)
        ]

    def _record(self, view: memoryview, offset: int) -> memoryview:
        try:
            return record_of(view, offset, check=self._check)
        except FormatError as error:
            if not self._indexed:
                raise
            # Of a file that was replaced by one of the same size its index says nothing.
            raise FormatError(
                f"{error}; unless the file is damaged its index is another file's: make it anew"
            ) from error

    def close(self) -> None:
        """Forget the file."""
        self._file = None

    def _opened(self) -> RangeReader:
        if self._file is None:
            raise ValueError("the reader is closed")
        return self._file

    def _at(self, number: int) -> int:
        if not 0 <= number < len(self._places):
            raise IndexError(f"there is no record {number}, the file has {len(self)}")
        return number


def _shown(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{name} {value.dtype} {value.shape}"
    return f"{name} {type(value).__name__} of {len(value)}"
