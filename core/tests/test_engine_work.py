"""What lanes choose from, what preparation makes, and what cleanup deletes."""

from __future__ import annotations

import threading
import time

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.choosing import LaneObjects
from penstock.engine.cleanup import Cleanup, missing_directories
from penstock.engine.found import Found
from penstock.engine.grid import Turn
from penstock.engine.lanes import Exhausted
from penstock.engine.objects import ListedObjects, Member, NamedObjects, Pool, select
from penstock.engine.offsets import FixedRanges, RandomRanges, SequentialRanges
from penstock.engine.outcomes import status_of
from penstock.engine.places import Places
from penstock.engine.pools import resolve_pools
from penstock.engine.prepare import Preparation
from penstock.engine.sets import count_prepared, prepared_sets
from penstock.engine.steps import write_object
from penstock.engine.threads import work_through
from penstock.engine.watch import ErrorWindow
from penstock.errors import RunError, StorageFullError
from penstock.globs import compile_glob
from penstock.memory import MemoryOptions, MemoryStore
from penstock.payloads.pooled import PooledPayload
from penstock.report.outcome import Interval, PhaseOutcome
from penstock.sinks import Collect
from penstock.stats.tally import Tally
from penstock.workload.config import loads
from penstock.workload.names import numbered
from penstock.workload.selection import EachOnce, Sequential, Uniform, Zipf


@pytest.fixture
def store():
    store = MemoryStore(MemoryOptions(name="engine"))
    store.delete([info.key for page in store.list_pages() for info in page.objects])
    return store


def keys_of(store) -> list[str]:
    return [info.key for page in store.list_pages() for info in page.objects]


def named(base: str, count: int) -> NamedObjects:
    return NamedObjects(numbered(base, "o-{:04d}", count), lambda indices: indices * 10)


def listed(count: int) -> Pool:
    return Pool([Member(ListedObjects([f"k{n}" for n in range(count)], list(range(count))), range(count))])


def test_a_pool_joins_what_a_glob_matches_of_several_sets():
    sets = [named("a", 3), named("b", 2), named("c", 4)]
    pool = select(sets, compile_glob("*/o-*"))
    assert [pool.key(n) for n in range(pool.count)] == [s.key(n) for s in sets for n in range(s.count)]
    only = select(sets, compile_glob("*/o-0001"))
    assert [only.key(n) for n in range(only.count)] == ["a/o-0001", "b/o-0001", "c/o-0001"]
    assert [only.size(n) for n in range(only.count)] == [10, 10, 10]


def test_a_billion_prepared_objects_need_no_list():
    pool = select([named("a", 10**9)], compile_glob("a/*"))
    assert pool.count == 10**9
    assert pool.key(10**9 - 1) == "a/o-999999999"


@pytest.mark.parametrize("policy", [Uniform(), Sequential(), Zipf()])
@given(count=st.integers(1, 60), lanes=st.integers(1, 5), seed=st.integers(0, 5))
def test_lanes_that_delete_take_every_object_once_and_read_no_deleted_one(policy, count, lanes, seed):
    whole, deleted = listed(count), []
    for lane in range(lanes):
        objects = LaneObjects(lane, lanes, seed, deletes=True)
        pool = objects.part(whole)
        reader = objects.chooser(pool, policy, 0, 0, Turn(lane, lanes))
        taker = objects.owned(pool, Uniform(), 1, 0)
        gone = set()
        while True:
            try:
                position = taker.take()
            except Exhausted:
                break
            gone.add(position)
            deleted.append(pool.key(position))
            for _ in range(3):
                try:
                    assert reader.next() not in gone
                except Exhausted:
                    assert len(gone) == pool.count
    assert sorted(deleted) == sorted(whole.key(n) for n in range(count))


@pytest.mark.parametrize("found", ["prepared", "listed"])
@given(counts=st.tuples(st.integers(1, 30), st.integers(1, 30)), lanes=st.integers(1, 7))
def test_an_object_has_one_owner_by_whichever_glob_it_is_found(found, counts, lanes):
    sets = [named("a", counts[0]), named("b", counts[1])]
    keys = [[each.key(n) for n in range(each.count)] for each in sets]
    if found == "prepared":
        pools = [select(sets, compile_glob(glob)) for glob in ("**", "b/*", "b/o-00*1")]
    else:
        lists = [keys[0] + keys[1], keys[1], keys[1][1::2]]
        pools = [Pool([Member(ListedObjects(names, [1] * len(names)), range(len(names)))]) for names in lists]
    owners: dict[str, int] = {}
    for lane in range(lanes):
        objects = LaneObjects(lane, lanes, 0, deletes=True)
        for pool in map(objects.part, pools):
            for position in range(pool.count):
                assert owners.setdefault(pool.key(position), lane) == lane
    assert set(owners) == {*keys[0], *keys[1]}


