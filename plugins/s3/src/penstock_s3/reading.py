"""Ranges: what to ask for, what came, and sinks that take just a part or look at what they take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from penstock.errors import ChecksumMismatchError, StoreConnectionError, UsageError
from penstock.http import Answer
from penstock.store import Sink
from penstock_s3.checksums import Running
from penstock_s3.facts import checksum_text

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Checked", "Enough", "Window", "range_line", "size_of_range", "size_of_refused"]

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z")
_REFUSED = re.compile(r"bytes \*/(\d{1,19})\Z")
_SKIP = 64 * 1024


class Enough(Exception):  # noqa: N818  (no error: it ends a read early)
    """A window has all it wants."""


def range_line(start: int, length: int | None) -> bytes:
    """The line that asks for ``length`` bytes from ``start``; ``length`` is not 0."""
    if start < 0 or (length is not None and length < 0):
        raise UsageError(f"a range of {length} bytes from {start}: neither is negative")
    if length is None:
        return b"range: bytes=%d-\r\n" % start
    return b"range: bytes=%d-%d\r\n" % (start, start + length - 1)


def size_of_range(answer: Answer, start: int, length: int | None) -> int:
    """The size of the object in an answer 206. Raises StoreConnectionError for a range that was not asked for."""
    text = answer.header("content-range") or ""
    match = _RANGE.match(text)
    if match is None:
        raise StoreConnectionError(f"the service answers a range with {text[:60]!r}")
    first, last, size = map(int, match.groups())
    end = size if length is None else min(size, start + length)
    if (first, last + 1) != (start, end) or answer.length not in (None, end - start):
        raise StoreConnectionError(f"the service answers with other bytes than were asked for: {text}")
    return size


def size_of_refused(answer: Answer) -> int | None:
    """The size of the object in an answer 416, if its head tells."""
    match = _REFUSED.match(answer.header("content-range") or "")
    return int(match[1]) if match else None


class Window:
    """Passes a part of a whole object to a sink: for services that answer a range with everything.

    Raises Enough, once the part is there, to end the read.
    """

    def __init__(self, sink: Sink, start: int, length: int) -> None:
        self._sink = sink
        self._skip = start
        self._left = length
        self._scratch: memoryview | None = None

    def write(self, data: Buffer, /) -> None:
        view = memoryview(data).cast("B")
        skipped = min(self._skip, view.nbytes)
        self._skip -= skipped
        wanted = view[skipped : skipped + self._left]
        if wanted.nbytes:
            self._sink.write(wanted)
            self._left -= wanted.nbytes
        self._end()

    def reserve(self, nbytes: int, /) -> memoryview:
        if not self._skip:
            self._scratch = None
            return self._sink.reserve(min(nbytes, self._left))[: self._left]
        self._scratch = memoryview(bytearray(min(nbytes, _SKIP)))
        return self._scratch

    def commit(self, nbytes: int, /) -> None:
        if self._scratch is not None:
            self.write(self._scratch[:nbytes])
            return
        self._sink.commit(nbytes)
        self._left -= nbytes
        self._end()

    def _end(self) -> None:
        if not self._left:
            raise Enough


class Checked:
    """Computes the checksum of what passes to a sink."""

    def __init__(self, sink: Sink, stored: str) -> None:
        """``stored`` is as ObjectInfo has it."""
        algorithm = stored.partition(":")[0]
        self._stored = stored
        self._algorithm = algorithm
        self._running = Running(algorithm)  # type: ignore[arg-type]
        self._sink = sink
        self._room = memoryview(b"")

    @staticmethod
    def can(stored: str | None) -> bool:
        """Whether the bytes can be compared with a checksum: not with one of parts, or one unknown here."""
        algorithm, _, value = (stored or "").partition(":")
        return algorithm in ("crc32", "crc32c", "crc64nvme", "sha256") and "-" not in value

    def write(self, data: Buffer, /) -> None:
        self._running.update(data)
        self._sink.write(data)

    def reserve(self, nbytes: int, /) -> memoryview:
        self._room = self._sink.reserve(nbytes)
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self._running.update(self._room[:nbytes])
        self._sink.commit(nbytes)

    def verify(self) -> None:
        """Raise ChecksumMismatchError unless all that passed has the stored checksum."""
        found = checksum_text(self._algorithm, self._running.value())
        if found != self._stored:
            raise ChecksumMismatchError(f"the object's checksum is {self._stored}, that of the bytes read {found}")
