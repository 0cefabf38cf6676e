"""Keys of a workload file that the engine carries out, each seen from the store's side."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.clocks import wall_ns
from penstock.engine.plan import make_plans
from penstock.engine.reusing import OwnPuts, Source
from penstock.engine.session import Session
from penstock.globs import compile_glob
from penstock.memory import MemoryOptions, MemoryStore
from penstock.workload.config import loads


@pytest.fixture
def store():
    store = MemoryStore(MemoryOptions(name="keys"))
    store.delete(keys(store))
    yield store
    store.delete(keys(store))


def keys(store):
    return [info.key for page in store.list_pages() for info in page.objects]


@pytest.fixture
def calls(store, monkeypatch):
    """What in-memory stores were asked, as (method, key); writes and deletes when they have succeeded."""
    seen = []
    for name in ("get", "put", "stat", "copy", "delete"):
        monkeypatch.setattr(MemoryStore, name, spy(getattr(MemoryStore, name), name, seen))
    return seen


def spy(method, name, seen):
    def call(self, key="", /, *arguments, **given):
        answer = method(self, key, *arguments, **given)
        seen.append((name, key[0] if name == "delete" else key))
        return answer

    return call


def work(text, *, lanes=1, operations=400):
    """Open, prepare, resolve and run a workload in this process; the session and the last report."""
    config = loads(
        f"target: mem://keys/\ntotal_operations: {operations}\nduration: 60\nconcurrency: {lanes}\n{text}",
        label="test",
        environ={},
    )
    session = Session()
    (plan,) = make_plans(config, run_id="run")
    session.open(plan.to_message())
    list(session.prepare({}))
    session.resolve({})
    *_, last = session.run({"start_ns": wall_ns()})
    return session, last


def clean(session):
    for directories in (False, True):
        list(session.cleanup({"directories": directories}))


def test_reads_choose_puts_of_the_run_as_often_as_what_was_there(calls):
    work(
        "seed: 1\nreuse_puts: true\nprepare: {ensure_objects: [{path: a/, count: 50, size: 1}]}\n"
        "workload: [{op: get, path: '**', weight: 3}, {op: put, path: n/, size: 1}]",
        operations=8000,
    )
    gets = Counter(key for name, key in calls if name == "get")
    new = {key for name, key in calls if name == "put" and key.startswith("n/")}
    assert 1800 < len(new) < 2200
    # With n puts among 50 objects a get takes a put with n / (n + 50): on average over the run about 0.9.
    share = sum(count for key, count in gets.items() if key in new) / gets.total()
    assert 0.87 < share < 0.94
    assert all(sum(count for key, count in gets.items() if key.startswith(part)) for part in ("a/", "n/"))
    seen = set()
    for name, key in calls:
        if name == "put":
            seen.add(key)
        assert name != "get" or key in seen, "nothing is read before it was put"


def test_without_reuse_puts_reads_keep_to_what_was_there(calls):
    prepare = "prepare: {ensure_objects: [{path: a/, count: 5, size: 1}]}"
    work(f"{prepare}\nworkload: [{{op: get, path: '**'}}, {{op: put, path: n/, size: 1}}]")
    assert {key[:2] for name, key in calls if name == "get"} == {"a/"}


def test_a_run_may_begin_with_nothing_when_it_reuses_its_puts(calls):
    _, last = work(
        "reuse_puts: true\nworkload: [{op: get, path: 'n/*', range: {size: 10}, weight: 9}, {op: stat, path: 'n/*'},\n"
        "  {op: put, path: n/, size: {uniform: {min: 1, max: 100}}}, {op: put, path: elsewhere/, size: 1}]",
        lanes=3,
    )
    assert last["done"]
    counts = Counter(name for name, _ in calls)
    assert min(counts["get"], counts["stat"], counts["put"]) > 5
    assert sum(counts.values()) == 400
    assert {key.split("/")[0] for name, key in calls if name != "put"} == {"n"}


def test_a_steady_state_of_puts_and_deletes_reads_nothing_that_is_gone(calls, store):
    session, _ = work(
        "reuse_puts: true\nprepare: {ensure_objects: [{path: n/, count: 20, size: 5}]}\n"
        "workload: [{op: get, path: 'n/*', weight: 4}, {op: copy, path: 'n/**', to: copies/},\n"
        "  {op: put, path: n/, size: 3}, {op: delete, path: 'n/*'}, {op: delete, path: '**/object*'}]",
        lanes=3,
        operations=3000,
    )
    here, deleted = set(), []
    for name, key in calls:
        if name == "put" and key.startswith("n/"):
            here.add(key)
        elif name == "delete":
            deleted.append(key)
            here.discard(key)
        elif name == "get":
            assert key in here, "deleted, or not yet put"
    assert len(deleted) == len(set(deleted)) > 300, "nothing is deleted twice"
    assert any("prepared" in key for key in deleted)
    assert any("object" in key for key in deleted)
    assert here == {key for key in keys(store) if key.startswith("n/")}
    clean(session)


def test_own_puts_hold_what_a_glob_matches_and_forget_what_was_dropped():
    source = Source(lambda index: f"n/{index}", lambda index: index * 10)
    own = OwnPuts(compile_glob("n/*[*]"), [source], deletes=False)
    own.add(0, 1)
    assert len(own) == 0
    own = OwnPuts(compile_glob("n/*"), [Source(lambda index: "x", lambda index: 0), source], deletes=True)
    for index in (3, 5, 9):
        own.add(1, index)
        own.add(0, index)
    assert [own.key(own.pick(chance)) for chance in (0.0, 0.4, 0.999)] == ["n/3", "n/5", "n/9"]
    own.drop(own.pick(0.0), 0.0)
    assert len(own) == 2
    left = {own.pick(0.0), own.pick(0.6)}
    assert {(own.key(serial), own.size(serial)) for serial in left} == {("n/5", 50), ("n/9", 90)}


def test_keys_are_spread_over_prefixes_and_found_again(calls, store):
    text = (
        "prepare: {key_prefix_shards: 7, ensure_objects: [{path: a/, count: 210, size: 1}]}\n"
        "workload: [{op: get, path: 'a/*/prepared-*'}, {op: put, path: n/x-, size: 1, key_prefix_shards: 300}]"
    )
    session, _ = work(text)
    prepared = Counter(key.split("/")[1] for key in keys(store) if key.startswith("a/"))
    assert sorted(prepared) == [f"{shard:02x}" for shard in range(7)]
    assert all(count == pytest.approx(30, abs=2) for count in prepared.values())
    new = [key.split("/") for key in keys(store) if key.startswith("n/")]
    assert {len(parts) for parts in new} == {3}
    assert all(len(parts[1]) == 3 and int(parts[1], 16) < 300 and parts[2].startswith("x-run-1-") for parts in new)
    assert len({parts[1] for parts in new}) > 100
    assert session._preparation.progress.made == 210
    again, _ = work(text)
    assert (again._preparation.progress.made, again._preparation.progress.found) == (0, 210)
