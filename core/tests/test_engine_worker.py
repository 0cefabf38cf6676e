"""What a worker process is beside its session."""

from __future__ import annotations

import gc

from penstock.engine.plan import make_plans
from penstock.engine.worker import Worker
from penstock.workload.config import loads


def test_it_looks_for_no_garbage_in_what_was_there_before_the_run() -> None:
    config = loads("target: mem://worker/\nworkload: [{op: list, path: g/}]", label="test", environ={})
    (plan,) = make_plans(config, run_id="run")
    worker = Worker()
    worker.open(plan.to_message())
    before = gc.get_freeze_count()
    try:
        worker.resolve({})
        assert gc.get_freeze_count() > before + 10_000
    finally:
        gc.unfreeze()
