"""CRC-32C of bytes that come in pieces, in order or not: pieces are summed where they are, and then combined."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from penstock.payloads.checksums import crc32c

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Summed", "combine", "crc32c", "hex_of"]

#: Castagnoli's polynomial, bits reversed, as RFC 3720 has it.
_POLYNOMIAL: Final = 0x82F63B78
_ONE: Final = 1 << 31


def hex_of(value: int) -> str:
    """A CRC-32C as manifests have it: eight lower-case hexadecimal digits."""
    return f"{value:08x}"


def combine(first: int, second: int, length: int) -> int:
    """The CRC-32C of two pieces one after the other, by those of each; ``length`` is the second one's, in bytes."""
    return _multiply(_power(length), first) ^ second if first else second


class Summed:
    """The CRC-32C and the number of the bytes so far, and of those since the last :meth:`cut`."""

    __slots__ = ("_before", "_done", "_piece", "nbytes")

    def __init__(self) -> None:
        self._before = 0
        self._done = 0
        self._piece = 0
        self.nbytes = 0

    @property
    def value(self) -> int:
        """The CRC-32C of everything."""
        return combine(self._before, self._piece, self.nbytes - self._done)

    def update(self, data: Buffer) -> None:
        """Take more bytes, in a buffer of format ``B``."""
        self._piece = crc32c(data, self._piece)
        self.nbytes += memoryview(data).nbytes

    def cut(self) -> int:
        """The CRC-32C of what came since the last cut, which ends here."""
        piece = self._piece
        self._before = self.value
        self._done, self._piece = self.nbytes, 0
        return piece


@functools.lru_cache(maxsize=1024)
def _power(nbytes: int) -> int:
    """x to the power of 8 × ``nbytes``, modulo the polynomial: what moves a sum past so many bytes."""
    bits, result, square = 8 * nbytes, _ONE, _ONE >> 1
    while bits:
        if bits & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        bits >>= 1
    return result


def _multiply(one: int, other: int) -> int:
    """The product of two polynomials modulo the polynomial, bits reversed; ``one`` is not zero."""
    product, mask = 0, _ONE
    while True:
        if one & mask:
            product ^= other
            if not one & (mask - 1):
                return product
        mask >>= 1
        other = (other >> 1) ^ _POLYNOMIAL if other & 1 else other >> 1
