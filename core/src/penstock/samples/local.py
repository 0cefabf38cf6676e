"""Bytes in memory as a file that answers ranges, and what every such file has to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from penstock.errors import FormatError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["LocalBuffer", "check_range", "naming_file"]


class LocalBuffer:
    """A :class:`~penstock.formats.RangeReader` over bytes in memory; what it answers are views of them."""

    __slots__ = ("_data",)

    def __init__(self, data: Buffer) -> None:
        view = memoryview(data)
        # An empty array of wider items can't be cast.
        self._data = view.cast("B") if view.nbytes else memoryview(b"")

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._data.nbytes

    def read(self, start: int, length: int, /) -> memoryview:
        """The bytes ``[start, start + length)``. Raises FormatError where the file ends before."""
        check_range(start, length, self.size)
        return self._data[start : start + length]

    def read_many(self, ranges: Sequence[tuple[int, int]], /) -> Sequence[memoryview]:
        """Several ranges, in the order asked."""
        return [self.read(start, length) for start, length in ranges]


def check_range(start: int, length: int, size: int) -> None:
    """Raise FormatError unless ``[start, start + length)`` lies within a file of ``size`` bytes."""
    if start < 0 or length < 0 or start + length > size:
        raise FormatError(f"bytes {start} to {start + length} lie outside the file, which has {size}")


@contextlib.contextmanager
def naming_file(uri: str) -> Iterator[None]:
    """Let a FormatError name the file."""
    try:
        yield
    except FormatError as error:
        if str(error).startswith(uri):
            raise
        raise type(error)(f"{uri}: {error}") from error
