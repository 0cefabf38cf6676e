"""Samples that are whole files: which requests a batch takes, and where the bytes land."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.errors import LengthMismatchError
from penstock_training.loading.arenas import Arenas
from penstock_training.loading.batches import Batch
from penstock_training.loading.landing import Landing
from penstock_training.loading.stores import Stores
from penstock_training.loading.table import FileTable

__all__ = ["SMALL", "Job", "Taker", "WholeFiles"]

Job = Callable[[], None]

#: Where samples differ in size each begins at a multiple of this, which suits every dtype.
_ALIGNED = 64

#: Bytes: reading a file of up to so many from the page cache is mostly calls, not copying.
SMALL = 128 * 1024


class Taker(Protocol):
    """Who takes what was read."""

    @property
    def takes_rows(self) -> bool:
        """Whether samples that are rows of an array need not be handed over one by one."""

    def is_stopped(self) -> bool:
        """Whether nobody wants anything any more."""

    def wants(self, batch: Batch, place: int, /) -> bool:
        """Whether this sample is still to be read."""

    def take(self, batch: Batch, place: int, data: object, /) -> None:
        """A sample is there."""

    def fail(self, batch: Batch, place: int, error: BaseException, /) -> None:
        """A sample could not be read."""

    def settle(self, batch: Batch, /) -> None:
        """A job of this batch has ended."""


class WholeFiles:
    """Plans and carries out the jobs of batches. Threads share it."""

    def __init__(
        self, files: FileTable, stores: Stores, arenas: Arenas, taker: Taker, *, part_size: int | None, lanes: int
    ) -> None:
        """Files of more than ``part_size`` bytes are read as ranges of that length, ``lanes`` of them at once; None:
        none are.
        """
        self._files = files
        self._sizes = files.sizes()
        self._stores = stores
        self._arenas = arenas
        self._taker = taker
        self._part_size = part_size
        self._lanes = lanes

    @property
    def has_parts(self) -> bool:
        """Whether any file is read in parts."""
        return self._part_size is not None and bool((self._sizes > self._part_size).any())

    def prepare(self, batch: Batch, numbers: NDArray[np.int64]) -> None:
        """Find out where the samples are to lie, and what memory that takes."""
        sizes = self._sizes[numbers]
        batch.sizes = sizes.tolist()
        batch.stacked = batch.sizes.count(batch.sizes[0]) == len(batch.sizes)
        if batch.stacked:
            # Side by side without gaps, so that all of them are an array.
            batch.room = batch.sizes[0] * len(batch.sizes)
            batch.offsets = list(range(0, batch.room, batch.sizes[0])) if batch.room else [0] * len(batch.sizes)
        else:
            steps = (sizes + _ALIGNED - 1) & -_ALIGNED
            ends = np.cumsum(steps)
            batch.offsets, batch.room = (ends - steps).tolist(), int(ends[-1])
        batch.nbytes = Arenas.capacity(batch.room)

    def jobs(self, batch: Batch, together: int) -> Iterator[Job]:
        """The jobs that read a batch, each up to ``together`` files, or a share of a file's parts."""
        batch.lay(self._arenas.lend(batch.room))
        limit, count = self._part_size, len(batch.sizes)
        if limit is None or max(batch.sizes) <= limit:
            for first in range(0, count, together):
                yield partial(self._read_files, batch, first, min(first + together, count))
            return
        first = 0
        for place, size in enumerate(batch.sizes):
            if first < place and (size > limit or place - first == together):
                yield partial(self._read_files, batch, first, place)
                first = place
            if size > limit:
                yield from self._part_jobs(batch, place)
                first = place + 1
        if first < count:
            yield partial(self._read_files, batch, first, count)

    @property
    def is_quick(self) -> bool:
        """Whether most files are small and lie in a store that reads such in bulk. Then one thread seldom waits, and
        several would mostly hand Python's lock to each other.
        """
        small = bool(len(self._sizes)) and float(self._sizes.mean()) <= SMALL
        return small and self._bulk() is not None

    def _bulk(self) -> Callable[[Sequence[str], Sequence[memoryview]], int] | None:
        """The store's way to read many files at once, where all are in one store that has it, for now."""
        if len(self._files.bases) > 1:
            return None
        found: Callable[[Sequence[str], Sequence[memoryview]], int] | None
        found = getattr(self._stores.of(0).raw, "fill_many", None)
        return found

    def _read_files(self, batch: Batch, first: int, end: int) -> None:
        taker, landing, place = self._taker, Landing(self._taker.is_stopped), first
        rows = taker.takes_rows and batch.stacked
        try:
            there = self._read_in_bulk(batch, first, end)
            for place in range(there if rows else first, end):
                if not taker.wants(batch, place):
                    break
                if place >= there:
                    file = batch.numbers[place]
                    landing.fill(self._stores.of(file).raw, self._files.key(file), batch.room_of(place))
                if not rows:
                    self._hand_over(batch, place)
        except BaseException as error:  # noqa: BLE001 - the consumer raises it
            taker.fail(batch, place, error)
        taker.settle(batch)

    def _read_in_bulk(self, batch: Batch, first: int, end: int) -> int:
        """Read files from place ``first`` on while that can be done in bulk; the place of the next one."""
        bulk = self._bulk()
        if bulk is None or max(batch.sizes[first:end]) > SMALL or not self._taker.wants(batch, first):
            return first
        rooms = [batch.room_of(place) for place in range(first, end)]
        return first + bulk(self._files.keys(batch.numbers[first:end]), rooms)

    def _hand_over(self, batch: Batch, place: int) -> None:
        if batch.root is not None:
            offset = batch.offsets[place]
            self._taker.take(batch, place, batch.root[offset : offset + batch.sizes[place]])

    def _part_jobs(self, batch: Batch, place: int) -> Iterator[Job]:
        assert self._part_size is not None
        parts = _Parts(batch.sizes[place], self._part_size, self._lanes)
        for _ in range(parts.lanes):
            yield partial(self._read_parts, batch, place, parts)

    def _read_parts(self, batch: Batch, place: int, parts: _Parts) -> None:
        taker, landing = self._taker, Landing(self._taker.is_stopped)
        file, begin = batch.numbers[place], batch.offsets[place]
        try:
            store, key = self._stores.of(file).raw, self._files.key(file)
            while taker.wants(batch, place) and (part := parts.next()) is not None:
                start, length = part
                room = batch.view[begin + start : begin + start + length]
                info = landing.fill(store, key, room, start=start, whole=False)
                parts.arrived(info.size, info.etag)
            if parts.is_last() and taker.wants(batch, place):
                if not parts.same:
                    # Its parts are not known to be of one version: read it as it is now, in one piece.
                    landing.fill(store, key, batch.view[begin : begin + batch.sizes[place]])
                elif parts.size != batch.sizes[place]:
                    raise LengthMismatchError(
                        f"{parts.size} bytes where {batch.sizes[place]} were listed; list anew where files change",
                        operation="get",
                    )
                self._hand_over(batch, place)
        except BaseException as error:  # noqa: BLE001 - the consumer raises it
            taker.fail(batch, place, error)
        taker.settle(batch)


class _Parts:
    """The ranges of one file, which several threads take one after another."""

    def __init__(self, size: int, part_size: int, lanes: int) -> None:
        self._size = size
        self._part_size = part_size
        self._next = 0
        self._lock = threading.Lock()
        self._found: set[tuple[int, str | None]] = set()
        self.lanes = self._left = min(lanes, -(-size // part_size))

    def next(self) -> tuple[int, int] | None:
        """The start and the length of the next range; None after the last."""
        with self._lock:
            start = self._next
            self._next += self._part_size
        return (start, min(self._part_size, self._size - start)) if start < self._size else None

    def arrived(self, size: int, etag: str | None) -> None:
        """A range is there, of an object of this size and etag."""
        with self._lock:
            self._found.add((size, etag))

    def is_last(self) -> bool:
        """Whether the thread that asks is the last one to end its work."""
        with self._lock:
            self._left -= 1
            return not self._left

    @property
    def same(self) -> bool:
        """Whether all ranges are known to be of one version."""
        return len(self._found) == 1 and all(etag is not None for _, etag in self._found)

    @property
    def size(self) -> int:
        """The size of the object, where all ranges are of one."""
        return next(iter(self._found))[0]
