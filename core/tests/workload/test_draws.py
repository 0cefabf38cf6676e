"""Sizes and selections: pure functions of key and index, with the distribution they promise.

Seeds are fixed, so each statistic is one number that is always the same; its bound is what one right draw in some ten
thousand would exceed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.workload import hashing, selection, sizes
from penstock.workload.selection import Permutation, selector

KEY = hashing.derive(42, "test")
N = 200_000
INDICES = np.arange(N, dtype=np.int64)


def chi_square_score(counts, expected):
    """Standard deviations from what chance gives (Wilson and Hilferty)."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    assert expected.min() >= 5
    freedom = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    spread = 2 / (9 * freedom)
    return ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)


def kolmogorov(values, cdf):
    """The Kolmogorov-Smirnov statistic times the root of the count: above 2.2 once in 10,000."""
    ordered = np.sort(values)
    expected = cdf(ordered)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return max(np.abs(steps[1:] - expected).max(), np.abs(expected - steps[:-1]).max()) * math.sqrt(len(ordered))


def pooled(counts, expected):
    """Cells of at least 5 expected hits, the rare ones together."""
    rare = expected < 5
    if not rare.any():
        return counts, expected
    last = expected[rare].sum()
    kept_counts, kept = counts[~rare], expected[~rare]
    if last < 5:
        kept_counts[-1] += counts[rare].sum()
        kept[-1] += last
        return kept_counts, kept
    return np.append(kept_counts, counts[rare].sum()), np.append(kept, last)


def normal_cdf(values):
    return np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values])


def test_the_statistics_see_a_wrong_distribution():
    uniform = hashing.below(hashing.words(KEY, INDICES), 100)
    weights = np.linspace(0.96, 1.04, 100)
    assert chi_square_score(np.bincount(uniform), weights / weights.sum() * N) > 4
    assert kolmogorov(hashing.uniform(KEY, INDICES), lambda x: x**1.02) > 2.2


def test_uniform_numbers_are_uniform_and_streams_and_keys_differ():
    values = hashing.uniform(KEY, INDICES)
    assert values.min() >= 0
    assert values.max() < 1
    assert kolmogorov(values, lambda x: x) < 2.2
    for other in (hashing.uniform(KEY, INDICES, 1), hashing.uniform(KEY + 1, INDICES), np.roll(values, 1)):
        assert abs(np.corrcoef(values, other)[0, 1]) < 4 / math.sqrt(N)


def test_below_agrees_with_whole_number_arithmetic():
    bits = hashing.words(KEY, INDICES[:2000])
    for bound in (1, 2, 3, 1000, 2**32, 2**32 + 1, 10**15 + 3, 2**63 - 1):
        assert hashing.below(bits, bound).tolist() == [int(value) * bound >> 64 for value in bits]


def test_derived_keys_are_stable_and_tell_types_apart():
    assert hashing.derive(0, "sizes", 3) == hashing.derive(0, "sizes", 3)
    keys = {hashing.derive(*parts) for parts in ((0,), (1,), (0, "1"), (0, 1), (0, "a", "b"), (0, "ab"), (0, "b", "a"))}
    assert len(keys) == 7


