"""Telling whether bytes are what a payload makes, without keeping a copy: they are made again, piece by piece.

An object that is overwritten has several contents in its life. What a read delivered is one of them; or part of one
and part of another, a torn read; or none, a corrupt one. The last two are told apart by sectors of 512 bytes: each
must be one version's whole, and only the sector in which the read changes over may be two halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.buffers import aligned_buffer, equal
from penstock.payload import Payload

__all__ = ["Comparison", "Finding", "Version"]

#: Pieces of this size stay in the processor's cache from making to comparing.
_PIECE = 256 * 1024
_SECTOR = 512
#: So many bytes of a version don't come about by chance.
_CHANCE = 16


@attrs.frozen
class Version:
    """One content that an object has had: object ``obj`` of a payload. ``name`` says which, for people."""

    payload: Payload
    obj: int
    name: str = ""

    def make(self, room: memoryview, offset: int) -> None:
        """Overwrite ``room`` with the content from ``offset`` on."""
        self.payload.fill(room, obj=self.obj, offset=offset)


@attrs.frozen
class Finding:
    """What was read. ``version`` is the number of the version that it is, or begins as.

    A torn read goes on as version ``other`` from ``offset`` on. A corrupt one is no version from ``offset`` on.
    ``offset`` counts from the object's begin; one found by checksums may lie up to a chunk before the place.
    """

    kind: Literal["same", "torn", "corrupt"]
    version: int
    other: int = 0
    offset: int = 0


class Comparison:
    """Compares what a read delivers, in order, with the versions that its object has had.

    The first version is the one to be expected; the others are made only when it is not that. ``nbytes`` were taken.
    """

    __slots__ = ("_corrupt", "_current", "_offset", "_room", "_tear", "_versions", "nbytes")

    def __init__(self, versions: Sequence[Version], *, offset: int = 0, room: memoryview | None = None) -> None:
        """``offset`` is where in the object the read begins. ``room`` is scratch memory, for one comparison at a time;
        None: one's own.
        """
        self._versions = versions
        self._offset = offset
        self._room = aligned_buffer(_PIECE) if room is None else room
        self._current = 0
        self._tear: tuple[int, int, int] | None = None
        self._corrupt: int | None = None
        self.nbytes = 0

    def take(self, data: memoryview) -> None:
        """Compare the next bytes."""
        step = self._room.nbytes
        for begin in range(0, data.nbytes, step):
            piece = data[begin : begin + step]
            if self._corrupt is None and not self._is(self._current, piece):
                self._explain(piece)
            self.nbytes += piece.nbytes

    def finding(self) -> Finding:
        """What has been found so far."""
        if self._corrupt is not None:
            return Finding("corrupt", self._current, offset=self._corrupt)
        if self._tear is not None:
            return Finding("torn", *self._tear)
        return Finding("same", self._current)

    @property
    def _place(self) -> int:
        return self._offset + self.nbytes

    def _is(self, number: int, piece: memoryview) -> bool:
        room = self._room[: piece.nbytes]
        self._versions[number].make(room, self._place)
        return equal(piece, room)

    def _explain(self, piece: memoryview) -> None:
        """The piece is not the version so far."""
        for number in range(len(self._versions)):
            if number != self._current and self._is(number, piece):
                self._change(number, self._place)
                return
        same = [self._matches(number, piece) for number in range(len(self._versions))]
        begin = 0
        while begin < piece.nbytes and self._corrupt is None:
            end = min(begin + _SECTOR - (self._place + begin) % _SECTOR, piece.nbytes)
            self._explain_sector([each[begin:end] for each in same], self._place + begin)
            begin = end

    def _matches(self, number: int, piece: memoryview) -> NDArray[np.bool_]:
        room = self._room[: piece.nbytes]
        self._versions[number].make(room, self._place)
        matches: NDArray[np.bool_] = _array(piece) == _array(room)
        return matches

    def _explain_sector(self, same: Sequence[NDArray[np.bool_]], place: int) -> None:
        whole = [number for number, each in enumerate(same) if each.all()]
        if self._current in whole:
            return
        if whole:
            self._change(whole[0], place)
            return
        # How far the version so far goes, and from where on another does.
        before = int(np.argmin(same[self._current]))
        for number, each in enumerate(same):
            after = len(each) - int(np.argmin(each[::-1]))
            if number != self._current and after <= before and min(before, len(each) - after) >= _CHANCE:
                self._change(number, place + before)
                return
        self._corrupt = place + before

    def _change(self, number: int, place: int) -> None:
        """The read is version ``number`` from ``place`` on; so it may have been all along, where both are alike."""
        if self._tear is None and not self._alike(number, self._current, place):
            self._tear = self._current, number, place
        self._current = number

    def _alike(self, one: int, other: int, end: int) -> bool:
        for begin in range(self._offset, end, _PIECE):
            rooms = memoryview(bytearray(min(_PIECE, end - begin))), memoryview(bytearray(min(_PIECE, end - begin)))
            self._versions[one].make(rooms[0], begin)
            self._versions[other].make(rooms[1], begin)
            if not equal(*rooms):
                return False
        return True


def _array(view: memoryview) -> NDArray[np.uint8]:
    return np.frombuffer(view, dtype=np.uint8)
