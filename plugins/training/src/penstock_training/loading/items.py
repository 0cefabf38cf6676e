"""One sample of a dataset."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["Item"]


@attrs.define(slots=True)
class Item:
    """One sample as it was read.

    ``number`` is its place in the dataset, ``uri`` its file's URI, ``index`` its place in the file; None where the
    file is the sample. ``data`` is a one-dimensional NumPy array of bytes (``uint8``) where the dataset has no format,
    else what the format gives: names to arrays, bytes, text and numbers.
    """

    number: int
    uri: str
    index: int | None
    data: Any

    @property
    def name(self) -> str:
        """The URI, with ``#`` and the index after it where the file holds several samples."""
        return self.uri if self.index is None else f"{self.uri}#{self.index}"
