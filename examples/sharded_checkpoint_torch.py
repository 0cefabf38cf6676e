"""Save a sharded checkpoint, lose a rank while saving the next one, and load what is whole.

    python sharded_checkpoint_torch.py --checkpoints file:///tmp/demo/sharded --ranks 2

Two ranks hold a model whose weights are sharded over them, and save it. While they save it again, the last rank is
killed. The first checkpoint stays what it was, the second one was never published; this process then loads the last
whole one alone, without shards. Any URI will do that penstock reads. It takes the packages penstock-torch and
penstock-file.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from penstock_torch import StorageReader, StorageWriter, remove_orphans
from torch.distributed.checkpoint import DefaultSavePlanner
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import penstock

SHAPES = {"embedding": (1000, 64), "up": (64, 256), "down": (256, 64)}


def weights(step: int) -> dict[str, torch.Tensor]:
    """The whole model as it is after some step."""
    generator = torch.Generator().manual_seed(step)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


class KilledPlanner(DefaultSavePlanner):  # type: ignore[misc]
    """Kills its process when the second tensor is to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def resolve_data(self, write_item: object) -> object:
        self.written += 1
        if self.written > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().resolve_data(write_item)


def rank_main(checkpoints: str, meeting: str, rank: int, ranks: int) -> None:
    """What each rank does."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    mesh = init_device_mesh("cpu", (ranks,))
    for step in (1, 2):
        state = {name: distribute_tensor(tensor, mesh, [Shard(0)]) for name, tensor in weights(step).items()}
        planner = KilledPlanner() if step == 2 and rank == ranks - 1 else DefaultSavePlanner()
        dcp.save(state, storage_writer=StorageWriter(f"{checkpoints}/step-{step}"), planner=planner)
        print(f"rank {rank} saved step {step}", flush=True)
    dist.destroy_process_group()


def run_ranks(checkpoints: str, ranks: int) -> list[int]:
    """Run the ranks as processes on this machine, and return what they ended with."""
    with tempfile.TemporaryDirectory() as directory:
        place = ["--checkpoints", checkpoints, "--meeting", f"{directory}/meeting", "--ranks", str(ranks)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        running = [
            subprocess.Popen(  # noqa: S603  (this very script)
                [sys.executable, __file__, *place, "--rank", str(rank)], env=environment, stderr=subprocess.DEVNULL
            )
            for rank in range(ranks)
        ]
        return [process.wait() for process in running]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Save sharded, be killed, load the last whole checkpoint.")
    parser.add_argument("--checkpoints", required=True, help="URI of a directory for checkpoints")
    parser.add_argument("--ranks", type=int, default=2, help="processes that hold the model")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--meeting", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    # This process loads alone, and that is meant.
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
    if options.rank is not None:
        rank_main(options.checkpoints, options.meeting, options.rank, options.ranks)
        return 0
    print(f"the ranks ended with {run_ranks(options.checkpoints, options.ranks)}")
    whole = sorted(info.key for info in penstock.list(f"{options.checkpoints}/") if info.key.endswith("/.metadata"))
    last = whole[-1].removesuffix("/.metadata")
    state = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    dcp.load(state, storage_reader=StorageReader(last))
    step = int(last.rpartition("-")[2])
    right = all(torch.equal(tensor, weights(step)[name]) for name, tensor in state.items())
    print(f"loaded step {step}: {'every weight as it was saved' if right else 'WRONG'}")
    removed = remove_orphans(f"{options.checkpoints}/step-2")
    print(f"removed {len(removed)} data files of the checkpoint that was never published")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
