"""The search for a rate, and the choice of settings, on functions whose answer is known."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.tuning.search import highest_rate
from penstock.tuning.sweep import Vary, best_of, parse_vary, settings_of
from penstock.tuning.usual import usual_sweep
from penstock.workload.config import load, loads


@given(st.floats(1, 1e6), st.floats(0.02, 40), st.sampled_from([0.01, 0.02, 0.1]))
def test_the_knee_is_found_within_the_tolerance(knee, factor, tolerance):
    rate, steps = highest_rate(lambda rate, _: rate <= knee, knee * factor, tolerance=tolerance, most=60)
    assert knee * (1 - tolerance) <= rate <= knee
    assert steps[-1].purpose == "confirm"
    assert len(steps) < 12 + 2 * math.log2(max(factor, 1 / factor) / tolerance)


def test_no_rate_at_all():
    rate, steps = highest_rate(lambda *_: False, 100.0, most=5)
    assert rate is None
    assert [step.rate for step in steps] == [100.0, 50.0, 25.0, 12.5, 6.25]


@given(st.floats(1, 1e6), st.floats(0.1, 1e4))
def test_no_rate_is_tried_at_which_a_trial_says_nothing(guess, lowest):
    rate, steps = highest_rate(lambda *_: False, guess, most=100, lowest=lowest)
    assert rate is None
    assert [step.rate for step in steps] == sorted({step.rate for step in steps}, reverse=True)
    assert steps[-1].rate == min(guess, lowest)


def test_every_rate():
    rate, steps = highest_rate(lambda *_: True, 100.0, most=4)
    assert rate == steps[-1].rate == 100 * 1.5**3
    assert [step.purpose for step in steps] == ["search", "grow", "grow", "grow"]


def test_a_rate_that_passes_by_luck_is_not_the_answer():
    tried = {}

    def passes(rate, _purpose):
        tried[rate] = tried.get(rate, 0) + 1
        return rate <= 50 or (rate < 55 and tried[rate] == 1)

    rate, steps = highest_rate(passes, 100.0, tolerance=0.02, most=60)
    assert rate <= 50
    assert [step for step in steps if step.purpose == "confirm" and not step.passed]


@given(st.integers(0, 2**32))
def test_noise_leads_to_a_rate_that_passed_and_to_an_end(seed):
    noise = random.Random(seed)
    rate, steps = highest_rate(lambda rate, _: rate * noise.uniform(0.8, 1.25) < 1000, 900.0, most=20)
    assert len(steps) <= 20
    assert rate is None or any(step.passed and step.rate == rate for step in steps)


def test_all_of_a_few_combinations_are_tried_and_the_cheap_one_wins_a_tie():
    seen = []

    def score(settings):
        seen.append(dict(settings))
        return {1: 50.0, 4: 98.0, 8: 100.0}[settings["concurrency"]] + (1 if settings["processes"] == 2 else 0)

    varied = [Vary("concurrency", [1, 4, 8]), Vary("processes", [1, 2])]
    assert best_of(varied, score) == {"concurrency": 4, "processes": 1}
    assert len(seen) == 6


def test_of_many_combinations_one_key_is_varied_after_the_other():
    calls = []

    def score(settings):
        calls.append(settings)
        return -abs(settings["a"] - 7) - abs(settings["b"] - 3) - abs(settings["c"] - 5) - 1

    varied = [Vary(name, list(range(10))) for name in "abc"]
    assert best_of(varied, score, least_gain=0.0) == {"a": 7, "b": 3, "c": 5}
    assert len(calls) == len({tuple(settings_of(each)) for each in calls}) < 100


def test_what_can_not_be_used_is_never_the_best():
    assert best_of([Vary("a", [1, 2])], lambda settings: 1.0 if settings["a"] == 2 else -math.inf) == {"a": 2}
    with pytest.raises(UsageError, match="no combination"):
        best_of([Vary("a", [1, 2])], lambda _: -math.inf)


def test_settings_are_written_as_set_takes_them():
    assert parse_vary("rate={ops_per_second: 5},max") == Vary("rate", [{"ops_per_second": 5}, "max"])
    assert settings_of({"a.b[0]": {"x": [1, "2"]}, "c": "4KiB", "d": None}) == [
        "a.b[0]={x: [1, '2']}",
        "c=4KiB",
        "d=null",
    ]


@pytest.mark.parametrize("text", ["concurrency", "concurrency=", "=1,2", "a=[", "a=1,1"])
def test_what_varies_nothing_is_refused(text):
    with pytest.raises(UsageError, match="--vary"):
        parse_vary(text)


def usual(text, stage=None):
    config = loads(f"target: mem://x/\n{text}", label="w.yaml", environ={})
    part = config if stage is None else config.parts()[stage]
    return {vary.key: vary.values for vary in usual_sweep(part, processors=2, stage=stage)}


def test_parts_and_ranges_are_varied_where_objects_are_large():
    small = usual("workload: [{op: get, path: d/*}, {op: put, path: n/, size: 1MiB}]\n")
    assert list(small) == ["concurrency", "processes"]
    large = usual(
        "prepare: {ensure_objects: [{path: d/, count: 2, size: 256MiB}, {path: s/, count: 2, size: 1KiB}]}\n"
        "processes: 1\nworkload: [{op: stat, path: d/*}, {op: put, path: n/, size: 64MiB}, {op: get, path: 'd/*'}]\n"
    )
    assert list(large) == ["concurrency", "workload[1].multipart.part_size", "range_engine"]
    assert large["range_engine"][0] == "off"
    reads = "prepare: {ensure_objects: [{path: d/, count: 2, size: 256MiB}, {path: s/, count: 2, size: 1KiB}]}\n"
    assert "range_engine" not in usual(f"{reads}workload: [{{op: get, path: 's/*'}}]\n")
    assert "range_engine" not in usual(f"{reads}workload: [{{op: get, path: 'd/*', range: {{size: 1KiB}}}}]\n")
    stages = (
        "stages: [{name: a, workload: [{op: stat, path: s}]}, {name: b, workload: [{op: put, path: n/, size: 1GiB}]}]"
    )
    assert list(usual(stages, 1)) == ["stages[1].concurrency", "processes", "stages[1].workload[0].multipart.part_size"]


def test_what_is_varied_can_be_set():
    text = "target: mem://x/\nworkload: [{op: put, path: n/, size: 64MiB}]\n"
    with_parts = loads(text, label="w.yaml", environ={})
    for vary in usual_sweep(with_parts, processors=1):
        for value in vary.values:
            load_with(text, settings_of({vary.key: value}))
    load_with(text, settings_of({"range_engine": {"threshold": "8MiB", "part_size": "8MiB"}}))


def load_with(text, overrides):
    with tempfile.TemporaryDirectory() as where:
        path = Path(where, "w.yaml")
        path.write_text(text)
        return load(str(path), overrides=overrides, environ={})
