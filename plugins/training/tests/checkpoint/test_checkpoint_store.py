"""Saving, finding, loading and removing checkpoints."""

from __future__ import annotations

import pickle
import subprocess
import sys

import attrs
import ml_dtypes
import numpy as np
import pytest

import penstock
from penstock.errors import ObjectNotFoundError, StoreError, UsageError
from penstock.layers.compression import Compression
from penstock.layers.stack import Layers
from penstock_training.checkpoint import CheckpointStore, Shard

STATE = {
    "model": {"w": np.arange(12, dtype="f4").reshape(3, 4), "b": np.arange(3).astype(ml_dtypes.bfloat16)},
    "optimizer": [{"lr": 0.1, "betas": (0.9, 0.99), "step": np.int64(7)}],
    "note": "é",
}


def steps(checkpoints):
    return [manifest.step for manifest in checkpoints.list()]


@pytest.mark.parametrize("level", [None, 3])
@pytest.mark.parametrize("strategy", ["flat", "round_robin", "hashed"])
def test_bytes_come_back(root, strategy, level):
    data = bytes(range(256)) * 100
    with CheckpointStore(root, strategy, level) as checkpoints:
        saved = checkpoints.save(10, data, {"epoch": 2, "loss": 0.25})
        loaded = checkpoints.load_latest()
        assert bytes(loaded.data) == data
        assert (loaded.step, loaded.metadata) == (10, {"epoch": 2, "loss": 0.25})
        assert loaded.manifest == saved == checkpoints.latest()
        assert saved.shards[0].key.endswith(".bin" if level is None else ".bin.zst")


@pytest.mark.parametrize("level", [None, 3])
def test_a_state_comes_back(root, level):
    with CheckpointStore(root, compression_level=level) as checkpoints:
        checkpoints.save(1, STATE)
        found = checkpoints.load(1).data
    assert found["model"]["w"].dtype == np.float32
    assert np.array_equal(found["model"]["w"], STATE["model"]["w"])
    assert found["model"]["b"].dtype == ml_dtypes.bfloat16
    assert found["model"]["b"].tobytes() == STATE["model"]["b"].tobytes()
    assert found["optimizer"][0]["betas"] == (0.9, 0.99)
    assert found["optimizer"][0]["step"] == 7
    assert found["note"] == "é"
    found["model"]["w"][:] = 0  # loaded arrays can be trained on


@pytest.mark.parametrize("data", [b"", [], {}, iter([b""]), [b"", b"a", b""]], ids=range(5))
@pytest.mark.parametrize("level", [None, 1])
def test_nothing_and_little_come_back(memory, data, level):
    with CheckpointStore(memory, compression_level=level) as checkpoints:
        checkpoints.save(0, data)
        found = checkpoints.load(0).data
        assert found == {} if isinstance(data, dict) else bytes(found) in (b"", b"a")
        assert b"".join(checkpoints.stream()) == (b"" if isinstance(data, dict) else bytes(found)) or data == {}


@pytest.mark.parametrize("level", [None, 1])
def test_chunks_are_streamed_in_and_out(root, level):
    chunks = [bytes([number]) * (1000 * number) for number in range(60)]
    with CheckpointStore(root, compression_level=level, part_size=64 * 1024) as checkpoints:
        checkpoints.save(1, iter(chunks))
        found = list(checkpoints.stream(1, chunk_size=50_000))
        assert b"".join(found) == b"".join(chunks)
        assert bytes(checkpoints.load(1).data) == b"".join(chunks)
        if level is None:
            assert max(chunk.nbytes for chunk in found) <= 50_000


