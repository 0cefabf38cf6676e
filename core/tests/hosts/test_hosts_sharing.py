"""Hosts share objects: what each makes, lists and chooses from; disjoint, complete, and lent as often as is said."""

from __future__ import annotations

import collections
import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.clocks import wall_ns
from penstock.engine.choosing import LaneObjects
from penstock.engine.grid import Grid, Turn, runs_of, share, shares_of
from penstock.engine.lanes import Exhausted
from penstock.engine.objects import ListedObjects, Member, NamedObjects, Pool, select
from penstock.engine.plan import Host, make_plans
from penstock.engine.session import Session
from penstock.engine.sharing import found_between
from penstock.errors import RunError
from penstock.globs import compile_glob
from penstock.memory import MemoryOptions, MemoryStore
from penstock.workload.config import loads
from penstock.workload.distributed import Distributed
from penstock.workload.names import numbered, spans_of
from penstock.workload.selection import EachOnce, Sequential, Uniform


def named(count: int, base: str = "a/") -> NamedObjects:
    return NamedObjects(numbered(base, "o-{:05d}", count), lambda indices: indices * 0)


def listed(keys: list[str]) -> Pool:
    return Pool([Member(ListedObjects(keys, [1] * len(keys)), range(len(keys)))])


def keys(pool: Pool) -> list[str]:
    return [pool.key(position) for position in range(pool.count)]


@settings(max_examples=30)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=3), hosts=st.integers(1, 7))
@pytest.mark.parametrize("glob", ["**", "a0/*", "**/o-*1"])
def test_shares_are_disjoint_and_complete_by_any_glob(counts, hosts, glob):
    sets = [named(count, f"a{place}/") for place, count in enumerate(counts)]
    whole, everything = select(sets, compile_glob(glob)), select(sets, compile_glob("**"))
    owner = {key: host for host in range(hosts) for key in keys(everything.split(host, hosts)[0])}
    assert len(owner) == everything.count
    found = []
    for host in range(hosts):
        own, others = whole.split(host, hosts)
        assert sorted(keys(own) + keys(others)) == sorted(keys(whole))
        assert all(owner[key] == host for key in keys(own)), "whichever glob it is found by"
        found += keys(own)
    assert sorted(found) == sorted(keys(whole))


@settings(max_examples=50)
@given(names=st.sets(st.text("abc/", min_size=1, max_size=6), max_size=30), hosts=st.integers(1, 5))
def test_listed_objects_are_shared_by_their_names(names, hosts):
    pools = [listed(sorted(names)), listed(sorted(names)[1::2])]
    owners: dict[str, int] = {}
    for host, pool in itertools.product(range(hosts), pools):
        own, others = pool.split(host, hosts)
        assert sorted(keys(own) + keys(others)) == sorted(keys(pool))
        assert all(owners.setdefault(key, host) == host for key in keys(own))
    assert set(owners) == names


def test_what_a_host_has_made_is_its_share():
    pool = select([named(100)], compile_glob("**"))
    for host in range(3):
        begin, end = share(100, host, 3)
        assert keys(pool.split(host, 3)[0]) == [f"a/o-{number:05d}" for number in range(begin, end)]


@given(lanes=st.lists(st.integers(1, 9), min_size=1, max_size=6), most=st.none() | st.integers(1, 9))
def test_every_lane_that_runs_an_operation_has_a_turn_of_its_own(lanes, most):
    runs, total = runs_of(lanes), sum(lanes)
    together, apart = [], collections.Counter()
    for host, count in enumerate(lanes):
        grid, first = Grid(host, runs), sum(lanes[:host])
        assert grid.hosts == len(lanes)
        for place in range(count):
            assert grid.own(first + place, total) == Turn(place, count)
            if most is None or place < most:
                turn = grid.turn(first + place, total, most, apart=False)
                together.append(turn.number)
                assert turn.among == sum(min(each, most or each) for each in lanes)
                apart[host, grid.turn(first + place, total, most, apart=True)] += 1
    assert sorted(together) == list(range(len(together)))
    assert set(apart.values()) == {1}


