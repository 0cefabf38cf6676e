"""PyTorch on any storage that penstock reads: datasets, and a distributed checkpoint's storage.

::

    import torch.distributed.checkpoint as dcp
    from penstock_torch import IterableDataset, StorageReader, StorageWriter

    loader = DataLoader(IterableDataset("s3://bucket/train/", format="tfrecord", batch_size=64), batch_size=None)
    dcp.save(state, storage_writer=StorageWriter("s3://bucket/run/step-100"))
    dcp.load(state, storage_reader=StorageReader("s3://bucket/run/step-100"))

Importing this package does not import torch; that happens when one of its names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_torch.checkpoint.errors import SaveError
    from penstock_torch.checkpoint.orphans import remove_orphans
    from penstock_torch.checkpoint.reader import StorageReader
    from penstock_torch.checkpoint.writer import StorageWriter
    from penstock_torch.data.iterating import IterableDataset
    from penstock_torch.data.mapping import MapDataset
    from penstock_torch.data.nodes import Node
    from penstock_torch.data.tensors import to_tensors

__all__ = [
    "IterableDataset",
    "MapDataset",
    "Node",
    "SaveError",
    "StorageReader",
    "StorageWriter",
    "remove_orphans",
    "to_tensors",
]

_HOMES = {
    "IterableDataset": "data.iterating",
    "MapDataset": "data.mapping",
    "Node": "data.nodes",
    "SaveError": "checkpoint.errors",
    "StorageReader": "checkpoint.reader",
    "StorageWriter": "checkpoint.writer",
    "remove_orphans": "checkpoint.orphans",
    "to_tensors": "data.tensors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock_torch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"penstock_torch.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
