"""What lanes do with tasks, what is made before, and what is deleted after."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clocks import monotonic_ns
from penstock.engine.collector import Collector
from penstock.engine.contents import Contents, Recipe
from penstock.engine.control import Control
from penstock.errors import PenstockError, RunError, StoreError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.metering import Metered, OneRecorder
from penstock.oplog import COLUMNS
from penstock.records import BufferPool, Op, Recorder
from penstock.replay.calls import Calls, Rooms, StandIns
from penstock.replay.lanes import Crew
from penstock.replay.objects import Objects
from penstock.replay.offsets import Offsets
from penstock.replay.pace import Flaps, Pace
from penstock.replay.planning import Planner
from penstock.replay.roots import Roots
from penstock.replay.settings import Backpressure, Settings
from penstock.replay.supply import Shared, Streams
from penstock.sinks import Collect
from penstock.stats.tally import Tally

NAMES = itertools.count()
PAYLOAD = Contents(0).open(Recipe("random"))


@pytest.fixture
def target():
    """The name of a store in memory that nobody used before, and the store."""
    name = f"replay-{next(NAMES)}"
    return f"mem://{name}", MemoryStore(MemoryOptions(name=name))


def everything(store):
    return {info.key: info.size for page in store.list_pages() for info in page.objects}


def planned(path, target, **further):
    settings = Settings(log=path, target=target, **further)
    roots = Roots({}, 1)
    planner = Planner(settings=settings, roots=roots, first_ns=0)
    return settings, roots, planner, list(planner.tasks())


class Player:
    """One lane's calls, with what they recorded."""

    def __init__(self, roots, **further):
        self.pool = BufferPool(2, 1000)
        self.recorder = Recorder(0, self.pool.handover)
        self.stand_ins = StandIns(roots, PAYLOAD, "id-0")
        self.calls = Calls(roots, self.recorder, PAYLOAD, Rooms(), self.stand_ins, "id", 1 << 20, 1 << 18)
        self.calls = attrs.evolve(self.calls, **further)

    def play(self, tasks):
        for task in tasks:
            body = self.calls.ready(task)
            try:
                self.calls.run(task, body, 0)
            except PenstockError:
                pass
            finally:
                self.calls.release(body)
        return [(Op(row["op"]).name, int(row["nbytes"]), int(row["n_objects"])) for row in self.recorder.active.rows]


def test_every_operation_is_carried_out(log, row, target):
    uri, store = target
    columns = (*COLUMNS, "offset", "length", "source")
    extra = {"offset": "", "length": "", "source": ""}
    for number in range(5):
        store.put(f"old/{number}", b"0123456789")
    path = log(
        [
            row("PUT", "b/new", nbytes=1000, at=1, **extra),
            row("PUT", "b/large", nbytes=(1 << 20) + 1, at=2, **extra),
            row("PUT", "b/empty", at=3, **extra),
            row("GET", "b/old/1", nbytes=10, at=4, **extra),
            row("GET_RANGE", "b/old/1", nbytes=3, at=5, **extra | {"offset": "2", "length": "3"}),
            row("GET_RANGE", "b/old/1", nbytes=4, at=6, **extra),
            row("HEAD", "b/old/1", nbytes=10, at=7, **extra),
            row("LIST", "b/old/", n_objects=5, at=8, **extra),
            row("COPY", "b/copied", at=9, **extra | {"source": "b/old/2"}),
            row("DELETE", "b/old/0", at=10, **extra),
            row("DELETE_BATCH", "b/old/1", n_objects=3, at=11, **extra),
            row("MKDIR", "b/dir/", at=12, **extra),
            row("RMDIR", "b/dir/", at=13, **extra),
            row("DELETE_PREFIX", "b/old/", at=14, **extra),
            row("GET", "b/old/4", nbytes=10, at=15, **extra),
        ],
        columns,
    )
    _, roots, _, tasks = planned(path, uri)
    assert Player(roots).play(tasks) == [
        ("PUT", 1000, 1),
        ("PUT", (1 << 20) + 1, 1),
        ("PUT", 0, 1),
        ("GET", 10, 1),
        ("GET_RANGE", 3, 1),
        ("GET_RANGE", 4, 1),
        ("STAT", 0, 1),
        ("LIST", 0, 5),
        ("COPY", 0, 1),
        ("DELETE", 0, 1),
        ("DELETE_BATCH", 0, 3),
        ("MKDIR", 0, 1),
        ("RMDIR", 0, 1),
        ("DELETE_PREFIX", 0, 3),
        ("GET", 0, 1),
    ]
    assert everything(store) == {"new": 1000, "large": (1 << 20) + 1, "empty": 0, "copied": 10}


