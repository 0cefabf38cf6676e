"""Reading many ranges of many objects: planned as a whole, coalesced, several at once, straight to where they go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

import penstock
from penstock.buffers import aligned_buffer
from penstock.errors import LengthMismatchError, PreconditionFailedError
from penstock.samples.spans import cut, merge, together

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Request", "Want", "fetch", "plan"]

#: What a store may always ask of a sink at once, and how much is read beside its place to be copied there.
_ROOM = 64 * 1024
_WHOLE = 1 << 62


@attrs.frozen(slots=True, eq=False)
class Want:
    """The bytes ``[start, start + length)`` of an object, at least one.

    They are put ``into`` writable memory of that length where it is given and nobody else wants them too. ``done`` is
    called when they are all there, in the thread that brought the last of them: with the bytes, or with None when
    they went where they were wanted. ``size`` is what the object's size has to be, None: any.
    """

    start: int
    length: int
    done: Callable[[memoryview | None], None]
    into: memoryview | None = None
    size: int | None = None


class _Piece:
    """Bytes that are wanted, by one or by several whose wants overlap, and the memory that they go to."""

    def __init__(self, start: int, length: int, wants: Sequence[Want]) -> None:
        self.start = start
        self.length = length
        self._wants = wants
        self._left = length
        self._memory = wants[0].into if len(wants) == 1 else None
        self._staged = self._memory is None

    def room(self, offset: int, length: int) -> memoryview:
        """Where the bytes go; memory is taken when the first of them are about to come."""
        if self._memory is None:
            self._memory = aligned_buffer(self.length)
        return self._memory[offset : offset + length]

    def arrive(self, nbytes: int) -> bool:
        """Count what came; True when that was all."""
        self._left -= nbytes
        return not self._left

    def hand_over(self) -> None:
        """Tell who wanted it, and let the memory go."""
        memory, self._memory = self._memory, None
        for want in self._wants:
            begin = want.start - self.start
            want.done(memory[begin : begin + want.length] if self._staged and memory is not None else None)


@attrs.frozen(slots=True, eq=False)
class Request:
    """One read. ``parts`` are its pieces in order: the piece, the offset in it, the length; None for bytes unwanted."""

    key: str
    start: int
    length: int
    parts: tuple[tuple[_Piece | None, int, int], ...]
    size: int | None = None


def plan(wants: Mapping[str, Sequence[Want]], *, gap: int, most: int) -> list[Request]:
    """The reads that bring all that is wanted, by object.

    Wants with at most ``gap`` bytes between them are read together, in reads as equal as they can be, of at most
    ``most`` bytes, that do not mind where one want ends and the next begins. Each byte is read once.
    """
    requests = []
    for key, some in wants.items():
        pieces = _pieces(some)
        size = next((want.size for want in some if want.size is not None), None)
        joined = merge([(piece.start, piece.length) for piece in pieces], gap=gap, most=_WHOLE)
        members: list[list[_Piece]] = [[] for _ in joined.spans]
        for piece, (span, _) in zip(pieces, joined.places, strict=True):
            members[span].append(piece)
        for (start, length), those in zip(joined.spans, members, strict=True):
            bounds = cut(start, length, most)
            requests += [
                Request(key, *bound, tuple(part), size)
                for bound, part in zip(bounds, _parts(bounds, those), strict=True)
            ]
    return requests


def _pieces(wants: Sequence[Want]) -> list[_Piece]:
    """What is wanted, by place, no byte twice."""
    overlaid = merge([(want.start, want.length) for want in wants], gap=-1, most=_WHOLE)
    members: list[list[Want]] = [[] for _ in overlaid.spans]
    for want, (span, _) in zip(wants, overlaid.places, strict=True):
        members[span].append(want)
    return [_Piece(start, length, those) for (start, length), those in zip(overlaid.spans, members, strict=True)]


def _parts(bounds: Sequence[tuple[int, int]], pieces: Iterable[_Piece]) -> list[list[tuple[_Piece | None, int, int]]]:
    """Which pieces each read brings; neither reads nor pieces overlap, and both are in order."""
    parts: list[list[tuple[_Piece | None, int, int]]] = []
    rest = iter(pieces)
    piece = next(rest)
    for start, length in bounds:
        some: list[tuple[_Piece | None, int, int]] = []
        place, end = start, start + length
        while place < end:
            if place < piece.start:
                count = min(piece.start, end) - place
                some.append((None, 0, count))
            else:
                count = min(piece.start + piece.length, end) - place
                some.append((piece, place - piece.start, count))
            place += count
            if place == piece.start + piece.length:
                piece = next(rest, piece)
        parts.append(some)
    return parts


def fetch(store: penstock.Store, requests: Sequence[Request], *, in_flight: int) -> None:
    """Carry out the reads, at most ``in_flight`` at once. The first failure is raised when what had begun has ended.

    Raises PreconditionFailedError when an object is replaced meanwhile, LengthMismatchError when it has another size
    than it should, or the store delivers less than there is.
    """
    if requests:
        crew = _Crew(store, requests)
        together(crew.read, len(requests), in_flight)


class _Crew:
    def __init__(self, store: penstock.Store, requests: Sequence[Request]) -> None:
        self._store = store
        self._requests = requests
        self._lock = threading.Lock()
        self._etags: dict[str, str] = {}

    def read(self, number: int) -> None:
        request = self._requests[number]
        with self._lock:
            rooms = [piece.room(offset, count) if piece else count for piece, offset, count in request.parts]
            etag = self._etags.get(request.key)
        sink = _Scatter(rooms)
        info = self._store.raw.get(request.key, sink, start=request.start, length=request.length, if_match=etag)
        self._check(request, info, sink.nbytes)
        with self._lock:
            whole = [piece for piece, _, count in request.parts if piece and piece.arrive(count)]
        for piece in whole:
            piece.hand_over()

    def _check(self, request: Request, info: penstock.ObjectInfo, got: int) -> None:
        uri = self._store.uri + request.key
        if request.size is not None and info.size != request.size:
            raise LengthMismatchError(
                f"the checkpoint says {request.size} bytes and the object has {info.size}", uri=uri, operation="get"
            )
        if got != request.length:
            raise LengthMismatchError(f"{got} of {request.length} bytes were delivered", uri=uri, operation="get")
        if info.etag is None:
            return
        with self._lock:
            known = self._etags.setdefault(request.key, info.etag)
        if known != info.etag:
            raise PreconditionFailedError("the object was replaced while it was read", uri=uri, operation="get")


class _Scatter:
    """A sink over several pieces of memory, one after the other; a number stands for bytes that nobody wants.

    Long pieces are filled in place, of short ones several are read at once and copied.
    """

    def __init__(self, rooms: Sequence[memoryview | int]) -> None:
        self._rooms = list(reversed(rooms))
        self._scratch = memoryview(b"")
        self._direct = False
        self.nbytes = 0

    def write(self, data: Buffer, /) -> None:
        source = memoryview(data).cast("B")
        while source.nbytes:
            if not self._rooms:
                raise LengthMismatchError(f"{source.nbytes} bytes more than were asked for")
            room = self._rooms[-1]
            count = min(source.nbytes, room if isinstance(room, int) else room.nbytes)
            if not isinstance(room, int):
                room[:count] = source[:count]
            self._advance(count)
            source = source[count:]

    def reserve(self, nbytes: int, /) -> memoryview:
        if not self._rooms:
            raise LengthMismatchError(f"{nbytes} bytes more than were asked for")
        room = self._rooms[-1]
        self._direct = not isinstance(room, int) and room.nbytes >= min(nbytes, _ROOM)
        if not isinstance(room, int) and self._direct:
            return room
        if not self._scratch.nbytes:
            self._scratch = aligned_buffer(_ROOM)
        return self._scratch

    def commit(self, nbytes: int, /) -> None:
        if self._direct:
            self._advance(nbytes)
        else:
            self.write(self._scratch[:nbytes])

    def _advance(self, count: int) -> None:
        self.nbytes += count
        room = self._rooms.pop()
        if isinstance(room, int):
            if room > count:
                self._rooms.append(room - count)
        elif room.nbytes > count:
            self._rooms.append(room[count:])
