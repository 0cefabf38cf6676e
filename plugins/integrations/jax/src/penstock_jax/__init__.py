"""JAX on any storage: a random-access source for Grain, batches on devices, checkpoints of sharded arrays.

Nothing here imports JAX or Grain before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_jax.batches import DeviceBatches
    from penstock_jax.checkpoint import ShardedCheckpoints
    from penstock_jax.directories import download_directory, upload_directory
    from penstock_jax.source import GrainSource

__all__ = ["DeviceBatches", "GrainSource", "ShardedCheckpoints", "download_directory", "upload_directory"]

_HOMES = {
    "DeviceBatches": "batches",
    "GrainSource": "source",
    "ShardedCheckpoints": "checkpoint",
    "download_directory": "directories",
    "upload_directory": "directories",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"penstock_jax.{_HOMES[name]}"), name)