def chooser(pool: Pool, policy, *, host: int, overlap: float, lane: int = 0, lanes: int = 1, seed: int = 7):
    objects = LaneObjects(lane, lanes, seed, deletes=False, host=host, overlap=overlap)
    return objects.chooser(pool, policy, 0, 0, Turn(lane, lanes))


def weighted(count: int, host: int, hosts: int) -> Pool:
    own, others = select([named(count)], compile_glob("**")).split(host, hosts)
    return Pool([*own.members, *others.members], own=own.count)


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("policy", [Uniform(), Sequential()])
def test_objects_of_others_are_taken_as_often_as_overlap_says(policy, overlap):
    draws, lent = 20_000, 0
    pool = weighted(400, 1, 4)
    found = collections.Counter()
    take = chooser(pool, policy, host=1, overlap=overlap)
    for _ in range(draws):
        position = take.next()
        lent += position >= pool.own
        found[pool.key(position)] += 1
    expected = draws * overlap
    if overlap in (0.0, 1.0):
        assert lent == expected
        return
    statistic = (lent - expected) ** 2 / expected + (lent - expected) ** 2 / (draws - expected)
    assert statistic < 10.83, "chi-square with one degree of freedom, at one in a thousand; the seed is fixed"
    own = np.array([found[pool.key(position)] for position in range(pool.own)])
    mean = own.sum() / pool.own
    assert ((own - mean) ** 2 / mean).sum() < 149.4, "its own are equally likely: 99 degrees of freedom"


def test_hosts_draw_numbers_of_their_own():
    first = [chooser(weighted(400, 0, 2), Uniform(), host=0, overlap=0).next() for _ in range(1)]
    draws = []
    for host in range(2):
        take = chooser(weighted(400, host, 2), Uniform(), host=host, overlap=0)
        draws.append([take.next() for _ in range(50)])
    assert draws[0] != draws[1], "the same places in both shares would be no random choice"
    assert draws[0][0] == first[0], "and the same ones again with the same seed"


HOSTS = """
target: mem://hosts-sharing/
concurrency: 4
prepare:
  ensure_objects: [{path: a/, count: 37, size: {uniform: {min: 0, max: 9}}}, {path: b/, count: 5, size: 3}]
  directory_structure: {path: t/, width: 2, depth: 2, files_per_dir: 2, size: 2}
  key_prefix_shards: SHARDS
duration: none
cleanup: true
workload: WORKLOAD
distributed: {MODES}
"""
ONCE = "[{op: get, path: '**', selection: each_once}]"


@pytest.fixture
def store():
    store = MemoryStore(MemoryOptions(name="hosts-sharing"))
    yield store
    store.delete(everything(store))


def everything(store) -> list[str]:
    return [info.key for page in store.list_pages() for info in page.objects]


def sessions_of(store, monkeypatch, hosts, *, modes="", workload=ONCE, shards=0, processes=1):
    """The opened worker of every process of every host; all in this process, on one store in memory."""
    text = HOSTS.replace("MODES", modes).replace("WORKLOAD", workload).replace("SHARDS", str(shards))
    config = loads(text, label="hosts.yaml", environ={})
    # Whoever tests in one process may share what lives in one.
    monkeypatch.setattr("penstock.engine.plan.private_schemes", lambda config: [])
    counts = itertools.chain.from_iterable(itertools.repeat([processes]))
    monkeypatch.setattr("penstock.engine.plan._processes", lambda config, cpus: next(counts))
    found = []
    for plan in make_plans(config, run_id="run", hosts=[Host(names=(f"h{n}",)) for n in range(hosts)]):
        session = Session()
        session.open(plan.to_message() | {"cpu": None})
        found.append(session)
    return found


def prepare(sessions) -> list[dict]:
    reports = []
    for session in sessions:
        *_, report = session.prepare({})
        reports.append(report)
    return reports


