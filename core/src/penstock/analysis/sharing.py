"""Memory that the parent of a pool and its workers share: places for blocks of text, and the words they exchange."""

from __future__ import annotations

import mmap
import os
import tempfile

import attrs
import numpy as np

from penstock.analysis.accumulating import Limits
from penstock.analysis.pairs import Array
from penstock.analysis.values import Selection
from penstock.oplog.cells import Text
from penstock.oplog.columnar import PLACE

__all__ = ["Bad", "Done", "Failed", "Share", "Start", "Work", "make_memory"]


@attrs.frozen(slots=True)
class Start:
    """The first word to a worker."""

    places: int
    selection: Selection
    limits: Limits | None


@attrs.frozen(slots=True)
class Work:
    """A block of a log, from one byte of a place up to another; its rows have these columns. Rows may be bad or not."""

    number: int
    place: int
    begin: int
    end: int
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
        self._memory = mmap.mmap(descriptor, places * PLACE)
        self._codes: Array = np.frombuffer(self._memory, np.uint8)

    def room(self, place: int) -> Array:
        """The bytes of a place."""
        return self._codes[place * PLACE : (place + 1) * PLACE]

    def text(self, work: Work) -> Text:
        """The block that is there."""
        return Text(self.room(work.place), work.begin, work.end)


def make_memory(places: int) -> int:
    """A descriptor of memory for as many places, without a name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("penstock-blocks")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, places * PLACE)
    return descriptor
