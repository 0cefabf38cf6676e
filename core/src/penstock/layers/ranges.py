"""Large reads as several ranges at the same time, landing in one buffer, or in order where there is none.

The first range is as long as the threshold, so an object that is not longer costs one request; its answer tells the
size and the etag, and no HEAD is needed. What is left is cut into equal parts of at most ``part_size``, each asked
for with ``if_match``. A read takes ``1 + ceil(rest / part_size)`` requests.

Where the sink has room for all, as a buffer has, the parts land in it side by side. Otherwise they wait in memory,
at most ``memory`` bytes of it, and are delivered in order.

An object that changes under the read is never mixed with what it was. As long as nothing was delivered, which is
always so where the sink has room for all, the object as it is now is read in one plain request. Afterwards, and when
the caller gave ``if_match`` himself, the read raises PreconditionFailedError. A store that gives no etag is read in
plain requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from penstock.buffers import aligned_buffer
from penstock.errors import (
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.layers.behalf import Helpers
from penstock.layers.forwarding import Forwarding, flat
from penstock.scheduling import as_batch
from penstock.sinks import Into
from penstock.store import ObjectInfo, ObjectStore, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Ranged", "Ranges"]

_MIB = 1024 * 1024
#: Ranges at once, where the configuration does not say: of a store with real directories, and of a service.
_LOCAL, _REMOTE = 16, 32


def _at_least(least: int) -> Any:
    def check(_: object, field: attrs.Attribute[Any], value: int | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"{field.name} can't be {value}; write {least} or more")

    return check


@attrs.frozen(kw_only=True)
class Ranges:
    """How reads are split; sizes in bytes.

    Reads of at most ``threshold`` are one request. ``concurrency`` None: 16 ranges at once where the store has real
    directories, 32 elsewhere. ``memory`` is at least 1 MiB; where it is short, parts are smaller, then fewer. A part
    that breaks off within its body goes on where it stopped up to ``resumes`` times, each of them one more request.
    """

    threshold: int = attrs.field(default=16 * _MIB, validator=_at_least(1))
    part_size: int = attrs.field(default=64 * _MIB, validator=_at_least(1))
    concurrency: int | None = attrs.field(default=None, validator=_at_least(1))
    memory: int = attrs.field(default=256 * _MIB, validator=_at_least(_MIB))
    resumes: int = attrs.field(default=0, validator=_at_least(0))


class Ranged(Forwarding):
    """A store whose large reads go as ranges; see the module. It owns the store."""

    def __init__(
        self,
        store: ObjectStore,
        ranges: Ranges,
        *,
        base_uri: str = "",
        known: Callable[[str], ObjectInfo | None] | None = None,
    ) -> None:
        """``base_uri`` plus a key is the URI that errors name.

        ``known`` says what was heard of an object lately, size and etag; with it all ranges of a read begin at once.
        It may be wrong: then the object has another etag, and is read anew.
        """
        super().__init__(store)
        self.ranges = ranges
        self.base_uri = base_uri
        self.concurrency = ranges.concurrency or (_LOCAL if store.capabilities.directories else _REMOTE)
        self._known = known

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        if length is not None and length <= self.ranges.threshold:
            return self._store.get(key, sink, start=start, length=length, if_match=if_match)
        read = _Read(self, self._store, key, sink, start, length)
        try:
            known = self._known(key) if self._known is not None else None
            if known is not None and known.etag is not None and if_match in (None, known.etag) and read.is_long(known):
                return read.all(known)
            return read.first(if_match)
        except (PreconditionFailedError, ObjectNotFoundError):
            if if_match is not None or read.handed or not read.asked:
                raise
        return self._store.get(key, sink, start=start, length=length)


class _Read:
    """One read. ``handed``: the sink has taken bytes. ``asked``: an object was found that has changed since."""

    def __init__(self, owner: Ranged, store: ObjectStore, key: str, sink: Sink, start: int, length: int | None) -> None:
        self.owner = owner
        self.store = store
        self.key = key
        self.sink = sink
        self.start = start
        self.length = length
        self.held = _Held(sink)
        self.asked = False

    @property
    def handed(self) -> bool:
        return self.held.handed

    def first(self, if_match: str | None) -> ObjectInfo:
        """Ask for the first range, and for the others when its answer has come."""
        threshold = self.owner.ranges.threshold
        info = self._first_range(threshold, if_match)
        self.asked = True
        due = min(threshold, max(self._end(info) - self.start, 0))
        if self.held.nbytes != due:
            self._short(self.held.nbytes, due)
        return self._rest(info)

    def is_long(self, known: ObjectInfo) -> bool:
        """Whether there is more to read than one range."""
        return self._end(known) - self.start > self.owner.ranges.threshold

    def all(self, known: ObjectInfo) -> ObjectInfo:
        """Ask for every range at once."""
        self.asked = True
        return self._rest(known)

    def _first_range(self, threshold: int, if_match: str | None) -> ObjectInfo:
        resumes = self.owner.ranges.resumes
        while True:
            try:
                return self.store.get(self.key, self.held, start=self.start, length=threshold, if_match=if_match)
            except StoreError as error:
                if not (error.retryable and resumes and self.held.rewind()):
                    self.held.release()
                    raise
                resumes -= 1

    def _end(self, info: ObjectInfo) -> int:
        return info.size if self.length is None else min(info.size, self.start + self.length)

    def _rest(self, info: ObjectInfo) -> ObjectInfo:
        held, begin = self.held, self.start + self.held.nbytes
        rest = self._end(info) - begin
        if rest <= 0:
            held.release()
            return info
        if info.etag is None:
            return self._without_etag()
        room = held.room_for(rest)
        if room is not None:
            self._land(info, begin, room)
        else:
            self._pass_on(info, begin, rest)
        return info

    def _without_etag(self) -> ObjectInfo:
        if self.handed:
            raise UnsupportedOperationError(
                "the store gives no etag, by which ranges are known to be of one object; read without ranges",
                uri=self.owner.base_uri + self.key,
                operation="get",
            )
        return self.store.get(self.key, self.sink, start=self.start, length=self.length)

    def _land(self, info: ObjectInfo, begin: int, room: memoryview) -> None:
        """Fill the room with all parts at once, and hand it over when it is full."""
        sizes = _cut(room.nbytes, self.owner.ranges.part_size)
        offsets = [sum(sizes[:number]) for number in range(len(sizes))]

        def fetch(number: int) -> None:
            offset = offsets[number]
            self._fetch(info, begin + offset, room[offset : offset + sizes[number]])

        arrived = 0

        def arrive(number: int) -> None:
            nonlocal arrived
            arrived = offsets[number] + sizes[number]

        try:
            _Crew(len(sizes), fetch, ahead=len(sizes)).run(min(self.owner.concurrency, len(sizes)), arrive)
        except (PreconditionFailedError, ObjectNotFoundError):
            if self.handed:
                self.held.land(arrived)
            raise
        except BaseException:
            self.held.land(arrived)
            raise
        self.held.land(room.nbytes)

    def _pass_on(self, info: ObjectInfo, begin: int, rest: int) -> None:
        """Read ahead into memory of our own, and deliver in order."""
        ranges = self.owner.ranges
        most = min(ranges.part_size, max(ranges.memory // self.owner.concurrency, _MIB))
        sizes = _cut(rest, most)
        width = min(self.owner.concurrency, ranges.memory // most, len(sizes))
        rooms = [aligned_buffer(sizes[0]) for _ in range(width)]

        def room(number: int) -> memoryview:
            return rooms[number % width][: sizes[number]]

        def fetch(number: int) -> None:
            self._fetch(info, begin + sum(sizes[:number]), room(number))

        def deliver(number: int) -> None:
            self.held.handed = True
            self.sink.write(room(number))

        _Crew(len(sizes), fetch, ahead=width).run(width, deliver)

    def _fetch(self, info: ObjectInfo, position: int, room: memoryview) -> None:
        """Fill the room with the object's bytes from ``position`` on. Raises unless it is the very same object."""
        resumes = self.owner.ranges.resumes
        while True:
            into = Into(room)
            try:
                found = self.store.get(self.key, into, start=position, length=room.nbytes, if_match=info.etag)
                break
            except StoreError as error:
                # Without a byte there was no progress: whether to ask once more is for the layer that retries.
                if not (error.retryable and resumes and into.nbytes):
                    raise
            resumes -= 1
            position, room = position + into.nbytes, room[into.nbytes :]
            if not room.nbytes:
                return
        if found.size != info.size or found.etag not in (None, info.etag):
            raise PreconditionFailedError(
                "the object changed while it was read", uri=self.owner.base_uri + self.key, operation="get"
            )
        if into.nbytes != room.nbytes:
            self._short(into.nbytes, room.nbytes)

    def _short(self, got: int, due: int) -> None:
        raise LengthMismatchError(
            f"the store delivered {got} of {due} bytes and reported no failure",
            uri=self.owner.base_uri + self.key,
            operation="get",
        )


