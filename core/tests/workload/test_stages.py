"""Stages: read, checked and planned one by one."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from penstock.cli import main
from penstock.engine.plan import make_plans
from penstock.errors import ConfigError, UsageError
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
        assert [plan.total_lanes for plan in make_plans(each, run_id="x")] == [each.concurrency]


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


def test_what_this_version_does_not_carry_out_it_says_before_anything_starts(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text(TEXT)
    with pytest.raises(UsageError, match=r"does not carry them out; run them one by one.*: warm, write, all"):
        make_plans(read(TEXT), run_id="x")
    checked = CliRunner().invoke(main, ["config", "check", str(path)])
    assert checked.exit_code == 0
    assert "write: put; ends after 50 operations, after a warm-up of 1.00 s (checked; this version" in checked.stdout
    run = CliRunner().invoke(main, ["run", str(path), "--results-dir", str(tmp_path)])
    assert run.exit_code == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.yaml"]
