"""The formats ``npy`` and ``npz`` as core asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import FormatError, UsageError
from penstock.formats import Field, FileSummary, Fill, RangeReader, Sample
from penstock_npz import archive, npy
from penstock_npz.directory import LOCAL, STORED, Member, members

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock_npz.plugin import NpyOptions, NpzOptions

__all__ = ["NpyFormat", "NpzFormat"]

#: What is read to learn a type and a shape; a header that is longer takes a second read.
_HEAD = 4096


class NpyFormat:
    """NumPy's file of one array: one sample of one value."""

    def __init__(self, options: NpyOptions) -> None:
        self._name = options.name
        self._dtype = _synthetic_dtype("npy", options.dtype)

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """The header, then the array's own memory; an array with gaps is copied."""
        sample = _only(samples, "npy")
        if set(sample) != {self._name}:
            raise FormatError(
                f"an NPY file holds one array, here named {self._name!r}: set the option name, or write npz for several"
            )
        array = npy.array_of(sample[self._name], self._name)
        del sample
        yield npy.header_of(array)
        if array.nbytes:
            yield npy.memory_of(array)

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        yield {self._name: npy.view(_flat(data), exact=True)}

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> _NpyReader:
        return _NpyReader(file, self._name)

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        raise UsageError("npy has no index: a file is one sample")

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """One array of whole items; of what remains, fewer bytes than an item has, an item is made as raw bytes."""
        if nbytes % self._dtype.itemsize:
            yield {self._name: _filled(nbytes, np.dtype(np.uint8), fill)}
        else:
            yield {self._name: _filled(nbytes, self._dtype, fill)}


class NpzFormat:
    """NumPy's archive of named arrays: one sample. Values that are bytes are members that are no NPY files."""

    def __init__(self, options: NpzOptions) -> None:
        self._wanted = tuple(name.strip() for name in options.arrays.split(",") if name.strip())
        if not 1 <= options.level <= 9:
            raise UsageError(f"npz: level {options.level} can't be; write 1 to 9")
        self._level = options.level if options.compression == "deflate" else None
        self._check = options.check
        self._name = options.name
        self._dtype = _synthetic_dtype("npz", options.dtype)

    def encode(self, samples: Iterable[Sample], /) -> Iterator[Buffer]:
        """Member after member: headers, and the arrays' own memory where it is not compressed."""
        # The list is emptied while it is written, so that nothing stays after its turn.
        values = list(_only(samples, "npz").items())[::-1]
        yield from archive.write((values.pop() for _ in range(len(values))), level=self._level)

    def decode(self, data: Buffer, /) -> Iterator[Sample]:
        yield self.open(_Memory(data)).read([0])[0]

    def open(self, file: RangeReader, /, *, index: Buffer | None = None) -> _NpzReader:
        return _NpzReader(file, self._wanted, self._check)

    def index(self, file: RangeReader, /, *, form: str = "") -> Iterator[Buffer]:
        raise UsageError("npz has no index: the archive's directory is one")

    def synthesize(self, nbytes: int, fill: Fill, /) -> Iterator[Sample]:
        """One array of whole items, and ``rest`` with what remains, fewer bytes than an item has."""
        rest = nbytes % self._dtype.itemsize
        sample = {self._name: _filled(nbytes - rest, self._dtype, fill)}
        if rest:
            sample["rest" if self._name != "rest" else "rest2"] = _filled(rest, np.dtype(np.uint8), fill)
        yield sample


class _NpyReader:
    def __init__(self, file: RangeReader, name: str) -> None:
        self._file: RangeReader | None = file
        self._name = name
        head = file.read(0, min(_HEAD, file.size))
        try:
            self._layout = npy.parse(head)
        except FormatError:
            if file.size <= _HEAD:
                raise
            self._layout = npy.parse(file.read(0, min(npy.LONGEST_HEADER, file.size)))
        if self._layout.start + self._layout.nbytes != file.size:
            raise FormatError(
                f"the file has {file.size} bytes, its header describes {self._layout.start + self._layout.nbytes}"
            )

    def __len__(self) -> int:
        return 1

    def summary(self) -> FileSummary:
        order = "Fortran" if self._layout.fortran else "C"
        return FileSummary(samples=1, fields=(_field(self._name, self._layout),), details={"order": order})

    def nbytes(self, number: int, /) -> int:
        _require_first(number)
        return self._layout.nbytes

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        for number in numbers:
            _require_first(number)
        file = _opened(self._file)
        if not numbers:
            return []
        return [{self._name: npy.view(file.read(0, file.size), exact=True)}] * len(numbers)

    def close(self) -> None:
        self._file = None


