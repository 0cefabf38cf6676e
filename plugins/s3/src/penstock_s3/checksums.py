"""Checksums as S3 writes them: CRC32, CRC32C, CRC64NVME and SHA-256, the big-endian bytes in base64.

Of an object that was uploaded in parts S3 keeps one of two kinds (docs: "Checking object integrity"). A *full
object* checksum is that of all its bytes; it can be combined from those of the parts, which only CRCs allow, and
CRC64NVME has no other. A *composite* one is the checksum of the parts' checksums, followed by ``-`` and their
number; SHA-256 has no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Algorithm", "Running", "checksum", "composite", "full_object", "header_name", "kind"]

#: The algorithms that S3 and this module know.
Algorithm = Literal["crc32", "crc32c", "crc64nvme", "sha256"]


class Running:
    """A checksum that grows with the bytes it is given. Belongs to one thread."""

    def __init__(self, algorithm: Algorithm) -> None:
        raise NotImplementedError

    def update(self, data: Buffer, /) -> None:
        """Take these bytes."""
        raise NotImplementedError

    def value(self) -> str:
        """The checksum of everything so far, as S3 writes it. More may follow."""
        raise NotImplementedError


def header_name(algorithm: Algorithm) -> bytes:
    """The header, or trailer, that carries it: ``x-amz-checksum-crc32c``."""
    raise NotImplementedError


def checksum(algorithm: Algorithm, *data: Buffer) -> str:
    """The checksum of these buffers in a row, as S3 writes it: base64 of the big-endian bytes."""
    raise NotImplementedError


def kind(algorithm: Algorithm) -> Literal["FULL_OBJECT", "COMPOSITE"]:
    """What to ask for with x-amz-checksum-type when an upload begins: the whole object's where it can be combined."""
    raise NotImplementedError


def full_object(algorithm: Algorithm, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of an object from each part's checksum and length in bytes, in order. Only for CRCs.

    Raises ValueError for SHA-256, which can't be combined.
    """
    raise NotImplementedError


def composite(algorithm: Algorithm, parts: Sequence[str]) -> str:
    """The checksum of the parts' checksums, with ``-`` and their number."""
    raise NotImplementedError
