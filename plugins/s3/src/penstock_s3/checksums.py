"""Checksums as S3 writes them: CRC32, CRC32C, CRC64NVME and SHA-256, the big-endian bytes in base64.

Of an object that was uploaded in parts S3 keeps one of two kinds (docs: "Checking object integrity"). A *full
object* checksum is that of all its bytes; it can be combined from those of the parts, which only CRCs allow, and
CRC64NVME has no other. A *composite* one is the checksum of the parts' checksums, followed by ``-`` and their
number; SHA-256 has no other.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Algorithm", "Running", "checksum", "composite", "full_object", "header_name", "kind"]

#: The algorithms that S3 and this module know.
Algorithm = Literal["crc32", "crc32c", "crc64nvme", "sha256"]


@attrs.frozen(slots=True)
class _CRC:
    nbytes: int
    update: Callable[[Buffer, int], int]
    combine: Callable[[int, int, int], int]

    def text(self, value: int) -> str:
        return b64encode(value.to_bytes(self.nbytes, "big")).decode()


@cache
def _crc(algorithm: Algorithm) -> _CRC | None:
    # Native code that costs time to load, wanted only by those who ask for checksums.
    crt: Any = import_module("awscrt.checksums")

    table: dict[str, _CRC] = {
        "crc32": _CRC(4, zlib.crc32, crt.combine_crc32),
        "crc32c": _CRC(4, crt.crc32c, crt.combine_crc32c),
        "crc64nvme": _CRC(8, crt.crc64nvme, crt.combine_crc64nvme),
    }
    return table.get(algorithm)


class Running:
    """A checksum that grows with the bytes it is given. Belongs to one thread."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._crc = None if algorithm == "sha256" else _crc(algorithm)
        self._value = 0
        self._hash = sha256()

    def update(self, data: Buffer, /) -> None:
        """Take these bytes."""
        if self._crc is None:
            self._hash.update(data)
        else:
            self._value = self._crc.update(data, self._value)

    def value(self) -> str:
        """The checksum of everything so far, as S3 writes it. More may follow."""
        if self._crc is None:
            return b64encode(self._hash.digest()).decode()
        return self._crc.text(self._value)


def header_name(algorithm: Algorithm) -> bytes:
    """The header, or trailer, that carries it: ``x-amz-checksum-crc32c``."""
    return b"x-amz-checksum-" + algorithm.encode()


def checksum(algorithm: Algorithm, *data: Buffer) -> str:
    """The checksum of these buffers in a row, as S3 writes it: base64 of the big-endian bytes."""
    running = Running(algorithm)
    for buffer in data:
        running.update(buffer)
    return running.value()


def kind(algorithm: Algorithm) -> Literal["FULL_OBJECT", "COMPOSITE"]:
    """What to ask for with x-amz-checksum-type when an upload begins: the whole object's where it can be combined."""
    return "COMPOSITE" if algorithm == "sha256" else "FULL_OBJECT"


def full_object(algorithm: Algorithm, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of an object from each part's checksum and length in bytes, in order. Only for CRCs.

    Raises ValueError for SHA-256, which can't be combined.
    """
    crc = None if algorithm == "sha256" else _crc(algorithm)
    if crc is None:
        raise ValueError("SHA-256 checksums of parts can't be combined; S3 keeps a composite one")
    value = 0
    for text, nbytes in parts:
        value = crc.combine(value, int.from_bytes(b64decode(text), "big"), nbytes)
    return crc.text(value)


def composite(algorithm: Algorithm, parts: Sequence[str]) -> str:
    """The checksum of the parts' checksums, with ``-`` and their number."""
    return f"{checksum(algorithm, b''.join(map(b64decode, parts)))}-{len(parts)}"
