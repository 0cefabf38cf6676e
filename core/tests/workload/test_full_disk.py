"""Runs whose results can't be kept: what is wrong is said in one line, and what was measured is shown all the same."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.engine import run as running

WORKLOAD = """\
target: mem://full/
total_operations: 20
prepare: {ensure_objects: [{path: a, count: 3, size: 9}]}
workload: [{op: get, path: a/*}]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text(WORKLOAD)
    return str(path)


@pytest.mark.parametrize("below", ["", "/further"])
def test_results_that_have_no_place_are_refused_before_anything_is_done(tmp_path, file, below):
    (tmp_path / "taken").write_text("a file")
    for command in (["run", file], ["find", file, "--slo", "get.p99<1s"], ["autotune", file]):
        result = CliRunner().invoke(main, [*command, "--results-dir", f"{tmp_path}/taken{below}"])
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"penstock: results can't be kept in {tmp_path}/taken{below}: ")
        assert "--results-dir" in line


@pytest.mark.parametrize("as_json", [False, True])
def test_figures_are_shown_where_the_disk_is_full(tmp_path, file, monkeypatch, as_json):
    def full(directory, *arguments, **given):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(running, "write_results", full)
    result = CliRunner().invoke(main, ["run", file, "-q", "--results-dir", str(tmp_path), *["--json"] * as_json])
    assert result.exit_code == 1
    assert "the results can't be written to" in result.stderr.splitlines()[-1]
    assert "No space left on device; make room" in result.stderr
    if as_json:
        assert result.stdout == ""
    else:
        assert " 20 " in next(line for line in result.stdout.splitlines() if line.split()[:1] == ["GET"])


def test_results_that_can_be_written_are_json(tmp_path, file):
    result = CliRunner().invoke(main, ["run", file, "--results-dir", str(tmp_path), "--json"])
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (0, "done")


@pytest.mark.parametrize("command", [["find", "--slo", "get.p99<1s", "--max-trials", "2"], ["autotune"]])
def test_other_files_that_have_no_room_are_named_without_a_traceback(tmp_path, file, monkeypatch, command):
    def full(path, *arguments, **given):
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr("penstock.tuning.runner.Path.write_text", full)
    options = ["--trial", "0.2s", "--warmup", "0s", "--results-dir", str(tmp_path), "-q"]
    tries = ["--vary", "seed=1"] if command == ["autotune"] else []
    result = CliRunner().invoke(main, [command[0], file, *command[1:], *tries, *options])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "No space left on device; what was to be kept is not whole" in result.stderr
