"""Dedup and compress factors, put on top of any payload whose bytes are unique and incompressible.

Content is thought of in blocks of one mebibyte. A dedup factor N makes one block in N new, at equal distances; each
of the others repeats a new one before it, chosen at random. So the first n blocks hold exactly ⌈n/N⌉ different ones,
spread through the stream. Blocks are counted within each object, or through all objects with ``across``.

A compress factor N divides each block into units, and each unit into bytes of the payload, about one in N, and zeros.
What a compressor needs besides for each unit is taken off the payload's share: a little less for zstd, a little more
for LZ4, which pays a byte for each 255 zeros and so can't reach 255:1 at all. The unit is as small as that
allows, so that an object that ends within a unit is still about right. The first unit of an object carries less, for
the header that compressed data begins with.

From 4 KiB on, zstd at level 1 and LZ4 come within 5 % of a factor up to 12. Above it, an object of 4 KiB leaves so few
bytes that the 23 of a frame of LZ4 are more than the whole margin: then zstd and LZ4's blocks are within it at every
size, its frames from 1 MiB on. Above 20 the byte for each 255 zeros is: no content of that kind suits both, and zstd
comes out above the factor and LZ4 below by about equal parts (at 50 by some 10 %).

Everything stays a function of seed, object and offset.
"""

from __future__ import annotations

import math

import attrs
import numpy as np

from penstock.payload import Payload
from penstock.payloads.hashing import mix

__all__ = [
    "BLOCK",
    "EXACT_FACTOR",
    "FRAME_FACTOR",
    "LARGEST_COMPRESS_FACTOR",
    "Shaped",
    "limits_of",
    "shaped",
    "unit_of",
]

#: Bytes of what is repeated.
BLOCK = 1024 * 1024
#: Up to it zstd and LZ4, as blocks and as frames, are within 5 % of the factor, in objects from 4 KiB on.
FRAME_FACTOR = 12.0
#: Up to it zstd and LZ4's blocks are, in objects from 4 KiB on, and its frames from 1 MiB on.
EXACT_FACTOR = 20.0
#: Beyond it there would be no room for what makes objects differ.
LARGEST_COMPRESS_FACTOR = 100.0

#: Unit sizes, each with the largest factor that it is for.
_UNITS = ((2.5, 256), (5.0, 512), (8.0, 1024), (math.inf, 4096))
#: What one unit costs a compressor beyond its bytes, between zstd and LZ4: measured at level 1 of both.
_UNIT_COST = {256: 3.2, 512: 4.2, 1024: 5.8, 4096: 12.5}
#: What an object costs them beyond its units.
_OBJECT_COST = 22.6
#: What zstd alone makes of an object that is one unit of 4 KiB, beyond the bytes that it can't compress.
_ZSTD_COST = 20
#: By how much its ratio may be above the factor there.
_ZSTD_ABOVE = 1.04
#: Bytes that tell objects apart must be left in each unit.
_LEAST = 16
#: Fewer zeros than this no compressor finds.
_SHORTEST_RUN = 12
#: Units are made in batches of about so many bytes, which stay in the processor's cache.
_BATCH = 256 * 1024


@attrs.frozen
class _Unit:
    """``size`` bytes of which the first ``kept`` are the payload's; ``first`` of an object's first unit."""

    size: int
    kept: int
    first: int


def unit_of(factor: float) -> _Unit | None:
    """How content of a compress factor is laid out; None when all of it is the payload's."""
    size = next(size for largest, size in _UNITS if factor <= largest)
    kept = max(round(size / factor - _UNIT_COST[size]), _LEAST)
    if factor == 1 or size - kept < _SHORTEST_RUN:
        return None
    first = round(kept - _OBJECT_COST)
    if factor > FRAME_FACTOR:
        first = round(size / factor / _ZSTD_ABOVE) - _ZSTD_COST
    return _Unit(size, kept, max(min(first, kept), _LEAST))


def limits_of(factor: float) -> str:
    """Where, from 4 KiB on, compressors don't come within 5 % of a factor, and why, for people; empty: nowhere."""
    if factor <= FRAME_FACTOR:
        return ""
    if factor <= EXACT_FACTOR:
        return (
            f"compress_factor {factor:g}: in objects below 1 MiB frames of LZ4 come out lower, for their 23 bytes are "
            "more than 5 % of the little that is left; zstd and LZ4's blocks are within 5 % from 4 KiB on"
        )
    return (
        f"compress_factor {factor:g}: LZ4 pays a byte for each 255 that compress, and zstd next to none, so no content "
        f"suits both: zstd comes out up to {factor * 0.35:.0f} % above the factor and LZ4 below, its frames in small "
        f"objects most; up to {EXACT_FACTOR:g} zstd and LZ4's blocks are within 5 %"
    )


