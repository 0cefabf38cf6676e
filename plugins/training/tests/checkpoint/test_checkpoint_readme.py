"""What the README says of checkpoints, carried out; and that the layout's page and the schemas are in the package."""

from __future__ import annotations

import importlib.resources
import inspect
import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock_training.checkpoint import CheckpointStore

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def section():
    return README.read_text().partition("\n## Checkpoints\n")[2].partition("\n## ")[0]


def test_each_example_runs_by_itself(section, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    printed = []
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
        printed.append(capsys.readouterr().out)
    assert printed[0] == "300 0.17 (256, 128)\n"
    assert 0 < int(printed[1]) < 1_000_000
    assert (tmp_path / "model.bin").stat().st_size == 64_000_000
    assert printed[2] == "4 [3, 4]\n"
    assert printed[3] == "[2 2 2 2] 3\n[1 1 1 1]\n"
    assert len(printed) == 4


def test_its_table_has_the_options_and_their_defaults(section):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    parameters = inspect.signature(CheckpointStore).parameters
    assert set(rows) == set(parameters) - {"uri", "options"}
    for name in ("part_size", "max_pending_bytes"):
        assert rows[name] == f"{parameters[name].default >> 20} MiB"
    assert rows["strategy"] == f"`{parameters['strategy'].default}`"
    assert rows["in_flight"] == str(parameters["in_flight"].default)
    assert rows["lease"] == f"{parameters['lease'].default:.0f} s"
    assert parameters["keep_last"].default is parameters["compression_level"].default is None


def test_its_commands_are_understood(section, tmp_path):
    (tmp_path / "run1").mkdir()
    with CheckpointStore((tmp_path / "run1").as_uri()) as checkpoints:
        checkpoints.save(300, {})
    commands = re.findall(r"^penstock (checkpoint .*)$", section, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command.replace("s3://bucket/run1", os.fspath(tmp_path / "run1")))
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output


def test_what_it_points_to_is_in_the_package(section):
    package = importlib.resources.files("penstock_training.checkpoint")
    layout = (package / "LAYOUT.md").read_text()
    for name in re.findall(r"`(\w+\.schema\.json)`", layout):
        assert (package / name).is_file()
    assert "src/penstock_training/checkpoint/LAYOUT.md" in section
