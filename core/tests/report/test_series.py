"""A worker's own time series: exact sums, percentiles within its buckets, bounded, and read back as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.records import Op
from penstock.report.series import Series
from penstock.stats.tally import ALL, Tally

OPS = (Op.GET, Op.PUT, Op.STAT)


def seconds_of(synth, count, *, rate=300, failing=0.0):
    rng = np.random.default_rng(5)
    return [synth.tally_of(synth.rows_of(rng, OPS, rate, second, failing)) for second in range(count)]


def whole(tallies):
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


@pytest.mark.parametrize("grain", [1, 8, 64, 1024])
def test_points_have_exact_sums_and_percentiles_within_a_bucket(synth, grain):
    tallies = seconds_of(synth, 4, failing=0.1)
    series = Series(grain=grain)
    for second, tally in enumerate(tallies):
        series.add(float(second), 1.0, tally, cpu_ns=250_000_000)
    points = list(series.points())
    assert [(point.start_s, point.seconds, point.cpu_seconds) for point in points] == [
        (float(second), 1.0, 0.25) for second in range(4)
    ]
    for point, tally in zip(points, tallies, strict=True):
        for family in (ALL, "GET", "PUT", "META"):
            exact, cell = tally.roll_up(family), point.cell(family)
            assert (cell.count, cell.errors, cell.nbytes) == (exact.count, exact.errors, exact.nbytes)
            assert cell.service.mean == exact.service.mean
            assert (cell.service.minimum, cell.service.maximum) == (exact.service.minimum, exact.service.maximum)
            for percent in (1, 50, 99, 100):
                true, found = exact.service.percentile(percent), cell.service.percentile(percent)
                assert true <= found <= true * (1 + 1 / grain) + 1


def test_a_long_series_stays_within_its_limit_and_loses_nothing(synth):
    tallies = seconds_of(synth, 100, rate=60)
    series = Series(limit=16)
    for second, tally in enumerate(tallies):
        series.add(float(second), 1.0, tally, cpu_ns=10)
    points = list(series.points())
    assert 8 <= len(points) <= 16
    assert points[0].seconds == series.width == 8.0
    assert [point.start_s for point in points] == [8.0 * place for place in range(len(points))]
    total = whole(tallies)
    for family in (ALL, "GET", "META"):
        exact = total.roll_up(family)
        assert sum(point.cell(family).count for point in points) == exact.count
        assert max(point.cell(family).service.maximum for point in points) == exact.service.maximum
    assert sum(round(point.cpu_seconds * 1e9) for point in points) == 1000
    first = whole(tallies[:8]).roll_up("GET").service
    assert first.percentile(90) <= points[0].cell("GET").service.percentile(90) <= first.percentile(90) * 1.07


def test_the_load_of_its_host_is_averaged(synth):
    tally = seconds_of(synth, 1)[0]
    series = Series(limit=1)
    series.add(0.0, 1.0, tally, host={"user": 10.0, "system": 8.0, "iowait": None})
    series.add(1.0, 1.0, tally, host={"user": 30.0, "system": None, "iowait": None})
    series.add(2.0, 2.0, tally)
    (point,) = series.points()
    assert (point.cpu_user_pct, point.cpu_system_pct, point.cpu_iowait_pct) == (20.0, 8.0, None)
    assert (point.client_cpu_pct, point.seconds) == (None, 4.0)


def test_gaps_stay_and_the_warm_up_is_left_out(synth):
    tallies = seconds_of(synth, 3)
    series = Series()
    series.add(-2.0, 1.0, tallies[0])
    series.add(0.0, 1.0, tallies[1])
    series.add(7.0, 0.5, tallies[2])
    assert [(point.start_s, point.seconds, point.cpu_seconds) for point in series.points()] == [
        (0.0, 1.0, None), (7.0, 0.5, None),
    ]  # fmt: skip


def test_a_series_of_any_number_of_workers_is_small(synth):
    tallies = seconds_of(synth, 6, rate=2000)
    for workers, megabytes in ((1, 4), (64, 40), (512, 40), (10_000, 180)):
        series = Series.one_of(workers)
        for second in range(600):
            series.add(float(second), 1.0, tallies[second % 6], cpu_ns=1)
        assert series.nbytes * workers < megabytes * 2**20
        assert len(series) >= 15


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-2, 500), st.floats(0, 3)), max_size=20), st.integers(1, 9))
def test_a_series_is_read_back(synth_of, stretches, limit):
    series = Series(limit=limit)
    for start, seconds in stretches:
        series.add(start, seconds, synth_of, cpu_ns=None if limit == 1 else 5)
    again = Series.from_message(series.to_message())
    assert again == series
    assert list(again.points()) == list(series.points())
    assert len(again) <= limit


@pytest.fixture(scope="session")
def synth_of(synth):
    return seconds_of(synth, 1)[0]


def test_a_damaged_series_is_refused(synth_of):
    series = Series()
    series.add(0.0, 1.0, synth_of)
    message = series.to_message()
    message["slots"] = [[0, message["slots"][0][1][:-8]]]
    with pytest.raises(ValueError, match="series is"):
        Series.from_message(message)
    with pytest.raises(ValueError, match="power of two"):
        Series(grain=7)
