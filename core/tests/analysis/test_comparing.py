"""Comparing: intervals cover what is true at their rate, a planted change is found, none is invented."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.analysis.comparing import FEWEST_STRETCHES, compare
from penstock.analysis.comparing_bootstrap import draw, estimate, gap, ratio, sample
from penstock.analysis.comparing_values import METRICS, Run, Side, Stretch
from penstock.analysis.comparing_words import change_text
from penstock.stats.tally import Cell, Tally

PERCENTILES = ("p50", "p90", "p99", "p99.9")


def stretch(generator, *, calls, scale=1.0, tail=1.0, failed=0, operation="GET", bucket=5, size=10 << 20, tally=None):
    """A second of lognormal latencies around 5 ms; ``tail`` makes the slowest 2 % slower."""
    tally = Tally() if tally is None else tally
    cell = tally.cell(operation, bucket)
    latencies = 5e6 * scale * np.exp(generator.normal(0, 0.5, calls))
    slow = generator.random(calls) < 0.02
    latencies[slow] = 30e6 * scale * tail * np.exp(generator.normal(0, 0.1, int(slow.sum())))
    cell.service.record(latencies.astype(np.int64))
    cell.count += calls
    cell.nbytes += calls * size
    if failed:
        tally.cell(operation, 0).errors += failed
    return Stretch(seconds=1.0, tally=tally)


def run(name, stretches, begin=0, **further):
    tally = Tally()
    for one in stretches:
        tally.merge(one.tally)
    seconds = sum(one.seconds for one in stretches)
    return Run(name=name, begin_ns=begin, seconds=seconds, tally=tally, stretches=stretches, **further)


def side(*runs):
    return Side(runs=runs)


def series(generator, count=60, calls=400, rough=0.05, memory=0.0, **further):
    """Stretches whose level wanders; ``memory`` is how much of a deviation is left in the next stretch."""
    level, stretches = generator.normal(), []
    for _ in range(count):
        level = memory * level + math.sqrt(1 - memory**2) * generator.normal()
        scale = further.get("scale", 1.0) * math.exp(rough * level)
        rate = generator.poisson(calls * math.exp(-rough * level))
        stretches.append(stretch(generator, calls=rate, **further | {"scale": scale}))
    return stretches


def test_a_slower_tail_is_found_and_nothing_else():
    generator = np.random.default_rng(5)
    a = side(run("a", series(generator, calls=2000), 1))
    b = side(run("b", series(generator, calls=2000, tail=1.12), 2))
    found = compare(a, b)
    assert found.verdict == "worse"
    assert found.sentence.startswith("B is worse than A: GET p99")
    p99 = found.find("GET", None, "p99")
    assert p99.verdict == "worse"
    assert p99.low < 12 < p99.high
    assert p99.high - p99.low < 8
    assert found.find("GET", None, "p50").verdict == "no difference shown"
    assert compare(b, a).verdict == "better"


def test_identical_sides_show_no_difference():
    stretches = series(np.random.default_rng(1))
    found = compare(side(run("a", stretches, 1)), side(run("b", stretches, 2)))
    assert found.verdict == "no difference shown"
    assert {one.verdict for one in found.changes} <= {"no difference shown", "too few data"}
    assert all(one.change == 0 for one in found.changes)
    assert found.sentence == "No difference between A and B is shown."


def test_the_same_run_is_told():
    stretches = series(np.random.default_rng(1), count=20)
    found = compare(side(run("a.tsv", stretches, 7)), side(run("copy.tsv", stretches, 7)))
    assert found.verdict == "same"
    assert "the very same calls" in found.sentence
    assert "a.tsv of A and copy.tsv of B hold the very same calls" in found.notes


@settings(max_examples=5)
@given(st.integers(0, 2**32))
def test_sides_of_one_kind_are_seldom_told_apart(seed):
    """By Holm's method 5 % of comparisons would be wrong; of 20 so many that chance makes it one in a million."""
    generator = np.random.default_rng(seed)
    found = 0
    for _ in range(20):
        a, b = (side(run(name, series(generator, count=25, calls=60), place)) for place, name in enumerate("ab"))
        found += compare(a, b, replicates=300).verdict != "no difference shown"
    assert found <= 8


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("memory", [0.0, 0.5])
@pytest.mark.parametrize("count", [20, 64])
def test_intervals_cover_a_known_change_at_about_their_rate(count, memory):
    """Stretches that remember one another make intervals a little too narrow, which is why it is `about`."""
    generator = np.random.default_rng(11)
    inside = dict.fromkeys(("ops/s", "mean", "p50", "p90", "p99"), 0)
    trials = 400
    for _ in range(trials):
        a = side(run("a", series(generator, count, calls=150, memory=memory), 1))
        b = side(run("b", series(generator, count, calls=150, memory=memory, scale=1.12), 2))
        found = compare(a, b, replicates=400)
        for metric in inside:
            change = found.find("GET", None, metric)
            inside[metric] += change.low <= (0 if metric == "ops/s" else 12) <= change.high
    assert all(0.88 <= hits / trials <= 0.995 for hits in inside.values()), inside


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 3, 6])
def test_intervals_of_several_runs_cover_what_differs_from_run_to_run(count):
    generator = np.random.default_rng(3)
    inside, trials = 0, 400
    for _ in range(trials):
        sides = []
        for scale in (1.0, 1.12):
            runs = []
            for place in range(count):
                level = scale * math.exp(0.05 * generator.normal())
                runs.append(run(str(place), [stretch(generator, calls=400, scale=level)], place))
            sides.append(side(*runs))
        change = compare(*sides, replicates=300).find("GET", None, "p50")
        inside += change.low <= 12 <= change.high
    assert 0.92 <= inside / trials <= 0.999