def carry_out(sessions) -> list[dict]:
    ends = []
    for session in sessions:
        session.resolve({"leg": 0})
        *_, end = session.run({"leg": 0, "start_ns": wall_ns()})
        ends.append(end)
    return ends


def clean_up(sessions) -> None:
    for directories in (False, True):
        for session in reversed(sessions):
            list(session.cleanup({"directories": directories}))


def noting(monkeypatch, name):
    seen: list[str] = []
    original = getattr(MemoryStore, name)

    def call(self, key, *arguments, **options):
        seen.append(key)
        return original(self, key, *arguments, **options)

    monkeypatch.setattr(MemoryStore, name, call)
    return seen


@settings(max_examples=6, deadline=None)
@given(hosts=st.integers(1, 4), processes=st.integers(1, 3), shards=st.sampled_from([0, 3]))
def test_each_object_is_made_exactly_once_by_all_processes_of_all_hosts(hosts, processes, shards):
    store = MemoryStore(MemoryOptions(name="hosts-sharing"))
    with pytest.MonkeyPatch.context() as patched:
        made = noting(patched, "put")
        sessions = sessions_of(store, patched, hosts, processes=processes, shards=shards)
        first, again = prepare(sessions), prepare(sessions)
        assert collections.Counter(made).most_common(1)[0][1] == 1, "nobody made what another had to"
        assert len(made) == 37 + 5 + 6 + 8
        assert sum(report["made"] for report in first) == len(made)
        assert sum(report["found"] for report in again) == len(made), "all of it is found, by those that look for it"
        carry_out(sessions)
        clean_up(sessions)
    assert everything(store) == []


@pytest.mark.parametrize("hosts", [1, 3])
@pytest.mark.parametrize("mode", ["random", "partitioned", "exclusive"])
def test_each_object_is_taken_once_over_all_hosts(store, monkeypatch, hosts, mode):
    sessions = sessions_of(store, monkeypatch, hosts, modes=f"path_selection: {mode}", processes=2)
    prepare(sessions)
    read = noting(monkeypatch, "get")
    carry_out(sessions)
    assert sorted(read) == sorted(key for key in everything(store) if not key.endswith("/"))
    clean_up(sessions)


def test_a_host_reads_its_own_share(store, monkeypatch):
    modes = "path_selection: exclusive"
    workload = "[{op: get, path: 'a/*'}]"
    sessions = sessions_of(store, monkeypatch, 2, modes=modes, workload=f"{workload}\ntotal_operations: 400")
    prepare(sessions)
    read = noting(monkeypatch, "get")
    for host, session in enumerate(sessions):
        read.clear()
        carry_out([session])
        begin, end = share(37, host, 2)
        assert {int(key[-12:-4]) for key in read} == set(range(begin, end))
    clean_up(sessions)


def test_what_has_no_share_borrows_or_is_told(store, monkeypatch):
    few = "[{op: get, path: 'b/prepared-00000000.dat'}]\ntotal_operations: 8"
    sessions = sessions_of(store, monkeypatch, 3, modes="path_selection: partitioned", workload=few)
    prepare(sessions)
    read = noting(monkeypatch, "get")
    carry_out(sessions)
    assert set(read) == {"b/prepared-00000000.dat"}
    assert len(read) == 8
    clean_up(sessions)
    sessions = sessions_of(store, monkeypatch, 3, modes="path_selection: exclusive", workload=few)
    prepare(sessions)
    sessions[0].resolve({"leg": 0})
    with pytest.raises(RunError, match=r"none of the 1 objects of .* is in the share of host 2 of 3.*partitioned"):
        sessions[2].resolve({"leg": 0})
    clean_up(sessions)


def test_hosts_that_delete_take_every_object_once(store, monkeypatch):
    both = "[{op: delete, path: '**'}, {op: stat, path: 'a/*', weight: 2, selection: each_once}]"
    for mode in ("random", "partitioned"):
        sessions = sessions_of(store, monkeypatch, 3, modes=f"path_selection: {mode}", workload=both, processes=2)
        prepare(sessions)
        ends = carry_out(sessions)
        assert all(end["done"] for end in ends)
        assert [key for key in everything(store) if not key.endswith("/")] == []
        clean_up(sessions)


