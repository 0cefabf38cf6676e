"""Keys of a workload file that change what reaches the store, each seen from the store's side."""

from __future__ import annotations

import os

import pytest

from penstock.clocks import wall_ns
from penstock.engine.lanes import Lane
from penstock.engine.plan import make_plans
from penstock.engine.session import Session
from penstock.errors import ThrottledError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.stats.tally import ALL, Cell, Tally


@pytest.fixture
def calls(monkeypatch):
    """What in-memory stores were asked, as (method, key, facts)."""
    clear()
    seen = []
    spied = {"list_pages": ("delimiter", "page_size"), "open_writer": ("part_size",), "put": (), "get": (), "stat": ()}
    for name, facts in spied.items():
        monkeypatch.setattr(MemoryStore, name, spy(getattr(MemoryStore, name), name, facts, seen))
    return seen


def spy(method, name, facts, seen):
    def call(self, key="", /, *arguments, **given):
        seen.append((name, key, {fact: given.get(fact) for fact in facts}))
        return method(self, key, *arguments, **given)

    return call


def clear() -> None:
    store = MemoryStore(MemoryOptions(name="options"))
    store.delete([info.key for page in store.list_pages() for info in page.objects])


def work(text: str, loads, *, lanes: int = 2) -> tuple[Session, Cell]:
    """Open, prepare, resolve and run 12 operations of a workload in this process; what was measured."""
    config = loads(f"target: mem://options/\ntotal_operations: 12\nconcurrency: {lanes}\n{text}")
    session = Session()
    (plan,) = make_plans(config, run_id="run")
    session.open(plan.to_message())
    if not config.prepare.skip_verification:
        list(session.prepare({}))
    session.resolve({})
    measured = Tally()
    for item in session.run({"start_ns": wall_ns()}):
        if "done" not in item:
            measured.merge(Tally.from_message(item["tally"]))
    return session, measured.roll_up(ALL)


@pytest.fixture
def loads():
    from penstock.workload.config import loads

    return lambda text: loads(text, label="test", environ={})


def test_a_listing_has_the_depth_and_the_page_size_it_is_given(calls, loads):
    work("workload: [{op: list, path: d/, recursive: false, page_size: 7}]", loads)
    work("workload: [{op: list, path: e/}]", loads)
    found = [(key, facts) for name, key, facts in calls if name == "list_pages" and key]
    assert (
        found == [("d/", {"delimiter": "/", "page_size": 7})] * 12 + [("e/", {"delimiter": "", "page_size": 1000})] * 12
    )


def test_a_multipart_put_streams_in_its_parts_and_another_does_not(calls, loads):
    work("workload: [{op: put, path: m/, size: 100, multipart: {part_size: 64}}]", loads)
    assert [facts for name, _, facts in calls if name == "open_writer"] == [{"part_size": 64}] * 12
    calls.clear()
    work("workload: [{op: put, path: n/, size: 100}]", loads)
    assert [name for name, key, _ in calls if key.startswith("n/")] == ["put"] * 12


def test_trusted_objects_are_neither_listed_nor_made(calls, loads):
    prepare = "prepare: {skip_verification: true, ensure_objects: [{count: 3, size: 1}]}"
    work(f"{prepare}\non_error: {{max_total_errors: none}}\nworkload: [{{op: get, path: '*'}}]", loads)
    assert {name for name, _, _ in calls} == {"get"}


def test_calls_are_repeated_when_the_file_says_so(calls, loads, monkeypatch):
    failing = MemoryStore.stat
    failures = []

    def stat(self, key, /):
        if len(failures) < 3:
            failures.append(key)
            raise ThrottledError("slow down", uri=key)
        return failing(self, key)

    prepare = "prepare: {ensure_objects: [{count: 3, size: 1}]}"
    once = f"{prepare}\nworkload: [{{op: stat, path: '*'}}]\non_error: {{max_total_errors: none"
    monkeypatch.setattr(MemoryStore, "stat", stat)
    work(f"{once}, retries: {{attempts: 5, base_delay: 0, max_delay: 0}}}}", loads)
    assert len(failures) == 3
    assert len([name for name, _, _ in calls if name == "stat"]) == 12
    calls.clear()
    failures.clear()
    work(f"{once}}}", loads)
    assert len([name for name, _, _ in calls if name == "stat"]) == 9


RANGES = """
range_engine: {threshold: 1KiB, part_size: 1KiB, concurrency: 3}
faults: {rules: [{fail: {error: ThrottledError}, operations: [get], every: 5}]}
on_error: {max_total_errors: none, retries: {attempts: 20, base_delay: 0, max_delay: 0}}
prepare: {ensure_objects: [{count: 3, size: 8KiB}]}
workload: [{op: get, path: '*'}]
"""


@pytest.mark.parametrize("verify", ["off", "content"])
def test_a_range_that_failed_is_asked_for_again_and_not_the_whole_object(calls, loads, verify):
    session, measured = work(f"verify: {verify}\n{RANGES}", loads)
    ((count,),) = (faulty.counts() for stack in session._places.stacks for faulty in stack.faulty)
    asked = [name for name, _, _ in calls].count("get")
    # What reached the store is one request for each of 8 ranges of each read, and what failed was asked once more.
    assert asked == 12 * 8
    assert count.covered == asked + count.injected
    assert (measured.count, measured.errors, measured.nbytes) == (12, 0, 12 * 8192)
    # A read tells of the repeats of its ranges, which other threads made.
    assert measured.retries == count.injected > 20


def test_one_operation_may_choose_otherwise_than_the_others(calls, loads):
    prepare = "prepare: {ensure_objects: [{count: 4, size: 1}]}"
    both = "[{op: get, path: '*', selection: each_once}, {op: stat, path: '*', weight: 0.5}]"
    work(f"{prepare}\nworkload: {both}\nseed: 3", loads, lanes=1)
    assert sorted(key for name, key, _ in calls if name == "get") == [f"prepared-{n:08d}.dat" for n in range(4)]


def test_lanes_are_batch_threads_unless_they_have_to_begin_on_time(loads, monkeypatch):
    seen = []
    monkeypatch.setattr(Lane, "run", lambda lane: seen.append(os.sched_getscheduler(0)))
    for rate in ("max", "{ops_per_second: 1000}"):
        work(f"rate: {rate}\nworkload: [{{op: list, path: r/}}]", loads)
    assert seen == [os.SCHED_BATCH] * 2 + [os.SCHED_OTHER] * 2