def test_several_runs_are_the_unit_of_resampling():
    """Runs that differ much from one another make a wide interval, however steady each is."""
    generator = np.random.default_rng(2)
    levels = (0.8, 1.0, 1.3)
    a = side(*(run(f"a{place}", series(generator, scale=level), place) for place, level in enumerate(levels)))
    b = side(*(run(f"b{place}", series(generator, scale=1.1 * level), 9 + place) for place, level in enumerate(levels)))
    change = compare(a, b).find("GET", None, "p50")
    assert change.verdict == "no difference shown"
    assert change.low < -10
    assert change.high > 30
    single = compare(side(a.runs[0]), side(b.runs[0])).find("GET", None, "p50")
    assert single.verdict == "worse"
    assert 5 < single.low < 10 < single.high < 15


def test_a_mean_of_runs_has_welch_s_interval():
    """Against NumPy's own draws from Student's law; 4.93 degrees of freedom are rounded down to a quarter."""
    groups = np.array([0.0, 0.1, 0.2]), np.array([0.3, 0.45, 0.5, 0.6])
    generator = np.random.default_rng(0)
    weights = [draw(generator, len(values), 1, 200_000) for values in groups]
    drawn = tuple(each @ values / len(values) for each, values in zip(weights, groups, strict=True))
    difference = float(groups[1].mean() - groups[0].mean())
    found = gap(float(groups[0].mean()), float(groups[1].mean()), drawn, (3.0, 4.0), 0.95)
    variances = [float(values.var(ddof=1)) / len(values) for values in groups]
    error = math.sqrt(sum(variances))
    assert error**4 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3) == pytest.approx(4.93, abs=0.01)
    law = np.abs(generator.standard_t(4.75, 1_000_000))
    half = float(np.quantile(law, 0.95)) * error
    assert found.low == pytest.approx(difference - half, rel=0.02)
    assert found.high == pytest.approx(difference + half, rel=0.02)
    assert found.p_value == pytest.approx(float((law > difference / error).mean()), rel=0.05)


