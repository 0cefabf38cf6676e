"""Train a small torch model from TFRecords, be killed in the middle of an epoch, and go on as if nothing had been.

    python train_torch.py --data file:///tmp/demo/train --checkpoints file:///tmp/demo/checkpoints --kill-after 13
    python train_torch.py --data file:///tmp/demo/train --checkpoints file:///tmp/demo/checkpoints

The first command kills itself after 13 steps. The second one finds the last whole checkpoint, which holds the model,
the optimizer and where the data loader was, and goes on: its last line is the one of a run that was never killed.
Any URI will do that penstock reads: ``s3://bucket/train`` for a directory, say. It takes the packages penstock-torch,
penstock-tfrecord, penstock-file and torchdata.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import signal
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from penstock_torch import IterableDataset, StorageReader, StorageWriter
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

import penstock

FILES, RECORDS = 4, 100
BATCH = 16
EPOCHS = 2


def write_data(uri: str) -> None:
    """Files of records: eight numbers, and what the model is to find out about them."""
    generator = np.random.default_rng(1)
    for number in range(FILES):
        inputs = generator.standard_normal((RECORDS, 8)).astype(np.float32)
        wanted = inputs @ np.arange(8, dtype=np.float32)
        records = ({"x": x, "y": np.array([y])} for x, y in zip(inputs, wanted, strict=True))
        penstock.write_samples(f"{uri}/part-{number}.tfrecord", records)


def is_there(uri: str) -> bool:
    """Whether anything lies below a URI."""
    return next(iter(penstock.list(uri)), None) is not None


def last_checkpoint(uri: str) -> str | None:
    """The newest checkpoint that is whole: the metadata is published last."""
    names = sorted(info.key for info in penstock.list(f"{uri}/") if info.key.endswith("/.metadata"))
    return names[-1].removesuffix("/.metadata") if names else None


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer, **progress: Any) -> dict[str, Any]:
    """Everything a checkpoint holds."""
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}


def train(data: str, checkpoints: str, *, kill_after: int | None, workers: int, every: int) -> str:
    """Train to the end, and tell the weights in short."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    dataset = IterableDataset(f"{data}/", format="tfrecord", batch_size=BATCH, shuffle=True, seed=7)
    loader = StatefulDataLoader(dataset, batch_size=None, num_workers=workers)

    epoch, step = 0, 0
    found = last_checkpoint(checkpoints)
    if found is not None:
        state = state_of(model, optimizer, epoch=-1, step=-1, loader=b"")
        dcp.load(state, storage_reader=StorageReader(found))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        progress = state["progress"]
        epoch, step = progress["epoch"], progress["step"]
        loader.load_state_dict(pickle.loads(progress["loader"]))  # noqa: S301  (our own checkpoint)
        print(f"going on from {found}")

    for current in range(epoch, EPOCHS):
        dataset.set_epoch(current)
        for batch in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
            loss.backward()
            optimizer.step()
            step += 1
            print(f"epoch {current} step {step} loss {loss.item():.4f}", flush=True)
            if step % every == 0:
                progress = {"epoch": current, "step": step, "loader": pickle.dumps(loader.state_dict())}
                writer = StorageWriter(f"{checkpoints}/step-{step:06d}")
                dcp.save(state_of(model, optimizer, **progress), storage_writer=writer)
            if step == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
    weights = torch.cat([tensor.flatten() for tensor in model.state_dict().values()])
    return f"{step} steps, weights {hashlib.sha256(weights.numpy().tobytes()).hexdigest()[:16]}"


def main(words: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description="Train, be killed, go on.")
    parser.add_argument("--data", required=True, help="URI of the training data; made there if nothing is")
    parser.add_argument("--checkpoints", required=True, help="URI of a directory for checkpoints")
    parser.add_argument("--kill-after", type=int, metavar="STEPS", help="kill this process after so many steps")
    parser.add_argument("--workers", type=int, default=2, help="processes that load data")
    parser.add_argument("--every", type=int, default=5, metavar="STEPS", help="steps between checkpoints")
    options = parser.parse_args(words)
    # One process of its own is just what is meant here; and torchdata calls something that torch has deprecated.
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
    warnings.filterwarnings("ignore", "'set_vital' is deprecated", UserWarning)
    if not is_there(f"{options.data}/"):
        write_data(options.data)
    last = train(
        options.data,
        options.checkpoints,
        kill_after=options.kill_after,
        workers=options.workers,
        every=options.every,
    )
    print(last)
    return last


if __name__ == "__main__":
    main()
