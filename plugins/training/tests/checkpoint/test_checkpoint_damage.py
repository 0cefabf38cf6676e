"""Damage to what is stored is found before it is handed out, and named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock
from penstock.errors import ChecksumMismatchError, ObjectNotFoundError
from penstock.layers.faults import Corrupt, Faults, Rule, Truncate
from penstock.layers.stack import Layers
from penstock_training.checkpoint import CheckpointStore
from penstock_training.checkpoint.sums import Summed

RANKS = 3
WAYS = {
    "load": lambda checkpoints, rank: checkpoints.load(1),
    "load a rank": lambda checkpoints, rank: checkpoints.load(1, rank=rank),
    "load_latest": lambda checkpoints, rank: checkpoints.load_latest(),
    "stream": lambda checkpoints, rank: list(checkpoints.stream(1, rank=rank, chunk_size=700)),
    "verify": lambda checkpoints, rank: checkpoints.verify(1),
}


def saved(uri, level, tensors):
    with CheckpointStore(uri, compression_level=level) as checkpoints:
        shards = [
            checkpoints.save_shard(
                1,
                {"w": np.arange(500.0) + rank, "b": np.arange(40, dtype="i2")} if tensors else bytes(range(256)) * 20,
                rank=rank,
                world_size=RANKS,
            )
            for rank in range(RANKS)
        ]
        return checkpoints.commit(1, shards)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tensors", [False, True], ids=["bytes", "tensors"])
@pytest.mark.parametrize("level", [None, 3])
@pytest.mark.parametrize("rank", range(RANKS))
def test_a_flipped_bit_in_each_shard_is_found(memory, way, tensors, level, rank):
    manifest = saved(memory, level, tensors)
    shard = manifest.shards[rank]
    for offset in {0, 9, shard.size // 2, shard.size - 1}:
        rule = Rule(effect=Corrupt(offset=offset), keys=shard.key)
        with penstock.connect(memory, layers=Layers(faults=Faults(rules=[rule]))) as store:
            checkpoints = CheckpointStore(store, part_size=1000)
            with pytest.raises(ChecksumMismatchError) as caught:
                WAYS[way](checkpoints, rank)
            assert caught.value.uri.endswith(shard.key)
            assert store.stack.faulty[0].counts()[0].injected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", [None, 3])
def test_an_object_of_another_length_is_found(root, way, level):
    manifest = saved(root, level, tensors=True)
    key = f"{root}/{manifest.shards[1].key}"
    whole = bytes(penstock.get(key))
    for spoiled in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0", whole + whole):
        penstock.put(key, spoiled)
        with CheckpointStore(root, part_size=1000) as checkpoints, pytest.raises(ChecksumMismatchError, match="rank 1"):
            WAYS[way](checkpoints, 1)
    penstock.delete(key)
    with CheckpointStore(root) as checkpoints, pytest.raises(ObjectNotFoundError, match="rank 1 is not there"):
        WAYS[way](checkpoints, 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_read_that_ends_early_and_says_nothing_is_found(memory, way):
    manifest = saved(memory, None, tensors=False)
    rule = Rule(effect=Truncate(at=100), operations=["get"], keys=manifest.shards[2].key)
    faults = Layers(faults=Faults(rules=[rule]))
    with penstock.connect(memory, layers=faults) as store, pytest.raises(ChecksumMismatchError, match="rank 2"):
        WAYS[way](CheckpointStore(store), 2)


def test_a_stream_hands_out_no_end_that_is_not_right(memory):
    manifest = saved(memory, None, tensors=False)
    rule = Rule(effect=Corrupt(offset=5000), keys=manifest.shards[0].key)
    with penstock.connect(memory, layers=Layers(faults=Faults(rules=[rule]))) as store:
        stream = CheckpointStore(store).stream(1, rank=0, chunk_size=1024)
        taken = []
        with pytest.raises(ChecksumMismatchError, match="rank 0"):  # noqa: PT012
            for chunk in stream:
                taken.append(chunk)
        assert sum(chunk.nbytes for chunk in taken) == 5120


@pytest.mark.parametrize("level", [None, 3])
def test_a_tensor_that_is_read_alone_is_checked_alone(memory, level):
    with CheckpointStore(memory, compression_level=level) as checkpoints:
        manifest = checkpoints.save(1, {"a": np.arange(2_000_000.0), "z": np.arange(2_000_000.0)})
    key = manifest.shards[0].key
    whole = bytearray(penstock.get(f"{memory}/{key}"))
    for at, names in ((len(whole) // 4, "a"), (len(whole) * 3 // 4, "z"), (20, "az")):
        spoiled = bytearray(whole)
        spoiled[at] ^= 64
        penstock.put(f"{memory}/{key}", spoiled)
        with CheckpointStore(memory) as checkpoints:
            for name in "az":
                if name in names:
                    with pytest.raises(ChecksumMismatchError) as caught:
                        checkpoints.load_tensors(1, [name])
                    assert caught.value.uri.endswith(key)
                elif level is None:
                    assert checkpoints.load_tensors(1, [name])[name][5] == 5


@pytest.mark.parametrize("level", [None, 3])
def test_a_header_that_reads_well_and_is_another_one_is_found(memory, level, monkeypatch):
    with CheckpointStore(memory, compression_level=level) as checkpoints:
        with monkeypatch.context() as patch:
            # What is stored says I64 where the checksums are those of F64.
            write = Summed.update

            def honest(self, data):
                write(self, bytes(data).replace(b"I64", b"F64"))

            patch.setattr(Summed, "update", honest)
            checkpoints.save(1, {"w": np.arange(30)})
        with pytest.raises(ChecksumMismatchError, match="header"):
            checkpoints.load_tensors(1, ["w"])


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("level", [None, 3])
def test_any_flipped_bit_of_a_shard_is_found(level, data):
    uri = f"mem://any-flip-{level}/run"
    with CheckpointStore(uri, compression_level=level) as checkpoints:
        manifest = checkpoints.latest() or checkpoints.save(1, {"w": np.arange(300.0), "b": np.ones(7)})
        key = f"{uri}/{manifest.shards[0].key}"
        whole = bytes(penstock.get(key))
        spoiled = bytearray(whole)
        spoiled[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        penstock.put(key, spoiled)
        try:
            with pytest.raises(ChecksumMismatchError, match="shards/"):
                checkpoints.load(1)
            with pytest.raises(ChecksumMismatchError, match="shards/"):
                checkpoints.verify(1)
        finally:
            penstock.put(key, whole)