def test_every_put_has_bytes_of_its_own(log, row, target):
    uri, store = target
    path = log([row("PUT", f"b/{number}", nbytes=5000 if number % 2 else 2 << 20, at=number) for number in range(4)])
    _, roots, _, tasks = planned(path, uri)
    Player(roots).play(tasks)
    bodies = []
    for number in range(4):
        sink = Collect()
        store.get(str(number), sink)
        bodies.append(bytes(sink.view())[:5000])
    assert len(set(bodies)) == 4


def test_ranges_without_an_offset_are_spread_over_the_object(log, row, target):
    uri, store = target
    store.put("k", bytes(1000))
    rows = [row("GET_RANGE", "b/k", nbytes=100, at=at) for at in range(200)]
    # Smaller, so that what was known of its size is wrong.
    rows += [row("PUT", "b/k", nbytes=150, at=300), row("GET_RANGE", "b/k", nbytes=100, at=301)]
    _, roots, _, tasks = planned(log(rows), uri)
    player, starts = Player(roots), []
    real = type(roots.store(0)).get

    class Noting:
        def __getattr__(self, name):
            return getattr(roots.store(0), name)

        def get(self, key, sink, **options):
            starts.append(options["start"])
            return real(roots.store(0), key, sink, **options)

    player.calls._meters[0] = Metered(Noting(), OneRecorder(player.recorder), 0)
    player.play(tasks)
    assert starts[0] == starts[-1] == 0
    assert set(starts) == set(range(0, 1000, 100))
    assert not player.calls.odd
    unspread = attrs.evolve(player.calls, offsets=Offsets(spread=False, salt=0))
    unspread._meters[0] = Metered(Noting(), OneRecorder(player.recorder), 0)
    starts.clear()
    for task in tasks[:9]:
        unspread.run(task, None, 0)
    assert starts == [0] * 9


def test_reads_of_another_size_are_counted(log, row, target):
    uri, store = target
    store.put("k", b"12345")
    path = log(
        [
            row("GET", "b/k", nbytes=5, at=1),
            row("GET", "b/k", nbytes=6, at=2),
            row("GET_RANGE", "b/k", nbytes=9, at=3),
            row("GET", "b/k", nbytes=1, at=4, error="Broken: pipe"),
        ]
    )
    _, roots, _, tasks = planned(path, uri)
    player = Player(roots)
    player.play(tasks)
    assert player.calls.odd == {"other_size": 2}


def test_copies_without_a_source_take_a_stand_in_that_is_removed(log, row, target):
    uri, store = target
    path = log([row("COPY", f"b/a/{number}", nbytes=100, at=number) for number in range(3)])
    _, roots, _, tasks = planned(path, uri)
    player = Player(roots)
    assert player.play(tasks) == [("COPY", 0, 1)] * 3
    assert everything(store) == {"a/0": 128, "a/1": 128, "a/2": 128, "a/penstock-replay-id-0-source-128": 128}
    assert player.stand_ins.remove() == []
    assert set(everything(store)) == {"a/0", "a/1", "a/2"}


def test_listings_end_after_as_many_entries_as_were_recorded(log, row, target):
    uri, store = target
    for number in range(2500):
        store.put(f"k{number:04d}", b"")
    path = log([row("LIST", "b/", n_objects=count, at=count) for count in (0, 1, 1000, 1001, 9999)])
    _, roots, _, tasks = planned(path, uri)
    assert [objects for _, _, objects in Player(roots).play(tasks)] == [1000, 1000, 1000, 2000, 2500]


def test_buckets_are_made_and_removed_by_their_service(log, row, monkeypatch):
    called = []

    class Service:
        def create_bucket(self):
            called.append("create")

        def delete_bucket(self):
            called.append("delete")
            raise StoreError("not empty")

        def close(self):
            called.append("close")

    monkeypatch.setattr(Roots, "has_service", lambda roots, number: True)
    monkeypatch.setattr(Roots, "service", lambda roots, number: Service())
    path = log([row("CREATE_CONTAINER", "b", at=1), row("DELETE_CONTAINER", "b", at=2)])
    roots = Roots({}, 1)
    tasks = list(Planner(settings=Settings(log=path, in_place=True), roots=roots, first_ns=0).tasks())
    player = Player(roots)
    assert player.play(tasks) == [("CREATE_CONTAINER", 0, 1), ("DELETE_CONTAINER", 0, 1)]
    assert called == ["create", "close", "delete", "close"]
    assert player.recorder.active.errors == ["StoreError: not empty"]


