"""CRC-32C of what is read, against that of what was generated.

A checksum for each chunk of 64 KiB, not one for all: so the place of a difference is known, and parts of two versions
can be told from corruption. Those of generated content are kept, so that an object that is read again costs one pass
over its bytes.
"""

from __future__ import annotations

import functools
import importlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.payloads.comparing import Finding, Version

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CHUNK", "Checksums", "Summing", "crc32c"]

#: Bytes for which one checksum is kept.
CHUNK = 64 * 1024

#: Checksums that are kept: 4 bytes of each object's 64 KiB, so those of some tens of GiB.
_KEPT = 1_000_000
_NEEDS = (
    "verify: checksum needs CRC-32C, and no package that has it is installed: "
    "pip install 'penstock[checksum]', or write verify: content, which needs none"
)

Crc = Callable[["Buffer", int], int]


def crc32c(data: Buffer, before: int = 0) -> int:
    """The CRC-32C of ``data``, or of it after bytes whose CRC-32C is ``before``. Raises UsageError without a package
    that has it.
    """
    return _implementation()(data, before)


@functools.cache
def _implementation() -> Crc:
    """The fastest that is installed; all work without Python's lock and with the processor's own instruction."""
    for package, name in (("awscrt.checksums", "crc32c"), ("crc32c", "crc32c")):
        try:
            found: Crc = getattr(importlib.import_module(package), name)
        except ImportError:
            continue
        return found
    try:
        google: Any = importlib.import_module("google_crc32c")
    except ImportError:
        raise UsageError(_NEEDS) from None
    # It takes nothing but bytes.
    return lambda data, before: int(google.extend(before, bytes(data)))


class Checksums:
    """The checksums of generated content, made when they are asked for and kept while there is room. Any thread."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._count = 0
        self._known: OrderedDict[tuple[int, int, int, int], tuple[int, ...]] = OrderedDict()

    def of(self, version: Version, offset: int, nbytes: int, room: memoryview) -> tuple[int, ...]:
        """Those of ``nbytes`` from ``offset`` on, chunk by chunk. ``room`` is scratch memory of at least a chunk."""
        # Payloads live as long as the run that asks for their checksums.
        key = id(version.payload), version.obj, offset, nbytes
        known = self._known.get(key)
        if known is None:
            known = tuple(_made(version, offset, nbytes, room))
            self._known[key] = known
            self._count += len(known)
            while self._count > self._kept and len(self._known) > 1:
                try:
                    self._count -= len(self._known.popitem(last=False)[1])
                except KeyError:
                    # Another thread has taken the last one.
                    break
        return known


def _made(version: Version, offset: int, nbytes: int, room: memoryview) -> Sequence[int]:
    sums = []
    for begin in range(0, nbytes, CHUNK):
        chunk = room[: min(CHUNK, nbytes - begin)]
        version.make(chunk, offset + begin)
        sums.append(crc32c(chunk))
    return sums


class Summing:
    """As :class:`~penstock.payloads.comparing.Comparison`, by checksums."""

    __slots__ = ("_crc", "_offset", "_open", "_room", "_store", "_sums", "_versions", "nbytes")

    def __init__(self, versions: Sequence[Version], store: Checksums, room: memoryview, *, offset: int = 0) -> None:
        self._versions = versions
        self._store = store
        self._room = room
        self._offset = offset
        self._sums: list[int] = []
        self._crc = 0
        self._open = 0
        self.nbytes = 0

    def take(self, data: memoryview) -> None:
        """Sum up the next bytes."""
        position = 0
        while position < data.nbytes:
            nbytes = min(CHUNK - self._open, data.nbytes - position)
            self._crc = crc32c(data[position : position + nbytes], self._crc)
            position += nbytes
            self._open += nbytes
            if self._open == CHUNK:
                self._sums.append(self._crc)
                self._crc = self._open = 0
        self.nbytes += data.nbytes

    def finding(self) -> Finding:
        """What has been found; called once, at the end."""
        if self._open:
            self._sums.append(self._crc)
            self._open = 0
        got = tuple(self._sums)
        expected = self._expected(0)
        if got == expected:
            return Finding("same", 0)
        others = [self._expected(number) for number in range(1, len(self._versions))]
        if got in others:
            return Finding("same", others.index(got) + 1)
        return self._explain(got, [expected, *others])

    def _expected(self, number: int) -> tuple[int, ...]:
        return self._store.of(self._versions[number], self._offset, self.nbytes, self._room)

    def _explain(self, got: tuple[int, ...], versions: Sequence[tuple[int, ...]]) -> Finding:
        """Chunks of one version, then of another, with at most one between them in which it changes: torn."""
        heads = [_same(got, each) for each in versions]
        tails = [_same(got[::-1], each[::-1]) for each in versions]
        first = max(range(len(versions)), key=heads.__getitem__)
        offset = self._offset + heads[first] * CHUNK
        for number, tail in enumerate(tails):
            if number != first and heads[first] and tail and heads[first] + tail >= len(got) - 1:
                return Finding("torn", first, number, offset)
        return Finding("corrupt", first, offset=offset)


def _same(got: Sequence[int], expected: Sequence[int]) -> int:
    return next((place for place, (one, other) in enumerate(zip(got, expected, strict=True)) if one != other), len(got))
