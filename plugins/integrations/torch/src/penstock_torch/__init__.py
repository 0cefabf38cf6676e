"""PyTorch on any storage that penstock reads: datasets, and a distributed checkpoint's storage.

::

    import torch.distributed.checkpoint as dcp
    from penstock_torch import StorageReader, StorageWriter

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

__all__ = ["SaveError", "StorageReader", "StorageWriter", "remove_orphans"]

_HOMES = {
    "SaveError": "checkpoint.errors",
    "StorageReader": "checkpoint.reader",
    "StorageWriter": "checkpoint.writer",
    "remove_orphans": "checkpoint.orphans",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock_torch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"penstock_torch.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
