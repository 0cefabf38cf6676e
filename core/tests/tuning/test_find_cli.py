"""``penstock find`` and ``penstock autotune`` as a user meets them, on the store in memory."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from penstock.cli import main

WORKLOAD = """
target: mem://find/
concurrency: 2
processes: 1
prepare: {ensure_objects: [{path: d/, count: 10, size: 4KiB}]}
workload: [{op: get, path: d/*}]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text(WORKLOAD)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def test_find_writes_what_it_tried_and_prints_it(run, tmp_path):
    goals = ("--slo", "get.p50 < 30s", "--slo", "errors < 1%")
    done = run("find", "w.yaml", *goals, "--guess", "40", "--max-trials", "2", "--trial", "0.5", "--warmup", "0")
    assert done.exit_code == 0, done.output
    (directory,) = tmp_path.glob("penstock-*-w-find")
    found = json.loads((directory / "find.json").read_text())
    assert found["goals"] == ["get.p50 < 30s", "errors < 1%"]
    assert found["closed_loop"] is None
    offered = [trial["offered_ops_per_sec"] for trial in found["trials"]]
    assert offered[:2] == [40, 60]
    assert found["ops_per_sec"] == max(t["offered_ops_per_sec"] for t in found["trials"] if t["passed"])
    assert len(list((directory / "trials").glob("*/result.json"))) == len(offered)
    header, *rows = (line.split("\t") for line in (directory / "curve.tsv").read_text().splitlines())
    assert [float(row[header.index("offered_ops_per_sec")]) for row in rows] == sorted(offered)
    report = (directory / "report.html").read_text()
    assert f"{found['ops_per_sec']:,.1f} operations per second meet get.p50 &lt; 30s" in report
    assert '"kind":"load"' in report
    assert "operations per second meet get.p50 < 30s and errors < 1%" in done.stdout
    assert "60.0 operations per second (grow)" in done.stderr


def test_find_says_when_no_rate_meets_the_goal(run):
    arguments = ("--guess", "50", "--max-trials", "2", "--trial", "0.3", "--warmup", "0", "--json", "-q")
    done = run("find", "w.yaml", "--slo", "get.max < 1us", *arguments)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["ops_per_sec"] is None
    assert "the goal is get.max < 1us" in found["limit"]
    assert not done.stderr


def test_a_goal_for_what_the_workload_does_not_do_is_refused(run):
    done = run("find", "w.yaml", "--slo", "put.p99 < 1ms", "--trial", "0.2", "--warmup", "0", "-q")
    assert done.exit_code == 2
    assert "did no PUT; it did get" in done.stderr


def test_autotune_tries_all_and_prints_lines_for_the_file(run, tmp_path):
    varied = ("--vary", "concurrency=1,2", "--vary", "workload[0].weight=1,-1")
    done = run("autotune", "w.yaml", *varied, "--trial", "0.2", "--warmup", "0", "--for", "cpu")
    assert done.exit_code == 0, done.output
    (directory,) = tmp_path.glob("penstock-*-w-autotune")
    found = json.loads((directory / "autotune.json").read_text())
    assert found["objective"] == "cpu"
    assert [trial["settings"] for trial in found["trials"]] == [
        {"concurrency": number, "workload[0].weight": 1} for number in (1, 2)
    ]
    assert found["best"] in [trial["settings"] for trial in found["trials"]]
    assert f"  concurrency: {found['best']['concurrency']}\n" in done.stdout
    assert "-1 is negative" in done.stderr


def test_autotune_ends_with_1_where_nothing_can_be_used(run):
    done = run("autotune", "w.yaml", "--vary", "concurrency=1", "--slo", "max < 1us", "--trial", "0.2", "--warmup", "0")
    assert done.exit_code == 1
    assert "No settings could be used" in done.stdout
    done = run("autotune", "w.yaml", "--vary", "no_such_key=1,2")
    assert done.exit_code == 2
    assert "no_such_key" in done.stderr


@pytest.mark.parametrize("command", [("find", "--slo", "get.p50 < 30s"), ("autotune",)])
def test_of_a_file_with_stages_one_is_tried(run, tmp_path, command):
    (tmp_path / "w.yaml").write_text(f"{WORKLOAD}repeat: 3\nstages: [{{name: a}}, {{name: b, concurrency: 1}}]\n")
    none = run(command[0], "w.yaml", *command[1:])
    assert none.exit_code == 2
    assert "one is tried at a time: name it by --stage: a, b" in none.stderr
    other = run(command[0], "w.yaml", *command[1:], "--stage", "c")
    assert other.exit_code == 2
    assert "--stage c: w.yaml has the stages a, b" in other.stderr
    assert not list(tmp_path.glob("penstock-*"))


def test_autotune_varies_the_stage_that_it_tries(run, tmp_path):
    (tmp_path / "w.yaml").write_text(f"{WORKLOAD}stages: [{{name: a}}, {{name: b, concurrency: 1}}]\n")
    arguments = ("--stage", "b", "--vary", "stages[1].concurrency=1,2", "--trial", "0.2", "--warmup", "0")
    done = run("autotune", "w.yaml", *arguments, "--json", "-q")
    assert done.exit_code == 0, done.output
    tried = json.loads(done.stdout)["trials"]
    assert [trial["settings"] for trial in tried] == [{"stages[1].concurrency": 1}, {"stages[1].concurrency": 2}]
    plans = sorted(tmp_path.glob("penstock-*/trials/*/plan.json"))
    assert [json.loads(plan.read_text())["config"]["concurrency"] for plan in plans] == [1, 2]
