"""The contract of a data format: samples to bytes and back, knowing no store.

A sample maps names to values: NumPy arrays and scalars, bytes, text and numbers, whatever the format can hold. A
format turns samples into the bytes of one file and such bytes into samples. Where a file can be read in parts, it is
handed as something that answers ranges, so the format decides which bytes it needs and core decides how they are
fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from penstock.errors import FormatError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "API_VERSION",
    "DataFormat",
    "Field",
    "FileSummary",
    "Fill",
    "FormatType",
    "LocalBuffer",
    "RangeReader",
    "Sample",
    "SampleReader",
    "check_range",
]

API_VERSION = 1

#: Names to NumPy arrays or scalars, bytes (or a memoryview of bytes), text or numbers.
Sample = Mapping[str, Any]
#: Overwrites a writable buffer with content; what a synthetic sample is filled by.
Fill = Callable[[memoryview], None]


class RangeReader(Protocol):
    """One file whose parts can be asked for. Its size and content do not change while it is read."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def read(self, start: int, length: int, /) -> memoryview:
        """The bytes ``[start, start + length)``, all of them. Raises FormatError where the file ends before."""

    def read_many(self, ranges: Sequence[tuple[int, int]], /) -> Sequence[memoryview]:
        """Several ranges ``(start, length)``, in the order asked; neighbours may be fetched as one, several at once."""


class LocalBuffer:
    """A :class:`RangeReader` over bytes in memory; what it answers are views of them."""

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


@attrs.frozen(slots=True, kw_only=True)
class Field:
    """A named value of every sample. A dimension of None, and a shape of None, differ from sample to sample."""

    name: str
    #: NumPy's name of the type, such as ``float32``; ``bytes``, ``text`` or ``object`` for the others.
    dtype: str
    shape: tuple[int | None, ...] | None = ()


@attrs.frozen(slots=True, kw_only=True)
class FileSummary:
    """What a file says of itself. ``samples`` is None where only reading the whole file would tell."""

    samples: int | None
    fields: tuple[Field, ...] = ()
    #: What only this format has, such as a version, a compression or a chunk shape, for people to read.
    details: Mapping[str, str] = attrs.field(factory=dict)


class SampleReader(Protocol):
    """An opened file: samples by number, reading little more of the file than they take.

    Any thread may call anything at any time; a plugin whose library can't do that takes a lock.
    """

    def __len__(self) -> int:
        """How many samples the file holds."""

    def summary(self) -> FileSummary:
        """What is in the file."""

    def nbytes(self, number: int, /) -> int:
        """An upper bound of the memory that reading this sample takes, in bytes, known without reading it."""

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        """These samples, in the order asked, each number in ``[0, len)``. Raises FormatError on damaged bytes,
        IndexError on a number outside.
        """

    def close(self) -> None:
        """Let go of everything held. The samples that were read stay valid. Closing twice is harmless."""


class DataFormat(Protocol):
    """One format with its options. Stateless: any thread may call anything at any time."""

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """The bytes of one file that holds these samples, in pieces and in order; the same for the same samples.

        Pieces may be views of the samples' own memory and are valid until the next one is asked for. Samples are
        taken one at a time where the format allows. Raises FormatError for a sample that the format can't hold.
        """

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        """The samples of a whole file, in order; they may be views of ``data``. Raises FormatError on damaged bytes."""

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> SampleReader:
        """Read single samples. ``index`` is the content of an index made by :meth:`index`, of any form; with it, or
        where the format needs none, nothing is read but what says where samples are.
        """

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        """The content of an index of this file, in pieces. ``form`` is one of the type's; empty is the first.

        Raises UsageError for a form that the type does not name, so always where it names none.
        """

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """Samples that hold ``nbytes`` bytes of content in all, each array filled by ``fill`` in order.

        The shapes follow from ``nbytes`` and the options alone; so does the length of the encoding, unless the
        options ask for compression.
        """


@attrs.frozen(slots=True, kw_only=True)
class FormatType:
    """A format as its plugin offers it. ``open`` gets an instance of ``options``."""

    name: str
    summary: str
    #: File name endings with their dot, the usual one first.
    extensions: tuple[str, ...]
    options: type[Any]
    open: Callable[[Any], DataFormat]
    #: Whether part of a file can be read without the rest.
    splittable: bool = False
    #: Names of the forms of index that can be written, each with the ending that is added to the file's name.
    index_forms: Mapping[str, str] = attrs.field(factory=dict)
    api: int = API_VERSION