def test_isolated_hosts_make_and_remove_all_of_it_each_in_its_own_place(store, monkeypatch):
    store.put("agent-0/a/theirs", b"x")
    sessions = sessions_of(store, monkeypatch, 2, modes="tree_creation_mode: isolated, path_selection: partitioned")
    reports = prepare(sessions)
    assert [report["made"] for report in reports] == [56, 56]
    read = noting(monkeypatch, "get")
    carry_out(sessions)
    assert len(read) == 2 * 50
    assert len(set(read)) == len(read), "each takes all of its own"
    clean_up(sessions)
    assert everything(store) == ["agent-0/a/theirs"]


def test_the_first_worker_makes_the_tree_before_anybody_makes_a_file(store, monkeypatch):
    sessions = sessions_of(store, monkeypatch, 2, modes="tree_creation_mode: coordinator", processes=2)
    made = noting(monkeypatch, "put")
    for session in sessions:
        list(session.prepare({"directories": True}))
    assert len(made) == 6
    assert all(key.endswith("/") for key in made)
    assert [len(list(session._preparation.made[0].keys())) for session in sessions] == [6, 0, 0, 0]
    for session in sessions:
        list(session.prepare({"directories": False}))
    assert len(made) == 56
    clean_up(sessions)
    assert everything(store) == []


@settings(max_examples=40)
@given(
    count=st.integers(1, 200),
    width=st.integers(1, 3),
    shards=st.sampled_from([0, 2, 5]),
    part=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    gone=st.sets(st.integers(0, 199)),
)
def test_a_part_of_the_names_is_found_by_listing_no_more_than_that(count, width, shards, part, gone):
    names = numbered("x/", f"o-{{:0{width}d}}", count, shards)
    begin, end = sorted(min(number, count) for number in part)
    store = MemoryStore(MemoryOptions(name="spans"))
    for number in set(range(count)) - gone:
        store.put(f"x/{names.name(number)}", b"12"[: number % 3])
    store.put("x/other", b"")
    try:
        found = {
            int(index): int(size)
            for indices, sizes in found_between(store, names, begin, end)
            for index, size in zip(indices, sizes, strict=True)
        }
    finally:
        store.delete([info.key for page in store.list_pages() for info in page.objects])
        store.close()
    assert found == {number: number % 3 for number in range(begin, end) if number not in gone}


def test_a_worker_lists_its_own_part_of_many():
    names = numbered("x/", "o-{:04d}", 10_000)
    assert spans_of(names, 2500, 5000) == [("", "o-2499", "o-4999")]
    assert spans_of(numbered("x/", "o-{:03d}", 10_000), 0, 10) is None, "o-1000 lies between o-100 and o-101"
    store, pages = MemoryStore(MemoryOptions(name="part")), []
    for number in range(10_000):
        store.put(f"x/{names.name(number)}", b"")
    for indices, _ in found_between(store, names, 2500, 5000):
        pages.append(len(indices))
    store.delete([info.key for page in store.list_pages() for info in page.objects])
    store.close()
    assert sum(pages) == 2500
    assert len(pages) == 3, "of ten pages"


def test_hosts_with_objects_of_their_own_share_none_of_them():
    grid = Grid(1, ((3, 8),))
    assert shares_of(Distributed(path_selection="partitioned"), grid) == 3
    assert shares_of(Distributed(path_selection="random"), grid) == 1
    assert shares_of(Distributed(path_selection="exclusive", shared_filesystem=False), grid) == 1


def test_each_once_ends_on_every_host():
    own, _ = select([named(9)], compile_glob("**")).split(2, 3)
    take, found = chooser(own, EachOnce(), host=2, overlap=0.3), []
    with contextlib.suppress(Exhausted):
        while len(found) < 9:
            found.append(own.key(take.next()))
    assert found == ["a/o-00006", "a/o-00007", "a/o-00008"]