@pytest.mark.parametrize(("freedom", "level", "t"), [(1, 0.95, 12.706), (2, 0.95, 4.3027), (10, 0.99, 3.1693)])
def test_student_s_law_is_that_of_the_tables(freedom, level, t):
    error = 2.0
    drawn = np.array([-1.0, 1.0]) * error * math.sqrt(freedom / (freedom + 1))
    found = gap(0.0, 0.0, (drawn, np.zeros(2)), (freedom + 1, 10.0**9), level)
    assert found.high == pytest.approx(t * error, rel=1e-3)


def test_the_point_estimates_are_those_of_the_tallies():
    stretches = series(np.random.default_rng(8), count=12)
    whole = run("a", stretches)
    cell = whole.tally.operation("GET")
    found = estimate(
        sample([one.seconds for one in stretches], [one.tally.operation("GET") for one in stretches]), np.ones((1, 12))
    )
    for name, percent in zip(PERCENTILES, (50, 90, 99, 99.9), strict=True):
        assert found[name][0] == cell.service.percentile(percent) / 1000
    assert found["mean"][0] == pytest.approx(cell.service.mean / 1000)
    assert found["ops/s"][0] == cell.count / 12
    assert found["MiB/s"][0] == pytest.approx(cell.nbytes / 12 / 2**20)


@given(
    st.lists(st.lists(st.integers(0, 10**9), max_size=40), min_size=1, max_size=8),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_an_estimate_is_that_of_the_stretches_that_were_drawn(latencies, times):
    cells = []
    for values in latencies:
        cell = Cell(count=len(values))
        cell.service.record(values)
        cells.append(cell)
    weights = np.array([times[: len(cells)]], dtype=np.float64)
    drawn = Cell()
    for cell, count in zip(cells, times, strict=False):
        for _ in range(count):
            drawn.merge(cell)
    found = estimate(sample([1.0] * len(cells), cells), weights)
    for name, percent in zip(PERCENTILES, (50, 90, 99, 99.9), strict=True):
        if drawn.count:
            # The last bucket of what was drawn ends at its own maximum, here at that of all stretches.
            assert found[name][0] * 1000 == pytest.approx(drawn.service.percentile(percent), rel=1 / 1000, abs=0.5)
        else:
            assert math.isnan(found[name][0])


@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 100))
def test_blocks_are_neighbours_and_as_many_as_there_are(count, block, seed):
    weights = draw(np.random.default_rng(seed), count, min(block, count), 20)
    assert weights.shape == (20, count)
    assert (weights.sum(axis=1) == count).all()
    # Every stretch is drawn as often as any other, within what chance leaves.
    if block >= count:
        assert (weights == 1).all()


def test_the_seed_decides():
    generator = np.random.default_rng(4)
    sides = side(run("a", series(generator), 1)), side(run("b", series(generator), 2))
    assert compare(*sides, seed=3).changes == compare(*sides, seed=3).changes
    assert compare(*sides, seed=3).changes != compare(*sides, seed=4).changes


def test_a_resolution_is_no_change():
    """Every call takes 1.000 ms in A and 1.001 ms in B: the percentiles can't tell that, the exact mean can."""
    sides = []
    for place, latency in enumerate((1_000_000, 1_001_000)):
        stretches = []
        for _ in range(20):
            tally = Tally()
            tally.cell("GET", 1).count = 100
            tally.cell("GET", 1).nbytes = 100
            tally.cell("GET", 1).service.record([latency] * 100)
            stretches.append(Stretch(seconds=1.0, tally=tally))
        sides.append(side(run(str(place), stretches, place)))
    found = compare(*sides)
    assert found.find("GET", None, "p50").verdict == "no difference shown"
    assert found.find("GET", None, "mean").verdict == "worse"
    assert found.find("GET", None, "ops/s").verdict == "no difference shown"


