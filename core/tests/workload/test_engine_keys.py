"""Keys of a workload file that the engine carries out, each seen from the store's side."""

from __future__ import annotations

import threading
from collections import Counter

import anyio
import attrs
import pytest

from penstock.clocks import wall_ns
from penstock.engine.build import name_new
from penstock.engine.coordinator import Coordinator
from penstock.engine.course import course_of
from penstock.engine.places import Places, resolve
from penstock.engine.plan import WorkerPlan, describe, make_plans
from penstock.engine.reusing import OwnPuts, Source
from penstock.engine.session import Session
from penstock.globs import compile_glob
from penstock.launchers import LaunchSpec
from penstock.memory import MemoryOptions, MemoryStore
from penstock.report.live import open_view
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


class FakeWorker:
    """A worker that does what the coordinator asks at once, and notes when."""

    rank, host = 0, "here"

    def __init__(self, made, seen):
        self._made = made
        self._seen = seen

    async def call(self, method, body):
        self._seen.append(method)
        return {}

    async def stream(self, method, body):
        self._seen.append(method)
        if method == "prepare":
            yield {"made": self._made, "found": 5 - self._made, "total": 5, "nbytes": 0, "failed": 0, "example": ""}
        elif method == "run":
            yield {"done": True, "reason": ""}


@attrs.define
class FakeLauncher:
    worker: FakeWorker
    hosts: bool = False

    async def start(self, workers, spec):
        return [self.worker]

    async def stop(self):
        pass


@pytest.mark.parametrize(("made", "delay", "waits"), [(3, 7.5, [7.5]), (0, 7.5, []), (3, 0, [])])
def test_the_delay_after_a_preparation_is_kept_when_something_was_made(made, delay, waits, monkeypatch):
    config = loads(
        "target: mem://keys/\nworkload: [{op: get, path: '*'}]\n"
        f"prepare: {{ensure_objects: [{{count: 5}}], post_prepare_delay: {delay}}}\n",
        label="test",
        environ={},
    )
    seen = []
    sleep = anyio.sleep

    async def noted(seconds):
        if seconds == 7.5:
            seen.append(seconds)
        else:
            await sleep(seconds)

    monkeypatch.setattr(anyio, "sleep", noted)
    worker = FakeWorker(made, seen)
    plans = make_plans(config, run_id="run")[:1]
    coordinator = Coordinator(course_of(config), plans, FakeLauncher(worker), open_view(quiet=True))
    anyio.run(coordinator.run, LaunchSpec())
    assert coordinator.found.failure == ""
    assert seen == ["open", "prepare", *waits, "resolve", "run", "finish"]


@pytest.mark.parametrize(
    ("prepare", "lanes", "threads"), [("concurrency: 7, ", 2, 7), ("", 3, 3), ("concurrency: 1, ", 4, 1)]
)
def test_a_preparation_has_its_own_concurrency(prepare, lanes, threads, store, monkeypatch):
    barrier = threading.Barrier(threads)
    at_once, most, lock = 0, 0, threading.Lock()
    putting = MemoryStore.put

    def put(self, key, data, /, **given):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        # Each of the threads has to be in a call for any to leave it.
        barrier.wait(30)
        with lock:
            at_once -= 1
        return putting(self, key, data, **given)

    monkeypatch.setattr(MemoryStore, "put", put)
    text = (
        f"prepare: {{{prepare}ensure_objects: [{{count: {256 * threads}, size: 0}}]}}\n"
        "workload: [{op: stat, path: '*'}]"
    )
    session, _ = work(text, lanes=lanes, operations=5)
    assert session._preparation.progress.made == 256 * threads
    assert most == threads


def test_the_threads_of_a_preparation_are_shared_by_the_processes():
    text = (
        "target: file:///x\nconcurrency: 6\nprocesses: 3\nworkload: [{op: get, path: '*'}]\nprepare: {concurrency: 2}\n"
    )
    shares = []
    for plan in make_plans(loads(text, label="test", environ={}), run_id="run"):
        session = Session()
        session.plan, session.config = plan, plan.load_config()
        session._places = Places(session.config)
        preparation = session._plan_preparation()
        shares.append((preparation.rank < preparation.workers, preparation.threads))
    assert [threads for has_share, threads in shares if has_share] == [1, 1]


def test_options_of_the_file_reach_the_stores():
    text = (
        "target: s3://bucket/x/\npage_cache_mode: none\nbackend: {s3: {region: eu-west-1, part_concurrency: 3}}\n"
        "workload:\n  - {op: put, path: n/, size: 1GiB, multipart: {part_size: 8MiB, concurrency: 9}}\n"
        "  - {op: put, path: m/, size: 1GiB, multipart: {}}\n  - {op: put, path: o/, size: 1}\n"
    )
    config = loads(text, label="test", environ={})
    places = Places(config)
    made = [name_new(places, item.path, "run", number, put=item) for number, item in enumerate(config.workload)]
    assert [one.store for one in made] == [0, 1, 1]
    options = [target.resolved.options for target in places._targets]
    assert [(each.region, each.part_concurrency) for each in options] == [("eu-west-1", 9), ("eu-west-1", 3)]
    cached = loads(
        "target: file:///x\nworkload: [{op: get, path: y}]\npage_cache_mode: random\n", label="t", environ={}
    )
    assert resolve(cached, "y").resolved.options.page_cache == "random"
    assert resolve(cached, "file:///other/y").resolved.options.page_cache == "random"


def test_a_plan_that_is_kept_holds_no_secret_and_the_workers_have_it():
    text = (
        "workload: [{op: get, uri: 's3://bucket/*'}]\nbackend: {s3: {secret_access_key: hushhush, access_key_id: x}}\n"
    )
    config = loads(text, label="test", environ={})
    plans = make_plans(config, run_id="run")
    assert "hushhush" not in str(describe(config, plans))
    assert describe(config, plans)["config"]["backend"] == {"s3": {"secret_access_key": "***", "access_key_id": "***"}}
    assert WorkerPlan.from_message(plans[0].to_message()).load_config() == config


def test_an_empty_object_is_written_in_parts_too(store, calls):
    session, last = work("workload: [{op: put, path: new/, size: 0, multipart: {}}]", operations=5)
    assert last["reason"] == ""
    made = keys(store)
    assert (len(made), {store.stat(key).size for key in made}) == (5, {0})
    clean(session)
    assert keys(store) == []


def test_empty_objects_of_a_format_are_prepared_and_put(store, calls):
    session, last = work(
        "verify: content\nprepare: {ensure_objects: [{path: a/, count: 3, size: 0, format: raw}]}\n"
        "workload: [{op: put, path: new/, size: 0, format: raw}, {op: get, path: a/*}]",
        operations=20,
    )
    assert last["reason"] == ""
    assert {store.stat(key).size for key in keys(store)} == {0}
    clean(session)
    assert keys(store) == []
