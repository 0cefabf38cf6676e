"""What the README says of workloads and datasets, carried out."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import main

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def section():
    return README.read_text().partition("\n## Training-shaped workloads\n")[2].partition("\n## ")[0]


def blocks(text, kind):
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_the_commands_of_the_readme_work(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workload, own = blocks(section, "yaml")
    Path("unet3d.yaml").write_text(workload)
    commands = [line for block in blocks(section, "console") for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        program, *args = shlex.split(command)
        assert program == "penstock"
        done = CliRunner().invoke(main, args)
        assert done.exit_code == 0, done.output
    assert json.loads(next(Path("results").glob("*/result.json")).read_text())["epochs"][0]["steps"] == 4
    assert Path("train.tsv.zst").exists()
    Path("slow.yaml").write_text(workload + own)
    assert CliRunner().invoke(main, ["train", "slow.yaml", "--dry-run"]).exit_code == 0


def test_the_program_of_the_readme_runs(section, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(section, "python"):
        exec(compile(block, str(README), "exec"), {})
    assert "Written(files=3, samples=60" in capsys.readouterr().out
