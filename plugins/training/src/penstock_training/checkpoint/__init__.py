"""Checkpoints on any storage: complete or not there, checked when they are read, deleted only on purpose.

::

    with CheckpointStore("mem://run/checkpoints", keep_last=3) as checkpoints:
        checkpoints.save(100, {"weight": weights}, metadata={"epoch": 2})
        state = checkpoints.load_latest().data

What it writes is described in ``LAYOUT.md`` beside this file, so that other programs can read it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_training.checkpoint.background import PendingSave
    from penstock_training.checkpoint.loading import Checkpoint, TensorInfo
    from penstock_training.checkpoint.manifest import Manifest, Shard
    from penstock_training.checkpoint.pruning import Pruned
    from penstock_training.checkpoint.store import CheckpointStore
    from penstock_training.checkpoint.writing import ShardWriter

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "Manifest",
    "PendingSave",
    "Pruned",
    "Shard",
    "ShardWriter",
    "TensorInfo",
]

_HOMES = {
    "Checkpoint": "loading",
    "CheckpointStore": "store",
    "Manifest": "manifest",
    "PendingSave": "background",
    "Pruned": "pruning",
    "Shard": "manifest",
    "ShardWriter": "writing",
    "TensorInfo": "loading",
}


def __getattr__(name: str) -> Any:
    # Listing the plugin's commands must not import NumPy.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
