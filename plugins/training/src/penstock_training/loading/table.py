"""The files of a dataset, held compactly."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FileTable"]


class FileTable:
    """Names and sizes of files, 20 bytes and the key for each.

    A file's URI is one of a few ``bases``, each the root of a store, and a key. The table pickles. One thread fills it,
    afterwards any may read.
    """

    __slots__ = ("_base_of", "_ends", "_sizes", "_text", "bases")

    def __init__(self) -> None:
        self.bases: list[str] = []
        self._text = bytearray()
        self._ends = array("q", [0])
        self._sizes = array("q")
        self._base_of = array("I")

    def add(self, base: str, key: str, size: int) -> None:
        """Append a file of ``size`` bytes."""
        if base not in self.bases:
            self.bases.append(base)
        self._base_of.append(self.bases.index(base))
        self._text += key.encode()
        self._ends.append(len(self._text))
        self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._sizes)

    def sizes(self) -> NDArray[np.int64]:
        """The size of each file in bytes, in memory of its own."""
        return np.array(self._sizes, dtype=np.int64)

    def base(self, number: int) -> int:
        """Which of the bases a file belongs to."""
        return self._base_of[number]

    def key(self, number: int) -> str:
        """A file's key in the store of its base."""
        return self._text[self._ends[number] : self._ends[number + 1]].decode()

    def keys(self, numbers: Sequence[int]) -> list[str]:
        """:meth:`key` of several files."""
        text, ends = self._text, self._ends
        return [text[ends[number] : ends[number + 1]].decode() for number in numbers]

    def size(self, number: int) -> int:
        """A file's size in bytes."""
        return self._sizes[number]

    def uri(self, number: int) -> str:
        """A file's URI."""
        return self.bases[self._base_of[number]] + self.key(number)

    def uris(self) -> Iterator[str]:
        """Every file's URI, in order."""
        return map(self.uri, range(len(self)))

    def digest(self) -> str:
        """Text that is equal for tables with the same URIs and sizes in the same order."""
        state = hashlib.blake2b(repr(self.bases).encode(), digest_size=16)
        for part in (self._text, self._ends, self._sizes, self._base_of):
            state.update(part)
        return state.hexdigest()
