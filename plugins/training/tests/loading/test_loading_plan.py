"""The laws of plans: which samples, in which order, for which process."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock_training.loading import Order, Plan
from penstock_training.loading import plan as plans

few = settings(max_examples=60, deadline=None)

shapes = st.fixed_dictionaries(
    {
        "count": st.integers(0, 300),
        "batch_size": st.integers(1, 40),
        "shuffle": st.booleans(),
        "seed": st.integers(-(2**70), 2**70),
        "epoch": st.integers(0, 1000),
        "drop_last": st.booleans(),
        "shard_world_size": st.integers(1, 7),
        "shard_workers": st.integers(1, 5),
    }
)


def every_process(shape):
    ranks, workers = shape["shard_world_size"], shape["shard_workers"]
    return {
        (rank, worker): Plan(**shape, shard_rank=rank, shard_worker=worker)
        for rank, worker in itertools.product(range(ranks), range(workers))
    }


def read(plan):
    return [numbers.tolist() for numbers in plan.batches()]


@few
@given(shapes)
def test_processes_share_the_samples_and_leave_none_out(shape):
    found = [number for plan in every_process(shape).values() for batch in read(plan) for number in batch]
    assert len(found) == len(set(found))
    together = shape["shard_world_size"] * shape["batch_size"]
    due = shape["count"] - (shape["count"] % together if shape["drop_last"] else 0)
    assert len(found) == due
    assert set(found) <= set(range(shape["count"]))


@few
@given(shapes)
def test_ranks_differ_by_a_sample_at_most_and_by_none_with_drop_last(shape):
    plans_of = every_process(shape)
    samples, batches = Counter(), Counter()
    for (rank, _), plan in plans_of.items():
        samples[rank] += plan.samples
        batches[rank] += len(plan)
        assert plan.rank_batches >= len(plan)
    assert max(samples.values()) - min(samples.values()) <= (0 if shape["drop_last"] else 1)
    rest = shape["count"] % (shape["shard_world_size"] * shape["batch_size"])
    uneven = not shape["drop_last"] and 0 < rest < shape["shard_world_size"]
    assert max(batches.values()) - min(batches.values()) == (1 if uneven else 0)


@few
@given(shapes)
def test_workers_of_a_rank_take_its_batches_in_turn(shape):
    plans_of = every_process(shape)
    for rank in range(shape["shard_world_size"]):
        alone = Plan(**{**shape, "shard_workers": 1}, shard_rank=rank)
        shares = [read(plans_of[rank, worker]) for worker in range(shape["shard_workers"])]
        in_turn = [batch for row in itertools.zip_longest(*shares) for batch in row if batch is not None]
        assert in_turn == read(alone)
        assert len(alone) == alone.rank_batches == len(in_turn)


@few
@given(shapes, st.data())
def test_a_plan_is_known_at_every_place_alike(shape, data):
    plan = data.draw(st.sampled_from(list(every_process(shape).values())))
    batches = read(plan)
    assert len(plan) == len(batches)
    assert plan.samples == sum(map(len, batches))
    assert all(len(batch) == shape["batch_size"] for batch in batches[:-1])
    assert not shape["drop_last"] or all(len(batch) == shape["batch_size"] for batch in batches)
    assert [plan.batch(number).tolist() for number in range(len(plan))] == batches
    start = data.draw(st.integers(0, len(batches)))
    assert [numbers.tolist() for numbers in plan.batches(start)] == batches[start:]
    assert read(pickle.loads(pickle.dumps(plan))) == batches
    for number in (-1, len(plan)):
        with pytest.raises(IndexError):
            plan.batch(number)


@few
@given(st.integers(20, 3000), st.integers(), st.integers(0, 10**6), st.booleans())
def test_seed_and_epoch_alone_decide_the_order(count, seed, epoch, table):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "_TABLE", count if table else 0)
        order = Order(count=count, shuffle=True, seed=seed, epoch=epoch)
        numbers = order.take(np.arange(count))
        assert sorted(numbers.tolist()) == list(range(count))
        again = Order(count=count, shuffle=True, seed=seed, epoch=epoch)
        assert np.array_equal(np.concatenate([again.take(np.array([at])) for at in range(count)]), numbers)
        for other in ((seed, epoch + 1), (seed + 1, epoch)):
            differs = Order(count=count, shuffle=True, seed=other[0], epoch=other[1])
            assert not np.array_equal(differs.take(np.arange(count)), numbers)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_samples_are_permuted_without_a_table_too(count, monkeypatch):
    monkeypatch.setattr(plans, "_TABLE", 0 if count > 1 else count)
    numbers = Order(count=count, shuffle=True, seed=5).take(np.arange(count))
    assert sorted(numbers.tolist()) == list(range(count))


@pytest.mark.parametrize("table", [4, 0])
def test_every_order_comes_about_as_often(table, monkeypatch):
    monkeypatch.setattr(plans, "_TABLE", table)
    where = Counter()
    for epoch in range(2000):
        numbers = Order(count=4, shuffle=True, seed=1, epoch=epoch).take(np.arange(4)).tolist()
        where.update(enumerate(numbers))
    assert len(where) == 16
    assert all(400 <= times <= 600 for times in where.values())


def test_a_large_order_holds_nothing_and_answers_anywhere():
    order = Order(count=10**12 + 7, shuffle=True, seed=3)
    positions = np.array([0, 1, 10**11, 10**12 + 6])
    numbers = order.take(positions)
    assert len(set(numbers.tolist())) == 4
    assert all(0 <= number < 10**12 + 7 for number in numbers)
    assert np.array_equal(order.take(positions[::-1]), numbers[::-1])


def test_neighbours_in_a_large_order_lie_anywhere():
    numbers = Order(count=2_000_003, shuffle=True, seed=3).take(np.arange(50_000))
    assert len(np.unique(numbers)) == 50_000
    steps = np.histogram(numbers, bins=20, range=(0, 2_000_003))[0]
    assert steps.min() > 2200
    assert steps.max() < 2800
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02


def test_orders_stay_what_they_were():
    # States of loaders are resumed by later releases: these must never change.
    small = Order(count=10, shuffle=True, seed=7, epoch=2).take(np.arange(10)).tolist()
    large = Order(count=3_000_001, shuffle=True, seed=7, epoch=2).take(np.arange(5)).tolist()
    assert small == SMALL
    assert large == LARGE


SMALL = [0, 4, 7, 8, 6, 1, 3, 2, 5, 9]
LARGE = [2038376, 2513136, 2600156, 1276555, 1832295]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"count": -1}, "count"),
        ({"batch_size": 0}, "batch_size"),
        ({"shard_world_size": 0}, "shard_world_size"),
        ({"shard_rank": 2, "shard_world_size": 2}, "shard_rank"),
        ({"shard_worker": 1}, "shard_worker"),
        ({"shard_workers": 0}, "shard_workers"),
        ({"shard_rank": -1}, "shard_rank"),
    ],
)
def test_what_makes_no_plan_is_named(options, named):
    with pytest.raises(UsageError, match=named):
        Plan(**{"count": 5, **options})
