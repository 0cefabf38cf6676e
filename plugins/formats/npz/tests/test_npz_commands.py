"""npz from the command line: objects that NumPy reads, their check, and a look into them."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main


def run(*arguments, code=0):
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == code, f"exit code {done.exit_code}: {done.output}"
    return done


def loaded(uri):
    with penstock.open_file(uri) as file, np.load(file) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture
def base(request):
    uri = f"mem://npz-{request.node.name}/"
    yield uri
    penstock.delete_prefix(uri)


def test_put_writes_what_numpy_reads(base):
    run("put", "-o", "NPZ", "-n", "3", "-s", "10kB", base)
    arrays = [loaded(f"{base}object_{number}_of_3.npz")["x"] for number in range(3)]
    assert [array.nbytes for array in arrays] == [10_000] * 3
    assert len({array.tobytes() for array in arrays}) == 3, "each object has content of its own"
    run("put", "-o", "npz", "-s", "4003", "--format-option", "dtype=float32", "-t", "f.npz", base)
    assert {name: (one.dtype.name, one.shape) for name, one in loaded(f"{base}f.npz").items()} == {
        "x": ("float32", (1000,)),
        "rest": ("uint8", (3,)),
    }


@pytest.mark.parametrize("options", [[], ["--format-option", "compression=deflate", "--compress-factor", "3"]])
def test_generated_archives_are_checked_without_a_copy(base, options):
    said = run("generate", base, "-n", "2", "-s", "300KiB", "-o", "npz", *options).stderr
    command = shlex.split(re.search(r"^to check them: penstock (.*)$", said, re.MULTILINE)[1])
    assert run(*command).stderr.rstrip().endswith("all as generated")
    uri = f"{base}object_1_of_2.npz"
    size = penstock.stat(uri).size
    assert size < 150 * 1024 if options else 300 * 1024 < size < 301 * 1024
    wrong = bytearray(penstock.get(uri))
    wrong[20_000] ^= 1
    penstock.put(uri, wrong)
    assert run(*command, code=1).stdout == f"{uri}: differs from byte 20000 on\n"


def test_describe_and_cat(base):
    uri = f"{base}a.npz"
    penstock.write_samples(uri, [{"image": np.zeros((2, 3), ">u2"), "label": 7}])
    facts = json.loads(run("format", "describe", uri, "--json").stdout)
    assert facts["fields"] == [
        {"name": "image", "dtype": ">u2", "shape": [2, 3]},
        {"name": "label", "dtype": "int64", "shape": []},
    ]
    values = json.loads(run("format", "cat", uri, "--json", "--format-option", "arrays=label").stdout)["values"]
    assert values == {"label": {"dtype": "int64", "shape": [], "values": 7}}
    assert "npz has no index" in run("format", "index", uri, code=2).stderr
