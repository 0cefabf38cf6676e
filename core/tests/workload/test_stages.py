"""Stages: read, checked and planned one by one."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from penstock.cli import main
from penstock.engine.plan import make_plans
from penstock.errors import ConfigError
from penstock.workload.config import dump, loads, restore
from penstock.workload.schema import json_schema

TEXT = """
target: mem://b/
seed: 4
concurrency: 8
total_operations: 1000
prepare: {ensure_objects: [{path: a/, count: 10}]}
workload: [{op: get, path: 'a/*'}]
stages:
  - {name: warm, duration: 5s, concurrency: 2}
  - {name: write, workload: [{op: put, path: n/, size: 1}], total_operations: 50, warmup: 1s}
  - {name: all, rate: {ops_per_second: 9}, barrier: best_effort}
"""


def read(text):
    return loads(text, label="w.yaml", environ={})


def test_each_stage_is_a_run_of_what_it_says_and_of_what_the_run_says():
    config = read(TEXT)
    warm, write, everything = (config.of_stage(stage) for stage in config.stages)
    assert (warm.name, warm.duration, warm.total_operations, warm.concurrency) == ("warm", 5.0, None, 2)
    assert [item.op for item in warm.workload] == ["get"]
    assert (write.duration, write.total_operations, write.warmup, write.concurrency) == (None, 50, 1.0, 8)
    assert [item.op for item in write.workload] == ["put"]
    assert (everything.duration, everything.total_operations, everything.rate.ops_per_second) == (60.0, 1000, 9.0)
    for each in (warm, write, everything):
        assert (each.seed, each.prepare, each.stages) == (4, config.prepare, ())
        assert [plan.shares[0].total_lanes for plan in make_plans(each, run_id="x")] == [each.concurrency]


def test_stages_travel_as_data_and_are_valid_by_the_schema():
    config = read(TEXT)
    assert restore(json.loads(json.dumps(dump(config)))) == config
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(yaml.safe_load(TEXT))
    validator.validate(dump(config))
    assert not validator.is_valid(yaml.safe_load(TEXT) | {"stages": [{"nam": "x"}]})


def test_a_run_needs_no_workload_when_every_stage_has_one():
    own = "target: mem://b\nstages: [{name: a, workload: [{op: get, path: x}]}"
    assert read(f"{own}]\n").workload == ()
    with pytest.raises(ConfigError) as caught:
        read(f"{own}, {{name: b}}]\n")
    assert caught.value.problems == (
        "w.yaml:1:1: workload is missing: the operations, each with its weight (the stage b has none of its own)",
    )


def test_problems_of_a_stage_stand_where_it_stands_and_those_of_others_are_told_too():
    text = (
        TEXT.replace("op: put, path: n/", "op: put, path: n*")
        .replace("duration: 5s", "duration: 0")
        .replace("seed", "sed")
    )
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert [line.split(": ")[:2] for line in caught.value.problems] == [
        ["w.yaml:3:1", "sed"],
        ["w.yaml:9:28", "stages[0].duration"],
        ["w.yaml:10:46", "stages[1].workload[0].path"],
    ]


def test_a_dry_run_shows_every_stage_and_does_nothing(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text(f"{TEXT}repeat: 2\n")
    checked = CliRunner().invoke(main, ["config", "check", str(path)])
    assert checked.exit_code == 0
    assert "write: put; 8 in flight, as fast as possible; ends after 50 operations, after a warm-up" in checked.stdout
    run = CliRunner().invoke(main, ["run", str(path), "--results-dir", str(tmp_path), "--dry-run"])
    assert run.exit_code == 0, run.output
    assert "leg 5        repeat 2, write: 8 lanes; results in repeat-2/stage-2-write/" in run.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.yaml"]


def test_a_plan_has_a_share_of_each_stage_for_each_worker():
    text = (
        "target: file:///x\nprocesses: auto\nworkload: [{op: put, path: n/, size: 1}]\n"
        "stages: [{name: one, concurrency: 1, total_operations: 10}, {name: many, concurrency: 5, duration: 1s}]\n"
    )
    plans = make_plans(read(text), run_id="x")
    assert [plan.shares[0].lanes for plan in plans] == [1] + [0] * (len(plans) - 1)
    assert [plan.shares[0].budget for plan in plans] == [10] + [0] * (len(plans) - 1)
    assert sum(plan.shares[1].lanes for plan in plans) == 5
    assert {plan.shares[1].total_lanes for plan in plans} == {5}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stop_when_stable: {window: 4s}\n", "stop_when_stable.window: 4 s has fewer than 5 intervals of 1 s"),
        ("stop_when_stable: on\nduration: 20s\n", "stop_when_stable.window: the duration, 20 s, is over before"),
        ("stop_when_stable: {at_most: 40s}\nduration: 50s\n", "stop_when_stable.at_most: stands for duration"),
        ("stop_when_stable: {at_most: 4s}\n", "stop_when_stable.at_most: 4 s is shorter than the window, 30 s"),
        ("stop_when_stable: {metrics: [p99, p99]}\n", "stop_when_stable.metrics: a metric stands there twice"),
        ("stop_when_stable: {metrics: [p98]}\n", "stop_when_stable.metrics[0]: "),
        ("stop_when_stable: on\nrate: [{for: 60s, ops_per_second: 5}]\n", "a rate in phases is not meant to be stable"),
        ("stages: [{name: a, stop_when_stable: on, duration: 5s}]\n", "stages[0].stop_when_stable.window: the"),
        ("repeat: 0\n", "repeat: 0 is too small"),
        ("repeats: 2\n", "write repeat"),
    ],
)
def test_what_can_not_be_stable_or_repeated_is_refused(text, problem):
    with pytest.raises(ConfigError) as caught:
        read(f"target: mem://b/\nworkload: [{{op: put, path: n/, size: 1}}]\n{text}")
    assert problem in str(caught.value)


def test_the_longest_time_until_stable_is_the_duration():
    text = "target: mem://b/\nworkload: [{op: put, path: n/, size: 1}]\nstop_when_stable: {at_most: 10m}\n"
    assert read(text).duration == 600
    config = read(f"{text}stages: [{{name: a}}, {{name: b, duration: 40s}}, {{name: c, stop_when_stable: off}}]\n")
    a, b, c = config.parts()
    assert (a.duration, a.stop_when_stable.at_most) == (600, 600)
    assert (b.duration, b.stop_when_stable.at_most, b.stop_when_stable.window) == (40, None, 30)
    assert (c.duration, c.stop_when_stable) == (600, None)