class Gate:
    """A store whose calls wait to be let through, and says who is in."""

    def __init__(self, store):
        self._store = store
        self.capabilities = store.capabilities
        self.open = threading.Event()
        self.inside = threading.Semaphore(0)
        self.order: dict[str, list[str]] = defaultdict(list)

    def stat(self, key):
        self.inside.release()
        assert self.open.wait(60)
        thread, _, _ = key.partition("/")
        self.order[thread].append(key)
        return self._store.stat(key)


def crew_of(roots, *, most, begin, pace=None):
    control = Control(begin=begin or 0, warm=0, deadline=None, budget=None, max_errors=None)
    collector = Collector(0, 1, None, most_lanes=most)
    stand_ins = StandIns(roots, PAYLOAD, "id-0")
    crew = Crew(
        most=most,
        control=control,
        collector=collector,
        pace=pace or Pace(Backpressure()),
        calls=lambda recorder: Calls(roots, recorder, PAYLOAD, Rooms(), stand_ins, "id", 1 << 20, 1 << 18),
        begin=begin,
    )
    return crew, collector


def collected(collector):
    collector.ended()
    tally = Tally()
    for snapshot in collector.collect(monotonic_ns(), 10**9):
        tally.merge(Tally.from_message(snapshot["tally"]))
    return tally


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_recorded_threads_keep_their_order(log, row, target, monkeypatch, lanes):
    uri, store = target
    gate = Gate(store)
    gate.open.set()
    monkeypatch.setattr(Roots, "store", lambda roots, number: gate)
    made = [row("STAT", f"b/t{n % 3}/{n:03d}", at=n, thread=n % 3) for n in range(90)]
    _, roots, _, tasks = planned(log(made), uri, speed=None)
    crew, collector = crew_of(roots, most=lanes, begin=None)
    supply = Streams(crew)
    for task in tasks:
        supply.put(task)
    supply.end()
    tally = collected(collector)
    assert tally.errors == 90
    assert len(crew.lanes) == min(lanes, 3)
    assert gate.order == {f"t{t}": [f"t{t}/{n:03d}" for n in range(t, 90, 3)] for t in range(3)}
    assert crew.outcomes() == {"failed_anew": 90}


def test_what_was_concurrent_can_be_concurrent(log, row, target, monkeypatch):
    uri, store = target
    gate = Gate(store)
    monkeypatch.setattr(Roots, "store", lambda roots, number: gate)
    _, roots, _, tasks = planned(log([row("STAT", f"b/t/{n}") for n in range(50)]), uri)
    crew, collector = crew_of(roots, most=40, begin=monotonic_ns())
    supply = Shared()
    crew.grow(supply.source, 2)
    threading.Thread(target=crew.keep_spare, args=(supply.source,), daemon=True).start()
    for task in tasks:
        supply.put(task)
    for _ in range(40):
        assert gate.inside.acquire(timeout=60)
    # Forty is the most; the others wait, and none is dropped.
    assert (len(crew.lanes), supply.queued()) == (40, 10)
    gate.open.set()
    supply.end()
    assert collected(collector).errors == 50
    assert crew.peak == 40


def test_no_operation_begins_before_it_is_due_and_lags_are_recorded(log, row, target):
    uri, store = target
    store.put("k", b"")
    _, roots, _, tasks = planned(log([row("STAT", "b/k", at=n / 200) for n in range(40)]), uri, speed=2.0)
    begin = monotonic_ns() + 20_000_000
    crew, collector = crew_of(roots, most=4, begin=begin)
    supply = Shared()
    crew.grow(supply.source, 4)
    for task in tasks:
        supply.put(task)
    supply.end()
    recorders = collector.recorders
    tally = collected(collector)
    assert monotonic_ns() >= begin + tasks[-1].due
    cell = tally.operation("STAT")
    assert (cell.count, cell.lag.count, cell.response.count) == (40, 40, 40)
    assert cell.lag.minimum >= 0
    assert cell.response.total == cell.lag.total + cell.service.total
    assert len(recorders) == 5


