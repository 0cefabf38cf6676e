"""What one worker makes before a replay, and deletes after it: its share of the names, by their hash."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator

import attrs

from penstock.buffers import aligned_buffer
from penstock.engine.cleanup import Cleanup
from penstock.engine.prepare import Progress
from penstock.engine.steps import write_object
from penstock.engine.threads import work_through
from penstock.errors import ObjectNotFoundError, PenstockError, RunError
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.metering import describe_error
from penstock.payload import Payload
from penstock.payloads.hashing import mix
from penstock.replay.catalogue import MADE, MISSING, STOOD, Catalogue, Name
from penstock.replay.planning import Planner, Task
from penstock.replay.roots import Roots
from penstock.replay.settings import Settings

__all__ = ["Objects"]

_BATCH = 64
#: Directories whose parents were noted already, so that each row costs one look-up.
_REMEMBERED = 100_000


@attrs.define(kw_only=True)
class Objects:
    """The preparation and the cleanup of one worker: ``rank`` of ``workers``, with ``threads`` threads.

    ``planner`` plans the whole log; it is used up. Worker 0 has all directories, for the deepest must go first.
    """

    settings: Settings
    planner: Planner
    roots: Roots
    payload: Payload
    run_id: str
    rank: int
    workers: int
    threads: int
    stopping: Callable[[], bool]
    progress: Progress = attrs.field(factory=Progress, init=False)
    #: Objects that are there, but smaller than what the log reads of them.
    smaller: int = attrs.field(default=0, init=False)
    #: Objects of which the log tells no size, so that they were made empty.
    sizeless: int = attrs.field(default=0, init=False)
    _catalogue: Catalogue = attrs.field(factory=Catalogue, init=False)
    _directories: dict[tuple[int, str], bool] = attrs.field(factory=dict, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def prepare(self) -> Iterator[Progress]:
        """Find what is there, and make what is missing; yields progress. Raises RunError when something can't be made,
        and what the planner raises.
        """
        for _ in self._catalogue.note(self._mine()):
            yield self.progress
        if self.settings.cleanup:
            yield from self._each("touched", self._look)
            if self.rank == 0:
                self._look_at_directories()
        if self.settings.prepare:
            yield from self._each(f"wanted and state in (0, {MISSING})", self._make)
        if self.progress.failed:
            what = "made" if self.settings.prepare else "looked for"
            raise RunError(
                f"prepare: {self.progress.failed} objects could not be {what}, such as {self.progress.example}"
            )

    def cleanup(self, *, directories: bool) -> Iterator[Progress]:
        """Delete what this replay made and nothing else; yields progress.

        That is what was missing before, as far as the preparation came, and the log writes or reads.
        """
        total = Progress()
        for number in range(len(self.roots.endpoints)):
            work = Cleanup(Retrying(self.roots.store(number), RetryPolicy()), self.threads)
            for progress in work.run_directories(self._made(number)) if directories else work.run(self._keys(number)):
                yield attrs.evolve(total, made=total.made + progress.made, failed=total.failed + progress.failed)
            total.made += work.progress.made
            total.failed += work.progress.failed
            total.example = total.example or work.progress.example
        yield total

    def _mine(self) -> Iterator[Task]:
        for task in self.planner.tasks():
            if self.stopping():
                return
            if self.settings.cleanup and self.rank == 0 and self.roots.local(task.store):
                self._note_directories(task)
            if zlib.crc32(task.key.encode(errors="surrogatepass")) % self.workers == self.rank:
                yield task

    def _each(self, condition: str, work: Callable[[Name], int]) -> Iterator[Progress]:
        """Do something with each name of which a condition holds; what it returns is noted of the name, 0: nothing."""
        self.progress.total += self._catalogue.count(condition)

        def start() -> Callable[[list[Name]], None]:
            return lambda names: self._work(names, work)

        for _ in work_through(_batches(self._catalogue.names(condition)), self.threads, start):
            yield self.progress

    def _work(self, names: list[Name], work: Callable[[Name], int]) -> None:
        by_state: dict[int, list[Name]] = {}
        for name in names:
            if self.stopping():
                break
            try:
                by_state.setdefault(work(name), []).append(name)
            except PenstockError as error:
                with self._lock:
                    self.progress.failed += 1
                    self.progress.example = self.progress.example or f"{name.key}: {describe_error(error)}"
        for state, some in by_state.items():
            if state:
                self._catalogue.mark(some, state)

    def _look(self, name: Name) -> int:
        return MISSING if self._size(name) is None else STOOD

    def _make(self, name: Name) -> int:
        size = self._size(name)
        with self._lock:
            if size is not None:
                self.progress.found += 1
                self.smaller += size < name.size and not name.key.endswith("/")
                return STOOD
            self.sizeless += not name.size
        store = Retrying(self.roots.store(name.store), RetryPolicy())
        room = aligned_buffer(max(1, min(name.size, 1 << 20)))
        number = mix(int.from_bytes(self.run_id.encode(), "big"), -1, zlib.crc32(name.key.encode(errors="replace")))
        if name.key.endswith("/"):
            store.put(name.key, b"")
        elif name.size <= room.nbytes:
            write_object(store, name.key, self.payload, number, name.size, room, room.nbytes, 0)
        else:
            write_object(store, name.key, self.payload, number, name.size, room, -1, self.settings.part_size)
        with self._lock:
            self.progress.made += 1
            self.progress.nbytes += name.size
        return MADE

    def _size(self, name: Name) -> int | None:
        """The size of what is there; None when there is nothing."""
        try:
            return Retrying(self.roots.store(name.store), RetryPolicy()).stat(name.key).size
        except ObjectNotFoundError:
            return None

    def _keys(self, store: int) -> Iterator[str]:
        for name in self._catalogue.names(f"(state = {MADE} or (touched and state = {MISSING})) and store = {store}"):
            if not name.key.endswith("/"):
                yield name.key

    def _note_directories(self, task: Task) -> None:
        """Note the directories on the way to a name, which storage with real directories makes by itself."""
        segments = task.key.split("/")[:-1]
        for depth in range(len(segments), 0, -1):
            place = task.store, "/".join(segments[:depth]) + "/"
            if place in self._directories or len(self._directories) >= _REMEMBERED:
                return
            self._directories[place] = False

    def _look_at_directories(self) -> None:
        for store, key in self._directories:
            missing = self._size(Name(store, key, 0, wanted=False, touched=True)) is None
            self._directories[store, key] = missing

    def _made(self, number: int) -> Iterator[str]:
        """Directories that were missing before."""
        yield from (key for (store, key), missing in self._directories.items() if store == number and missing)
        for name in self._catalogue.names(f"touched and state = {MISSING} and store = {number}"):
            if name.key.endswith("/") and (number, name.key) not in self._directories:
                yield name.key


def _batches(names: Iterator[Name]) -> Iterator[list[Name]]:
    batch: list[Name] = []
    for name in names:
        batch.append(name)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
