"""Pools that shrink: a plain set is the model."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.workload.pools import LiveSet, Pool
from penstock.workload.selection import EachOnce, HotSet, Sequential, Uniform, Zipf

POLICIES = [
    Uniform(),
    Sequential(),
    EachOnce(),
    Zipf(),
    Zipf(theta=1.5, scatter=False),
    HotSet(),
    HotSet(fraction=0.5, probability=0.6, scatter=False),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@given(data=st.data(), n=st.integers(0, 40), seed=st.integers(0, 9))
def test_nothing_that_was_removed_comes_again(policy, data, n, seed):
    pool, left, seen = Pool(n, policy, seed), set(range(n)), set()
    for step in data.draw(st.lists(st.sampled_from(["next", "next", "next", "take", "remove"]), max_size=120)):
        if step == "next":
            item = pool.next()
            if isinstance(policy, EachOnce):
                assert (item is None) == (not left - seen)
                assert item is None or item not in seen
            else:
                assert (item is None) == (not left)
            assert item is None or item in left
            seen.add(item)
        elif step == "take":
            item = pool.take()
            assert (item is None) == (not left)
            left.discard(item)
        elif n:
            item = data.draw(st.integers(0, n - 1))
            assert pool.remove(item) == (item in left)
            left.discard(item)
        assert pool.count == len(left)


@pytest.mark.parametrize("policy", [Sequential(), EachOnce()], ids=str)
def test_in_turn_nothing_is_skipped_because_of_a_removal(policy):
    pool, got = Pool(1000, policy, 1), []
    removed = set()
    while len(got) + len(removed - set(got)) < 1000:
        item = pool.next()
        if item is None:
            break
        got.append(item)
        if len(got) % 3 == 0:
            removed.add(pool.take())
    assert len(got) == len(set(got))
    assert set(got) | removed == set(range(1000))


def test_takes_are_uniform_over_what_is_left():
    counts = np.zeros(10)
    for seed in range(4000):
        pool = Pool(10, Uniform(), seed)
        pool.remove(3)
        pool.take()
        counts[pool.take()] += 1
    assert counts[3] == 0
    others = np.delete(counts, 3)
    assert ((others - 4000 / 9) ** 2 / (4000 / 9)).sum() < 31, "chi-square, 8 degrees of freedom, 1 in 10,000"


def test_reads_stay_uniform_while_the_pool_shrinks():
    pool = Pool(3000, Uniform(), 7)
    while pool.count > 20:
        pool.next()
        pool.take()
    counts = np.bincount([pool.next() for _ in range(20_000)], minlength=3000)
    counts = counts[counts > 0]
    assert len(counts) == 20
    assert ((counts - 1000) ** 2 / 1000).sum() < 52, "chi-square, 19 degrees of freedom, 1 in 10,000"


def test_what_is_hot_stays_hot_while_the_pool_shrinks():
    pool = Pool(2000, Zipf(theta=1.2), 5)
    before = np.bincount([pool.next() for _ in range(20_000)], minlength=2000).argmax()
    for item in range(2000):
        if item != before and item % 2:
            pool.remove(item)
    assert np.bincount([pool.next() for _ in range(20_000)], minlength=2000).argmax() == before


def test_a_hot_set_gets_its_share_while_the_pool_shrinks():
    pool = Pool(4000, HotSet(fraction=0.1, probability=0.8, scatter=False), 3)
    for item in range(3999, 2200, -1):
        pool.remove(item)
        pool.next()
    hot = sum(pool.next() < 400 for _ in range(20_000))
    assert abs(hot - 16_000) < 220, "binomial, 1 in 10,000: the 400 hot ones keep their share"
    for item in range(2200, 999, -1):
        pool.remove(item)
    left = [pool.next() for _ in range(20_000)]
    assert abs(sum(item < 100 for item in left) - 16_000) < 220, "a tenth of what is left"
    assert set(left) <= set(range(1000))


def test_memory_follows_the_removals_not_the_size():
    pool = Pool(10**9, Uniform(), 1)
    taken = {pool.take() for _ in range(500)}
    assert len(taken) == 500
    assert pool.count == 10**9 - 500
    ranks = pool._ranks
    assert len(ranks._item) <= 1000
    assert sys.getsizeof(ranks._item) < 1 << 20


@given(n=st.integers(1, 30), moves=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_a_live_set_is_a_permutation_after_any_swaps(n, moves):
    live = LiveSet(n)
    for first, second in moves:
        live.swap(first % n, second % n)
    items = [live.at(position) for position in range(n)]
    assert sorted(items) == list(range(n))
    assert [live.position(item) for item in items] == list(range(n))