def shaped(
    payload: Payload, seed: int, *, dedup_factor: float = 1.0, compress_factor: float = 1.0, across: int = 0
) -> Payload:
    """The payload with these factors; itself when both are 1.

    ``across`` counts blocks for the dedup factor through all objects, whose numbers are 0, 1, 2, … and each of which
    has that many blocks (an object shorter than a block has one); 0: within each object.
    """
    for name, value in (("dedup_factor", dedup_factor), ("compress_factor", compress_factor)):
        if not 1 <= value < math.inf:
            raise ValueError(f"{name} {value:g}: it is a number from 1 on")
    if compress_factor > LARGEST_COMPRESS_FACTOR:
        raise ValueError(f"compress_factor {compress_factor:g}: it is at most {LARGEST_COMPRESS_FACTOR:g}")
    if dedup_factor == compress_factor == 1:
        return payload
    return Shaped(payload, seed, dedup_factor, unit_of(compress_factor), across)


class Shaped:
    """A :class:`~penstock.payload.Payload`; make one with :func:`shaped`."""

    def __init__(self, payload: Payload, seed: int, dedup_factor: float, unit: _Unit | None, across: int) -> None:
        self._payload = payload
        self._seed = seed
        self._dedup = dedup_factor
        self._unit = unit
        self._across = across

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Overwrite ``buffer`` with the bytes of object ``obj`` from ``offset`` on."""
        position = 0
        while position < buffer.nbytes:
            block, within = divmod(offset + position, BLOCK)
            nbytes = min(BLOCK - within, buffer.nbytes - position)
            source, number = self.source(obj, block)
            self._fill_block(buffer[position : position + nbytes], source, number, within)
            position += nbytes

    def source(self, obj: int, block: int) -> tuple[int, int]:
        """The object and block whose bytes a block of an object has: its own, or those that it repeats."""
        if self._dedup == 1:
            return obj, block
        if not self._across:
            return obj, self._earlier(block, obj)
        if block >= self._across:
            # The object is longer than was said: what is beyond has no place in the count.
            return obj, block
        return divmod(self._earlier(obj * self._across + block, 0), self._across)

    def _earlier(self, place: int, family: int) -> int:
        factor = self._dedup
        group = int(place / factor)
        if place == 0 or group != int((place - 1) / factor):
            return place
        chosen = mix(self._seed, family, place) % (group + 1)
        return _first_of(chosen, factor)

    def _fill_block(self, buffer: memoryview, obj: int, block: int, within: int) -> None:
        begin = block * BLOCK
        if self._unit is None:
            self._payload.fill(buffer, obj=obj, offset=begin + within)
            return
        unit = self._unit
        position = 0
        while position < buffer.nbytes:
            number, inside = divmod(within + position, unit.size)
            left = buffer.nbytes - position
            if inside or left < unit.size:
                nbytes = min(unit.size - inside, left)
                whole = bytearray(unit.size)
                self._fill_units(memoryview(whole), obj, begin, number)
                buffer[position : position + nbytes] = whole[inside : inside + nbytes]
            else:
                nbytes = min(left, max(_BATCH, unit.size)) // unit.size * unit.size
                self._fill_units(buffer[position : position + nbytes], obj, begin, number)
            position += nbytes

    def _fill_units(self, buffer: memoryview, obj: int, begin: int, number: int) -> None:
        """Fill whole units, of which the first is ``number`` of the block at ``begin``."""
        unit = self._unit
        assert unit is not None
        count = buffer.nbytes // unit.size
        packed = np.empty(count * unit.kept, dtype=np.uint8)
        self._payload.fill(packed.data, obj=obj, offset=begin + number * unit.kept)
        rows = np.frombuffer(buffer, dtype=np.uint8).reshape(count, unit.size)
        rows[:, : unit.kept] = packed.reshape(count, unit.kept)
        rows[:, unit.kept :] = 0
        if not begin and not number:
            rows[0, unit.first : unit.kept] = 0


def _first_of(group: int, factor: float) -> int:
    """The first place whose ``int(place / factor)`` is ``group``."""
    place = max(int(group * factor) - 1, 0)
    while int(place / factor) < group:
        place += 1
    return place