@given(count=st.integers(1, 100), lanes=st.integers(1, 6), among=st.integers(1, 6))
def test_each_once_covers_the_pool_by_the_lanes_that_run_it(count, lanes, among):
    among = min(among, lanes)
    seen = []
    for lane in range(among):
        objects = LaneObjects(lane, lanes, 1, deletes=False)
        chooser = objects.chooser(listed(count), EachOnce(), 0, 0, Turn(lane, among))
        while (position := next_or_none(chooser)) is not None:
            seen.append(position)
    assert sorted(seen) == list(range(count))


def next_or_none(chooser) -> int | None:
    try:
        return chooser.next()
    except Exhausted:
        return None


class InTurn:
    def __init__(self) -> None:
        self.position = -1

    def next(self) -> int:
        self.position += 1
        return self.position


def test_ranges_are_whole_and_inside_the_object():
    pool = Pool([Member(ListedObjects(["a", "b", "c"], [100, 7, 31]), range(3))])
    one_after_the_other = SequentialRanges(pool, InTurn(), 10, set())
    expected = [(0, offset) for offset in range(0, 100, 10)] + [(1, 0), (2, 0), (2, 10), (2, 20)]
    assert [one_after_the_other.next() for _ in expected] == expected
    anywhere = RandomRanges(Pool([Member(ListedObjects(["a"], [100]), range(1))]), Still(), 30, 5)
    assert {anywhere.next() for _ in range(200)} == {(0, 0), (0, 30), (0, 60)}
    assert FixedRanges(InTurn(), 42).next() == (0, 42)


def test_an_object_that_was_deleted_between_two_of_its_ranges_is_left():
    pool = Pool([Member(ListedObjects(["a", "b", "c"], [100, 7, 31]), range(3))])
    gone: set[str] = set()
    ranges = SequentialRanges(pool, InTurn(), 10, gone)
    assert [ranges.next() for _ in range(3)] == [(0, 0), (0, 10), (0, 20)]
    gone.add("a")
    assert [ranges.next() for _ in range(3)] == [(1, 0), (2, 0), (2, 10)]


class Still:
    def next(self) -> int:
        return 0


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2500])
def test_large_bodies_stream_and_hold_the_same_bytes(store, size):
    payload = PooledPayload(3)
    expected = bytearray(size)
    payload.fill(memoryview(expected), obj=9)
    for single in (10_000, 1000, -1):
        write_object(store, "x", payload, 9, size, memoryview(bytearray(max(single, 1000))), single, 1000)
        sink = Collect()
        store.get("x", sink)
        assert bytes(sink.view()) == expected


CONFIG = """
target: mem://engine/
prepare:
  ensure_objects:
    - {path: a/, count: 30, size: {uniform: {min: 0, max: 500}}}
    - {path: b/, count: 7, size: 100}
  directory_structure: {path: t/, width: 2, depth: 2, files_per_dir: 1, size: 5}
workload: [{op: get, path: "a/*"}, {op: stat, path: "**"}, {op: list, path: "t/*/"}, {op: put, path: n/, size: 1}]
"""


def preparation(store, *, rank=0, workers=1, force=False, max_errors=None) -> Preparation:
    config = loads(CONFIG, label="test", environ={})
    places = Places(config)
    work = Preparation(
        sets=prepared_sets(config, places, lambda fill: PooledPayload(1)),
        stores=[store],
        rank=rank,
        workers=workers,
        threads=2,
        force=force,
        max_errors=max_errors,
        single=10_000,
        part_size=1000,
        stopping=lambda: False,
    )
    work.survey()
    return work


def finish(work: Preparation) -> tuple[int, int]:
    for _ in work.run():
        pass
    return work.progress.made, work.progress.found


@pytest.mark.parametrize("workers", [1, 3])
def test_preparation_makes_everything_once_and_then_nothing(store, workers):
    total = count_prepared(loads(CONFIG, label="test", environ={}))
    first = [finish(preparation(store, rank=rank, workers=workers)) for rank in range(workers)]
    assert sum(made for made, _ in first) == total == len(keys_of(store)) == 30 + 7 + 6 + 4
    before = {key: store.stat(key).etag for key in keys_of(store)}
    again = [finish(preparation(store, rank=rank, workers=workers)) for rank in range(workers)]
    assert sum(made for made, _ in again) == 0
    assert sum(found for _, found in again) == total
    assert {key: store.stat(key).etag for key in keys_of(store)} == before