def test_failed_calls_stay_out_of_latencies_and_are_compared_as_errors():
    generator = np.random.default_rng(6)
    a = side(run("a", [stretch(generator, calls=400) for _ in range(30)], 1))
    b = side(run("b", [stretch(generator, calls=400, failed=8) for _ in range(30)], 2))
    found = compare(a, b)
    errors = found.find("GET", None, "errors")
    assert (errors.a, errors.b) == (0, pytest.approx(100 * 8 / 408))
    assert (errors.verdict, errors.change_unit, errors.b_errors) == ("worse", "points", 240)
    assert errors.low == errors.high == pytest.approx(100 * 8 / 408)
    assert errors.b_calls == found.find("GET", None, "p50").b_calls == 12_000
    assert found.find("GET", 5, "errors") is None


def test_sizes_and_roll_ups():
    generator = np.random.default_rng(9)
    sides = []
    for place in range(2):
        stretches = []
        for _ in range(10):
            tally = Tally()
            stretch(generator, calls=50, tally=tally)
            stretch(generator, calls=50, bucket=1, size=100, tally=tally)
            stretch(generator, calls=50, operation="STAT", bucket=0, size=0, tally=tally)
            stretch(generator, calls=50, operation="DELETE", bucket=0, size=0, tally=tally)
            stretches.append(Stretch(seconds=1.0, tally=tally))
        sides.append(side(run(str(place), stretches, place)))
    rows = list(dict.fromkeys((one.operation, one.size) for one in compare(*sides).changes))
    assert rows == [
        ("GET", "all"),
        ("GET", "1B-8KiB"),
        ("GET", "4MiB-32MiB"),
        ("STAT", "all"),
        ("DELETE", "all"),
        ("META", "all"),
        ("ALL", "all"),
    ]
    found = compare(*sides)
    assert [one.metric for one in found.changes if one.operation == "STAT"] == [
        name for name in METRICS if name != "MiB/s"
    ]
    assert found.find("ALL", None, "ops/s").a == pytest.approx(200)
    assert found.find("GET", 5, "MiB/s").a == pytest.approx(500)
    assert found.find("GET", 1, "p50").label == "GET 1B-8KiB p50"


def test_better_in_one_operation_and_worse_in_another():
    generator = np.random.default_rng(12)
    sides = []
    for place, (gets, puts) in enumerate(((1.0, 1.0), (1.2, 0.8))):
        stretches = []
        for _ in range(30):
            tally = Tally()
            stretch(generator, calls=100, scale=gets, tally=tally)
            stretch(generator, calls=100, scale=puts, operation="PUT", tally=tally)
            stretches.append(Stretch(seconds=1.0, tally=tally))
        sides.append(side(run(str(place), stretches, place)))
    found = compare(*sides)
    assert found.verdict == "mixed"
    worse, better = found.sentence.split("; but better in ")
    assert worse.startswith("B is worse than A in GET ")
    assert "PUT" not in worse
    assert better.startswith("PUT ")
    assert "GET" not in better


def test_what_differs_alone_may_be_chance():
    """A small change of one figure, among so many that it is no wonder."""
    generator = np.random.default_rng(21)
    sides = []
    for place in range(2):
        stretches = []
        for _ in range(40):
            tally = Tally()
            for operation in ("GET", "PUT", "STAT", "LIST", "DELETE", "COPY"):
                scale = 1.075 if (operation, place) == ("GET", 1) else 1.0
                stretch(generator, calls=60, scale=scale, operation=operation, tally=tally)
            stretches.append(Stretch(seconds=1.0, tally=tally))
        sides.append(side(run(str(place), stretches, place)))
    found = compare(*sides)
    singly = [
        one for one in found.changes if one.verdict in ("better", "worse") and one.operation not in ("ALL", "META")
    ]
    assert singly
    assert found.verdict == "no difference shown"
    assert f": {len(singly)} of " in found.sentence
    assert found.sentence.endswith("figures differ by themselves, which may well be chance.")


