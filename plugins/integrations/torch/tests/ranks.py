"""One rank of the tests of checkpoints: ``ranks.py MEETING RANK WORLD TASK URI...``. It fails by an exception."""

from __future__ import annotations

import functools
import sys
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from penstock_torch import StorageReader, StorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

import penstock
from penstock.layers.faults import Fail, Faults, Rule
from penstock.layers.stack import Layers

SHAPES = {"rows": (7, 5), "columns": (6, 9), "few": (1, 4), "cube": (4, 3, 5), "long": (40_000,)}
DTYPES = {"rows": torch.float32, "columns": torch.bfloat16, "few": torch.int64, "cube": torch.float64}


def whole(seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors, the same in every process."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return {name: (tensor * 100).to(DTYPES.get(name, torch.float32)) for name, tensor in drawn.items()}


def sharded(seed: int = 0) -> dict[str, object]:
    """The same, distributed; ``columns`` over its second dimension, and the ranks' shares are not equal."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    places = {"columns": [Shard(1)], "cube": [Replicate()]}
    tensors = {name: distribute_tensor(t, mesh, places.get(name, [Shard(0)])) for name, t in whole(seed).items()}
    return {"model": tensors, "plain": whole(seed)["cube"], "step": 100 + seed}


def blank(state: dict[str, object]) -> dict[str, object]:
    """The same in kind, without the values."""
    for tensor in [*state["model"].values(), state["plain"]]:
        (tensor.to_local() if isinstance(tensor, DTensor) else tensor).zero_()
    return state | {"step": -1}


def check(state: dict[str, object], seed: int = 0) -> None:
    for name, tensor in sharded(seed)["model"].items():
        mine, right = state["model"][name].to_local(), tensor.to_local()
        assert mine.dtype == right.dtype
        assert torch.equal(mine.view(torch.uint8), right.view(torch.uint8)), name
    assert torch.equal(state["plain"], whole(seed)["cube"])
    assert state["step"] == 100 + seed


def load(uri: str, seed: int = 0) -> None:
    state = blank(sharded(seed + 1))
    dcp.load(state, storage_reader=StorageReader(uri, part_size=50_000))
    check(state, seed)


def save(uri: str) -> None:
    """Save; save another asynchronously, while the state goes on changing; load both. Then let a rank fail."""
    writer = StorageWriter(f"{uri}/a", file_size=50_000)
    dcp.save(sharded(), storage_writer=writer)
    later = sharded(1)
    saving = dcp.async_save(later, storage_writer=writer, checkpoint_id=f"{uri}/b")
    blank(later)
    saving.result()
    load(f"{uri}/a")
    load(f"{uri}/b", 1)
    fail(f"{uri}/c")


def fail(uri: str) -> None:
    """One rank can't write: every rank hears of it, the previous checkpoint stays, and the next save tidies up."""
    dcp.save(sharded(), storage_writer=StorageWriter(uri))
    full = Rule(effect=Fail(error="StorageFullError", message="no space left"), operations=("write", "commit", "put"))
    layers = Layers(faults=Faults(rules=[full])) if dist.get_rank() == 1 else None
    writer = StorageWriter(uri, overwrite=True, connect=functools.partial(penstock.connect, layers=layers))
    with pytest.raises(CheckpointException, match="no space left") as failed:
        dcp.save(sharded(1), storage_writer=writer)
    assert list(failed.value.failures) == [1]
    load(uri)
    dist.barrier()
    dcp.save(sharded(2), storage_writer=StorageWriter(uri, overwrite=True))
    load(uri, 2)
    dist.barrier()
    with penstock.connect(uri) as store:
        assert len(list(store.list())) == 1 + dist.get_world_size()


def main() -> None:
    meeting, rank, world, task, *uris = sys.argv[1:]
    # Sharding 1 row over 2 ranks, and the executor that async_save keeps for the state's copy.
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    try:
        for uri in uris:
            {"save": save, "load": load}[task](uri)
    finally:
        dist.destroy_process_group()
    print("done")


if __name__ == "__main__":
    main()
