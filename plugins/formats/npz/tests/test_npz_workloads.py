"""A run whose objects are NPZ archives: prepared, read, written, and verified byte for byte."""

from __future__ import annotations

import numpy as np
from click.testing import CliRunner

from penstock.cli import main

TEXT = """
target: {target}
total_operations: 60
concurrency: 2
processes: 1
seed: 3
verify: content
prepare:
  ensure_objects:
    - {{path: a/, count: 6, size: 40kB, format: npz, name: "o-{{:02d}}.npz"}}
workload:
  - {{op: get, path: "a/*"}}
  - {{op: put, path: "n/f-{{:03d}}.npz", size: 4003, format: "npz?dtype=float32&name=y"}}
"""


def run(*arguments):
    done = CliRunner().invoke(main, list(arguments))
    return done.exit_code, done.output


def test_prepared_and_put_objects_are_archives_and_are_verified(tmp_path):
    (tmp_path / "w.yaml").write_text(TEXT.format(target=tmp_path / "data"))
    code, said = run("run", str(tmp_path / "w.yaml"), "--results-dir", str(tmp_path / "one"))
    assert code == 0, said
    prepared = sorted((tmp_path / "data" / "a").iterdir())
    assert [path.name for path in prepared] == [f"o-{number:02d}.npz" for number in range(6)]
    assert len({np.load(path)["x"].tobytes() for path in prepared}) == 6
    assert {np.load(path)["x"].nbytes for path in prepared} == {40_000}
    puts = list((tmp_path / "data" / "n").iterdir())
    assert {(np.load(path)["y"].shape, np.load(path)["rest"].shape) for path in puts} == {((1000,), (3,))}
    assert "prepare: 6 objects" in said
    assert "all as written" in said
    damaged = bytearray(prepared[0].read_bytes())
    damaged[9_000] ^= 1
    prepared[0].write_bytes(damaged)
    _, said = run("run", str(tmp_path / "w.yaml"), "--results-dir", str(tmp_path / "two"))
    assert "0 objects in" in said
    assert "6 were there" in said, "the size that they should have is that of the archive"
    assert "not what was written (as prepared) at byte 9000" in said
