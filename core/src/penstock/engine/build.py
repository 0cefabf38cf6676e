"""From the operations of a configuration to the steps of a lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from penstock.buffers import aligned_buffer
from penstock.engine import steps
from penstock.engine.choosing import Chooser, LaneObjects, Owned
from penstock.engine.contents import Recipe, put_number, put_recipe
from penstock.engine.grid import ALONE, Grid, Turn, shares_of
from penstock.engine.lanes import Step
from penstock.engine.objects import Pool
from penstock.engine.offsets import FixedRanges, RandomRanges, Ranges, SequentialRanges
from penstock.engine.places import Places
from penstock.engine.reusing import Growing, GrownPool, OwnPuts, Source, chances
from penstock.globs import compile_glob
from penstock.metering import Metered
from penstock.payload import Payload
from penstock.sinks import Discard
from penstock.workload import hashing, operations, sizes
from penstock.workload.config import Config
from penstock.workload.formatting import object_size
from penstock.workload.names import Mask, Shards, count_numbers, new_names
from penstock.workload.selection import Uniform

__all__ = ["PART_SIZE", "SINGLE", "LaneBuilder", "NewNames", "lane_weights", "name_new", "put_size"]

#: Bodies up to so many bytes are one put, unless the operation says ``multipart``; larger ones stream.
SINGLE = 64 * 1024 * 1024
#: Parts of bodies that stream without the operation saying in which.
PART_SIZE = 16 * 1024 * 1024

_BATCH = 1024


@attrs.define(kw_only=True)
class LaneBuilder:
    """Makes the steps of one lane. ``pools`` are what each operation chooses from, by its number; ``grid`` says which
    of the lanes are those of other hosts. ``writing`` gets the numbers of a store and of an operation that puts there,
    and gives what is to be called before each of its objects, if anything is.
    """

    config: Config
    places: Places
    pools: Mapping[int, Pool]
    payload: Callable[[Recipe], Payload]
    run_id: str
    lane: int
    lanes: int
    meters: Sequence[Metered]
    grid: Grid = ALONE
    writing: Callable[[int, int], Callable[[], None] | None] = lambda store, operation: None
    created: list[tuple[int, steps.Created]] = attrs.field(factory=list)
    _standing: list[tuple[int, operations.Mkdir, deque[str]]] = attrs.field(factory=list, init=False)
    _sources: list[Source] = attrs.field(factory=list, init=False)
    _views: list[tuple[str, OwnPuts]] = attrs.field(factory=list, init=False)
    _room: memoryview = attrs.field(factory=lambda: aligned_buffer(0), init=False)
    _sink: Discard = attrs.field(factory=Discard, init=False)

    def build(self) -> tuple[list[Step], list[float]]:
        """The steps, and how often each is drawn in this lane."""
        deletes = any(isinstance(item, operations.Delete) and item.weight for item in self.config.workload)
        own, distributed = self.grid.own(self.lane, self.lanes), self.config.distributed
        together = own if self._apart else Turn(self.lane, self.lanes)
        objects = LaneObjects(
            together.number,
            together.among,
            self.config.seed,
            deletes,
            host=self.grid.host if self._apart else None,
            overlap=distributed.partition_overlap,
        )
        built: dict[int, Step] = {}
        # A directory can be removed only by a lane that knows who makes them, and what is put is reused the same way.
        order = {"put": 0, "rmdir": 2}
        for number, item in sorted(enumerate(self.config.workload), key=lambda pair: order.get(pair[1].op, 1)):
            built[number] = self._step(number, item, objects)
        return [built[number] for number in range(len(built))], lane_weights(self.config, own.number, own.among)

    @property
    def _apart(self) -> bool:
        """Whether other hosts choose from other objects."""
        return self.grid.hosts > 1 and (
            self.config.distributed.own_namespaces or shares_of(self.config.distributed, self.grid) > 1
        )

    def _step(self, number: int, item: operations.Operation, objects: LaneObjects) -> Step:
        match item:
            case operations.Put():
                return self._put(number, item)
            case operations.Mkdir():
                store, created = self._created(number, item.path, directory=True)
                self._standing.append((number, item, deque()))
                return steps.MakeDirectory(self.meters[store], created, self._standing[-1][2])
            case operations.Rmdir():
                store = self.places.locate(item.path).store
                return steps.RemoveDirectory(self.meters[store], self._removable(item))
            case _:
                return self._chosen(number, item, objects)

    def _chosen(
        self,
        number: int,
        item: operations.Get | operations.List | operations.Stat | operations.Delete | operations.Copy,
        objects: LaneObjects,
    ) -> Step:
        store = self.places.locate(item.path).store
        meter, whole = self.meters[store], self.pools[number]
        turn = self.grid.turn(self.lane, self.lanes, item.concurrency, apart=self._apart)
        if isinstance(item, operations.List):
            prefixes = objects.shared(whole, item.selection or self.config.selection, number, turn)
            return steps.List(meter, whole, prefixes, "" if item.recursive else "/", item.page_size)
        pool = objects.part(whole)
        if isinstance(item, operations.Delete):
            takes = objects.owned(pool, Uniform(), number, store)
            if self.config.reuse_puts:
                pool, taker = self._grown(number, item.path, pool, takes, objects, 1)
                return steps.Delete(meter, pool, taker)
            return steps.Delete(meter, pool, takes)
        policy = item.selection or self.config.selection
        reuse = self.config.reuse_puts
        # A lane may own nothing of a small pool: with nothing to reuse its chooser says so when it is asked.
        chooser = objects.chooser(pool, policy, number, store, turn) if pool.count or not reuse else None
        if reuse:
            pool, chooser = self._grown(number, item.path, pool, chooser, objects, 1 if objects.deletes else turn.among)
        assert chooser is not None
        match item:
            case operations.Get(range=None):
                return steps.Get(meter, pool, chooser, self._sink)
            case operations.Get():
                return self._get_range(number, item, steps.Get(meter, pool, chooser, self._sink), objects.gone(store))
            case operations.Stat():
                return steps.Stat(meter, pool, chooser)
            case operations.Copy():
                return steps.Copy(meter, pool, chooser, self._created(number, item.to)[1])

    def _grown(
        self, number: int, path: str, pool: Pool, chooser: Chooser | Owned | None, objects: LaneObjects, among: int
    ) -> tuple[GrownPool, Growing]:
        """The pool with what this lane puts on the same store, and a chooser of both."""
        place = self.places.locate(path)
        own = OwnPuts(compile_glob(place.key), self._sources, deletes=objects.deletes)
        self._views.append((self.places.base(place.store), own))
        grown = GrownPool(pool, own)
        luck = chances(self.config.seed, number, self.lane)
        return grown, Growing(chooser, grown, own, among, objects.gone(place.store), luck)

    def _get_range(self, number: int, item: operations.Get, whole: steps.Get, gone: set[str]) -> Step:
        assert item.range is not None
        size, offset = item.range.size, item.range.offset
        key = hashing.derive(self.config.seed, "offsets", number, self.lane)
        if offset == "sequential":
            ranges: Ranges = SequentialRanges(whole.pool, whole.chooser, size, gone)
        elif offset == "random":
            ranges = RandomRanges(whole.pool, whole.chooser, size, key)
        else:
            ranges = FixedRanges(whole.chooser, int(offset))
        return steps.GetRange(whole.store, whole.pool, ranges, self._sink, size)

    def _put(self, number: int, item: operations.Put) -> Step:
        store, created = self._created(number, item.path, put=item)
        part_size = item.multipart.part_size if item.multipart else PART_SIZE
        single = -1 if item.multipart else SINGLE
        largest = sizes.largest(object_size(item))
        need = max(single, part_size) if largest is None else min(largest, max(single, part_size))
        if need > self._room.nbytes:
            self._room = aligned_buffer(need)
        lane, lanes, content = self.lane, self.lanes, put_number(item, self.run_id, number)
        return steps.Put(
            self.meters[store],
            created,
            self._drawn_sizes(number, item),
            self.payload(put_recipe(item, self.run_id, number)),
            lambda index: content(lane + lanes * index),
            self._room,
            single,
            part_size,
            self.writing(store, number),
            self._telling(number, item, store, created) if self.config.reuse_puts else None,
        )

    def _telling(self, number: int, item: operations.Put, store: int, created: steps.Created) -> Callable[[int], None]:
        """What tells every view of the lane's puts of a new one."""
        lane, lanes, drawn = self.lane, self.lanes, put_size(self.config, item, number)
        views, base, source = self._views, self.places.base(store), len(self._sources)

        def size(index: int) -> int:
            return drawn(lane + lanes * index)

        def tell(index: int) -> None:
            for at, own in views:
                if at == base:
                    own.add(source, index)

        self._sources.append(Source(created.name, size))
        return tell

    def _drawn_sizes(self, number: int, item: operations.Put) -> Iterator[int]:
        key = hashing.derive(self.config.seed, "put sizes", number)
        size, index = object_size(item), self.lane
        while True:
            indices = np.arange(index, index + _BATCH * self.lanes, self.lanes, dtype=np.int64)
            yield from sizes.draw(size, key, indices).tolist()
            index += _BATCH * self.lanes

    def _created(
        self, number: int, path: str, *, directory: bool = False, put: operations.Put | None = None
    ) -> tuple[int, steps.Created]:
        made = name_new(self.places, path, self.run_id, number, directory=directory, put=put)
        name, lane, lanes, suffix = made.name, self.lane, self.lanes, "/" if directory else ""
        created = steps.Created(lambda index: f"{name(lane + lanes * index)}{suffix}", directory)
        self.created.append((made.store, created))
        return made.store, created

    def _removable(self, item: operations.Rmdir) -> list[deque[str]]:
        place = self.places.locate(item.path)
        glob = compile_glob(place.key.removesuffix("/"))
        found = []
        for number, mkdir, standing in self._standing:
            made = name_new(self.places, mkdir.path, self.run_id, number, directory=True)
            if made.store == place.store and glob.matches(made.name(self.lane)):
                found.append(standing)
        return found


