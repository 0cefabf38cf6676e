"""A dataset: files in any storage, as samples with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

__all__ = ["Dataset", "Item"]

_MIB = 1024 * 1024


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


class Dataset:
    """Samples by number: whole files, or what a format finds in them.

    ``uri`` is a directory or prefix (everything below it), a glob (``s3://bucket/train/**/*.npz``), an object, or
    a list of such, in the order given. ``pattern`` is a glob on the names below directories. The listing streams into
    a compact table (about 20 bytes and the key for each file), gives the sizes, and is in the byte order of the keys
    within each URI, so every process has the same numbers. Objects that are named one by one take a ``stat`` each.

    ``format`` None: each file is a sample, its bytes. A format's name: files are split into samples by the format,
    ``auto``: each by the format of its ending. Then files are opened when the dataset is made, several at once, to
    learn how many samples each has; an index that lies beside a file is used, and kept (16 bytes for each record)
    as is one that had to be made. ``samples_per_file`` says instead how many there are, and nothing is opened before
    it is read.

    It pickles with its table, so that spawned processes don't list again; stores are opened when they are first used,
    in each process anew, after a fork as well. Threads share it.

    Raises ObjectNotFoundError where there is no file, FormatError, UsageError, PluginError.
    """

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
        raise NotImplementedError

    def __len__(self) -> int:
        """How many samples there are."""
        raise NotImplementedError

    def __getitem__(self, number: int) -> Item:
        """Read one sample; a negative number counts from the end. Raises IndexError."""
        raise NotImplementedError

    def __getitems__(self, numbers: Sequence[int]) -> list[Item]:
        """Read these samples, many requests at once and neighbours as one, in the order asked. What a PyTorch
        DataLoader calls for a batch.
        """
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """The name of every sample in order, as :attr:`Item.name`."""
        raise NotImplementedError

    def name(self, number: int) -> str:
        """The name of one sample. Raises IndexError."""
        raise NotImplementedError

    def nbytes(self, number: int) -> int:
        """How much memory reading this sample takes, in bytes, at most; the size of the file where it is the sample."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Text that is equal for datasets with the same names, sizes and format. States of loaders carry it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what this process has opened; reading opens it anew. Harmless the second time."""
        raise NotImplementedError