def test_a_stop_ends_lanes_that_wait(log, row, target):
    uri, _ = target
    _, roots, _, tasks = planned(log([row("STAT", "b/k", at=n * 3600) for n in range(3)]), uri)
    crew, collector = crew_of(roots, most=4, begin=monotonic_ns() + 3600 * 10**9)
    supply = Shared()
    crew.grow(supply.source, 3)
    for task in tasks:
        supply.put(task)
    crew.control.stop("enough")
    supply.end()
    assert not collected(collector).cells


def test_a_store_that_can_not_be_opened_fails_each_operation(log, row, target, monkeypatch):
    def broken(roots, number):
        raise StoreError("no such place")

    uri, _ = target
    _, roots, _, tasks = planned(log([row("STAT", "b/k"), row("PUT", "b/k", nbytes=5)]), uri, speed=None)
    monkeypatch.setattr(Roots, "store", broken)
    crew, collector = crew_of(roots, most=4, begin=None)
    supply = Streams(crew)
    for task in tasks:
        supply.put(task)
    supply.end()
    assert collected(collector).errors == 2


def test_a_defect_stops_everything(log, row, target, monkeypatch):
    def broken(calls, task):
        raise RuntimeError("a defect")

    uri, _ = target
    _, roots, _, tasks = planned(log([row("STAT", "b/k")]), uri, speed=None)
    monkeypatch.setattr(Calls, "ready", broken)
    crew, collector = crew_of(roots, most=4, begin=None)
    supply = Streams(crew)
    for task in tasks:
        supply.put(task)
    supply.end()
    collected(collector)
    assert str(crew.control.fatal) == "a defect"


SECOND = 10**9


def test_a_worker_is_behind_above_one_threshold_until_below_the_other():
    pace = Pace(Backpressure(lag_threshold=5.0, recovery_threshold=1.0))
    lags = [0, 5, 5.1, 3, 1, 0.9, 4, 6]
    for now, lag in enumerate(lags):
        pace.check(round(lag * SECOND), now)
    assert pace.take_changes() == [(2, True), (5, False), (7, True)]
    assert pace.take_changes() == []
    assert pace.behind


def test_thresholds_must_make_sense():
    with pytest.raises(PenstockError, match="the recovery threshold, 6 s, is above the lag threshold, 5 s"):
        Backpressure(recovery_threshold=6.0)


def test_a_replay_is_behind_while_any_worker_is():
    flaps = Flaps(most=3)
    assert not flaps.change(0, 1 * SECOND, True)
    assert not flaps.change(1, 2 * SECOND, True)
    assert not flaps.change(0, 3 * SECOND, False)
    assert flaps.count == 1
    assert not flaps.change(1, 4 * SECOND, False)
    assert flaps.stretches == [(1 * SECOND, 4 * SECOND)]
    assert not flaps.change(1, 5 * SECOND, True)
    # The fourth change within a minute is one too many.
    assert flaps.change(1, 6 * SECOND, False)
    assert flaps.stretches[-1] == (5 * SECOND, 6 * SECOND)


@given(st.lists(st.integers(0, 40 * SECOND), max_size=20), st.integers(0, 4))
def test_only_changes_within_a_minute_count(gaps, most):
    flaps, now, times = Flaps(most), 0, []
    for number, gap in enumerate(gaps):
        now += gap
        times.append(now)
        within = [at for at in times if at > now - 60 * SECOND]
        assert flaps.change(0, now, number % 2 == 0) == (most > 0 and len(within) > most)


def objects_of(path, target, *, workers=1, rank=0, **further):
    settings = Settings(log=path, target=target, **further)
    roots = Roots({}, 1)
    return Objects(
        settings=settings,
        planner=Planner(settings=settings, roots=roots, first_ns=0),
        roots=roots,
        payload=PAYLOAD,
        run_id="id",
        rank=rank,
        workers=workers,
        threads=3,
        stopping=lambda: False,
    )


def exhaust(items):
    return list(items)[-1]


