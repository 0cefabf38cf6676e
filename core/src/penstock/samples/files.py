"""An object in a store as a file that answers ranges."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from penstock.buffers import aligned_buffer
from penstock.errors import LengthMismatchError, PreconditionFailedError, UsageError
from penstock.formats import check_range
from penstock.samples.spans import cut, merge, together
from penstock.sinks import Collect, Into
from penstock.store import ObjectInfo, ObjectStore

__all__ = ["StoreFile"]

_MIB = 1024 * 1024
_EMPTY = memoryview(b"")


class StoreFile:
    """A :class:`~penstock.formats.RangeReader` over one version of one object. Threads share it.

    Ranges of one :meth:`read_many` with at most ``merge_gap`` bytes between them are one request, as long as that
    asks for at most ``part_size`` bytes; longer ranges are fetched in equal parts of at most that. At most
    ``in_flight`` requests are under way at once, of all threads together. Answers are writable memory of their own,
    ranges of one request share it: what stays held beyond a range is at most the ``part_size`` bytes around it.

    The version is the one that ``info`` tells of, or else the one met first: every request asks for its etag, so a
    file that is replaced while it is read raises PreconditionFailedError, and bytes of two versions never mix. Where
    the store has no etags, another size or time of change is noticed.

    Nothing is asked before it is needed. Without ``info`` the first range learns the size; asking for :attr:`size`
    before any range costs one ``stat``.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        info: ObjectInfo | None = None,
        *,
        merge_gap: int = 64 * 1024,
        part_size: int = 8 * _MIB,
        in_flight: int = 8,
        uri: str = "",
    ) -> None:
        """``store`` has the nine methods; it stays open and is the caller's. ``uri`` is what errors name, or the key.

        Sizes are bytes.
        """
        if merge_gap < 0 or part_size < 1 or in_flight < 1:
            raise UsageError("merge_gap is at least 0, part_size and in_flight are at least 1")
        self._store = store
        self._key = key
        self._info = info
        self._gap = merge_gap
        self._part_size = part_size
        self._in_flight = in_flight
        self._slots = threading.BoundedSemaphore(in_flight)
        self._lock = threading.Lock()
        self.uri = uri or key

    @property
    def info(self) -> ObjectInfo:
        """What the store says of the version that is read."""
        if self._info is None:
            with self._lock:
                if self._info is None:
                    self._info = self._store.stat(self._key)
        return self._info

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.info.size

    def read(self, start: int, length: int, /) -> memoryview:
        """The bytes ``[start, start + length)``. Raises FormatError where the file ends before."""
        if self._info is None and 0 < length <= self._part_size and start >= 0:
            first = self._first(start, length)
            if first is not None:
                return first
        check_range(start, length, self.size)
        if not length:
            return _EMPTY
        room = aligned_buffer(length)
        self._fill([(start, room)])
        return room

    def read_many(self, ranges: Sequence[tuple[int, int]], /) -> Sequence[memoryview]:
        """Several ranges ``(start, length)``, in the order asked; they may overlap."""
        if len(ranges) == 1:
            return [self.read(*ranges[0])]
        size = self.size if ranges else 0
        for start, length in ranges:
            check_range(start, length, size)
        plan = merge(ranges, gap=self._gap, most=self._part_size)
        rooms = [aligned_buffer(length) for _, length in plan.spans]
        self._fill([(start, room) for (start, _), room in zip(plan.spans, rooms, strict=True)])
        return [
            rooms[span][offset : offset + length] if length else _EMPTY
            for (span, offset), (_, length) in zip(plan.places, ranges, strict=True)
        ]

    def read_into(self, start: int, room: memoryview, /) -> None:
        """Fill writable bytes with those from ``start`` on. Raises FormatError where the file ends before."""
        check_range(start, room.nbytes, self.size)
        if room.nbytes:
            self._fill([(start, room)])

    def _first(self, start: int, length: int) -> memoryview | None:
        """Read a range of whatever version there is, and keep to it. None where another thread was first."""
        with self._lock:
            if self._info is not None:
                return None
            # The store says how much there is before memory is taken for it.
            sink = Collect()
            with self._slots:
                self._info = self._store.get(self._key, sink, start=start, length=length)
        check_range(start, length, self._info.size)
        self._require(sink.nbytes, length)
        return sink.view()

    def _fill(self, rooms: Sequence[tuple[int, memoryview]]) -> None:
        parts = [
            (begin, room[begin - start : begin - start + length])
            for start, room in rooms
            for begin, length in cut(start, room.nbytes, self._part_size)
        ]
        together(lambda number: self._fetch(*parts[number]), len(parts), self._in_flight)

    def _fetch(self, start: int, room: memoryview) -> None:
        sink = Into(room)
        with self._slots:
            found = self._store.get(self._key, sink, start=start, length=room.nbytes, if_match=self.info.etag)
        self._keep_to(found)
        self._require(sink.nbytes, room.nbytes)

    def _keep_to(self, found: ObjectInfo) -> None:
        """Raise unless this is the version that is read."""
        with self._lock:
            if self._info is not None and not _same(self._info, found):
                raise PreconditionFailedError(
                    "the object was replaced while it was read", uri=self.uri, operation="get"
                )
            if self._info is None or self._info.etag is None:
                self._info = found  # a listing may know less than a read

    def _require(self, got: int, due: int) -> None:
        if got != due:
            raise LengthMismatchError(
                f"the store delivered {got} of {due} bytes and reported no failure", uri=self.uri, operation="get"
            )


def _same(one: ObjectInfo, other: ObjectInfo) -> bool:
    if one.size != other.size:
        return False
    if one.etag is not None and other.etag is not None:
        return one.etag == other.etag
    return one.modified_ns == other.modified_ns or None in (one.modified_ns, other.modified_ns)
