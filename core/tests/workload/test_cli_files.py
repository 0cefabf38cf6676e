"""``penstock config convert`` and ``show`` as a user types them."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from penstock.cli import main

OLD = """\
target: mem://b/
duration: 10s
io_rate: {iops: 50, distribution: uniform}
workload:
  - {op: get, path: "*", weight: 1}
"""
NEW = "target: ${PLACE:-mem://b/}\nworkload: [{op: get, path: '**'}]\n"


@pytest.fixture
def file(tmp_path):
    def write(text, name="w.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def run(*args, **options):
    return CliRunner().invoke(main, ["config", *args], **options)


def test_convert_prints_the_new_file_and_says_what_became_of_the_keys(file):
    path = file(OLD)
    result = run("convert", path)
    assert result.exit_code == 0
    assert f"{path}:3:11: io_rate.iops: became rate.ops_per_second" in result.stderr
    new = yaml.safe_load(result.stdout)
    assert new["rate"] == {"ops_per_second": 50, "arrivals": "uniform"}
    assert new["workload"] == [{"op": "get", "path": "**", "weight": 1}]
    assert "# Rewritten by penstock config convert from w.yaml" in result.stdout
    assert run("check", file(result.stdout, "new.yaml")).exit_code == 0
    assert run("convert", "-", "-q", input=OLD).stderr == ""


def test_convert_writes_a_new_file_and_never_over_another(file, tmp_path):
    path, new = file(OLD), tmp_path / "new.yaml"
    assert run("convert", path, "-o", str(new)).stdout == ""
    text = new.read_text()
    again = run("convert", path, "-o", str(new))
    assert again.exit_code == 2
    assert "new.yaml is there already; name another file, or remove it" in again.stderr
    assert new.read_text() == text
    nowhere = run("convert", path, "-o", str(tmp_path / "no" / "new.yaml"))
    assert nowhere.exit_code == 2
    assert "No such file or directory" in nowhere.stderr


def test_convert_keeps_variables_and_leaves_a_file_of_penstock_alone(file):
    result = run("convert", file(NEW))
    assert result.exit_code == 0
    assert result.stdout == NEW
    assert "has no keys of older tools; unchanged" in result.stderr
    old = run("convert", file(f"op_log_path: ${{LOGS:-.}}/log.tsv\n{NEW}"))
    assert yaml.safe_load(old.stdout)["op_log"] == "${LOGS:-.}/log.tsv"
    assert yaml.safe_load(old.stdout)["target"] == "${PLACE:-mem://b/}"


def test_convert_of_a_file_that_cannot_be_taken_over_names_every_place_and_writes_nothing(file, tmp_path):
    path = file(OLD + "lag_threshold: 5\nprepare: {cleanup_only: true}\n")
    result = run("convert", path, "-o", str(tmp_path / "new.yaml"))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{path}:6:1: lag_threshold: belongs to the replay of a log, not to a workload: see penstock replay --help",
        f"{path}:7:11: prepare.cleanup_only: a run measures; to delete what is there use penstock rm",
    ]
    assert not (tmp_path / "new.yaml").exists()
    bad = run("convert", file(OLD.replace("iops: 50", "iops: fast")))
    assert bad.exit_code == 2
    assert ":3:17: rate.ops_per_second: write a number, not 'fast'" in bad.stderr
    for text in ("", "- a\n", "a: ["):
        assert run("convert", "-", input=text).exit_code == 2


def test_check_of_an_older_file_says_how_it_is_read(file):
    result = run("check", file(OLD))
    assert result.exit_code == 0
    assert "io_rate.iops: became rate.ops_per_second" in result.stderr
    assert "get          100.0%  **" in result.stdout


def test_show_prints_a_file_that_means_the_same_and_needs_no_other(file, monkeypatch):
    file("seed: 3\non_error: {max_total_errors: 7}\n", "base.yaml")
    monkeypatch.setenv("PLACE", "mem://elsewhere/")
    path = file(f"include: base.yaml\n{NEW}")
    shown = run("show", path, "--set", "concurrency=3")
    assert shown.exit_code == 0, shown.stderr
    data = yaml.safe_load(shown.stdout)
    assert (data["target"], data["seed"], data["concurrency"]) == ("mem://elsewhere/", 3, 3)
    assert data["on_error"]["max_total_errors"] == 7
    monkeypatch.delenv("PLACE")
    again = run("show", file(shown.stdout, "w2.yaml"))
    assert again.stdout == shown.stdout
    as_json = run("show", path, "--set", "concurrency=3", "--set", "target=mem://elsewhere/", "--json")
    assert json.loads(as_json.stdout) == data
    wrong = run("show", path, "--set", "sed=1")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "--set sed=1: sed: unknown key, did you mean seed?" in wrong.stderr


def test_no_secret_is_shown(file):
    text = "workload: [{op: get, uri: 's3://bucket/*'}]\nbackend: {s3: {secret_access_key: hushhush, region: eu-1}}\n"
    for arguments in (("show",), ("show", "--json"), ("check", "--json")):
        command, *options = arguments
        result = run(command, file(text), *options)
        assert result.exit_code == 0, result.stderr
        assert "hushhush" not in result.output
        assert "***" in result.stdout
        assert "eu-1" in result.stdout