class _Held:
    """Keeps what the first range brings in the sink's own room, uncommitted, as long as one room is enough.

    ``nbytes`` came so far. ``handed``: bytes have gone to the sink for good.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._room: memoryview | None = None
        self._filled = 0
        self._loose = False
        self.nbytes = 0
        self.handed = False

    def write(self, data: Buffer, /) -> None:
        view = flat(data)
        if not view.nbytes:
            return
        room = self.reserve(view.nbytes)
        if self._loose:
            # Writing forgets the reservation, which may be too short.
            self._sink.write(view)
            self.nbytes += view.nbytes
            self.handed = True
        else:
            room[: view.nbytes] = view
            self.commit(view.nbytes)

    def reserve(self, nbytes: int, /) -> memoryview:
        if self._loose:
            return self._sink.reserve(nbytes)
        if self._room is None:
            self._room = self._sink.reserve(nbytes)
        left = self._room[self._filled :]
        if left.nbytes >= nbytes:
            return left
        if self._filled:
            self.release()
            return self._sink.reserve(nbytes)
        self._loose = True
        return left

    def commit(self, nbytes: int, /) -> None:
        if self._loose:
            self._sink.commit(nbytes)
            self.handed = True
        else:
            self._filled += nbytes
        self.nbytes += nbytes

    def rewind(self) -> bool:
        """Forget what came. False where it has gone to the sink already."""
        if self.handed:
            return False
        self.nbytes = self._filled = 0
        return True

    def release(self) -> None:
        """Let the sink have what came."""
        if self._filled:
            self._sink.commit(self._filled)
            self.handed = True
        self._filled, self._room, self._loose = 0, None, True

    def room_for(self, rest: int) -> memoryview | None:
        """Room for just ``rest`` bytes after those that came; None where the sink has no such room."""
        if not self._loose and self._filled:
            filled = self._filled
            assert self._room is not None
            if self._room.nbytes < filled + rest:
                kept = aligned_buffer(filled)
                kept[:] = self._room[:filled]
                self._room = self._sink.reserve(filled + rest)
                if self._room.nbytes < filled + rest:
                    self._sink.write(kept)
                    self._filled, self._room, self._loose, self.handed = 0, None, True, True
                    return None
                self._room[:filled] = kept
            return self._room[filled : filled + rest]
        self._room = self._sink.reserve(rest)
        self._loose = self._room.nbytes < rest
        return None if self._loose else self._room[:rest]

    def land(self, nbytes: int) -> None:
        """Let the sink have what came and ``nbytes`` more, which fill the room that it gave."""
        self._filled += nbytes
        self.release()


class _Crew:
    """Carries out numbered jobs in threads, which end with it, and answers for them in order."""

    def __init__(self, count: int, work: Callable[[int], None], *, ahead: int) -> None:
        """At most ``ahead`` jobs are begun that have not been answered for."""
        self._count = count
        self._work = work
        self._ahead = ahead
        self._state = threading.Condition()
        self._next = 0
        self._answered = 0
        self._done: set[int] = set()
        self._errors: dict[int, BaseException] = {}
        self._stopped = False
        self._helpers = Helpers()

    def run(self, width: int, answer: Callable[[int], None]) -> None:
        """Call ``answer`` in this thread for each job that is done, by number. Raises the first job's failure."""
        threads: list[threading.Thread] = []
        try:
            for _ in range(width):
                thread = threading.Thread(target=self._labour, name="penstock-range", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    if not threads:
                        raise StoreError(f"no thread could be started for a range: {error}", retryable=True) from error
                    break
                threads.append(thread)
            for number in range(self._count):
                self._await(number)
                answer(number)
                with self._state:
                    self._answered += 1
                    self._state.notify_all()
        finally:
            with self._state:
                self._stopped = True
                self._state.notify_all()
            for thread in threads:
                thread.join()
            self._helpers.settle()

    def _await(self, number: int) -> None:
        with self._state:
            while number not in self._done and not self._errors:
                self._state.wait()
            if number not in self._done:
                raise self._errors[min(self._errors)]

    def _labour(self) -> None:
        as_batch()
        with self._helpers.helping():
            self._work_on()

    def _work_on(self) -> None:
        while (number := self._take()) is not None:
            try:
                self._work(number)
            except BaseException as error:  # noqa: BLE001  (it is raised in the reader's thread)
                with self._state:
                    self._errors[number] = error
                    self._state.notify_all()
                return
            with self._state:
                self._done.add(number)
                self._state.notify_all()

    def _take(self) -> int | None:
        with self._state:
            while not self._stopped and not self._errors and self._next < self._count:
                if self._next < self._answered + self._ahead:
                    self._next += 1
                    return self._next - 1
                self._state.wait()
            return None


def _cut(nbytes: int, most: int) -> list[int]:
    """``nbytes`` in parts as equal as they can be, none longer than ``most``, the longer ones first."""
    count = -(-nbytes // most)
    least, longer = divmod(nbytes, count)
    return [least + 1] * longer + [least] * (count - longer)
