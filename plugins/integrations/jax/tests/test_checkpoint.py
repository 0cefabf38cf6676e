"""Sharded arrays: saved from one mesh, restored onto another, bit by bit, from no more than is needed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from penstock_jax import ShardedCheckpoints

import penstock
from penstock.errors import ChecksumMismatchError, ObjectNotFoundError, StoreError, UsageError

TYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "bfloat16", "float32",
    "float8_e4m3fn", "float8_e5m2", "complex64",
]  # fmt: skip


def mesh(*shape, devices=None):
    names = ("x", "y")[: len(shape)]
    count = int(np.prod(shape))
    return jax.sharding.Mesh(np.array((devices or jax.devices())[:count]).reshape(shape), names)


def bits(array):
    return np.ascontiguousarray(np.asarray(array)).reshape(-1).view(np.uint8).tobytes()


def random(shape, dtype, seed=0):
    raw = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 100, shape)
    return jnp.asarray(raw).astype(dtype)


def placed(array, *spec, on):
    return jax.device_put(array, NamedSharding(on, P(*spec)))


def wanted(array, *spec, on):
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=NamedSharding(on, P(*spec)))


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_from_four_devices_to_two(place, dtype):
    array = random((8, 12), dtype)
    with ShardedCheckpoints(place) as checkpoints:
        checkpoints.save(1, {"a": placed(array, "x", on=mesh(4))})
        found = checkpoints.restore({"a": wanted(array, None, "x", on=mesh(2))})["a"]
    assert found.sharding == NamedSharding(mesh(2), P(None, "x"))
    assert (found.shape, found.dtype, bits(found)) == (array.shape, array.dtype, bits(array))


@pytest.mark.parametrize("before", [("x",), (None, "x"), ("x", "y"), (), ("y", "x"), (("x", "y"),)])
@pytest.mark.parametrize("after", [("x",), (None, "x"), (), None])
def test_any_sharding_to_any_other(place, before, after):
    array = random((8, 16), "bfloat16")
    with ShardedCheckpoints(place) as checkpoints:
        checkpoints.save(1, [placed(array, *before, on=mesh(2, 2))])
        if after is None:
            like = jax.ShapeDtypeStruct(array.shape, array.dtype)
        else:
            like = wanted(array, *after, on=mesh(2, devices=jax.devices()[2:]))
        (found,) = checkpoints.restore([like])
    assert bits(found) == bits(array)
    if after is None:
        assert found.sharding == SingleDeviceSharding(jax.devices()[0])


def test_a_tree_of_everything(place):
    on = mesh(4)
    tree = {
        "layers": [{"w": placed(random((4, 4), "float32", n), "x", on=on), "b": jnp.full(3, n)} for n in range(3)],
        "scalar": jnp.float32(1.5),
        "empty": jnp.zeros((0, 4)),
        "host": np.arange(5, dtype=np.int64),
        "step": 7,
        "rate": 0.25,
        "copies": placed(random((6,), "bfloat16"), on=on),
    }
    with ShardedCheckpoints(place) as checkpoints:
        checkpoints.save(3, tree, {"loss": 0.5})
        found = checkpoints.restore(tree)
        assert checkpoints.metadata() == {"loss": 0.5}
        assert checkpoints.latest_step() == 3
        assert checkpoints.arrays()["['layers'][1]['w']"] == ((4, 4), "float32")
        assert checkpoints.restore({"step": 0})["step"] == 7
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert type(ours) is type(theirs)
        assert bits(ours) == bits(theirs)
    assert (found["step"], found["rate"]) == (7, 0.25)


def test_there_is_an_object_for_each_device_and_each_byte_is_stored_once():
    uri = "mem://test-jax-objects/"
    array = random((1024, 256), "float32")
    with ShardedCheckpoints(uri) as checkpoints:
        checkpoints.save(1, {"w": placed(array, "x", on=mesh(4)), "r": placed(array, on=mesh(4))})
    sizes = [info.size for info in penstock.list(f"{uri}shards/")]
    assert len(sizes) == 4
    assert sum(sizes) == pytest.approx(2 * array.nbytes, rel=0.01)


def test_a_restore_asks_for_ranges_alone_and_for_each_byte_once(requests):
    uri = "mem://test-jax-ranges/"
    array, other = random((1024, 512), "float32"), random((2048, 512), "float32")
    with ShardedCheckpoints(uri) as checkpoints:
        tree = {"w": placed(array, "x", on=mesh(4)), "other": placed(other, "x", on=mesh(4))}
        checkpoints.save(1, tree)
        del requests[:]
        found = checkpoints.restore({"w": wanted(array, "x", on=mesh(2))})
    assert bits(found["w"]) == bits(array)
    gets = [request for request in requests if request[0] == "get" and "/shards/" in f"/{request[1]}"]
    assert all(length is not None for _, _, _, length in gets)
    asked = sum(length for _, _, _, length in gets)
    assert array.nbytes <= asked < array.nbytes + 4 * 20_000
    # For each of four objects the header, and one range with the part.
    assert len(gets) <= 8


def test_memory_is_bounded_by_groups(requests):
    uri = "mem://test-jax-groups/"
    tree = {f"{n}": placed(random((64, 64), "float32", n), "x", on=mesh(4)) for n in range(6)}
    with ShardedCheckpoints(uri, max_bytes=2 * 64 * 64 * 4) as checkpoints:
        checkpoints.save(1, tree)
        loads = []
        plain = checkpoints.store.load_tensors
        checkpoints.store.load_tensors = lambda *args, **how: loads.append(args[1]) or plain(*args, **how)
        found = checkpoints.restore(tree)
    assert all(len(names) == 2 for names in loads)
    assert len(loads) == 3 * 4
    assert all(bits(found[name]) == bits(tree[name]) for name in tree)


@pytest.mark.parametrize("device", range(4))
def test_a_flipped_bit_is_found_in_every_object(place, device):
    array = random((8, 1000), "float32")
    with ShardedCheckpoints(place) as checkpoints:
        manifest = checkpoints.save(1, [placed(array, "x", on=mesh(4))])
        key = f"{place}{manifest.shards[device].key}"
        data = bytearray(penstock.get(key))
        data[-100] ^= 4
        penstock.put(key, data)
        with pytest.raises(ChecksumMismatchError, match=f"r0000{device}"):
            checkpoints.restore([wanted(array, on=mesh(2))])


def test_a_save_that_fails_leaves_the_one_before(monkeypatch):
    from penstock.memory import MemoryStore

    first, second = random((8,), "float32", 1), random((8,), "float32", 2)
    with ShardedCheckpoints("mem://test-jax-failing/") as checkpoints:
        checkpoints.save(1, [placed(first, "x", on=mesh(4))])
        plain = MemoryStore._store

        def store(self, key, body, facts, operation):
            if "r00002" in key:
                raise StoreError("planned")
            return plain(self, key, body, facts, operation)

        monkeypatch.setattr(MemoryStore, "_store", store)
        with pytest.raises(StoreError, match="planned"):
            checkpoints.save(2, [placed(second, "x", on=mesh(4))])
        monkeypatch.undo()
        assert checkpoints.latest_step() == 1
        assert bits(checkpoints.restore([first])[0]) == bits(first)


def test_wrong_trees_are_refused_by_name(place):
    array = random((4, 4), "float32")
    with ShardedCheckpoints(place) as checkpoints:
        with pytest.raises(ObjectNotFoundError, match="no checkpoint"):
            checkpoints.restore({"a": array})
        checkpoints.save(1, {"kernel": array})
        with pytest.raises(UsageError, match=r"no \['kernl'\]; did you mean \['kernel'\]"):
            checkpoints.restore({"kernl": array})
        with pytest.raises(UsageError, match=r"float32\[4, 5\], and in the checkpoint it is float32\[4, 4\]"):
            checkpoints.restore({"kernel": jnp.zeros((4, 5))})
        with pytest.raises(UsageError, match=r"bfloat16\[4, 4\]"):
            checkpoints.restore({"kernel": array.astype("bfloat16")})
        with pytest.raises(UsageError, match="key_data"):
            checkpoints.save(2, {"key": jax.random.key(0)})
        with pytest.raises(UsageError, match=r"\['name'\] is str"):
            checkpoints.save(2, {"name": "text"})
        with pytest.raises(UsageError, match="penstock_jax"):
            checkpoints.save(2, {"a": array}, {"penstock_jax": 1})
        checkpoints.store.save(5, {"plain": np.zeros(3)})
        with pytest.raises(UsageError, match="no sharded arrays"):
            checkpoints.restore({"plain": array})
        assert bits(checkpoints.restore({"kernel": array}, 1)["kernel"]) == bits(array)


def test_keep_last_and_compression(place):
    array = jnp.zeros((256, 256))
    with ShardedCheckpoints(place, keep_last=2, compression_level=3) as checkpoints:
        for step in range(4):
            checkpoints.save(step, [placed(array + step, "x", on=mesh(4))])
        assert [manifest.step for manifest in checkpoints.store.list()] == [2, 3]
        assert checkpoints.store.latest().nbytes < array.nbytes / 10
        assert float(checkpoints.restore([wanted(array, "x", on=mesh(2))])[0][0, 0]) == 3
