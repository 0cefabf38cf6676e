"""Arrivals: the planned number at the planned times, whatever the number of workers and lanes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.arrivals import Arrivals, Phase, offered

BEGIN = 5_000_000_000


def every(phases, *, poisson=False, workers=1, seed=3):
    """All arrivals of all workers, in seconds from the beginning, in order."""
    found = []
    for rank in range(workers):
        arrivals = Arrivals(phases, BEGIN, poisson=poisson, turns=[rank], of=workers, seed=seed)
        mine = list(iter(arrivals.take, None))
        assert mine == sorted(mine)
        found += mine
    return (np.sort(np.array(found, dtype=np.int64)) - BEGIN) / 1e9


rates = st.sampled_from([0.0, 0.5, 3.0, 100.0, 2500.0])
phases = st.lists(st.builds(Phase, st.sampled_from([0.25, 1.0, 3.0]), rates, rates), min_size=1, max_size=4)


@given(phases, st.sampled_from([1, 2, 4, 7]))
def test_uniform_arrivals_are_as_many_as_offered_whatever_the_workers(phases, workers):
    times = every(phases, workers=workers)
    assert abs(len(times) - sum(phase.total for phase in phases)) <= 1
    assert np.array_equal(times, every(phases))
    assert len(times) == 0 or times[-1] <= sum(phase.seconds for phase in phases)


@given(phases)
def test_what_was_offered_grows_as_the_arrivals_come(phases):
    times = every(phases)
    for number in range(0, len(times), max(1, len(times) // 7)):
        assert offered(phases, times[number]) == pytest.approx(number, abs=0.01 + 1e-5 * number)


@given(phases, st.floats(0, 12))
def test_what_is_offered_never_falls_and_ends_with_the_phases(phases, seconds):
    whole = sum(phase.total for phase in phases)
    assert 0 <= offered(phases, seconds) <= offered(phases, seconds + 0.5) + 1e-9
    assert offered(phases, sum(phase.seconds for phase in phases)) == pytest.approx(whole)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_poisson_arrivals_pass_a_kolmogorov_smirnov_test(workers):
    gaps = np.diff(every([Phase(100.0, 500.0, 500.0)], poisson=True, workers=workers))
    assert len(gaps) == pytest.approx(50_000, rel=0.01)
    assert distance_to_exponential(gaps * 500.0) < 1.63 / np.sqrt(len(gaps))  # the 1 % level
    # The same test does see what is no Poisson process.
    assert distance_to_exponential(np.full(50_000, 1.0)) > 0.3


def distance_to_exponential(gaps):
    """The Kolmogorov-Smirnov distance to the exponential distribution of mean 1."""
    expected = 1 - np.exp(-np.sort(gaps))
    place = np.arange(len(gaps) + 1) / len(gaps)
    return max(np.max(place[1:] - expected), np.max(expected - place[:-1]))


def test_a_poisson_ramp_follows_its_rate():
    times = every([Phase(50.0, 0.0, 2000.0)], poisson=True, workers=3)
    counts, _ = np.histogram(times, bins=10, range=(0, 50))
    expected = 2000 * 5 * (np.arange(10) + 0.5) / 10
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_the_seed_decides_and_the_number_of_workers_does_not():
    again = [every([Phase(5.0, 90.0, 90.0)], poisson=True, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0][:50], again[2][:50])
    long = Phase(60.0, 90.0, 90.0)
    assert np.array_equal(every([long], poisson=True), every([long], poisson=True, workers=7)[: 60 * 200])


def test_a_rate_without_end_goes_on():
    arrivals = Arrivals([Phase(float("inf"), 10.0, 10.0)], BEGIN, poisson=False, turns=[0], of=1, seed=0)
    taken = [arrivals.take() for _ in range(10_000)]
    assert taken[-1] == BEGIN + 9_999 * 10**8


def test_lanes_share_each_arrival_once_and_what_is_missed_is_counted():
    arrivals = Arrivals([Phase(10.0, 3000.0, 3000.0)], BEGIN, poisson=False, turns=[0], of=1, seed=0)
    taken = [[] for _ in range(4)]

    def lane(mine):
        while (due := arrivals.take()) is not None and due < BEGIN + 4 * 10**9:
            mine.append(due)

    threads = [threading.Thread(target=lane, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    together = sorted(due for mine in taken for due in mine)
    assert len(together) == len(set(together)) == 12_000
    # Each lane has taken one more to see that it is late: those are nobody's loss.
    assert arrivals.missed(BEGIN + 9 * 10**9) == pytest.approx(15_000, abs=4)
    assert arrivals.missed(BEGIN + 20 * 10**9) == pytest.approx(3_000, abs=1)
    assert arrivals.take() is None