def test_preparation_mends_what_is_missing_or_of_another_size(store):
    finish(preparation(store))
    store.delete(["b/prepared-00000003.dat"])
    store.put("b/prepared-00000005.dat", b"short")
    assert finish(preparation(store)) == (2, 45)
    assert store.stat("b/prepared-00000005.dat").size == 100
    made, _ = finish(preparation(store, force=True))
    assert made >= 41


class Full(MemoryStore):
    def put(self, key, data, /, **given):
        if key.startswith("b/"):
            raise StorageFullError("no space left", uri=key)
        return super().put(key, data, **given)


@pytest.mark.parametrize(("limit", "says"), [(None, "7 objects could not be made"), (2, "more than 2 objects failed")])
def test_preparation_that_fails_names_an_example(limit, says):
    work = preparation(Full(MemoryOptions(name="full")), max_errors=limit)
    with pytest.raises(RunError, match=says) as caught:
        finish(work)
    assert "b/prepared-0000000" in str(caught.value)
    assert "StorageFullError" in str(caught.value)


def test_pools_come_from_what_is_prepared_and_else_from_a_listing(store):
    config = loads(CONFIG.replace("a/*", "x/*"), label="test", environ={})
    places = Places(config)
    sets = prepared_sets(config, places, lambda fill: PooledPayload(1))
    for item in config.workload:
        places.locate(item.path)
    places.open(1)
    with pytest.raises(RunError, match=r"workload\[0\]: get: nothing matches mem://engine/x/\*"):
        resolve_pools(config, places, sets)
    store.put("x/1", b"")
    pools = resolve_pools(config, places, sets)
    assert [pools[0].key(n) for n in range(pools[0].count)] == ["x/1"]
    assert pools[1].count == 30 + 7 + 4
    assert sorted(pools[2].key(n) for n in range(pools[2].count)) == ["t/d1_w1.dir/", "t/d1_w2.dir/"]
    assert 3 not in pools


def test_cleanup_deletes_what_it_is_told_and_counts_failures(store):
    for key in ("a", "b", "c"):
        store.put(key, b"")
    work = Cleanup(store, threads=2)
    for _ in work.run(iter(["a", "c", "never-there"])):
        pass
    assert keys_of(store) == ["b"]
    assert (work.progress.made, work.progress.failed) == (3, 0)


def test_a_cleanup_that_leaves_something_is_a_failure_of_the_run():
    config = loads("target: mem:///\nworkload: [{op: put, path: x, size: 1}]\n", label="x", environ={})
    found = Found()
    found.phases.append(PhaseOutcome(name="cleanup", seconds=1.0, objects_made=5))
    assert status_of(config.on_error, found) == ("done", 0, "")
    found.phases[0] = attrs.evolve(found.phases[0], failed=2)
    assert status_of(config.on_error, found) == ("done", 1, "the cleanup left 2 objects behind")


def test_batches_are_deleted_by_few_threads_at_once():
    busy, most, lock = 0, 0, threading.Lock()

    class Slow:
        capabilities = MemoryStore.capabilities

        def delete(self, keys):
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            time.sleep(0.005)
            with lock:
                busy -= 1
            return ()

    for _ in Cleanup(Slow(), threads=64).run(f"k{number}" for number in range(40_000)):
        pass
    assert 1 < most <= 4


def test_a_store_without_directories_has_none_to_remove(store):
    assert missing_directories(store, ["a/b/c"]) == []


def test_errors_per_second_are_those_of_the_window():
    window = ErrorWindow(2.0)

    def interval(start: float, errors: int) -> Interval:
        tally = Tally()
        tally.cell("GET", 0).errors = errors
        return Interval(start_s=start, seconds=1.0, tally=tally)

    assert [window.add(interval(n, errors)) for n, errors in enumerate((10, 0, 4, 0, 0))] == [5, 5, 2, 2, 0]


def test_work_goes_through_every_item_and_stops_at_the_first_error():
    seen = []
    for _ in work_through(range(1000), 4, lambda: seen.append):
        pass
    assert sorted(seen) == list(range(1000))

    def fail(item: int) -> None:
        if item == 10:
            raise RunError("ten")

    with pytest.raises(RunError, match="ten"):
        for _ in work_through(iter(range(10**9)), 3, lambda: fail):
            pass


def test_sizes_of_prepared_objects_do_not_depend_on_who_asks():
    config = loads(CONFIG, label="test", environ={})
    objects = prepared_sets(config, Places(config), lambda fill: PooledPayload(1))[0].objects
    every = objects.sizes(np.arange(30))
    assert [objects.size(index) for index in range(30)] == every.tolist()
    assert len(set(every.tolist())) > 20