def lane_weights(config: Config, lane: int, lanes: int) -> list[float]:
    """How often each operation is drawn in a lane.

    One that may run n at a time runs in n lanes, so much more often there that its share of all operations stays
    what its weight says, as far as n lanes can carry it; the other operations share what is left.
    """
    total = sum(item.weight for item in config.workload)
    capped = {
        number: item.weight / total * lanes / item.concurrency if lane < item.concurrency else 0.0
        for number, item in enumerate(config.workload)
        if item.concurrency is not None and item.concurrency < lanes
    }
    taken = sum(capped.values())
    free = sum(item.weight for number, item in enumerate(config.workload) if number not in capped)
    left = max(1 - taken, 0.0) / free if free else 0.0
    return [capped.get(number, item.weight * left) for number, item in enumerate(config.workload)]


def put_size(config: Config, item: operations.Put, number: int) -> Callable[[int], int]:
    """The size of what operation ``number`` puts, by the number in its name."""
    key = hashing.derive(config.seed, "put sizes", number)
    size = object_size(item)
    return lambda index: int(sizes.draw(size, key, np.array([index], dtype=np.int64))[0])


@attrs.frozen
class NewNames:
    """What an operation calls what it makes: on which store, how names begin, and the name by number.

    ``own`` says that no other run, and no other operation, makes these names.
    """

    store: int
    prefixes: tuple[str, ...]
    name: Callable[[int], str]
    own: bool
    _root: str
    _mask: Mask

    def index(self, key: str) -> int | None:
        """The number in a name; None when it is not of these."""
        below = key.removeprefix(self._root)
        for text in (below, below.rpartition("/")[2]):
            numbers = self._mask.parse(text)
            if numbers is not None and self.name(numbers[0]) == key:
                return numbers[0]
        return None


