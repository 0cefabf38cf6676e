"""The examples of training with torch do what they say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[4] / "examples"

pytestmark = [
    # dcp says so whenever a program of one process saves or loads.
    pytest.mark.filterwarnings(
        "ignore:torch.distributed is disabled, unavailable or uninitialized, assuming the intent:UserWarning"
    ),
    # torchdata's own call of something that torch has deprecated.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated, please do not call:UserWarning"),
]


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_training_goes_on_after_a_kill_as_if_nothing_had_been(tmp_path, capsys):
    script = example("train_torch")
    data = ["--data", f"file://{tmp_path}/train"]
    never_killed = script.main([*data, "--checkpoints", f"file://{tmp_path}/one"])
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    place = [*data, "--checkpoints", f"file://{tmp_path}/two"]
    killed = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_torch.py"), *place, "--kill-after", "13"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert [line for line in killed.stdout.splitlines() if line.startswith("epoch")] == steps[:13]
    assert script.main(place) == never_killed
    gone_on = capsys.readouterr().out.splitlines()
    assert gone_on[0].endswith("step-000010")
    assert [line for line in gone_on if line.startswith("epoch")] == steps[10:]


def test_a_sharded_checkpoint_outlives_a_killed_rank(tmp_path, capfd):
    assert example("sharded_checkpoint_torch").main(["--checkpoints", f"file://{tmp_path}/sharded"]) == 0
    out = capfd.readouterr().out
    assert "loaded step 1: every weight as it was saved" in out
    assert "rank 0 saved step 2" not in out
    assert list((tmp_path / "sharded" / "step-2").glob("*")) == []
