"""Random numbers by counter: the value at an index is a pure function of (key, index), in any order, on any host.

The mixing function is SplitMix64's (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014), with the constants of Stafford's variant 13, applied to arrays.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["below", "derive", "mix", "uniform", "words"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_S27, _S30, _S31, _S32, _S11 = (np.uint64(shift) for shift in (27, 30, 31, 32, 11))


def derive(seed: int, *path: str | int) -> int:
    """A key of 64 bits for one purpose of a run: ``derive(seed, "sizes", 3)``. Different paths are independent."""
    text = "\0".join((str(seed), *(f"{type(part).__name__}:{part}" for part in path)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64 bits that leaves no visible order."""
    values = (values ^ (values >> _S30)) * _FIRST
    values = (values ^ (values >> _S27)) * _SECOND
    return values ^ (values >> _S31)


def words(key: int, indices: NDArray[np.int64], stream: int = 0) -> NDArray[np.uint64]:
    """64 random bits per index. ``stream`` tells apart several draws for one index."""
    start = np.uint64((key + stream * 0xD1342543DE82EF95) & 0xFFFFFFFFFFFFFFFF)
    # Mixed twice: the state of SplitMix64 is linear in the index, and keys may be close.
    return mix(mix(start + indices.astype(np.uint64) * _GOLDEN) ^ start)


def uniform(key: int, indices: NDArray[np.int64], stream: int = 0) -> NDArray[np.float64]:
    """Random numbers in [0, 1) of 53 bits, one per index."""
    return (words(key, indices, stream) >> _S11).astype(np.float64) * 2.0**-53


def below(bits: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """Whole numbers in [0, bound) from 64 random bits each, the high half of their product.

    No value is favoured by more than ``bound`` in 2**64.
    """
    wide = np.uint64(bound)
    low_product = (bits & _LOW) * (wide & _LOW)
    cross = (bits >> _S32) * (wide & _LOW) + (low_product >> _S32)
    other = (bits & _LOW) * (wide >> _S32) + (cross & _LOW)
    high: NDArray[np.uint64] = (bits >> _S32) * (wide >> _S32) + (cross >> _S32) + (other >> _S32)
    return high.astype(np.int64)
