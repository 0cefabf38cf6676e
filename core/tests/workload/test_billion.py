"""A billion objects: planned, drawn and prepared without a list of them."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clocks import wall_ns
from penstock.engine.marks import Marks
from penstock.engine.plan import WorkerPlan, describe, make_plans
from penstock.engine.session import Session
from penstock.memory import MemoryStore
from penstock.store import ObjectInfo
from penstock.workload.config import loads

BILLION = 10**9
TEXT = """
target: mem://billion/
total_operations: 800
concurrency: 4
prepare:
  skip_verification: true
  key_prefix_shards: 4096
  ensure_objects:
    - {{path: flat/, count: 1_000_000_000, size: {{lognormal: {{mean: 64KiB, std_dev: 64KiB}}}}}}
    - {{path: other/, count: 1_000_000_000, size: {{choice: [{{size: 1}}, {{size: 2}}]}}}}
workload:
  - {{op: get, path: "flat/*/*", weight: 8, selection: {policy}}}
  - {{op: get, path: "**", range: {{size: 4KiB, offset: random}}, selection: {policy}}}
  - {{op: stat, path: "other/**"}}
  - {{op: {last}, path: "other/*/*"}}
"""


@pytest.mark.parametrize("last", ["stat", "delete"])
@pytest.mark.parametrize("policy", ["uniform", "zipf", "hot_set", "sequential"])
def test_planning_and_running_over_a_billion_names_needs_little_memory(policy, last, monkeypatch):
    asked = []
    answer = ObjectInfo(key="x", size=5)
    monkeypatch.setattr(MemoryStore, "get", lambda self, key, sink, /, **given: asked.append(key) or answer)
    monkeypatch.setattr(MemoryStore, "stat", lambda self, key, /: asked.append(key) or answer)
    monkeypatch.setattr(MemoryStore, "delete", lambda self, keys, /: asked.extend(keys) or [])
    run_all(TEXT.format(policy=policy, last=last))
    asked.clear()
    tracemalloc.start()
    try:
        run_all(TEXT.format(policy=policy, last=last))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(asked) == 800
    assert peak < 24 << 20, f"{peak} bytes for 2 * 10**9 names"
    assert len({key.split("/")[1] for key in asked}) > 100 or policy == "zipf"


def run_all(text):
    config = loads(text, label="test", environ={})
    (plan,) = make_plans(config, run_id="run")
    assert len(str(describe(config, [plan]))) < 20_000
    session = Session()
    session.open(WorkerPlan.from_message(plan.to_message()).to_message())
    counts = session.resolve({})["objects"]
    assert (counts["0"], counts["1"]) == (BILLION, 2 * BILLION)
    *_, last = session.run({"start_ns": wall_ns()})
    assert last["done"]


def test_a_preparation_of_a_billion_that_is_interrupted_ends_at_once_and_knows_what_it_made(monkeypatch):
    made = []
    session = Session()

    def put(self, key, data, /, **given):
        made.append(key)
        if len(made) == 1000:
            session.drain({"reason": "interrupted"})

    monkeypatch.setattr(MemoryStore, "put", put)
    text = (
        "target: mem://billion/\nconcurrency: 1\nworkload: [{op: get, path: '**'}]\n"
        "prepare: {force_overwrite: true, ensure_objects: [{path: p/, count: 1_000_000_000, size: 0}]}\n"
    )
    (plan,) = make_plans(loads(text, label="test", environ={}), run_id="run")
    session.open(plan.to_message())
    before = resident()
    *_, progress = session.prepare({})
    assert (progress["made"], progress["total"]) == (1000, BILLION)
    assert resident() - before < 64 << 20
    (one,) = session._preparation.made
    assert sorted(one.keys()) == sorted(made)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@given(count=st.integers(0, 20_000), seed=st.integers(0, 99), most=st.integers(1, 300))
def test_marks_are_a_set_of_places(count, seed, most):
    random = np.random.default_rng(seed)
    places = set(random.integers(0, count, random.integers(0, 400)).tolist()) if count else set()
    marks = Marks(count)
    half = sorted(places)[: len(places) // 2]
    marks.mark_all(np.array(half * 2, dtype=np.int64))
    for place in places - set(half):
        marks.mark(place)
    assert marks.total() == len(places)
    assert list(marks.marked()) == sorted(places, reverse=True)
    lists = list(marks.unmarked(most))
    assert all(0 < len(one) <= most for one in lists)
    assert list(itertools.chain(*lists)) == [place for place in range(count) if place not in places]
