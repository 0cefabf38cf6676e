"""Steady states: the rule on series that are known, and a run that ends when it is stable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.run import execute
from penstock.engine.steady import SteadyWatch, is_stable
from penstock.records import Op, record_dtype
from penstock.report.live import open_view
from penstock.report.outcome import Interval
from penstock.report.results import read_result
from penstock.stats.spread import spread_of, student_quantile
from penstock.stats.tally import Tally
from penstock.workload.config import Loaded, loads
from penstock.workload.stable import StopWhenStable


@pytest.mark.parametrize(
    ("values", "tolerance", "stable"),
    [
        ([100] * 5, 0.1, True),
        # SNIA's bounds: 20 % from the smallest to the largest, and 10 % along the line.
        ([100, 110, 90, 110, 90], 0.1, True),
        ([100, 111, 90, 110, 89], 0.1, False),
        ([95, 97.5, 100, 102.5, 105], 0.1, True),
        ([94, 97, 100, 103, 106], 0.1, False),
        ([106, 103, 100, 97, 94], 0.1, False),
        ([94, 97, 100, 103, 106], 0.12, True),
        ([0] * 5, 0.1, False),
    ],
)
def test_the_rule_is_snias(values, tolerance, stable):
    assert is_stable(range(5), values, tolerance) is stable


@given(
    st.lists(st.floats(1, 1000), min_size=5, max_size=40),
    st.floats(0.01, 0.5),
    st.floats(0.001, 1000),
    st.floats(0.001, 100),
)
def test_neither_unit_matters(values, tolerance, scale, step):
    # Values right on the bound may fall to either side.
    times = [number * step for number in range(len(values))]
    scaled = [value * scale for value in values]
    near = {is_stable(range(len(values)), values, tolerance * (1 + shift)) for shift in (-1e-6, 0, 1e-6)}
    assert len(near) > 1 or {is_stable(times, scaled, tolerance)} == near


def interval(second, rate, latency_us):
    rows = np.zeros(rate, record_dtype())
    rows["op"], rows["attempts"], rows["n_objects"] = Op.GET, 1, 1
    rows["start"] = 10**9
    rows["end"] = 10**9 + latency_us * 1000
    rows["nbytes"] = 100
    tally = Tally()
    tally.add(rows)
    return Interval(start_s=float(second), seconds=1.0, tally=tally)


def watch(series, **spec):
    watching = SteadyWatch(StopWhenStable(**spec), 1.0)
    found = [second for second, values in enumerate(series) if watching.add(interval(second, *values))]
    return watching.found, found


def test_the_first_window_that_is_stable_is_found_and_no_other():
    falling = [(2000 - 150 * second, 100) for second in range(8)]
    found, when = watch([*falling, *[(800, 100)] * 10], window=5.0)
    # The last that fell, to 950, and then 800 five times: the first window of five alike ends in second 12.
    assert when == [12]
    assert (found.reached, found.from_s, found.to_s) == (True, 8.0, 13.0)
    assert found.totals.count == 5 * 800


def test_every_metric_has_to_be_stable():
    series = [(500, 100 * 2**second) for second in range(8)]
    assert watch(series, window=5.0)[0].reached is False
    assert watch(series, window=5.0, metrics=("ops_per_second",))[0].to_s == 5.0
    assert watch(series, window=5.0, metrics=("bytes_per_second", "mean"))[1] == []
    assert watch([*series, *[(500, 70)] * 5], window=5.0, metrics=("p50", "ops_per_second", "p90"))[1] == [12]


def test_nothing_done_is_not_stable():
    assert watch([(0, 1)] * 20, window=5.0)[1] == []
    assert watch([(0, 1)] * 20, window=5.0, metrics=("p99",))[1] == []


def test_a_short_interval_shows_nothing():
    watching = SteadyWatch(StopWhenStable(window=5.0), 1.0)
    warm = Interval(start_s=-1.0, seconds=1.0, tally=interval(0, 5, 5).tally)
    short = Interval(start_s=4.0, seconds=0.1, tally=interval(0, 500, 5).tally)
    assert not watching.add(warm)
    assert not watching.add(short)
    assert [watching.add(interval(5 + second, 100, 10)) for second in range(6)] == [*[False] * 4, True, False]


def run(tmp_path, text):
    text = f"target: mem://steady/\nprocesses: 1\nconcurrency: 2\nlive_interval: 0.1\nresults_dir: {tmp_path}\n{text}"
    config = loads(text, label="w.yaml", environ={})
    loaded = Loaded(config, text, "steady")
    return execute(loaded, command_line="test", view=lambda directory: open_view(None, quiet=True))


PACED = (
    "prepare: {ensure_objects: [{path: d/, count: 4, size: 100}]}\n"
    "workload: [{op: get, path: 'd/*'}]\n"
    "faults: {rules: [%s{service: {concurrency: 2, seconds: 20ms}, operations: [get]}]}\n"
)


def test_a_run_ends_when_it_is_stable_and_says_when(tmp_path):
    # Every call takes 20 ms; the first half second is a stall, which no window with it can hide.
    text = "stop_when_stable: {window: 0.8s, tolerance: 0.4, metrics: [ops_per_second, p50]}\nduration: 60s\n"
    result = run(tmp_path, text + PACED % "{stall: {time: 500ms, at: 300ms}, operations: [get]}, ")
    outcome = result.outcome
    assert outcome.status == "done", outcome.reason
    assert outcome.steady.reached
    assert outcome.measured_seconds < 50
    assert outcome.steady.to_s - outcome.steady.from_s == pytest.approx(0.8, abs=0.15)
    assert outcome.steady.to_s <= outcome.measured_seconds + 0.1
    seconds = outcome.steady.to_s - outcome.steady.from_s
    assert outcome.steady.totals.count / seconds == pytest.approx(100, rel=0.3)
    summary = json.loads((result.directory / "result.json").read_text())["steady"]
    assert (summary["reached"], summary["metrics"]) == (True, ["ops_per_second", "p50"])
    assert "Steady state from" in result.report.read_text()
    assert read_result(result.directory).outcome.steady.totals == outcome.steady.totals


def test_a_run_that_does_not_become_stable_goes_on_to_its_end_and_says_so(tmp_path):
    text = "stop_when_stable: {window: 0.5s, tolerance: 0.000001, metrics: [mean], at_most: 1s}\n"
    result = run(tmp_path, text + PACED % "")
    assert result.outcome.status == "done"
    assert result.outcome.measured_seconds == pytest.approx(1.0, abs=0.3)
    assert (result.outcome.steady.reached, result.outcome.steady.from_s) == (False, None)
    assert "No steady state" in result.report.read_text()


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (30, 2.04227), (100, 1.98397)]
)
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(0.95, freedom) == pytest.approx(quantile, rel=1e-5)


def test_a_spread_of_known_values():
    spread = spread_of([10.0, 12.0, 14.0])
    assert (spread.mean, spread.stdev, spread.minimum, spread.maximum) == (12.0, 2.0, 10.0, 14.0)
    assert spread.high - spread.mean == pytest.approx(4.302652729749464 * 2 / 3**0.5)
    one = spread_of([3.0])
    assert (one.mean, one.stdev, one.low, one.high) == (3.0, None, None, None)
    with pytest.raises(ValueError, match="no values"):
        spread_of([])
