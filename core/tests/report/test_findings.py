"""What reports say of series and distributions: planted shapes are found, and only those."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.report import overlay
from penstock.report.charts import build_charts
from penstock.report.findings import (
    describe_lag,
    describe_used,
    distribution_finding,
    error_finding,
    first_byte_finding,
    host_finding,
    planned_finding,
    time_finding,
)
from penstock.report.outcome import Planned
from penstock.report.shapes import shape_of
from penstock.report.words import figure
from penstock.stats.histogram import Histogram

TIMES = [float(second) for second in range(120)]


def noisy(values, seed=1, share=0.05):
    rng = np.random.default_rng(seed)
    return (np.asarray(values, dtype=float) * rng.lognormal(0, share, len(values))).tolist()


def chart(values, unit="µs", **more):
    return {"unit": unit, "x": TIMES[: len(values)], "lines": [{"label": "GET", "values": values}], **more}


def test_a_step_is_found_with_its_time_and_levels():
    shape = shape_of(TIMES, noisy([8000] * 40 + [31000] * 80))
    assert shape.kind == "step"
    assert shape.at == pytest.approx(39.5)
    assert (shape.before, shape.after) == pytest.approx((8000, 31000), rel=0.05)
    finding = time_finding(chart(noisy([8000] * 40 + [31000] * 80, share=1e-9)), rising="bad")
    assert finding.mark == "warn"
    assert finding.text == "GET rose from 8.00 ms to 31.0 ms after 39.5 s."
    fell = time_finding(chart(noisy([31000] * 40 + [8000] * 80, share=1e-9)), rising="bad")
    assert (fell.mark, fell.text) == ("plain", "GET fell from 31.0 ms to 8.00 ms after 39.5 s.")


def test_a_fall_of_a_rate_is_no_good():
    finding = time_finding(chart(noisy([2000] * 60 + [1000] * 60, share=1e-9), "ops/s"), rising="good")
    assert (finding.mark, finding.text) == ("warn", "GET fell from 2,000 ops/s to 1,000 ops/s after 59.5 s.")


def test_a_drift_is_no_step():
    shape = shape_of(TIMES, noisy(np.geomspace(100, 900, 120)))
    assert shape.kind == "drift"
    assert (shape.before, shape.after) == pytest.approx((100, 900), rel=0.1)


@pytest.mark.parametrize(("dips", "value", "kind"), [(False, 90.0, "spikes"), (True, 1.0, "dips")])
def test_single_points_far_off_are_counted(dips, value, kind):
    values = noisy([10.0] * 120)
    values[30] = values[70] = value
    shape = shape_of(TIMES, values, dips=dips)
    assert (shape.kind, shape.count, shape.at, shape.extreme) == (kind, 2, 30.0, value)


def test_level_uneven_few_and_none():
    assert shape_of(TIMES, noisy([10.0] * 120)).kind == "level"
    assert shape_of(TIMES, noisy([10.0] * 120, share=0.5)).kind == "uneven"
    assert shape_of(TIMES, [0.0] * 120).kind == "level"
    assert shape_of(TIMES[:3], [1.0, None, 100.0]).kind == "few"
    assert shape_of(TIMES, [None] * 120) is None
    assert time_finding(chart([1.0, 2.0]), rising="bad").text == "only 2 points: too few to see a trend."
    assert time_finding(chart([None]), rising="bad") is None
    level = time_finding(chart(noisy([10.0] * 120, share=1e-9)), rising="bad")
    assert (level.mark, level.text) == (
        "good", "GET stayed level at 10.0 µs (10.0 µs to 10.0 µs for nine tenths of the time)."
    )  # fmt: skip


@given(st.lists(st.none() | st.floats(0, 1e12), max_size=40), st.booleans())
def test_any_series_has_a_sentence(values, dips):
    finding = time_finding(chart(values), rising="good" if dips else "bad")
    assert (finding is None) == all(value is None for value in values)
    assert finding is None or (finding.text.endswith(".") and "nan" not in finding.text and "inf" not in finding.text)


def histogram(values):
    made = Histogram()
    made.record(np.asarray(values, dtype=np.int64))
    return made


def test_tails_and_slower_ways_are_told():
    short = distribution_finding([("GET", histogram(np.linspace(900_000, 1_100_000, 5000)))])
    assert short.mark == "good"
    assert "GET: 1 % of the calls take 1.10 ms or more, 1.1 times the median (a short tail)" in short.text
    two_ways = np.concatenate([np.linspace(900_000, 1_000_000, 9500), np.linspace(12_000_000, 13_000_000, 500)])
    slow = distribution_finding([("GET", histogram(two_ways))])
    assert slow.mark == "warn"
    assert "5 % go a slower way: at least 12.0 ms, where the others end by 1.00 ms" in slow.text
    assert "too few for a p99" in distribution_finding([("PUT", histogram([1, 2, 3]))]).text
    assert distribution_finding([("PUT", Histogram())]) is None


def test_waiting_for_the_first_byte_is_told_from_the_transfer():
    whole = histogram([1_000_000] * 10)
    waiting = first_byte_finding([("GET", histogram([900_000] * 10), whole)])
    assert "GET waits 900 µs for its first byte on average, 90 % of the call" in waiting.text
    assert "not the transfer" in waiting.text
    assert "not the answer" in first_byte_finding([("GET", histogram([100_000] * 10), whole)]).text
    assert first_byte_finding([("PUT", Histogram(), whole)]) is None


def test_a_burst_of_errors_is_told_from_a_lasting_cause():
    burst = [0] * 40 + [30, 50, 20] + [0] * 77
    finding = error_finding(TIMES, burst, 10_000)
    assert finding.text.startswith(
        "1 % of all calls failed (100), nine tenths of them between 40.0 s and 42.0 s: a burst"
    )
    lasting = error_finding(TIMES, [1] * 120, 12_000)
    assert lasting.text == "1 % of all calls failed (120), in 120 of 120 points: not one event but a lasting cause."
    assert error_finding(TIMES, [0] * 120, 10) is None
    few = error_finding(TIMES, [0] * 30 + [1, 0, 2] + [0] * 87, 10_000)
    assert few.text == (
        "0.03 % of all calls failed (3), at 30.0 s and 32.0 s: too few to tell a single event from a lasting cause."
    )


def test_lag_that_grows_is_queueing_and_little_lag_is_good():
    service = histogram([1_000_000] * 1000)
    kept = describe_lag(histogram([60_000] * 1000), service, [60.0] * 120)
    assert (kept.mark, kept.text) == (
        "good",
        "Half of the calls started at most 60.0 µs after they were due, 1 % 60.0 µs or more: the schedule was kept.",
    )
    growing = [50.0 + 10_000 * max(0, second - 60) for second in range(120)]
    late = describe_lag(histogram(np.repeat(np.array(growing) * 1000, 10)), service, growing)
    assert late.mark == "warn"
    assert "the median rose from 50.0 µs at the beginning to 540 ms at the end: calls queued" in late.text
    always = describe_lag(histogram([9_000_000] * 1000), service, [9000.0] * 120)
    assert (always.mark, "calls queued all along" in always.text) == ("warn", True)
    assert describe_lag(Histogram(), service, []) is None


def test_what_was_never_begun_is_told():
    assert planned_finding(Planned(operations=1000)).mark == "good"
    missed = planned_finding(Planned(operations=1000, missed=50))
    assert missed.text == (
        "1,000 operations were due in the measured window; 50 (5 %) were never begun, for no lane was free in time."
    )


def test_a_client_at_its_limit_is_told():
    assert describe_used([1.9] * 10, 2.0, "processors").mark == "warn"
    spare = describe_used([0.5, None, 0.6, 0.7], 4.0, "processors")
    assert spare.text == (
        "The client used 0.6 processors for half of the time or more, and at most 0.7, of 4: 15 % of what it may use."
    )
    assert describe_used([None], 2.0, "processors") is None
    assert host_finding([99.0] * 9).mark == "warn"
    assert host_finding([20.0] * 9 + [70.0]).text == (
        "The host was busy for 20 % or more, half of the time, and at most for 70 %."
    )
    assert host_finding([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.021345, "0.0213"), (1.5e-7, "0.00000015"), (4.5, "4.5"), (312.4, "312"), (12_437, "12,400")],
)
def test_figures(value, text):
    assert figure(value) == text


def test_every_chart_says_what_it_shows_and_what_is_good(synth):
    from penstock.records import Op

    outcome = synth.make_outcome((Op.GET, Op.PUT), seconds=30, failing=0.01, planned=True)
    charts = build_charts(outcome, 2.0)
    assert {each["id"] for each in charts} == {
        *("rate", "throughput", "p50", "p99", "first_byte", "distribution", "errors", "lag", "client", "host"),
    }
    for each in charts:
        assert each["unit"]
        assert each["axis"]
        assert each["meaning"]
        assert each["finding"].text.endswith(".")


def test_runs_that_are_the_same_are_not_compared_with_themselves():
    lines = [{"label": name, "values": [5.0, 5.0, None]} for name in ("A", "B")]
    rate = overlay._Kind("rate", "Operations", "ops/s", False, "good", lambda one, families: None)
    assert overlay._ranked(rate, lines).text == (
        "the runs are alike by their medians over time, from 5 ops/s (A) to 5 ops/s (B)."
    )


def test_what_chance_explains_is_no_finding():
    # About 20 calls to a point, whose counts scatter by a fifth; then none for a while, and many calls with a fall.
    counts = np.random.default_rng(1).poisson(20, 120).astype(float)
    some = time_finding(chart(counts.tolist(), "ops/s"), rising="good", calls={"GET": 20})
    assert (some.mark, "chance where a point is made of about 20 calls" in some.text) == ("plain", True)
    still = [*counts[:60], 0.0, 0.0, *counts[62:]]
    assert time_finding(chart(still, "ops/s"), rising="good", calls={"GET": 20}).mark == "warn"
    assert time_finding(chart(counts.tolist(), "ops/s"), rising="good", calls={"GET": 2000}).mark == "warn"
