"""``penstock checkpoint``: what it prints, its exit codes, and what it says to wrong input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main
from penstock_training.checkpoint import CheckpointStore


@pytest.fixture
def uri(tmp_path):
    uri = (tmp_path / "run").as_uri()
    with CheckpointStore(uri, compression_level=1) as checkpoints:
        checkpoints.save(1, b"hello" * 100, {"a": 1})
        checkpoints.save(20, {"w": np.zeros((10, 20), "f4"), "b": np.ones(3)}, {"epoch": 3, "name": "é"})
        checkpoints.save_shard(21, b"x", rank=0, world_size=2)
    return uri


def run(*words, code=0):
    result = CliRunner().invoke(main, ["checkpoint", *words])
    assert result.exit_code == code, result.output
    return result


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def spoil(uri, step):
    with CheckpointStore(uri) as checkpoints:
        key = f"{uri}/{checkpoints.find(step).shards[0].key}"
    data = bytearray(penstock.get(key))
    data[len(data) // 2] ^= 1
    penstock.put(key, data)
    return key


def cut_off(uri, step):
    with CheckpointStore(uri) as checkpoints:
        key = f"{uri}/{checkpoints.find(step).key}"
    penstock.put(key, bytes(penstock.get(key))[:50])


def test_list(uri):
    head, first, second = run("list", uri).stdout.splitlines()
    assert head.split() == ["STEP", "CREATED", "RANKS", "SIZE", "ID"]
    assert first.split()[0] == "1"
    assert second.split()[:2] == ["20", "*"]
    found = lines(run("list", "--json", uri))
    assert [(each["step"], each["latest"], each["metadata"].get("epoch")) for each in found] == [
        (1, False, None),
        (20, True, 3),
    ]


def test_list_of_nothing(tmp_path):
    result = run("list", str(tmp_path))
    assert (result.stdout, "no checkpoints below" in result.stderr) == ("", True)


def test_list_with_a_damaged_manifest(uri):
    cut_off(uri, 20)
    result = run("list", uri, code=1)
    assert "damaged" in result.stdout.splitlines()[2]
    assert result.stdout.splitlines()[1].split()[:2] == ["1", "*"]
    assert "step 20:" in result.stderr
    assert "problem" in lines(run("list", "--json", uri, code=1))[1]


def test_show(uri):
    text = run("show", uri, "--tensors").stdout
    assert 'metadata name   "é"' in text
    assert "safetensors + zstd" in text
    assert "10 x 20" in text
    (facts,) = lines(run("show", uri, "--tensors", "--json"))
    assert facts["step"] == 20
    assert {each["name"]: (each["dtype"], each["shape"], each["bytes"]) for each in facts["tensors"]} == {
        "w": ("F32", [10, 20], 800),
        "b": ("F64", [3], 24),
    }
    assert facts["shards"][0]["content_bytes"] > 800
    assert "bytes + zstd" in run("show", uri, "--step", "1").stdout


def test_verify(uri):
    assert run("verify", uri).stdout == "step 20: every shard is what was saved\n"
    assert run("verify", uri, "--all").stdout.count("what was saved") == 2
    key = spoil(uri, 1)
    assert run("verify", uri).exit_code == 0
    result = run("verify", uri, "--all", code=1)
    assert key in result.stdout.splitlines()[0]
    assert [each["ok"] for each in lines(run("verify", uri, "--all", "--json", code=1))] == [False, True]
    penstock.delete(key)
    assert "rank 0 is not there" in run("verify", uri, "--step", "1", code=1).stdout


def test_verify_with_a_damaged_manifest(uri):
    cut_off(uri, 20)
    assert "damaged" in run("verify", uri, "--all", code=1).stdout
    assert "step 1:" in run("verify", uri).stdout


def test_prune(uri):
    result = run("prune", uri)
    assert result.stdout.splitlines()[0] == "removed 0 checkpoints and 0 orphans of 0 B"
    assert "kept 1 shard" in result.stdout
    planned = run("prune", uri, "--older-than", "0s", "--keep-last", "1", "--dry-run").stdout.splitlines()
    assert planned[0].startswith("checkpoint of step 1,")
    assert planned[1].startswith(f"{uri}/shards/000000000000021-")
    assert planned[2].startswith("would remove 1 checkpoint and 1 orphan of ")
    with CheckpointStore(uri) as checkpoints:
        assert len(checkpoints.list()) == 2
    (facts,) = lines(run("prune", uri, "--older-than", "0s", "--keep-last", "1", "--json"))
    assert ([each["step"] for each in facts["checkpoints"]], len(facts["orphans"])) == ([1], 1)
    with CheckpointStore(uri) as checkpoints:
        assert [manifest.step for manifest in checkpoints.list()] == [20]
        assert checkpoints.prune(older_than=0).orphans == ()


def test_prune_leaves_what_is_damaged_and_says_so(uri):
    cut_off(uri, 20)
    result = run("prune", uri, "--older-than", "0s")
    assert "removed 0 checkpoints and 1 orphan" in result.stdout
    assert "step 20 is damaged and stays" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("show", "{uri}", "--step", "7"), 1, "no checkpoint of step 7; there are 1, 20"),
        (("show", "{uri}/nowhere"), 1, "no checkpoint here"),
        (("verify", "{uri}/nowhere", "--all"), 1, "no checkpoint here"),
        (("verify", "{uri}", "--all", "--step", "1"), 2, "leave --step out"),
        (("show", "{uri}", "--step", "1", "--tensors"), 2, "no tensors"),
        (("list", "s9://bucket"), 2, "unknown scheme"),
        (("list", "{uri}", "-O", "colour=red"), 2, "no store here has this option"),
        (("prune", "{uri}", "--keep-last", "0"), 2, "0 is not in the range"),
        (("prune", "{uri}", "--older-than", "soon"), 2, "soon"),
        (("frobnicate",), 2, "No such command"),
    ],
    ids=range(10),
)
def test_wrong_input_is_said_to_be(uri, words, code, says, capfd):
    with pytest.raises(SystemExit) as caught:
        main(["checkpoint", *(word.format(uri=uri) for word in words)])
    assert caught.value.code == code
    assert says in capfd.readouterr().err


def test_an_operation_log_has_the_calls(uri, tmp_path):
    run("list", uri, "--op-log", str(tmp_path / "calls.tsv.zst"))
    assert (tmp_path / "calls.tsv.zst").stat().st_size > 100
