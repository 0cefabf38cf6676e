"""tf.data from a loader, for one process or the workers of a strategy, and the records of TFRecord files.

Nothing here imports TensorFlow before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_tensorflow.batches import TensorBatches
    from penstock_tensorflow.records import record_batches
    from penstock_tensorflow.workers import distributed_dataset, worker_shard

__all__ = ["TensorBatches", "distributed_dataset", "record_batches", "worker_shard"]

_HOMES = {
    "TensorBatches": "batches",
    "distributed_dataset": "workers",
    "record_batches": "records",
    "worker_shard": "workers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock_tensorflow' has no attribute {name!r}")
    return getattr(importlib.import_module(f"penstock_tensorflow.{_HOMES[name]}"), name)
