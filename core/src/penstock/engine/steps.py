"""The operations of a workload, as one lane carries them out on metered stores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import attrs

from penstock.engine.choosing import Chooser, Taker
from penstock.engine.lanes import Exhausted, Idle
from penstock.engine.objects import Pool
from penstock.engine.offsets import Ranges
from penstock.errors import StoreError
from penstock.metering import Metered
from penstock.payload import Payload
from penstock.sinks import Discard
from penstock.store import ObjectStore

__all__ = [
    "Copy",
    "Created",
    "Delete",
    "Get",
    "GetRange",
    "List",
    "MakeDirectory",
    "Put",
    "RemoveDirectory",
    "Stat",
    "write_object",
]


@attrs.define
class Created:
    """What one step has made, or may have made: names ``name(0)`` to ``name(count-1)``, for the cleanup.

    A name is counted before the call that makes it, so that one cut off in the middle is cleaned up too.
    """

    name: Callable[[int], str]
    directories: bool = False
    count: int = 0

    def take(self) -> str:
        """The next name."""
        number = self.count
        self.count = number + 1
        return self.name(number)


@attrs.define
class Get:
    """Read a whole object."""

    store: Metered
    pool: Pool
    chooser: Chooser
    sink: Discard

    def run(self) -> None:
        self.store.get(self.pool.key(self.chooser.next()), self.sink)


@attrs.define
class GetRange:
    """Read ``length`` bytes of an object; ``ranges`` gives its position in the pool and the offset."""

    store: Metered
    pool: Pool
    ranges: Ranges
    sink: Discard
    length: int

    def run(self) -> None:
        position, start = self.ranges.next()
        self.store.get(self.pool.key(position), self.sink, start=start, length=self.length)


@attrs.define
class Put:
    """Write a new object. Bodies above ``single`` bytes stream through a writer in parts of ``part_size``.

    ``begin`` is called before each object, ``made`` hears the running number of each that was written.
    """

    store: Metered
    created: Created
    sizes: Iterator[int]
    payload: Payload
    numbers: Callable[[int], int]
    room: memoryview
    single: int
    part_size: int
    begin: Callable[[], None] | None = None
    made: Callable[[int], None] | None = None

    def run(self) -> None:
        if self.begin is not None:
            self.begin()
        index = self.created.count
        number = self.numbers(index)
        size = next(self.sizes)
        key = self.created.take()
        write_object(self.store, key, self.payload, number, size, self.room, self.single, self.part_size)
        if self.made is not None:
            self.made(index)


def write_object(
    store: ObjectStore,
    key: str,
    payload: Payload,
    number: int,
    size: int,
    room: memoryview,
    single: int,
    part_size: int,
) -> None:
    """Put object ``number`` of a payload, in one piece up to ``single`` bytes and through a writer above."""
    if size <= single:
        body = room[:size]
        payload.fill(body, obj=number)
        store.put(key, body)
        return
    writer = store.open_writer(key, part_size=part_size)
    try:
        # Where every object is empty, so is the room.
        for offset in range(0, size, room.nbytes or 1):
            body = room[: min(room.nbytes, size - offset)]
            payload.fill(body, obj=number, offset=offset)
            writer.write(body)
        writer.commit()
    except BaseException:
        writer.abort()
        raise


@attrs.define
class List:
    """List everything under a prefix, or one level of it with ``delimiter``."""

    store: Metered
    pool: Pool
    chooser: Chooser
    delimiter: str
    page_size: int

    def run(self) -> None:
        prefix = self.pool.key(self.chooser.next())
        for _ in self.store.list_pages(prefix, delimiter=self.delimiter, page_size=self.page_size):
            pass


@attrs.define
class Stat:
    """Ask for an object's size and dates."""

    store: Metered
    pool: Pool
    chooser: Chooser

    def run(self) -> None:
        self.store.stat(self.pool.key(self.chooser.next()))


@attrs.define
class Delete:
    """Delete an object of the pool, which no operation chooses again."""

    store: Metered
    pool: Pool
    chooser: Taker

    def run(self) -> None:
        _raise_failure(self.store.delete([self.pool.key(self.chooser.take())]))


@attrs.define
class Copy:
    """Copy an object to a new name."""

    store: Metered
    pool: Pool
    chooser: Chooser
    created: Created

    def run(self) -> None:
        source = self.pool.key(self.chooser.next())
        self.store.copy(source, self.created.take())


@attrs.define
class MakeDirectory:
    """Make a new directory; ``standing`` are those that RemoveDirectory may take."""

    store: Metered
    created: Created
    standing: deque[str]

    def run(self) -> None:
        key = self.created.take()
        self.store.put(key, b"")
        self.standing.append(key)


@attrs.define
class RemoveDirectory:
    """Remove the oldest directory that this lane made and that is still there."""

    store: Metered
    standing: Sequence[deque[str]]

    def run(self) -> None:
        for made in self.standing:
            if made:
                _raise_failure(self.store.delete([made.popleft()]))
                return
        if not self.standing:
            raise Exhausted
        raise Idle


def _raise_failure(failures: Sequence[StoreError]) -> None:
    for failure in failures:
        raise failure
