"""``penstock config`` as a user types it."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from penstock.cli import main
from penstock.workload.config import restore

GOOD = """
target: mem://b/
workload:
  - {op: get, path: a/*, weight: 3}
  - {op: put, path: n/, size: 4KiB}
prepare:
  ensure_objects: [{path: a, count: 1000, size: 1KiB}]
  directory_structure: {path: tree, width: 2, depth: 2, files_per_dir: 5, size: {uniform: {min: 0, max: 20}}}
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "w.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def run(*args, **options):
    return CliRunner().invoke(main, ["config", *args], **options)


def test_check_says_ok_and_what_the_file_describes(file):
    result = run("check", file(GOOD))
    assert result.exit_code == 0
    assert result.stderr == ""
    first, *rest = result.stdout.splitlines()
    assert first.endswith("w.yaml: ok")
    facts = "\n".join(rest)
    for fact in (
        "mem://b/",
        "after 1m00s",
        "16 in flight",
        "75.0%  a/*",
        "25.0%  n/",
        "1000 objects (1000 KiB) under a",
    ):
        assert fact in facts
    assert "6 directories with 20 files (about 200 B)" in facts


def test_check_says_what_compressors_make_of_a_large_factor(file):
    result = run("check", file(GOOD.replace("size: 4KiB", "size: 4KiB, compress_factor: 30")))
    assert result.exit_code == 0
    assert result.stderr.startswith("compress_factor 30: LZ4 pays a byte for each 255")


def test_check_prints_each_problem_on_a_line_of_its_own_and_exits_with_2(file):
    path = file("target: mem://b/\nsed: 1\nworkload: [{op: gte}]\n")
    result = run("check", path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{path}:2:1: sed: unknown key, did you mean seed?",
        f"{path}:3:17: workload[0].op: unknown op 'gte', did you mean get?",
    ]


def test_check_applies_overrides_and_variables(file, monkeypatch):
    monkeypatch.setenv("PLACE", "mem://elsewhere/")
    path = file(GOOD.replace("mem://b/", "${PLACE}"))
    result = run("check", path, "--set", "workload[0].weight=1", "--set", "total_operations=5", "--json")
    answer = json.loads(result.stdout)
    config = restore(answer["config"])
    assert (answer["name"], config.target, config.total_operations) == ("w", "mem://elsewhere/", 5)
    assert config.workload[0].weight == 1
    wrong = run("check", path, "--set", "sed=1")
    assert wrong.exit_code == 2
    assert wrong.stderr == "--set sed=1: sed: unknown key, did you mean seed?\n"


def test_check_reads_standard_input():
    result = run("check", "-", input=GOOD)
    assert result.exit_code == 0, result.output
    broken = run("check", "-", input="a: &x @")
    assert broken.exit_code == 2
    assert broken.stderr.startswith("standard input:1:7: not YAML")


def test_check_of_a_file_that_is_not_there(tmp_path):
    result = run("check", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/none.yaml: can't be read: No such file or directory\n"


def test_schema_prints_a_schema_that_the_file_is_valid_by():
    result = run("schema")
    assert result.exit_code == 0
    jsonschema.validate(yaml.safe_load(GOOD), json.loads(result.stdout))
