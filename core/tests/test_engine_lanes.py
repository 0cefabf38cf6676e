"""How operations are spread over lanes, and lanes over processes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.build import lane_weights
from penstock.engine.control import Control
from penstock.engine.grid import share
from penstock.engine.lanes import Exhausted, Idle, Lane
from penstock.engine.plan import WorkerPlan, make_plans, part_path
from penstock.errors import ObjectNotFoundError, UsageError
from penstock.records import BufferPool, Recorder
from penstock.workload.config import loads


def config(text: str):
    return loads(text, label="test", environ={})


class Counting:
    def __init__(self, raises: BaseException | None = None, after: int = 0) -> None:
        self.count = 0
        self._raises = raises
        self._after = after

    def run(self) -> None:
        if self._raises is not None and self.count >= self._after:
            self.count += 1
            raise self._raises
        self.count += 1


def lane(steps, weights, *, budget=1000, max_errors=None, number=0) -> Lane:
    control = Control(begin=0, warm=0, deadline=None, budget=budget, max_errors=max_errors)
    recorder = Recorder(number, BufferPool(2, 16).handover)
    return Lane(number=number, steps=steps, weights=weights, seed=1, control=control, recorder=recorder, meters=())


def test_a_lane_draws_by_weight():
    steps = [Counting(), Counting(), Counting()]
    lane(steps, [6, 3, 0], budget=9000).run()
    assert steps[2].count == 0
    assert 5700 < steps[0].count < 6300
    assert steps[0].count + steps[1].count == 9000


def test_an_exhausted_step_leaves_the_budget_to_the_others():
    steps = [Counting(Exhausted(), after=5), Counting()]
    lane(steps, [1, 1], budget=100).run()
    assert steps[0].count == 6
    assert steps[1].count == 95


def test_a_lane_that_has_nothing_left_leaves_its_share_to_others():
    control = Control(begin=0, warm=0, deadline=None, budget=10, max_errors=None)
    made = [lane([Counting(Exhausted(), after=3)], [1], number=0), lane([Counting()], [1], number=1)]
    for each in made:
        each.control = control
        each.run()
    assert [each.operations for each in made] == [3, 7]


def test_a_lane_ends_when_every_step_is_exhausted():
    steps = [Counting(Exhausted()), Counting(Exhausted(), after=3)]
    one = lane(steps, [1, 1], budget=None)
    one.run()
    assert one.operations == 3


def test_a_step_that_is_idle_for_good_does_not_spin_for_ever():
    one = lane([Counting(Idle())], [1], budget=None)
    one.run()
    assert one.operations == 0


def test_failed_operations_count_and_stop_above_the_limit():
    step = Counting(ObjectNotFoundError("gone"))
    one = lane([step], [1], budget=None, max_errors=10)
    one.run()
    assert step.count == 11
    assert "more than 10" in one.control.reason


def test_an_error_that_is_no_stores_stops_everything():
    one = lane([Counting(ValueError("a defect"))], [1], budget=None)
    one.run()
    assert isinstance(one.control.fatal, ValueError)
    assert one.control.stopping


@given(total=st.integers(0, 10**12), workers=st.integers(1, 64))
def test_shares_are_disjoint_complete_and_even(total, workers):
    shares = [share(total, rank, workers) for rank in range(workers)]
    assert shares[0][0] == 0
    assert shares[-1][1] == total
    assert all(before[1] == after[0] for before, after in itertools.pairwise(shares))
    sizes = [end - begin for begin, end in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_plan_travels_as_data():
    made = make_plans(config("target: mem:///\nworkload: [{op: put, path: x, size: 1}]"), run_id="r")
    assert made[0].op_log is None
    plan = [each.logging_to("/a/b.tsv") for each in made]
    assert [WorkerPlan.from_message(each.to_message()) for each in plan] == plan
    assert plan[0].op_log == "/a/b.part-0.tsv"
    assert part_path("log.tsv.zst", 3) == "log.part-3.tsv.zst"


def test_several_processes_on_a_private_store_are_refused():
    text = "target: mem:///\nprocesses: 2\nworkload: [{op: put, path: x, size: 1}]"
    with pytest.raises(UsageError, match="live in one process"):
        make_plans(config(text), run_id="r")


def test_a_capped_operation_keeps_its_share():
    text = """
target: mem:///
concurrency: 8
workload: [{op: stat, path: a, weight: 1, concurrency: 2}, {op: stat, path: b, weight: 3}]
"""
    weights = [lane_weights(config(text), number, 8) for number in range(8)]
    shares = [[weight / sum(row) for weight in row] for row in weights]
    assert sum(share[0] for share in shares) == pytest.approx(8 / 4)
    assert [share[0] for share in shares[2:]] == [0] * 6
