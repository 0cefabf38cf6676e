"""Open loop as a whole run: what is due is begun or counted as missed, and the window is as long as it was to be."""

from __future__ import annotations

import itertools
import json

import pytest

from penstock.engine.arrivals import Arrivals, rate_phases
from penstock.engine.run import execute
from penstock.report.live import open_view
from penstock.workload.config import Loaded, loads


def run(tmp_path, text):
    config = loads(text + f"\nresults_dir: {tmp_path}\n", label="w.yaml", environ={})
    result = execute(
        Loaded(config, text, "open"), command_line="test", view=lambda directory: open_view(None, quiet=True)
    )
    return result.outcome, json.loads((result.directory / "result.json").read_text())


@pytest.mark.parametrize(("arrivals", "processes"), [("uniform", 1), ("uniform", 2), ("poisson", 4)])
def test_what_is_due_is_done_or_missed(tmp_path, arrivals, processes):
    text = f"""
target: file://{tmp_path}/data/
concurrency: 8
processes: {processes}
duration: 1s
warmup: 300ms
rate: {{ops_per_second: 300, arrivals: {arrivals}}}
prepare: {{ensure_objects: [{{path: d/, count: 10, size: 1KiB}}]}}
workload: [{{op: get, path: d/*}}]
"""
    outcome, result = run(tmp_path, text)
    assert outcome.status == "done", outcome.reason
    assert outcome.measured_seconds >= 1.0
    planned = outcome.planned
    assert planned.operations == pytest.approx(300 * outcome.measured_seconds)
    begun = outcome.totals.count + outcome.totals.errors
    if arrivals == "uniform":
        # Each lane may have begun in the warm-up what was due at its very end.
        assert begun + planned.missed == pytest.approx(300, abs=8)
    else:
        assert begun + planned.missed == pytest.approx(300, abs=5 * 300**0.5)
    assert result["planned"] == {"operations": planned.operations, "missed": planned.missed}
    assert result["limit"] == outcome.limit != ""


def planned_between(config, begin_s, end_s):
    """How many arrivals the plan has between two times, as one lane alone would take them."""
    phases = rate_phases(config.rate, config.warmup)
    arrivals = Arrivals(phases, 0, poisson=config.rate.arrivals == "poisson", turns=(0,), of=1, seed=config.seed)
    due = iter(arrivals.take, None)
    return sum(at >= begin_s * 1e9 for at in itertools.takewhile(lambda at: at < end_s * 1e9, due))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("arrivals", ["uniform", "poisson"])
def test_as_many_operations_come_as_were_planned_whatever_the_processes(tmp_path, arrivals, processes):
    text = f"""
target: file://{tmp_path}/data/
concurrency: 8
processes: {processes}
duration: 4s
warmup: 500ms
rate: {{ops_per_second: 1000, arrivals: {arrivals}}}
prepare: {{ensure_objects: [{{path: d/, count: 10, size: 1KiB}}]}}
workload: [{{op: get, path: d/*}}]
"""
    outcome, _ = run(tmp_path, text)
    assert outcome.status == "done", outcome.reason
    planned = planned_between(loads(text, label="w.yaml", environ={}), 0.5, 4.5)
    assert planned == pytest.approx(4000, abs=5 * 4000**0.5)
    assert outcome.totals.count + outcome.totals.errors + outcome.planned.missed == pytest.approx(planned, rel=0.01)


def test_phases_follow_each_other_and_what_no_lane_can_begin_is_missed(tmp_path):
    text = """
target: mem://x/
concurrency: 1
processes: 1
rate: {arrivals: uniform, phases: [{for: 0.5s, ops_per_second: 100}, {for: 0.5s, ops_per_second: 10_000_000}]}
prepare: {ensure_objects: [{path: d/, count: 1, size: 1KiB}]}
workload: [{op: get, path: d/*}]
"""
    outcome, _ = run(tmp_path, text)
    planned = outcome.planned
    assert outcome.measured_seconds >= 1.0
    assert planned.operations >= 5_000_050
    assert 50 < outcome.totals.count < 5_000_050
    assert outcome.totals.count + planned.missed == pytest.approx(5_000_050, abs=2)
    assert outcome.limit != "none"


def test_a_run_that_its_budget_ends_has_missed_nothing(tmp_path):
    text = """
target: mem://x/
concurrency: 2
processes: 1
duration: 30s
total_operations: 20
rate: {ops_per_second: 1000, arrivals: uniform}
prepare: {ensure_objects: [{path: d/, count: 1, size: 1KiB}]}
workload: [{op: get, path: d/*}]
"""
    outcome, _ = run(tmp_path, text)
    assert outcome.totals.count == 20
    assert outcome.planned.missed == 0
    assert outcome.measured_seconds < 20


def test_a_storage_that_stalls_is_seen_to_stall_in_the_response_alone(tmp_path):
    text = """
target: mem://x/
concurrency: 4
processes: 1
duration: 3s
rate: {ops_per_second: 100, arrivals: uniform}
faults: {rules: [{stall: {seconds: 1, at: 1}, operations: [get]}]}
prepare: {ensure_objects: [{path: d/, count: 1, size: 1KiB}]}
workload: [{op: get, path: d/*}]
"""
    outcome, _ = run(tmp_path, text)
    cell = outcome.totals.operation("GET")
    assert 0.8e9 < cell.response.percentile(99) < 2e9
    assert cell.service.percentile(50) < 0.1e9
