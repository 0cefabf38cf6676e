"""Files that a format splits into samples: how many each has, what they weigh, and opening one to read them."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock import ObjectInfo
from penstock.errors import FormatError, PluginError
from penstock.formats import FormatType, RangeReader
from penstock.samples import LocalBuffer, SampleFile, SampleFormat, StoreFile, choose_format, find_index, format_names
from penstock_training.loading.listing import Files
from penstock_training.loading.stores import Stores
from penstock_training.loading.table import FileTable

__all__ = ["FormatChoice", "Split", "split_files"]

_AUTO = "auto"


@attrs.frozen
class FormatChoice:
    """The format that the user named, or ``auto``, with its options. It pickles; formats are opened when used."""

    name: str
    options: Mapping[str, Any]
    _opened: dict[str, SampleFormat] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def of(self, key: str) -> SampleFormat:
        """The format of a file. Raises UsageError where ``auto`` finds none."""
        ending = key.rpartition("/")[2].partition(".")[2].lower() if self.name == _AUTO else ""
        found = self._opened.get(ending)
        if found is None:
            named = None if self.name == _AUTO else self.name
            found = self._opened[ending] = choose_format(key, named, self.options or None)
        return found

    def index_endings(self) -> tuple[str, ...]:
        """How the names of indexes may end."""
        kinds = [self.of("").kind] if self.name != _AUTO else list(_installed())
        return tuple(dict.fromkeys(ending for kind in kinds for ending in kind.index_forms.values()))

    def __getstate__(self) -> tuple[str, Mapping[str, Any]]:
        return self.name, self.options

    def __setstate__(self, state: tuple[str, Mapping[str, Any]]) -> None:
        for name, value in zip(("name", "options", "_opened"), (*state, {}), strict=True):
            object.__setattr__(self, name, value)


@attrs.frozen(kw_only=True)
class Split:
    """How the samples of a dataset lie in its files. It pickles.

    File ``i`` holds the samples ``[firsts[i], firsts[i + 1])``. ``weights`` are the bytes that reading each sample of a
    file takes at most: one number where all are alike. ``indexes`` are the contents of the files' indexes.
    """

    choice: FormatChoice
    firsts: NDArray[np.int64]
    weights: Sequence[int | NDArray[np.int64]]
    indexes: Mapping[int, bytes]

    @property
    def samples(self) -> int:
        """How many samples all files hold."""
        return int(self.firsts[-1])

    def count(self, file: int) -> int:
        """How many samples a file holds."""
        return int(self.firsts[file + 1] - self.firsts[file])

    def place(self, number: int) -> tuple[int, int]:
        """The file of a sample, and its number there."""
        file = bisect.bisect_right(self.firsts, number) - 1
        return file, number - int(self.firsts[file])

    def places(self, numbers: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """:meth:`place` of several samples: their files, and their numbers there."""
        files = np.searchsorted(self.firsts, numbers, side="right") - 1
        return files.tolist(), (numbers - self.firsts[files]).tolist()

    def nbytes_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """What reading each of these samples takes at most, in bytes."""
        found = []
        for file, index in zip(*self.places(numbers), strict=True):
            weight = self.weights[file]
            found.append(weight if isinstance(weight, int) else int(weight[index]))
        return np.array(found, dtype=np.int64)

    def digest(self) -> str:
        """Text that is equal where files are split alike."""
        state = hashlib.blake2b(f"{self.choice.name} {dict(self.choice.options)!r}".encode(), digest_size=16)
        state.update(self.firsts.tobytes())
        return state.hexdigest()

    def open(self, files: FileTable, stores: Stores, file: int, *, part_size: int, in_flight: int) -> SampleFile:
        """Open a file to read its samples by ranges. Raises FormatError where it has not the samples it should."""
        return self._checked(
            file, _opened(self.choice, files, stores, file, self.indexes.get(file), part_size, in_flight)
        )

    def open_whole(self, files: FileTable, stores: Stores, file: int) -> SampleFile:
        """Read a file in one request, and open it in memory."""
        store, key = stores.of(file), files.key(file)
        data: RangeReader = LocalBuffer(store.get(key))
        return self._checked(file, SampleFile(files.uri(file), self.choice.of(key), data, None, store))

    def _checked(self, file: int, opened: SampleFile) -> SampleFile:
        if len(opened) != self.count(file):
            held = len(opened)
            opened.close()
            raise FormatError(f"{opened.uri} has {held} samples where {self.count(file)} were expected")
        return opened


def split_files(
    choice: FormatChoice, found: Files, stores: Stores, samples_per_file: int | None, threads: int
) -> Split:
    """Learn what the files hold, ``threads`` of them at once; nothing is opened where ``samples_per_file`` tells it."""
    files = found.table
    if samples_per_file is not None:
        return Split(
            choice=choice,
            firsts=np.arange(len(files) + 1, dtype=np.int64) * samples_per_file,
            weights=[-(-files.size(file) // samples_per_file) for file in range(len(files))],
            indexes={},
        )

    def look(file: int) -> tuple[int, int | NDArray[np.int64], bytes | None]:
        try:
            index = _index_of(choice, found, stores, file)
        except FormatError as error:
            raise FormatError(f"{files.uri(file)}: {error}") from error
        with _opened(choice, files, stores, file, index) as opened:
            return len(opened), _weights(opened), index

    with ThreadPoolExecutor(threads, thread_name_prefix="penstock-dataset") as pool:
        looks = list(pool.map(look, range(len(files))))
    return Split(
        choice=choice,
        firsts=np.cumsum([0, *(count for count, _, _ in looks)], dtype=np.int64),
        weights=[weights for _, weights, _ in looks],
        indexes={file: index for file, (_, _, index) in enumerate(looks) if index is not None},
    )


def _index_of(choice: FormatChoice, found: Files, stores: Stores, file: int) -> bytes | None:
    """The content of a file's index: the one beside it, else one that is made; None where the format has none."""
    key, store = found.table.key(file), stores.of(file)
    chosen = choice.of(key)
    if not chosen.kind.index_forms:
        return None
    if file in found.indexes:
        return bytes(store.get(key + found.indexes[file]))
    beside = find_index(store.raw, key, chosen.kind) if file in found.alone else None
    if beside is not None:
        return bytes(beside)
    return b"".join(bytes(piece) for piece in chosen.codec.index(_ranges(found.table, stores, file)))


def _ranges(files: FileTable, stores: Stores, file: int, part_size: int = 8 << 20, in_flight: int = 8) -> StoreFile:
    key = files.key(file)
    info = ObjectInfo(key, files.size(file))
    return StoreFile(stores.of(file).raw, key, info, part_size=part_size, in_flight=in_flight, uri=files.uri(file))


def _opened(
    choice: FormatChoice,
    files: FileTable,
    stores: Stores,
    file: int,
    index: bytes | None,
    part_size: int = 8 << 20,
    in_flight: int = 8,
) -> SampleFile:
    source = _ranges(files, stores, file, part_size, in_flight)
    return SampleFile(files.uri(file), choice.of(files.key(file)), source, index, stores.of(file))


def _installed() -> Iterator[FormatType]:
    for name in format_names():
        with contextlib.suppress(PluginError):
            yield choose_format("", name).kind


def _weights(opened: SampleFile) -> int | NDArray[np.int64]:
    weights = np.fromiter(map(opened.nbytes, range(len(opened))), dtype=np.int64, count=len(opened))
    if not weights.size:
        return 0
    return int(weights[0]) if (weights == weights[0]).all() else weights