SPECS = [
    sizes.Fixed(size=4096),
    sizes.Uniform(min=10, max=1 << 40),
    sizes.Lognormal(mean=65536, std_dev=131072, min=100, max=1 << 20),
    sizes.Choice(choices=(sizes.Weighted(size=1, weight=1.0), sizes.Weighted(size=9, weight=2.0))),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
@given(chosen=st.lists(st.integers(0, 2**62), max_size=20))
def test_a_size_depends_on_key_and_index_alone(spec, chosen):
    together = sizes.draw(spec, KEY, np.array(chosen, dtype=np.int64))
    alone = [int(sizes.draw(spec, KEY, np.array([index], dtype=np.int64))[0]) for index in chosen]
    assert together.tolist() == alone
    assert together.dtype == np.int64


@pytest.mark.parametrize("spec", SPECS[1:], ids=lambda spec: type(spec).__name__)
def test_another_key_gives_other_sizes(spec):
    assert (sizes.draw(spec, KEY, INDICES[:1000]) != sizes.draw(spec, KEY + 1, INDICES[:1000])).mean() > 0.3


def test_uniform_sizes_reach_both_ends_equally_often():
    drawn = sizes.draw(sizes.Uniform(min=5, max=24), KEY, INDICES)
    assert drawn.min() == 5
    assert drawn.max() == 24
    assert abs(chi_square_score(np.bincount(drawn - 5), np.full(20, N / 20))) < 4
    assert sizes.draw(sizes.Uniform(min=7, max=7), KEY, INDICES[:10]).tolist() == [7] * 10


def test_lognormal_sizes_have_the_mean_the_deviation_and_the_shape():
    spec = sizes.Lognormal(mean=1e6, std_dev=5e5, min=0)
    drawn = sizes.draw(spec, KEY, INDICES)
    assert drawn.mean() == pytest.approx(1e6, rel=4 * 0.5 / math.sqrt(N))
    assert drawn.std() == pytest.approx(5e5, rel=0.02)
    assert kolmogorov((np.log(drawn) - spec.mu) / spec.sigma, normal_cdf) < 2.2


def test_bounded_lognormal_sizes_are_the_same_curve_cut_at_the_bounds():
    spec = sizes.Lognormal(mean=1e6, std_dev=2e6, min=200_000, max=1_500_000)
    drawn = sizes.draw(spec, KEY, INDICES)
    assert drawn.min() >= 200_000
    assert drawn.max() <= 1_500_000
    low, high = (normal_cdf([score])[0] for score in spec.scores())
    assert spec.share == pytest.approx(high - low)
    shape = kolmogorov((np.log(drawn) - spec.mu) / spec.sigma, lambda x: (normal_cdf(x) - low) / (high - low))
    assert shape < 2.2
    assert drawn.mean() == pytest.approx(sizes.mean(spec), rel=4 * drawn.std() / drawn.mean() / math.sqrt(N))
    assert (drawn == 200_000).mean() < 0.001, "clamped instead of thrown again"


def test_lognormal_without_deviation_is_fixed():
    spec = sizes.Lognormal(mean=4096, std_dev=0)
    assert set(sizes.draw(spec, KEY, INDICES[:100]).tolist()) == {4096}
    assert sizes.mean(spec) == 4096


def test_a_lognormal_that_its_bounds_leave_nothing_of_is_refused():
    with pytest.raises(ValueError, match="fewer than one size in a thousand"):
        sizes.Lognormal(mean=1000, std_dev=10, min=5000, max=6000)


def test_choices_come_by_weight_and_never_at_weight_0():
    spec = sizes.Choice(
        choices=tuple(sizes.Weighted(size=n, weight=w) for n, w in ((1, 5.0), (2, 0.0), (3, 1.0), (4, 4.0), (5, 0.0)))
    )
    counts = np.bincount(sizes.draw(spec, KEY, INDICES), minlength=6)
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    assert abs(chi_square_score(counts[[1, 3, 4]], np.array([0.5, 0.1, 0.4]) * N)) < 4
    assert sizes.mean(spec) == pytest.approx(0.5 + 0.3 + 1.6)
    assert sizes.largest(spec) == 4


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_a_permutation_is_one_and_its_inverse_undoes_it(n, rng_key):
    positions = np.arange(n)
    permutation = Permutation(n, rng_key)
    images = permutation(positions)
    assert np.array_equal(np.sort(images), positions)
    assert np.array_equal(permutation.inverse(images), positions)


def test_permutations_differ_by_key_and_have_no_visible_order():
    n = 10**9
    images = Permutation(n, 1)(np.arange(100_000))
    assert len(set(images.tolist())) == 100_000
    assert images.max() < n
    assert kolmogorov((images + 0.5) / n, lambda x: x) < 2.2
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.015
    assert (images == Permutation(n, 2)(np.arange(100_000))).sum() < 5
    small = {tuple(Permutation(4, rng_key)(np.arange(4)).tolist()) for rng_key in range(400)}
    assert len(small) == 24, "of the 24 orders of four objects each occurs"


@pytest.mark.parametrize("theta", [0.2, 0.99, 1.0, 1.0 + 1e-9, 1.5, 4.0])
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_zipf_ranks_follow_their_law(theta, n):
    ranks = selector(selection.Zipf(theta=theta, scatter=False), n, rng_key=KEY).indices(N)
    assert ranks.min() >= 0
    assert ranks.max() < n
    weights = np.arange(1, n + 1, dtype=float) ** -theta
    counts, expected = pooled(np.bincount(ranks, minlength=n), weights / weights.sum() * N)
    if len(counts) > 1:
        assert abs(chi_square_score(counts, expected)) < 4


@pytest.mark.parametrize("theta", [0.5, 1.0, 1.2])
def test_zipf_over_a_billion_objects_has_the_right_head(theta):
    n = 10**9
    ranks = selector(selection.Zipf(theta=theta, scatter=False), n, rng_key=KEY).indices(N)
    # The sum of k**-theta by Euler and Maclaurin, exact far beyond what the sample can see.
    head = (np.arange(1, 1001, dtype=float) ** -theta).sum()
    area = math.log(n / 1000) if theta == 1 else (n ** (1 - theta) - 1000 ** (1 - theta)) / (1 - theta)
    total = head + area + (n**-theta - 1000**-theta) / 2
    share = head / total
    assert (ranks < 1000).mean() == pytest.approx(share, abs=4 * math.sqrt(share / N))
    assert ranks.max() > 10**8


def test_scattered_zipf_is_the_same_law_on_other_objects():
    plain = selector(selection.Zipf(theta=1.1, scatter=False), 500, rng_key=KEY).indices(50_000)
    spread = selector(selection.Zipf(theta=1.1), 500, rng_key=KEY).indices(50_000)
    assert sorted(np.bincount(plain, minlength=500)) == sorted(np.bincount(spread, minlength=500))
    assert np.argsort(np.bincount(spread, minlength=500))[-3:].tolist() != [2, 1, 0]
    lanes = [
        selector(selection.Zipf(theta=1.1), 500, rng_key=KEY, lane=lane, lanes=2).indices(50_000) for lane in (0, 1)
    ]
    assert np.bincount(lanes[0]).argmax() == np.bincount(lanes[1]).argmax(), "the lanes agree on what is hot"
    assert not np.array_equal(*lanes)


@pytest.mark.parametrize("scatter", [True, False])
def test_a_hot_set_takes_its_share_and_is_even_within_and_without(scatter):
    policy = selection.HotSet(fraction=0.05, probability=0.75, scatter=scatter)
    drawn = selector(policy, 200, rng_key=KEY).indices(N)
    counts = np.bincount(drawn, minlength=200)
    hot = np.argsort(counts)[-10:]
    assert (sorted(hot.tolist()) == list(range(10))) is not scatter
    expected = np.full(200, 0.25 * N / 190)
    expected[hot] = 0.75 * N / 10
    assert abs(chi_square_score(counts, expected)) < 4
    other = selector(policy, 200, rng_key=KEY, lane=1, lanes=2).indices(N)
    assert set(np.argsort(np.bincount(other, minlength=200))[-10:]) == set(hot), "the lanes agree on what is hot"
    assert not np.array_equal(drawn, other)


@pytest.mark.parametrize(
    ("n", "fraction", "hot"), [(1, 0.5, 1), (2, 0.9, 1), (10, 0.01, 1), (10, 0.99, 9), (7, 0.5, 4)]
)
def test_a_hot_set_is_never_empty_and_never_everything(n, fraction, hot):
    policy = selection.HotSet(fraction=fraction, probability=0.9, scatter=False)
    assert policy.size(n) == hot
    drawn = selector(policy, n, rng_key=KEY).indices(20_000)
    assert set(drawn) == set(range(n))


def test_uniform_selection_is_uniform_and_lanes_differ():
    drawn = selector(selection.Uniform(), 100, rng_key=KEY).indices(N)
    assert abs(chi_square_score(np.bincount(drawn, minlength=100), np.full(100, N / 100))) < 4
    other = selector(selection.Uniform(), 100, rng_key=KEY, lane=1, lanes=2).indices(N)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 4 / math.sqrt(N)


@given(
    policy=st.sampled_from(
        [
            selection.Uniform(),
            selection.Sequential(),
            selection.EachOnce(),
            selection.Zipf(),
            selection.HotSet(fraction=0.3, probability=0.5),
        ]
    ),
    cuts=st.lists(st.integers(0, 50), max_size=6),
)
def test_the_cut_into_batches_changes_nothing(policy, cuts):
    whole = selector(policy, 77, rng_key=KEY, lane=1, lanes=3).indices(sum(cuts))
    parts = selector(policy, 77, rng_key=KEY, lane=1, lanes=3)
    assert (
        np.concatenate([np.array([], dtype=np.int64), *(parts.indices(cut) for cut in cuts)]).tolist() == whole.tolist()
    )


@given(n=st.integers(1, 200), lanes=st.integers(1, 9), batch=st.integers(1, 50))
def test_each_once_takes_every_object_exactly_once_over_all_lanes(n, lanes, batch):
    taken = []
    for lane in range(lanes):
        one = selector(selection.EachOnce(), n, rng_key=KEY, lane=lane, lanes=lanes)
        while len(part := one.indices(batch)):
            taken += part.tolist()
        assert len(one.indices(batch)) == 0, "the end is the end"
    assert sorted(taken) == list(range(n))


@given(n=st.integers(1, 50), lanes=st.integers(1, 9))
def test_sequential_lanes_take_turns_and_wrap(n, lanes):
    turns = np.stack(
        [selector(selection.Sequential(), n, rng_key=KEY, lane=lane, lanes=lanes).indices(20) for lane in range(lanes)]
    )
    assert turns.T.ravel().tolist() == [turn % n for turn in range(20 * lanes)]


def test_a_selector_of_nothing_or_of_a_lane_that_is_none_is_refused():
    for n, lane, lanes in ((0, 0, 1), (1, 1, 1), (1, -1, 1)):
        with pytest.raises(ValueError, match="no selection"):
            selector(selection.Uniform(), n, rng_key=1, lane=lane, lanes=lanes)
