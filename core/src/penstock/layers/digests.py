"""Checksums by the names that services give them, as :attr:`penstock.store.ObjectInfo.checksum` has them."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from penstock.errors import UsageError
from penstock.layers.forwarding import flat

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ALGORITHMS", "Digest", "Digesting", "matches", "new_digest"]

#: Those that can be computed here; crc32c with the extra ``penstock[checksum]``.
ALGORITHMS: Final = ("crc32c", "crc32", "md5", "sha1", "sha256")

_TEXT = re.compile(r"([a-z0-9]+):([0-9a-f]+)\Z")


class Digest(Protocol):
    """A checksum of bytes that come one after the other."""

    def update(self, data: Buffer, /) -> None:
        """Take more bytes, in a buffer of format ``B``."""

    def text(self) -> str:
        """The algorithm, a colon and lower-case hex."""


class _Sum:
    """A checksum that goes on from its value so far."""

    def __init__(self, name: str, add: Callable[[Buffer, int], int]) -> None:
        self._name = name
        self._add = add
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._add(data, self._value)

    def text(self) -> str:
        return f"{self._name}:{self._value:08x}"


class _Hashed:
    def __init__(self, name: str) -> None:
        self._name = name
        self._hash = hashlib.new(name, usedforsecurity=False)

    def update(self, data: Buffer, /) -> None:
        self._hash.update(data)

    def text(self) -> str:
        return f"{self._name}:{self._hash.hexdigest()}"


def new_digest(algorithm: str) -> Digest:
    """A checksum of no bytes yet. Raises UsageError for one that is not known, or whose package is missing."""
    if algorithm == "crc32":
        return _Sum(algorithm, zlib.crc32)
    if algorithm == "crc32c":
        from penstock.payloads.checksums import crc32c

        try:
            crc32c(b"")
        except UsageError as error:
            raise UsageError("crc32c needs a package more: pip install 'penstock[checksum]'") from error
        return _Sum(algorithm, crc32c)
    if algorithm not in ALGORITHMS:
        raise UsageError(f"the checksum {algorithm!r} is not known; known: {', '.join(ALGORITHMS)}")
    return _Hashed(algorithm)


class Digesting:
    """The checksums that an answer may be compared with, over bytes of which the answer is not known yet."""

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        self._digests = {name: new_digest(name) for name in algorithms}
        self.nbytes = 0

    def update(self, data: Buffer, /) -> None:
        """Take more bytes."""
        view = flat(data)
        for digest in self._digests.values():
            digest.update(view)
        self.nbytes += view.nbytes

    def text(self, algorithm: str) -> str | None:
        """The checksum of all bytes by that algorithm, None where it was not computed."""
        digest = self._digests.get(algorithm)
        return digest.text() if digest is not None else None


def matches(stored: str | None, computed: Digesting) -> bool | None:
    """Whether a stored checksum is that of the bytes; None where it can't be told.

    One of several parts, which services write with a dash and their number, is of no bytes that came in one stream.
    """
    match = _TEXT.match(stored or "")
    text = computed.text(match[1]) if match is not None else None
    return None if text is None else text == stored
