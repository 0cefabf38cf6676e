"""Memory that the parent of a pool and its workers share: places for blocks of text, and the words they exchange."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np

from penstock.analysis.accumulating import Limits
from penstock.analysis.pairs import Array
from penstock.analysis.values import Selection
from penstock.oplog.cells import ROOM, Text, fill
from penstock.oplog.columnar import BLOCK
from penstock.oplog.source import Piece

__all__ = ["CAPACITY", "Bad", "Done", "Failed", "Share", "Start", "Work", "make_memory"]

#: Bytes of the longest block that a place holds. Most are a little more than BLOCK.
CAPACITY: Final = BLOCK * 3 // 2
_PLACE: Final = CAPACITY + 2 * ROOM


@attrs.frozen(slots=True)
class Start:
    """The first word to a worker."""

    places: int
    selection: Selection
    limits: Limits | None


@attrs.frozen(slots=True)
class Work:
    """A block of a log, ``size`` bytes in a place; its rows have these columns. Rows may be bad or not."""

    number: int
    place: int
    size: int
    log: int
    columns: tuple[str, ...]
    skip_bad_rows: bool


@attrs.frozen(slots=True)
class Done:
    """What became of a block. ``bad`` is its first bad row, if that matters."""

    number: int
    place: int
    lines: int
    bad_rows: int
    bad: Bad | None = None


@attrs.frozen(slots=True)
class Bad:
    """A bad row: its line within the block, from 1 on, and what is wrong."""

    line: int
    text: str


@attrs.frozen(slots=True)
class Failed:
    """A block that only somebody who reads the log from its beginning can make something of."""

    number: int


class Share:
    """Places in memory that a file descriptor stands for."""

    def __init__(self, descriptor: int, places: int) -> None:
        self._memory = mmap.mmap(descriptor, places * _PLACE)
        self._codes: Array = np.frombuffer(self._memory, np.uint8)

    def put(self, place: int, pieces: Sequence[Piece]) -> None:
        """Copy a block to a place."""
        fill(self._codes, place * _PLACE + ROOM, pieces)

    def text(self, place: int, size: int) -> Text:
        """The block that is there."""
        codes = self._codes[place * _PLACE : (place + 1) * _PLACE]
        return Text(codes, ROOM, ROOM + size)


def make_memory(places: int) -> int:
    """A descriptor of memory for as many places, without a name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("penstock-blocks")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, places * _PLACE)
    return descriptor