@pytest.fixture
def reading(log, row):
    """A log that reads, writes and fails."""
    return log(
        [
            row("GET", "b/read", nbytes=10, at=1),
            row("GET", "b/read", nbytes=30, at=2),
            row("GET_RANGE", "b/ranged", nbytes=50, at=3),
            row("STAT", "b/asked", at=4),
            row("GET", "b/missing", at=5, error="ObjectNotFoundError: no"),
            row("PUT", "b/written", nbytes=7, at=6),
            row("GET", "b/written", nbytes=7, at=7),
            row("GET", "b/later", nbytes=20, at=8),
            row("PUT", "b/later", nbytes=900, at=9),
            row("GET", "b/later", nbytes=900, at=10),
            row("PUT", "b/slow", nbytes=5, at=11, took=5),
            row("GET", "b/slow", nbytes=4, at=12),
            row("PUT", "b/failed", nbytes=5, at=17, error="ThrottledError: no"),
            row("GET", "b/failed", nbytes=6, at=18),
            row("GET", "b/there", nbytes=8, at=19),
            row("GET", "b/small", nbytes=8, at=20),
            row("DELETE", "b/gone", at=21),
        ]
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_read_and_was_not_written_before_is_prepared(reading, target, workers):
    uri, store = target
    store.put("there", b"12345678")
    store.put("small", b"123")
    totals = Counter()
    for rank in range(workers):
        made = objects_of(reading, uri, workers=workers, rank=rank, prepare=True)
        progress = exhaust(made.prepare())
        totals.update({"made": progress.made, "found": progress.found, "bytes": progress.nbytes})
        totals.update({"smaller": made.smaller, "sizeless": made.sizeless})
    assert totals == {"made": 6, "found": 2, "bytes": 110, "smaller": 1, "sizeless": 1}
    assert everything(store) == {
        "read": 30,
        "ranged": 50,
        "asked": 0,
        "later": 20,
        "slow": 4,
        "failed": 6,
        "there": 8,
        "small": 3,
    }


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_cleanup_deletes_what_the_replay_made(reading, target, prepare, workers):
    uri, store = target
    for key in ("there", "small", "slow", "stranger"):
        store.put(key, b"123")
    before = everything(store)
    shares = [
        objects_of(reading, uri, workers=workers, rank=rank, prepare=prepare, cleanup=True) for rank in range(workers)
    ]
    for made in shares:
        exhaust(made.prepare())
    _, roots, _, tasks = planned(reading, uri)
    Player(roots).play(tasks)
    deleted = sum(exhaust(made.cleanup(directories=False)).made for made in shares)
    for made in shares:
        list(made.cleanup(directories=True))
    assert deleted == (6 if prepare else 3)
    assert set(everything(store)) == set(before)


def test_what_nobody_looked_for_is_not_deleted(reading, target):
    uri, store = target
    for key in ("written", "later", "failed"):
        store.put(key, b"123")
    made = attrs.evolve(objects_of(reading, uri, cleanup=True), stopping=lambda: made.progress.total > 0)
    list(made.prepare())
    assert exhaust(made.cleanup(directories=False)).made == 0
    assert set(everything(store)) == {"written", "later", "failed"}


def test_a_preparation_that_fails_says_so(reading, target, monkeypatch):
    def refuse(store, key, data, /, **further):
        raise StoreError("the disk is on fire")

    monkeypatch.setattr(MemoryStore, "put", refuse)
    uri, _ = target
    with pytest.raises(RunError, match=r"prepare: 8 objects could not be made, such as .*: StoreError: the disk is on"):
        exhaust(objects_of(reading, uri, prepare=True).prepare())


def test_directories_that_the_replay_brought_about_are_removed(log, row, tmp_path):
    (tmp_path / "kept").mkdir()
    path = log(
        [
            row("PUT", "b/kept/a/b/c", nbytes=3, at=1),
            row("MKDIR", "b/made/", at=2),
            row("MKDIR", "b/kept/", at=3, error="AlreadyExistsError: there"),
            row("GET", "b/read/d/e", nbytes=3, at=4),
        ]
    )
    made = objects_of(path, f"file://{tmp_path}", prepare=True, cleanup=True)
    exhaust(made.prepare())
    assert (tmp_path / "read/d/e").read_bytes()
    _, roots, _, tasks = planned(path, f"file://{tmp_path}")
    Player(roots).play(tasks)
    assert (tmp_path / "made").is_dir()
    exhaust(made.cleanup(directories=False))
    list(made.cleanup(directories=True))
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert not list((tmp_path / "kept").iterdir())
