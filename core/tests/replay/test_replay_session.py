"""What a worker does, in this process."""

from __future__ import annotations

import threading

import pytest

from penstock.clocks import wall_ns
from penstock.errors import RunError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.replay.part import ReplayPart
from penstock.replay.roots import Roots
from penstock.replay.session import ReplaySession
from penstock.replay.settings import Backpressure, Settings, Window
from penstock.replay.supply import AHEAD
from penstock.stats.tally import Tally


class Stuck:
    """A store whose calls never end, or not before the test does."""

    def __init__(self):
        store = MemoryStore(MemoryOptions(name="stuck"))
        self.capabilities = store.capabilities
        self.entered, self.release = threading.Event(), threading.Event()

    def stat(self, key):
        self.entered.set()
        self.release.wait(60)
        raise KeyError(key)


def session_of(settings, **further):
    part = ReplayPart(
        rank=0,
        workers=1,
        first_lane=0,
        lanes=settings.backpressure.max_in_flight,
        cpu=None,
        run_id="id",
        first_ns=0,
        op_log=None,
        client_id="",
        settings=settings.to_message(),
    )
    session = ReplaySession()
    session.open(part.to_message())
    session.resolve({})
    return session


def test_what_does_not_end_is_given_up_and_counted(log, row, monkeypatch):
    stuck = Stuck()
    monkeypatch.setattr(Roots, "store", lambda roots, number: stuck)
    settings = Settings(
        log=log([row("STAT", "b/k"), row("STAT", "b/late", at=3600)]),
        target="mem://t",
        backpressure=Backpressure(drain_timeout=0.05),
        live_interval=0.1,
    )
    session = session_of(settings)
    items = session.run({"start_ns": wall_ns()})
    try:
        first = next(items)
        assert stuck.entered.wait(60)
        session.drain({"reason": "enough"})
        found = [first, *items]
    finally:
        stuck.release.set()
    assert (found[-1]["reason"], found[-1]["given_up"]) == ("enough", 1)
    assert sum(item["started"] for item in found[:-1]) == 1


def test_a_log_that_turns_out_to_be_bad_ends_the_replay(log, row):
    rows = [row("PUT", "b/k", nbytes=1, at=1 + number * 1e-6) for number in range(AHEAD + 100)]
    path = log([*rows, row("PUT", "b/early")])
    session = session_of(Settings(log=path, target="mem://t", window=Window(rows=1), speed=1000.0))
    line = len(rows) + 2
    with pytest.raises(RunError, match=rf"\A{path}:{line}: this row started 1.01 s before .* sort it first"):
        list(session.run({"start_ns": wall_ns()}))


def test_many_more_operations_than_are_planned_ahead(log, row):
    path = log([row("PUT", f"b/{number % 10}", nbytes=number % 7, at=number * 1e-6) for number in range(12_000)])
    for speed in (1000.0, None):
        session = session_of(Settings(log=path, target="mem://many", speed=speed, live_interval=0.2))
        tally, recorded, done = Tally(), Tally(), None
        for item in session.run({"start_ns": wall_ns()}):
            if "done" in item:
                done = item
                continue
            tally.merge(Tally.from_message(item["tally"]))
            recorded.merge(Tally.from_message(item["recorded"]))
        assert tally.count == recorded.count == done["chosen"] == 12_000
        assert tally.nbytes == recorded.nbytes == sum(number % 7 for number in range(12_000))


@pytest.mark.parametrize(("choice", "spread"), [("spread", True), ("start", False)])
def test_ranges_begin_where_the_settings_say(log, row, monkeypatch, choice, spread):
    starts, get = [], MemoryStore.get

    def noting(store, key, sink, *, start=0, length=None, **options):
        starts.append(start)
        return get(store, key, sink, start=start, length=length, **options)

    store = MemoryStore(MemoryOptions(name="ranges"))
    store.put("k", bytes(1000))
    monkeypatch.setattr(MemoryStore, "get", noting)
    rows = [row("GET_RANGE", "b/k", nbytes=100, at=number * 0.001) for number in range(40)]
    session = session_of(Settings(log=log(rows), target="mem://ranges", range_offsets=choice, live_interval=0.1))
    try:
        list(session.run({"start_ns": wall_ns()}))
    finally:
        store.delete(["k"])
    assert len(starts) == 40
    assert (len(set(starts)) > 1) is spread