STREAM = """
import resource, sys
from penstock_training.checkpoint import CheckpointStore
MIB = 1 << 20
def chunks():
    for number in range(256):
        yield number.to_bytes(2, "big") * (MIB // 2)
with CheckpointStore(sys.argv[1], part_size=4 * MIB) as checkpoints:
    checkpoints.save(0, [b"x" * MIB])
    for _ in checkpoints.stream(): pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checkpoints.save(1, chunks())
    total = sum(chunk.nbytes for chunk in checkpoints.stream(1, chunk_size=4 * MIB))
    checkpoints.verify(1)
    print(total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_a_stream_holds_parts_and_not_the_model(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STREAM, tmp_path.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    total, grown = map(int, done.stdout.split())
    assert total == 256 << 20
    assert grown < 48 << 20


def test_saves_of_one_step_do_not_collide_and_the_last_counts(root):
    with CheckpointStore(root) as one, CheckpointStore(root) as other:
        first, second = one.save(5, b"first"), other.save(5, b"second")
        assert first.id != second.id
        assert bytes(one.load(5).data) == bytes(other.load_latest().data) == b"second"
        assert bytes(one.load(first).data) == b"first"


def test_latest_does_not_move_back_for_an_older_step(place):
    with place() as store, CheckpointStore(store) as checkpoints:
        checkpoints.save(10, b"ten")
        checkpoints.save(5, b"five")
        assert checkpoints.latest().step == 10
        assert b'"step":10' in bytes(store.get("latest.json"))


@pytest.mark.parametrize("spoil", ["missing", "dangling", "damaged", "empty", "old"])
def test_without_a_true_pointer_the_newest_manifest_counts(place, spoil):
    with place() as store, CheckpointStore(store) as checkpoints:
        first = checkpoints.save(1, b"one")
        pointer = bytes(store.get("latest.json"))
        checkpoints.save(2, b"two")
        third = checkpoints.save(3, b"three")
        if spoil == "missing":
            store.delete("latest.json")
        elif spoil == "dangling":
            store.delete(third.key)
        else:
            store.put("latest.json", {"damaged": b"{", "empty": b"", "old": pointer}[spoil])
        assert checkpoints.load_latest().step == (2 if spoil == "dangling" else 3)
        checkpoints.save(4, b"four")
        assert b'"step":4' in bytes(store.get("latest.json"))
        assert first.step == 1


def test_a_damaged_manifest_is_passed_over_and_named(place):
    with place() as store, CheckpointStore(store) as checkpoints:
        checkpoints.save(1, b"one")
        second = checkpoints.save(2, b"two")
        store.put(second.key, bytes(store.get(second.key))[:-20])
        assert bytes(checkpoints.load_latest().data) == b"one"
        assert steps(checkpoints) == [1]
        assert [entry.name.step for entry in checkpoints.entries() if entry.problem] == [2]
        pruned = checkpoints.prune(older_than=0)
        assert (pruned.orphans, len(pruned.damaged)) == ((), 1)
        assert checkpoints.delete(2) == 1
        assert [info.key for info in store.list("shards/")] == [checkpoints.find(1).shards[0].key]


def test_what_is_not_there_is_said_with_what_is(root):
    with CheckpointStore(root) as checkpoints:
        assert checkpoints.latest() is None
        assert checkpoints.list() == []
        with pytest.raises(ObjectNotFoundError, match="no checkpoint here"):
            checkpoints.load_latest()
        with pytest.raises(ObjectNotFoundError, match="there is none here"):
            checkpoints.load(3)
        checkpoints.save(1, b"")
        with pytest.raises(ObjectNotFoundError, match="step 3; there are 1"):
            checkpoints.load(3)
        with pytest.raises(ObjectNotFoundError, match="step 3; there are 1"):
            checkpoints.delete(3)


def test_ranks_write_and_one_commits(root):
    with CheckpointStore(root, "round_robin") as checkpoints:
        shards = []
        for rank in (2, 0, 1):
            with checkpoints.writer(rank, 3, step=4) as writer:
                writer.write(b"rank ")
                writer.write(str(rank).encode())
                assert writer.tell() == 6
            shards.append(pickle.loads(pickle.dumps(writer.shard)))
            assert checkpoints.latest() is None
        manifest = checkpoints.commit(4, [Shard.from_dict(shard.as_dict()) for shard in shards], {"ok": True})
        loaded = checkpoints.load_latest()
        assert {rank: bytes(data) for rank, data in loaded.by_rank.items()} == {
            r: f"rank {r}".encode() for r in range(3)
        }
        assert bytes(checkpoints.load(4, rank=1).data) == b"rank 1"
        assert b"".join(checkpoints.stream(4, rank=2)) == b"rank 2"
        assert [shard.rank for shard in manifest.shards] == [0, 1, 2]
        with pytest.raises(UsageError, match="3 ranks; use by_rank"):
            _ = loaded.data
        with pytest.raises(UsageError, match="ranks 0 to 2"):
            checkpoints.load(4, rank=3)


def test_a_commit_of_something_else_is_refused(memory):
    with CheckpointStore(memory) as checkpoints:
        zero, one = (checkpoints.save_shard(4, b"x", rank=rank, world_size=2) for rank in range(2))
        for shards, words in [
            ([], "at least one"),
            ([zero], "missing: 1"),
            ([zero, zero, one], "there twice: 0"),
            ([zero, attrs.evolve(one, step=5)], "of step 5"),
            ([zero, attrs.evolve(one, world_size=3)], "2, 3 ranks"),
        ]:
            with pytest.raises(UsageError, match=words):
                checkpoints.commit(4, shards)
        penstock.delete(f"{memory}/{one.key}")
        with pytest.raises(ObjectNotFoundError, match="rank 1 is not there"):
            checkpoints.commit(4, [zero, one])
        assert checkpoints.latest() is None


def test_a_shard_that_is_left_by_an_error_is_not_there(root, objects):
    with CheckpointStore(root) as checkpoints:
        with pytest.raises(ZeroDivisionError), checkpoints.writer(0, 1, step=1) as writer:  # noqa: PT012
            writer.write(b"x" * 1000)
            raise ZeroDivisionError
        with pytest.raises(StoreError, match="not committed"):
            _ = writer.shard
        with pytest.raises(ZeroDivisionError):
            checkpoints.save(1, (1 / 0 for _ in range(1)))
    assert objects(root) == []


def test_a_commit_after_the_lease_is_refused(memory, monkeypatch):
    with CheckpointStore(memory, lease=3600) as checkpoints:
        shard = checkpoints.save_shard(1, b"x", rank=0, world_size=1)
        now = int(shard.key.split("-")[1], 16)
        monkeypatch.setattr("penstock_training.checkpoint.store.wall_ns", lambda: now + 3601 * 10**9)
        with pytest.raises(StoreError, match="begun 3601 s ago"):
            checkpoints.commit(1, [shard])
        assert checkpoints.latest() is None


def test_prune_leaves_a_save_in_progress_alone(memory, monkeypatch):
    with CheckpointStore(memory, lease=3600) as checkpoints:
        shard = checkpoints.save_shard(1, b"x", rank=0, world_size=1)
        pruned = checkpoints.prune()
        assert (pruned.orphans, pruned.young) == ((), 1)
        now = int(shard.key.split("-")[1], 16)
        # At the last moment of the lease the shard can be committed and is not taken, after it is neither.
        monkeypatch.setattr("penstock_training.checkpoint.pruning.wall_ns", lambda: now + 7200 * 10**9 - 1)
        assert checkpoints.prune().orphans == ()
        assert checkpoints.prune(older_than=10**6).young == 1
        monkeypatch.setattr("penstock_training.checkpoint.pruning.wall_ns", lambda: now + 10 * 7200 * 10**9)
        assert [info.key for info in checkpoints.prune(dry_run=True).orphans] == [shard.key]
        assert [info.key for info in checkpoints.prune().orphans] == [shard.key]
        assert checkpoints.prune().orphans == ()


def test_prune_takes_only_what_is_ours(memory, objects):
    penstock.put(f"{memory}/shards/notes.txt", b"mine")
    penstock.put(f"{memory}/manifests/readme", b"mine")
    with CheckpointStore(memory) as checkpoints:
        checkpoints.save_shard(1, b"x", rank=0, world_size=1)
        checkpoints.save(2, b"y")
        assert len(checkpoints.prune(older_than=0).orphans) == 1
        assert steps(checkpoints) == [2]
    assert {"shards/notes.txt", "manifests/readme"} <= set(objects(memory))


def test_keep_last_keeps_the_newest_and_what_was_just_saved(root, objects):
    with CheckpointStore(root, keep_last=2) as checkpoints:
        for step in (10, 20, 30, 40):
            checkpoints.save(step, b"x")
        assert steps(checkpoints) == [30, 40]
        checkpoints.save(5, b"back")
        assert steps(checkpoints) == [5, 30, 40]
        checkpoints.save(50, b"x")
        assert steps(checkpoints) == [40, 50]
    assert len(objects(root, "shards/")) == 2
    with CheckpointStore(root, keep_last=1) as checkpoints:
        assert [name.step for name in checkpoints.prune(dry_run=True).checkpoints] == [40]
        assert [name.step for name in checkpoints.prune().checkpoints] == [40]
        assert steps(checkpoints) == [50]


def test_delete_moves_the_pointer_to_what_is_left(place):
    with place() as store, CheckpointStore(store) as checkpoints:
        checkpoints.save(1, b"one")
        first = checkpoints.save(2, b"two")
        checkpoints.save(2, b"two again")
        assert checkpoints.delete(2, id=first.id) == 1
        assert bytes(checkpoints.load(2).data) == b"two again"
        assert checkpoints.delete(2) == 1
        assert b'"step":1' in bytes(store.get("latest.json"))
        assert checkpoints.delete(1) == 1
        assert [info.key for info in store.list()] == []


def test_tensors_are_read_by_range(memory):
    rng = np.random.default_rng(1)
    state = {f"layer{number:02}": rng.random((32, 1024), dtype="f4") for number in range(20)} | {"small": np.ones(3)}
    with penstock.connect(memory, layers=Layers()) as store, CheckpointStore(store, in_flight=2) as checkpoints:
        checkpoints.save(1, state)
        moved = []
        get = store.raw.get

        def counted(key, sink, **arguments):
            moved.append((key, arguments.get("length")))
            return get(key, sink, **arguments)

        store.raw.get = counted
        manifest = checkpoints.find(1)
        moved.clear()
        found = checkpoints.load_tensors(manifest, ["layer19", "layer00", "layer01"])
        assert list(found) == ["layer19", "layer00", "layer01"]
        assert all(np.array_equal(found[name], state[name]) for name in found)
        header, *ranges = sorted(length for _, length in moved)
        assert ranges == [131072, 2 * 131072]  # neighbours are one request
        assert header == manifest.shards[0].tensors.header_size
        infos = checkpoints.tensors(1)
        assert infos["layer00"].shape == (32, 1024)
        assert infos["small"].dtype == "F64"


@pytest.mark.parametrize("level", [None, 1])
def test_tensors_of_several_ranks(root, level):
    with CheckpointStore(root, compression_level=level) as checkpoints:
        shards = [
            checkpoints.save_shard(1, {"same": np.full(3, rank), f"own{rank}": np.zeros(rank)}, rank=rank, world_size=2)
            for rank in range(2)
        ]
        checkpoints.commit(1, shards)
        assert set(checkpoints.tensors(1)) == {"same@0", "same@1", "own0", "own1"}
        assert checkpoints.load_tensors(1, ["own1", "own0"])["own1"].shape == (1,)
        assert checkpoints.load_tensors(1, ["same"], rank=1)["same"].tolist() == [1, 1, 1]
        with pytest.raises(UsageError, match="2 ranks have a tensor named same"):
            checkpoints.load_tensors(1, ["same"])
        with pytest.raises(UsageError, match="no tensor named own3"):
            checkpoints.load_tensors(1, ["own3"])
        with pytest.raises(UsageError, match="a list of names"):
            checkpoints.load_tensors(1, "own1")


def test_large_compressed_tensors_are_read_by_frames(memory):
    # More than one frame of 4 MiB, and a tensor that lies across two.
    state = {f"t{number}": np.arange(number, number + 700_000, dtype="f4") for number in range(4)}
    with CheckpointStore(memory, compression_level=1) as checkpoints:
        checkpoints.save(1, state)
        for name, array in state.items():
            assert np.array_equal(checkpoints.load_tensors(1, [name])[name], array)


def test_a_compressed_shard_is_what_the_layer_of_compression_reads(memory):
    with CheckpointStore(memory, compression_level=1) as checkpoints:
        saved = checkpoints.save(1, b"abc" * 10_000)
    with penstock.connect(memory, layers=Layers(compression=Compression())) as store:
        assert bytes(store.get(saved.shards[0].key.removesuffix(".zst"))) == b"abc" * 10_000


def test_a_checkpoint_may_be_copied_elsewhere(root, tmp_path):
    with CheckpointStore(root) as checkpoints:
        checkpoints.save(1, STATE)
    penstock.copy_tree(root, (tmp_path / "copy").as_uri()).check()
    with CheckpointStore((tmp_path / "copy").as_uri()) as checkpoints:
        assert checkpoints.verify().step == 1
        assert np.array_equal(checkpoints.load_latest().data["model"]["w"], STATE["model"]["w"])


def test_load_latest_follows_when_the_latest_is_deleted_meanwhile(memory, monkeypatch):
    with CheckpointStore(memory) as checkpoints:
        checkpoints.save(1, b"one")
        checkpoints.save(2, b"two")
        find = checkpoints.find

        def found_and_gone(which=None):
            manifest = find(which)
            if which is None and manifest.step == 2:
                checkpoints.delete(2)
            return manifest

        monkeypatch.setattr(checkpoints, "find", found_and_gone)
        assert bytes(checkpoints.load_latest().data) == b"one"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strategy": "binary"}, "flat, round_robin, hashed"),
        ({"compression_level": 23}, "1 .quick. to 22"),
        ({"keep_last": 0}, "1 or more"),
        ({"part_size": 0}, "part_size"),
        ({"lease": 0}, "lease"),
        ({"max_pending_bytes": 0}, "max_pending_bytes"),
    ],
)
def test_options_that_cannot_be_are_refused(memory, arguments, words):
    with pytest.raises(UsageError, match=words):
        CheckpointStore(memory, **arguments)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.save(-1, b""), "step -1"),
        (lambda c: c.save(True, b""), "step True"),
        (lambda c: c.save(10**15, b""), "0 to 999999999999999"),
        (lambda c: c.save(1, "text"), "bytes or a state"),
        (lambda c: c.save(1, np.zeros(3)), "save {'name': ndarray}"),
        (lambda c: c.save(1, 5), "not int"),
        (lambda c: c.save(1, ["text"]), "chunk 0"),
        (lambda c: c.save(1, b"", {1: 2}), "metadata"),
        (lambda c: c.save(1, {"f": print}), "f: builtin_function"),
        (lambda c: c.writer(2, 2, step=1), "rank 2 of 2"),
        (lambda c: c.stream(1, chunk_size=0), "chunk_size"),
        (lambda c: c.prune(older_than=-1), "0 seconds or more"),
        (lambda c: c.load(1, framework="jax"), "numpy.*torch"),
    ],
    ids=range(13),
)
def test_calls_that_cannot_be_are_refused_and_leave_nothing(memory, call, words, objects):
    with CheckpointStore(memory) as checkpoints:
        saved = checkpoints.save(1, b"x")
        with pytest.raises(UsageError, match=words):
            call(checkpoints)
    assert set(objects(memory)) == {"latest.json", saved.key, saved.shards[0].key}


def test_bfloat16_without_ml_dtypes_names_the_remedy(memory, monkeypatch):
    with CheckpointStore(memory) as checkpoints:
        checkpoints.save(1, STATE)
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        with pytest.raises(UsageError, match=r"penstock-training\[bfloat16\]"):
            checkpoints.load(1)


def test_importing_and_listing_plugins_stay_light():
    script = (
        "import penstock_training.checkpoint.plugin, sys; print(*{'numpy', 'torch', 'zstandard'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
