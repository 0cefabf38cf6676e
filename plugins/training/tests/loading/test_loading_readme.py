"""What the README says of loaders, carried out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import penstock

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data of the examples, below the working directory."""
    monkeypatch.chdir(tmp_path)
    for number in range(100):
        penstock.put(f"data/train/{number // 10}/{number:03d}.bin", bytes([number]) * 64)
    samples = ({"label": np.array([n]), "image": np.full(16, n, dtype=np.float32)} for n in range(40))
    penstock.write_samples("data/records/0.tfrecord", samples)


@pytest.fixture
def section():
    return README.read_text().partition("\n## Loaders\n")[2].partition("\n## ")[0]


def test_its_examples_run(section, data, capsys):
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "0 (64, 64) uint8"
    assert printed[3] == "1 (36, 64) uint8"
    assert re.fullmatch(r"40 file:\S+/0.tfrecord#3 \[3\]", printed[4])
    assert "(32, 1) (32, 16)" in printed
    assert printed[-2:] == ["50", "50"]


def test_its_table_has_the_defaults(section):
    import inspect

    from penstock_training.loading import Loader

    parameters = inspect.signature(Loader).parameters
    rows = dict(re.findall(r"^\| `(\w+)`.*? \| (.*?) \|", section, re.MULTILINE))
    assert rows["prefetch"] == str(parameters["prefetch"].default)
    assert rows["max_bytes_in_flight"] == f"{parameters['max_bytes_in_flight'].default >> 20} MiB"
    assert rows["order"] == f"`{parameters['order'].default}`"
    assert rows["reader"] == f"`{parameters['reader'].default}`"
    known = {
        name for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert known <= set(parameters)
