"""What is done to the bytes that pass: of a read on their way to the sink, of a write before they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.buffers import aligned_buffer
from penstock.errors import StoreError
from penstock.layers.faults.plan import Corrupt, Torn, Truncate
from penstock.layers.faults.rules import Hit
from penstock.layers.forwarding import flat
from penstock.store import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Body", "EditedSink"]

_ROOM = 256 * 1024


class Body:
    """The changes of one body, which comes in pieces and in order. Offsets are the object's."""

    def __init__(self, hits: Sequence[Hit], previous: memoryview | None) -> None:
        """``previous`` is the object's older version, where there is one."""
        self._flips = [hit for hit in hits if isinstance(hit.effect, Corrupt)]
        self._torn = [hit for hit in hits if isinstance(hit.effect, Torn)] if previous is not None else []
        self._told: set[int] = set()
        self._previous = memoryview(b"") if previous is None else previous
        self._cuts = [hit for hit in hits if isinstance(hit.effect, Truncate)]

    def edits(self) -> bool:
        """Whether a piece may still be changed."""
        return bool(self._flips or self._torn)

    def edit(self, piece: memoryview, offset: int) -> None:
        """Change in place a piece that lies at ``offset``."""
        if not piece.nbytes:
            return
        for hit in self._torn:
            self._tear(piece, offset, hit)
        self._flips = [hit for hit in self._flips if not _flip(piece, offset, hit)]

    def kept(self, nbytes: int, moved: int) -> int:
        """How many of the next ``nbytes`` are kept, ``moved`` having gone before them."""
        for hit in self._cuts:
            assert isinstance(hit.effect, Truncate)
            room = max(hit.effect.at - moved, 0)
            if room < nbytes:
                nbytes = room
                self._tell(hit)
        return nbytes

    def _tear(self, piece: memoryview, offset: int, hit: Hit) -> None:
        assert isinstance(hit.effect, Torn)
        begin = max(offset, hit.effect.at)
        end = min(offset + piece.nbytes, self._previous.nbytes)
        if begin < end and piece[begin - offset : end - offset] != self._previous[begin:end]:
            piece[begin - offset : end - offset] = self._previous[begin:end]
            self._tell(hit)

    def _tell(self, hit: Hit) -> None:
        # Once for a body, in however many pieces it comes.
        if id(hit) not in self._told:
            self._told.add(id(hit))
            hit.done()


class EditedSink:
    """Forwards to a sink what a :class:`Body` makes of the bytes, and fails after ``fail_at`` of them."""

    def __init__(self, sink: Sink, body: Body, start: int, fail_at: int | None, fail: Callable[[], StoreError]) -> None:
        """``start`` is where in the object the read begins."""
        self._sink = sink
        self._body = body
        self._start = start
        self._fail_at = fail_at
        self._fail = fail
        self._room: memoryview | None = None
        self._own: memoryview | None = None
        self._seen = 0

    def write(self, data: Buffer, /) -> None:
        view = flat(data)
        if self._body.edits():
            view = memoryview(bytearray(view))
        self._body.edit(view, self._start + self._seen)
        taken = self._take(view.nbytes)
        if taken:
            self._sink.write(view[:taken])
        self._check()

    def reserve(self, nbytes: int, /) -> memoryview:
        # What is left away still needs room, which the sink may not have.
        if self._body.kept(1, self._seen) and self._fail_at != self._seen:
            self._room = self._sink.reserve(nbytes)
            return self._room
        if self._own is None:
            self._own = aligned_buffer(_ROOM)
        self._room = None
        return self._own

    def commit(self, nbytes: int, /) -> None:
        if self._room is not None:
            self._body.edit(self._room[:nbytes], self._start + self._seen)
            taken = self._take(nbytes)
            if taken:
                self._sink.commit(taken)
        else:
            self._take(nbytes)
        self._check()

    def finish(self) -> None:
        """The read has ended: fail now, if the body was too short to fail within."""
        if self._fail_at is not None:
            raise self._fail()

    def _take(self, nbytes: int) -> int:
        taken = self._body.kept(nbytes, self._seen)
        if self._fail_at is not None:
            taken = min(taken, self._fail_at - self._seen)
        self._seen += nbytes
        return taken

    def _check(self) -> None:
        if self._fail_at is not None and self._seen >= self._fail_at:
            raise self._fail()


def _flip(piece: memoryview, offset: int, hit: Hit) -> bool:
    assert isinstance(hit.effect, Corrupt)
    at = hit.effect.offset
    place = int(hit.draw(3) * piece.nbytes) if at is None else at - offset
    if not 0 <= place < piece.nbytes:
        return False
    piece[place] ^= (1 << hit.effect.bits) - 1
    hit.done()
    return True