def test_too_few_data():
    generator = np.random.default_rng(1)
    few = side(run("a", series(generator, count=FEWEST_STRETCHES - 1), 1))
    many = side(run("b", series(generator, count=30), 2))
    found = compare(few, many)
    assert found.verdict == "too few data"
    assert found.sentence == (
        "There are too few data to compare A and B: a has 7 intervals, and at least 8 are needed."
    )
    rare = side(run("c", [stretch(generator, calls=20) for _ in range(30)], 3))
    verdicts = {one.metric: one for one in compare(rare, many).changes}
    assert verdicts["p50"].verdict != "too few data"
    assert verdicts["p99"].verdict == "too few data"
    assert verdicts["p99"].reason == "fewer than 1,000 calls that succeeded"
    assert verdicts["p99"].change is not None
    assert verdicts["p99"].low is None


def test_nothing_in_common():
    generator = np.random.default_rng(1)
    a = side(run("a", [stretch(generator, calls=40) for _ in range(20)], 1))
    b = side(run("b", [stretch(generator, calls=40, operation="PUT") for _ in range(20)], 1))
    found = compare(a, b)
    assert (found.changes, found.verdict) == ([], "too few data")
    assert "no operation in common" in found.sentence
    assert list(found.differences) == ["only A has GET", "only B has PUT"]
    with pytest.raises(ValueError, match="each side needs a run"):
        compare(Side(runs=()), b)


def test_differences_are_named():
    generator = np.random.default_rng(1)
    a = run("a", [stretch(generator, calls=40) for _ in range(20)], 1, threads={"GET": 8}, facts={"concurrency": "8"})
    b = run(
        "b",
        [stretch(generator, calls=40, bucket=4, size=1 << 20) for _ in range(50)],
        2,
        threads={"GET": 16},
        facts={"concurrency": "16", "seed": "1"},
    )
    assert list(compare(side(a), side(b)).differences) == [
        "a GET moves 10.0 MiB on average in A, 1.00 MiB in B",
        "only A has GET of 4MiB-32MiB",
        "only B has GET of 512KiB-4MiB",
        "GET is called by 8 threads in A, by 16 threads in B",
        "A was measured for 20.0 s, B for 50.0 s",
        "concurrency: 8 in A, 16 in B",
        "seed: not set in A, 1 in B",
    ]
    alike = attrs.evolve(a, begin_ns=3)
    assert list(compare(side(a), side(alike)).differences) == []


def test_every_call_of_a_side_failed():
    generator = np.random.default_rng(1)
    failed = Tally()
    failed.cell("GET", 0).errors = 40
    a = side(run("a", [stretch(generator, calls=40) for _ in range(20)], 1))
    b = side(run("b", [Stretch(seconds=1.0, tally=failed) for _ in range(20)], 2))
    found = compare(a, b)
    assert found.find("GET", None, "errors").change == 100
    assert found.find("GET", None, "p50") is None
    assert found.find("GET", None, "ops/s").reason == "it is 0 in B"
    assert list(found.differences) == ["every GET of B failed"]
    assert found.verdict == "worse"


def test_an_operation_in_few_intervals_has_no_interval():
    generator = np.random.default_rng(1)
    empty = [Stretch(seconds=1.0, tally=Tally()) for _ in range(29)]
    a = side(run("a", [*empty, stretch(generator, calls=400)], 1))
    b = side(run("b", [*empty, stretch(generator, calls=400)], 2))
    change = compare(a, b).find("GET", None, "p50")
    assert (change.verdict, change.reason) == ("too few data", "it was called in too few intervals")


def test_a_ratio_of_the_same_has_no_width():
    assert ratio(2.0, 2.0, (np.full(9, 2.0), np.full(9, 2.0)), (9, 9), 0.95).p_value == 1.0
    assert ratio(2.0, 4.0, (np.full(9, 2.0), np.full(9, 4.0)), (9, 9), 0.95).p_value == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (12.345, "+12.3"),
        (-0.123, "-0.12"),
        (0.0, "0"),
        (-0.001, "0"),
        (250.4, "+250"),
        (-99.97, "-100"),
        (9999.0, "+9999"),
        (31_673.0, "+31.7k"),
        (6_165_869.0, "+6166k"),
        (61_658_690.0, "+61.7M"),
    ],
)
def test_changes_as_text(value, text):
    assert change_text(value) == text