class _NpzReader:
    def __init__(self, file: RangeReader, wanted: Sequence[str], check: bool) -> None:
        self._file: RangeReader | None = file
        self._check = check
        found = {_value_name(member): member for member in members(file)}
        if missing := [name for name in wanted if name not in found]:
            raise FormatError(f"the archive has no {missing[0]!r}; it has {', '.join(map(repr, sorted(found)))}")
        self._all = len(found)
        self._members = {name: found[name] for name in wanted} if wanted else found

    def __len__(self) -> int:
        return 1

    def summary(self) -> FileSummary:
        """What the arrays' own headers say; the beginning of each is read."""
        file = _opened(self._file)
        chosen = list(self._members.items())
        heads = file.read_many([(one.offset, min(_head(one), one.end - one.offset)) for _, one in chosen])
        fields = []
        for (name, member), head in zip(chosen, heads, strict=True):
            layout = _layout(file, member, head)
            fields.append(Field(name=name, dtype="bytes") if layout is None else _field(name, layout))
        deflated = sum(member.method != STORED for member in self._members.values())
        details = {"arrays": str(self._all), "deflated": str(deflated)}
        return FileSummary(samples=1, fields=tuple(fields), details=details)

    def nbytes(self, number: int, /) -> int:
        _require_first(number)
        return sum(member.size for member in self._members.values())

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        for number in numbers:
            _require_first(number)
        file = _opened(self._file)
        if not numbers:
            return []
        chosen = list(self._members.items())
        parts = file.read_many([(member.offset, member.end - member.offset) for _, member in chosen])
        sample = {
            name: archive.array_in(member, part, check=self._check)
            for (name, member), part in zip(chosen, parts, strict=True)
        }
        return [sample] * len(numbers)

    def close(self) -> None:
        self._file = None


class _Memory:
    """Bytes as a file."""

    def __init__(self, data: Buffer) -> None:
        self._data = _flat(data)
        self.size = self._data.nbytes

    def read(self, start: int, length: int, /) -> memoryview:
        if start < 0 or length < 0 or start + length > self.size:
            raise FormatError("the file ends before what its directory names")
        return self._data[start : start + length]

    def read_many(self, ranges: Sequence[tuple[int, int]], /) -> Sequence[memoryview]:
        return [self.read(start, length) for start, length in ranges]


def _head(member: Member) -> int:
    # The extra fields of a local header may be longer than those of the directory.
    return LOCAL.size + len(member.raw_name) + _HEAD


def _layout(file: RangeReader, member: Member, head: memoryview) -> npy.Layout | None:
    try:
        return archive.layout_in(member, head)
    except FormatError:
        if head.nbytes == member.end - member.offset:
            raise
        return archive.layout_in(member, file.read(member.offset, member.end - member.offset))


def _field(name: str, layout: npy.Layout) -> Field:
    return Field(name=name, dtype=str(layout.dtype), shape=layout.shape)


def _value_name(member: Member) -> str:
    return member.name.removesuffix(archive.SUFFIX)


def _require_first(number: int) -> None:
    if number:
        raise IndexError(f"the file is one sample, there is no number {number}")


def _opened(file: RangeReader | None) -> RangeReader:
    if file is None:
        raise UsageError("the file is closed")
    return file


def _only(samples: Iterable[Sample], name: str) -> Sample:
    found = iter(samples)
    sample = next(found, None)
    if sample is None:
        raise FormatError(f"a file of {name} is one sample; there is none")
    for _ in found:
        raise FormatError(f"a file of {name} is one sample; there are more")
    return sample


def _flat(data: Buffer) -> memoryview:
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _filled(nbytes: int, dtype: np.dtype[Any], fill: Fill) -> npy.Array:
    array: npy.Array = np.empty(nbytes // dtype.itemsize, dtype)
    fill(npy.memory_of(array) if nbytes else memoryview(bytearray()))
    return array


def _synthetic_dtype(format: str, name: str) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except TypeError:
        raise UsageError(f"{format}: {name!r} is no type of NumPy; write one such as float32") from None
    if dtype.hasobject or not dtype.itemsize:
        raise UsageError(f"{format}: arrays of {name} can't be filled with bytes; write a type such as float32")
    return dtype