def name_new(
    places: Places,
    path: str,
    run_id: str,
    number: int,
    *,
    directory: bool = False,
    put: operations.Put | None = None,
) -> NewNames:
    """The names that ``path`` stands for in operation ``number``; those of a ``put`` may be spread over prefixes.

    A path without a number gets one, after the run's id and the operation's number, so that no two runs and no two
    operations make the same name; a mask is taken as it is, and may replace what is there.
    """
    own = count_numbers(path) == 0
    if own:
        stem = ("dir-" if directory else "object-") if not path or path.endswith("/") else ""
        path = f"{path}{stem}{run_id}-{number}-{{:08d}}{'' if directory or not stem else '.dat'}"
    base, mask = new_names(path, directory=directory)
    place = places.locate(base, put.multipart.concurrency if put is not None and put.multipart else None)
    last = mask.namer()
    if put is not None and put.key_prefix_shards:
        shards = Shards(put.key_prefix_shards)
        prefixes = tuple(place.key + prefix for prefix in shards.all())

        def sharded(index: int) -> str:
            return f"{place.key}{shards.prefix(index)}{last(index)}"

        return NewNames(place.store, prefixes, sharded, own, place.key, mask)
    plain = (place.key + mask.plain[0],)
    return NewNames(place.store, plain, lambda index: place.key + last(index), own, place.key, mask)
