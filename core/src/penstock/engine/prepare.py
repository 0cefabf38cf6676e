"""Making what must exist before a run, and only what is missing, so that an interrupted preparation resumes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import attrs
import numpy as np

from penstock.buffers import aligned_buffer
from penstock.engine.grid import share
from penstock.engine.marks import Marks
from penstock.engine.sets import PreparedSet
from penstock.engine.sharing import found_between
from penstock.engine.steps import write_object
from penstock.engine.threads import work_through
from penstock.errors import ObjectNotFoundError, RunError, StoreError
from penstock.metering import describe_error
from penstock.store import ObjectStore

__all__ = ["Made", "Preparation", "Progress", "exists"]

_CHUNK = 256


@attrs.define
class Made:
    """Which objects of a set this worker made: index ``begin + i`` where ``i`` is marked."""

    prepared: PreparedSet
    begin: int
    marks: Marks

    def keys(self) -> Iterator[str]:
        """Their keys, the last ones first, so that directories come after those in them."""
        for place in self.marks.marked():
            yield self.prepared.objects.key(self.begin + place)


@attrs.define
class Progress:
    """Counts so far, of objects and bytes."""

    total: int = 0
    made: int = 0
    found: int = 0
    nbytes: int = 0
    failed: int = 0
    example: str = ""

    def to_message(self) -> dict[str, object]:
        """What JSON can hold."""
        return attrs.asdict(self)


@attrs.define(kw_only=True)
class Preparation:
    """One worker's share of the preparation: of each set the indices from rank/workers to (rank+1)/workers.

    A worker whose rank is not below ``workers`` has no share. With ``trees`` None it has the same share of
    directories, else all of them (True) or none.
    ``single`` and ``part_size`` are as for :class:`~penstock.engine.steps.Put`. More than ``max_errors`` failures
    (None: any number) end it at once; any failure ends it with RunError after everything was tried.

    It may be run several times; each makes what is missing then, and from the second on ``wrote`` hears of each object
    that was made, by the number of its store and its key.
    """

    sets: list[PreparedSet]
    stores: list[ObjectStore]
    rank: int
    workers: int
    threads: int
    force: bool
    max_errors: int | None
    single: int
    part_size: int
    stopping: Callable[[], bool]
    wrote: Callable[[int, str], None] | None = None
    trees: bool | None = None
    _made: dict[int, Made] = attrs.field(factory=dict, init=False)
    _standing: dict[int, Marks] = attrs.field(factory=dict, init=False)
    progress: Progress = attrs.field(factory=Progress, init=False)
    _again: bool = attrs.field(default=False, init=False)
    _there: Marks = attrs.field(factory=lambda: Marks(0), init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def survey(self) -> None:
        """Note which directories are there, before any worker makes one: objects bring theirs with them."""
        for number, prepared in enumerate(self.sets):
            if prepared.payload is None:
                begin, end = self._range(prepared)
                store, objects = self.stores[prepared.store], prepared.objects
                root = objects.names.base
                fresh = store.capabilities.directories and bool(root) and not exists(store, root)
                standing = self._standing[number] = Marks(end - begin)
                for index in range(begin, end) if not fresh else ():
                    if exists(store, objects.key(index)):
                        standing.mark(index - begin)

    @property
    def made(self) -> list[Made]:
        """What it made of each set that it has come to."""
        return [self._made[number] for number in sorted(self._made)]

    def run(self, directories: bool | None = None) -> Iterator[Progress]:
        """Make what is missing, of ``directories`` alone (True), of objects alone, or of both; yields progress.

        Raises RunError when objects could not be made.
        """
        chosen = [
            number
            for number, prepared in enumerate(self.sets)
            if directories is None or directories == (prepared.payload is None)
        ]
        ranges = [self._range(self.sets[number]) for number in chosen]
        self.progress = Progress(total=sum(end - begin for begin, end in ranges))
        for number, (begin, end) in zip(chosen, ranges, strict=True):
            self._again = number in self._made
            made = self._made.setdefault(number, Made(self.sets[number], begin, Marks(end - begin)))
            for _ in self._present(number, made):
                yield self.progress
            chunks = itertools.takewhile(lambda _: not self.stopping(), self._there.unmarked(_CHUNK))
            for _ in work_through(chunks, self.threads, lambda made=made: self._maker(made)):  # type: ignore[misc]
                yield self.progress
            if self.progress.failed:
                raise RunError(
                    f"prepare: {self.progress.failed} objects could not be made, such as {self.progress.example}"
                )

    def _present(self, number: int, made: Made) -> Iterator[None]:
        """Find what of a set need not be made."""
        prepared, count = made.prepared, made.marks.count
        self._there = Marks(count)
        standing = [self._standing.get(number)]
        if prepared.payload is None and self._again:
            # Directories that it made stay until the cleanup.
            standing.append(made.marks)
        for marks in filter(None, standing):
            self._there.add(marks)
        self.progress.found += self._there.total()
        if prepared.payload is not None and (self._again or not self.force):
            yield from self._find(prepared, made.begin, self._there)

    def _range(self, prepared: PreparedSet) -> tuple[int, int]:
        if prepared.payload is None and self.trees is not None:
            return 0, prepared.objects.count if self.trees else 0
        count = prepared.objects.count if self.rank < self.workers else 0
        return share(count, self.rank, self.workers)

    def _find(self, prepared: PreparedSet, begin: int, present: Marks) -> Iterator[None]:
        """Note which objects are there with the right size."""
        objects, end = prepared.objects, begin + present.count
        for indices, sizes in found_between(self.stores[prepared.store], objects.names, begin, end):
            right = objects.sizes(indices) == sizes
            present.mark_all(indices[right] - begin)
            self.progress.found += int(right.sum())
            yield
            if self.stopping():
                return

    def _maker(self, made: Made) -> Callable[[list[int]], None]:
        prepared = made.prepared
        store = self.stores[prepared.store]
        room = aligned_buffer(0)

        def make(places: list[int]) -> None:
            nonlocal room
            indices = made.begin + np.array(places, dtype=np.int64)
            sizes = prepared.objects.sizes(indices).tolist()
            need = min(max(sizes), max(self.single, self.part_size))
            if need > room.nbytes:
                room = aligned_buffer(need)
            for place, size in zip(places, sizes, strict=True):
                if self.stopping():
                    return
                self._make_one(store, made, place, size, room)

        return make

    def _make_one(self, store: ObjectStore, made: Made, place: int, size: int, room: memoryview) -> None:
        prepared, index = made.prepared, made.begin + place
        key = prepared.objects.key(index)
        try:
            if prepared.payload is None:
                store.put(key, b"")
            else:
                number = prepared.number(index)
                write_object(store, key, prepared.payload, number, size, room, self.single, self.part_size)
        except StoreError as error:
            self._note_failure(key, error)
            return
        if self._again and self.wrote is not None and prepared.payload is not None:
            self.wrote(prepared.store, key)
        with self._lock:
            made.marks.mark(place)
            self.progress.made += 1
            self.progress.nbytes += size

    def _note_failure(self, key: str, error: StoreError) -> None:
        with self._lock:
            self.progress.failed += 1
            self.progress.example = self.progress.example or f"{key}: {describe_error(error)}"
        if self.max_errors is not None and self.progress.failed > self.max_errors:
            raise RunError(f"prepare: more than {self.max_errors} objects failed, such as {self.progress.example}")


def exists(store: ObjectStore, key: str) -> bool:
    """Whether there is something of that key; what can't be known raises."""
    try:
        store.stat(key)
    except ObjectNotFoundError:
        return False
    return True
