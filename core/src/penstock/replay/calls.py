"""The operations of a log, as one lane carries them out on metered stores."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from penstock.buffers import aligned_buffer
from penstock.clocks import monotonic_ns
from penstock.engine.steps import write_object
from penstock.errors import PenstockError, StoreError
from penstock.metering import Metered, OneRecorder, describe_error
from penstock.payload import Payload
from penstock.payloads.hashing import mix
from penstock.records import Op, Recorder
from penstock.replay.offsets import Offsets
from penstock.replay.planning import MOST_NAMES, Task
from penstock.replay.roots import Roots
from penstock.sinks import Discard

__all__ = ["Calls", "Rooms", "StandIns"]

_SINK: Final = 256 * 1024
_SMALLEST: Final = 64 * 1024
_PAGE: Final = 1000
_LEAD: Final = 300_000


class Rooms:
    """Buffers for the bodies of puts, which go round among lanes: as many as there were puts at once."""

    def __init__(self) -> None:
        self._free: dict[int, deque[memoryview]] = {}

    def take(self, size: int) -> memoryview:
        """A buffer of at least that size; give it back."""
        room = max(1 << (size - 1).bit_length() if size > 1 else 1, _SMALLEST)
        free = self._free.setdefault(room, deque())
        try:
            return free.pop()
        except IndexError:
            return aligned_buffer(room)

    def give(self, room: memoryview) -> None:
        """Take a buffer back."""
        self._free[room.nbytes].append(room)


class StandIns:
    """Objects that copies are taken from where the log does not hold the source. They are made when first needed."""

    def __init__(self, roots: Roots, payload: Payload, name: str) -> None:
        """``name`` is part of theirs, so that no other worker has the same."""
        self._roots = roots
        self._payload = payload
        self._name = name
        self._lock = threading.Lock()
        self._keys: dict[tuple[int, int], str] = {}

    def key(self, store: int, beside: str, nbytes: int) -> str:
        """The key of a stand-in on a store, of a size that is a power of two or 0. Raises StoreError."""
        size = 1 << (nbytes - 1).bit_length() if nbytes > 1 else nbytes
        key = self._keys.get((store, size))
        if key is not None:
            return key
        with self._lock:
            if (store, size) not in self._keys:
                parent = beside.rpartition("/")[0]
                key = f"{parent}{'/' if parent else ''}penstock-replay-{self._name}-source-{size}"
                room = aligned_buffer(min(max(size, 1), 1 << 20))
                write_object(self._roots.store(store), key, self._payload, 0, size, room, room.nbytes, 8 << 20)
                self._keys[store, size] = key
            return self._keys[store, size]

    def remove(self) -> list[str]:
        """Delete all of them; returns what could not be deleted, as URIs."""
        left = []
        for (store, _), key in self._keys.items():
            try:
                failed = list(self._roots.store(store).delete([key]))
            except StoreError as error:
                failed = [error]
            if failed:
                left.append(f"{self._roots.uri(store, key)}: {describe_error(failed[0])}")
        return left


@attrs.define(eq=False)
class Calls:
    """Carries tasks out for one lane. ``odd`` counts what was not as recorded."""

    roots: Roots
    recorder: Recorder
    payload: Payload
    rooms: Rooms
    stand_ins: StandIns
    run_id: str
    multipart_above: int
    part_size: int
    offsets: Offsets = attrs.field(factory=lambda: Offsets(spread=True, salt=0))
    odd: Counter[str] = attrs.field(factory=Counter)
    _meters: dict[int, Metered] = attrs.field(factory=dict, init=False)
    _sink: Discard | None = attrs.field(default=None, init=False)
    _salt: int = attrs.field(default=0, init=False)
    _table: Mapping[int, Callable[[Metered, Task, memoryview | None], None]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._salt = mix(int.from_bytes(self.run_id.encode(), "big"))
        self._table = {
            Op.GET: self._get,
            Op.GET_RANGE: self._get_range,
            Op.PUT: self._put,
            Op.LIST: self._list,
            Op.STAT: lambda meter, task, body: _ignore(meter.stat(task.key)),
            Op.DELETE: lambda meter, task, body: _raise(meter.delete([task.key])),
            Op.DELETE_BATCH: self._delete_batch,
            Op.DELETE_PREFIX: self._delete_prefix,
            Op.COPY: self._copy,
            Op.MKDIR: lambda meter, task, body: _ignore(meter.put(_directory(task.key), b"")),
            Op.RMDIR: lambda meter, task, body: _raise(meter.delete([_directory(task.key)])),
        }

    def ready(self, task: Task) -> memoryview | None:
        """What can be made before the operation is due: its store, and the body of a put. Raises StoreError."""
        if task.op in self._table:
            self._meter(task.store)
        size = task.entry.nbytes
        if task.op != Op.PUT or size > self.multipart_above:
            return None
        room = self.rooms.take(size)
        self.payload.fill(room[:size], obj=mix(self._salt, task.number))
        return room

    def lead(self, task: Task) -> int:
        """How many nanoseconds :meth:`ready` may take; bodies are made shortly before they are due."""
        return task.entry.nbytes + _LEAD if task.op == Op.PUT and task.entry.nbytes > _SMALLEST else 0

    def refuse(self, task: Task, error: PenstockError, due: int) -> None:
        """Record an operation that could not even be begun."""
        now = monotonic_ns()
        self.recorder.add(task.op, task.key, now, 0, now, 0, 1, describe_error(error), task.store, due)

    def run(self, task: Task, body: memoryview | None, due: int) -> None:
        """Carry it out; ``due`` is in monotonic nanoseconds, 0 for whenever. Raises PenstockError when it failed."""
        if task.op not in self._table:
            self._container_call(task, due)
            return
        meter = self._meter(task.store)
        meter.due = due
        self._table[task.op](meter, task, body)

    def release(self, body: memoryview | None) -> None:
        """Give back what :meth:`ready` made."""
        if body is not None:
            self.rooms.give(body)

    def _meter(self, store: int) -> Metered:
        meter = self._meters.get(store)
        if meter is None:
            meter = Metered(self.roots.store(store), OneRecorder(self.recorder), store)
            self._meters[store] = meter
        return meter

    def _get(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        sink = self._discard()
        meter.get(task.key, sink)
        if sink.nbytes != task.entry.nbytes and not task.entry.failed:
            self.odd["other_size"] += 1

    def _get_range(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        entry, sink = task.entry, self._discard()
        length = entry.length if entry.length >= 0 else max(entry.nbytes, 1)
        start = entry.offset
        if start < 0:
            start = self.offsets.begin(task.store, task.key, task.number, length)
        try:
            info = meter.get(task.key, sink, start=start, length=length)
        except StoreError:
            self.offsets.learn(task.store, task.key, None)
            raise
        self.offsets.learn(task.store, task.key, info.size)
        if sink.nbytes != entry.nbytes and entry.nbytes and not entry.failed:
            self.odd["other_size"] += 1

    def _discard(self) -> Discard:
        if self._sink is None:
            self._sink = Discard(_SINK)
        self._sink.reset()
        return self._sink

    def _put(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        size = task.entry.nbytes
        if body is not None:
            meter.put(task.key, body[:size])
            self.offsets.learn(task.store, task.key, size)
            return
        room = self.rooms.take(min(self.part_size, 1 << 20))
        try:
            write_object(meter, task.key, self.payload, mix(self._salt, task.number), size, room, -1, self.part_size)
        finally:
            self.rooms.give(room)
        self.offsets.learn(task.store, task.key, size)

    def _list(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        found, wanted = 0, task.entry.n_objects
        pages = meter.list_pages(task.key, page_size=_PAGE)
        for page in pages:
            found += len(page.objects)
            if found >= wanted:
                break
        pages.close()  # type: ignore[attr-defined]

    def _delete_batch(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        names = min(task.entry.n_objects, MOST_NAMES)
        keys = [task.key, *(f"{task.key}~penstock-replay-{number}" for number in range(1, names))]
        _raise(meter.delete(keys))

    def _copy(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        source = task.source or self.stand_ins.key(task.store, task.key, task.entry.nbytes)
        self.offsets.learn(task.store, task.key, None)
        meter.copy(source, task.key)

    def _delete_prefix(self, meter: Metered, task: Task, body: memoryview | None) -> None:
        store, begin, gone = self.roots.store(task.store), monotonic_ns(), 0
        failure: BaseException | None = None
        try:
            for page in store.list_pages(task.key):
                keys = [info.key for info in page.objects]
                failed = store.delete(keys)
                gone += len(keys) - len(failed)
                _raise(failed)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._record(task, begin, gone, failure, meter.due)

    def _container_call(self, task: Task, due: int) -> None:
        service = self.roots.service(task.store)
        assert service is not None
        begin, failure = monotonic_ns(), None
        try:
            if task.op == Op.CREATE_CONTAINER:
                service.create_bucket()
            else:
                service.delete_bucket()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._record(task, begin, 1, failure, due)
            service.close()

    def _record(self, task: Task, begin: int, objects: int, failure: BaseException | None, due: int) -> None:
        text = describe_error(failure) if failure is not None else ""
        self.recorder.add(task.op, task.key, begin, 0, monotonic_ns(), 0, objects, text, task.store, due)


def _ignore(_: object) -> None:
    """Nothing is done with an answer."""


def _directory(key: str) -> str:
    return key if key.endswith("/") else f"{key}/"


def _raise(failures: Sequence[StoreError]) -> None:
    for failure in failures:
        raise failure
