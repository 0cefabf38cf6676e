"""``penstock find`` where the knee is known: four calls at a time, of ten milliseconds each, are 400 a second."""

from __future__ import annotations

import pytest

from penstock.tuning.goals import parse_goal
from penstock.tuning.runner import Runner, find_rate
from penstock.workload.config import Loaded, loads

WORKLOAD = """
target: mem://knee/
concurrency: 32
processes: 1
faults: {rules: [{service: {concurrency: 4, seconds: 10ms}, operations: [get]}]}
prepare: {ensure_objects: [{path: d/, count: 10, size: 1KiB}]}
workload: [{op: get, path: d/*}]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_knee_is_found_within_five_percent(tmp_path):
    config = loads(f"{WORKLOAD}results_dir: {tmp_path}\n", label="w.yaml", environ={})
    runner = Runner.beside(Loaded(config, WORKLOAD, "knee"), suffix="find", command_line="test", say=print)
    # Beyond the knee the queue grows through the whole trial, so the median tells it as well as any tail.
    found = find_rate(runner, [parse_goal("get.p50 < 40ms")], seconds=3.0, warmup=0.2, arrivals="uniform")
    assert found.closed.trial.achieved == pytest.approx(400, rel=0.05)
    assert found.rate == pytest.approx(400, rel=0.05)
    assert "get.p50" in found.limit
