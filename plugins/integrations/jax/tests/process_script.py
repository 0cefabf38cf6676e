"""One of two processes of a JAX program that save together; run by test_processes.py."""

from __future__ import annotations

import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from penstock_jax import ShardedCheckpoints

from penstock.errors import StoreError

rank, port, uri = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=rank)

assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
whole = np.arange(8 * 6, dtype=np.float32).reshape(8, 6)
mesh = Mesh(np.array(jax.devices()), ("x",))
sharding = NamedSharding(mesh, P("x"))
array = jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
with ShardedCheckpoints(uri) as checkpoints:
    manifest = checkpoints.save(1, {"w": array, "step": 1}, {"by": "two"})
    assert manifest.world_size == 4, manifest
    other = NamedSharding(mesh, P(None, None))
    like = {"w": jax.ShapeDtypeStruct(whole.shape, whole.dtype, sharding=other), "step": 0}
    found = checkpoints.restore(like)
    assert found["step"] == 1
    assert all(np.array_equal(np.asarray(shard.data), whole) for shard in found["w"].addressable_shards)

    def refuse(*args, **options):
        raise OSError("the disk of process 1 is full")

    if rank == 1:
        checkpoints.store.save_shard = refuse
    try:
        checkpoints.save(2, {"w": array})
        told = "nothing"
    except (OSError, StoreError) as error:
        told = str(error)
    assert "process 1" in told, told
    assert checkpoints.latest_step() == 1
print("all right")
