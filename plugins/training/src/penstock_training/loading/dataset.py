"""A dataset: files in any storage, as samples with numbers."""

from __future__ import annotations

import contextlib
import hashlib
import operator
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock import StoreCache
from penstock.errors import UsageError
from penstock_training.loading.fetching import Fetcher, Reading
from penstock_training.loading.items import Item
from penstock_training.loading.listing import find_files
from penstock_training.loading.opened import Opened
from penstock_training.loading.splitting import FormatChoice, Split, split_files
from penstock_training.loading.stores import Stores

__all__ = ["Dataset"]

_PART = 8 * 1024 * 1024
#: Memory that reading by number keeps for the next time.
_KEPT = 64 * 1024 * 1024


class Dataset:
    """Samples by number: whole files, or what a format finds in them.

    ``uri`` is a directory or prefix (everything below it), a glob (``s3://bucket/train/**/*.npz``), an object, or
    a list of such, in the order given. ``pattern`` is a glob on the names below directories. The listing streams into
    a compact table (20 bytes and the key for each file), gives the sizes, and is in the byte order of the keys
    within each URI, so every process has the same numbers. Objects that are named one by one take a ``stat`` each.

    ``format`` None: each file is a sample, its bytes. A format's name: files are split into samples by the format;
    ``auto``: each by the format of its ending. Then files are opened when the dataset is made, several at once, to
    learn how many samples each has; an index that lies beside a file is used, and kept, as is one that had to be made
    (16 bytes or so for each sample). ``samples_per_file`` says instead how many there are: nothing is opened before it
    is read, and a file that has another number of samples is a FormatError then.

    It pickles with its table, so that spawned processes don't list again; stores are opened when they are first used,
    in each process anew, after a fork as well. Threads share it.

    Raises ObjectNotFoundError where there is no file, FormatError, UsageError, PluginError.
    """

    _open: dict[tuple[str | None, int, int], Opened]
    _sizes: NDArray[np.int64] | None
    _digest: str | None
    _fetcher: Fetcher | None

    def __init__(
        self,
        uri: str | Sequence[str],
        *,
        format: str | None = None,
        pattern: str | None = None,
        format_options: Mapping[str, Any] | None = None,
        samples_per_file: int | None = None,
        options: Mapping[str, Any] | None = None,
        threads: int = 16,
        max_open: int = 128,
    ) -> None:
        """``options`` are those of the stores, ``threads`` how many requests listing, opening and reading by number
        have under way at once, ``max_open`` how many files of a format stay open in each process.
        """
        uris = _texts(uri)
        _check(uris, format, format_options, samples_per_file, threads, max_open)
        self.options: dict[str, Any] = dict(options or {})
        self.threads = threads
        self.max_open = max_open
        self._forget()
        choice = None if format is None else FormatChoice(format, dict(format_options or {}))
        endings = () if choice is None else choice.index_endings()
        with contextlib.closing(StoreCache(threads=threads)) as stores:
            found = find_files(lambda uri: stores.find(uri, self.options), uris, pattern, endings, threads)
        self.files = found.table
        self.split: Split | None = None
        if choice is not None:
            with contextlib.closing(Stores(self.files, self.options, threads)) as opened:
                self.split = split_files(choice, found, opened, samples_per_file, threads)

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.files) if self.split is None else self.split.samples

    def __getitem__(self, number: int) -> Item:
        """Read one sample, in this thread; a negative number counts from the end. Raises IndexError."""
        alone = Reading(num_workers=0, transform=_as_it_is, collate=_listed)
        items: list[Item] = Fetcher(self, alone).read(np.array([self._number(number)], dtype=np.int64))
        return items[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Item]:
        """Read these samples, many requests at once and neighbours as one, in the order asked. What a PyTorch
        DataLoader calls for a batch.

        The threads it takes stay for the next call, until the dataset is closed or dropped.
        """
        wanted = np.array([self._number(number) for number in numbers], dtype=np.int64)
        items: list[Item] = self._fetching().read(wanted)
        return items

    def names(self) -> Iterator[str]:
        """The name of every sample in order, as :attr:`Item.name`."""
        if self.split is None:
            return self.files.uris()
        return (self.name(number) for number in range(len(self)))

    def name(self, number: int) -> str:
        """The name of one sample. Raises IndexError."""
        file, index = self.place(number)
        return self.files.uri(file) if index is None else f"{self.files.uri(file)}#{index}"

    def nbytes(self, number: int) -> int:
        """How much memory reading this sample takes, in bytes, at most; the size of the file where it is the sample.

        With ``samples_per_file`` it is the file's share, which compressed samples may exceed.
        """
        return int(self.nbytes_of(np.array([self._number(number)], dtype=np.int64))[0])

    def nbytes_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """:meth:`nbytes` of several samples, whose numbers are in ``[0, len)``."""
        if self.split is not None:
            return self.split.nbytes_of(numbers)
        if self._sizes is None:
            self._sizes = self.files.sizes()
        return self._sizes[numbers]

    def place(self, number: int) -> tuple[int, int | None]:
        """The number of a sample's file in :attr:`files`, and its own in it; None where the file is the sample."""
        number = self._number(number)
        return (number, None) if self.split is None else self.split.place(number)

    @property
    def fingerprint(self) -> str:
        """Text that is equal for datasets with the same names, sizes and format. States of loaders carry it."""
        if self._digest is None:
            split = "" if self.split is None else self.split.digest()
            self._digest = hashlib.blake2b(f"{self.files.digest()} {split}".encode(), digest_size=16).hexdigest()
        return self._digest

    def opened(self, *, page_cache_mode: str | None = None, part_size: int = _PART, threads: int = 1) -> Opened:
        """What this process has open of the dataset, shared by all who read it in the same way."""
        if self._process != os.getpid():
            # Nothing of the parent's may be used in a forked child, not even the lock.
            self._forget()
        with self._lock:
            way = (page_cache_mode, part_size, max(threads, self.threads))
            found = self._open.get(way)
            if found is None:
                found = self._open[way] = Opened(
                    self.files,
                    self.split,
                    options=self.options
                    if page_cache_mode is None
                    else {**self.options, "page_cache": page_cache_mode},
                    threads=way[-1],
                    max_open=self.max_open,
                    part_size=part_size,
                )
            return found

    def close(self) -> None:
        """Close what this process has opened; reading opens it anew. Harmless the second time."""
        if self._process != os.getpid():
            return
        with self._lock:
            opened, self._open = self._open, {}
            fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            fetcher.close()
        for each in opened.values():
            each.close()

    def __repr__(self) -> str:
        return f"Dataset({len(self)} samples in {len(self.files)} files of {', '.join(self.files.bases)})"

    def __getstate__(self) -> dict[str, Any]:
        kept = ("options", "threads", "max_open", "files", "split", "_digest")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()
        self.__dict__.update(state)

    def _fetching(self) -> Fetcher:
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            if self._fetcher is None:
                several = Reading(
                    num_workers=self.threads, reader="range", transform=_as_it_is, collate=_listed, memory=_KEPT
                )
                self._fetcher = Fetcher(self, several)
                weakref.finalize(self, self._fetcher.crew.stop)
            return self._fetcher

    def _forget(self) -> None:
        """Begin with nothing open, as a new process does."""
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._open = {}
        self._sizes = None
        self._digest = None
        self._fetcher = None

    def _number(self, number: int) -> int:
        length = len(self)
        number = operator.index(number)
        if not -length <= number < length:
            raise IndexError(f"there are {length} samples, and no number {number}")
        return number % length


def _as_it_is(item: Item) -> Item:
    return item


def _listed(items: list[Item]) -> list[Item]:
    return items


def _texts(uri: object) -> list[str]:
    uris: list[Any] = list(uri) if isinstance(uri, Iterable) and not isinstance(uri, str | bytes) else [uri]
    for each in uris:
        if not isinstance(each, str):
            remedy = ": write str(path)" if isinstance(each, os.PathLike) else ""
            raise UsageError(f"a URI is text, or a list of such, not {type(each).__name__}{remedy}")
    return uris


def _check(
    uris: Sequence[str],
    format: str | None,
    format_options: Mapping[str, Any] | None,
    samples_per_file: int | None,
    threads: int,
    max_open: int,
) -> None:
    if not uris:
        raise UsageError("the list of URIs is empty")
    if format is None and (format_options or samples_per_file is not None):
        raise UsageError("format_options and samples_per_file are for a dataset with a format; name it, or use auto")
    for name, value in (("samples_per_file", samples_per_file), ("threads", threads), ("max_open", max_open)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it is at least 1")
