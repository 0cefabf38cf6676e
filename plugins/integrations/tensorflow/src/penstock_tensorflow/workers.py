"""Loaders for the workers of a TensorFlow strategy: each reads what no other does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock_tensorflow.batches import TensorBatches
from penstock_training.loading import Loader

__all__ = ["distributed_dataset", "worker_shard"]


def worker_shard(context: Any) -> tuple[int, int]:
    """``shard_rank`` and ``shard_world_size`` of a ``tf.distribute.InputContext``."""
    return int(context.input_pipeline_id), int(context.num_input_pipelines)


def distributed_dataset(
    strategy: Any, make_loader: Callable[[int, int], Loader], *, output_signature: Any = None
) -> Any:
    """A dataset of a strategy. ``make_loader(shard_rank, shard_world_size)`` makes the loader of each worker.

    The loader's ``batch_size`` is that of one replica: a worker with several of them takes as many batches for a step.
    """

    def make(context: Any) -> Any:
        loader = make_loader(*worker_shard(context))
        return TensorBatches(loader, output_signature=output_signature).dataset()

    return strategy.distribute_datasets_from_function(make)
