"""Training-shaped workloads: what ``penstock train`` runs, from the workload files of the DLIO benchmark.

:func:`load` reads a file, :func:`execute` runs it: processes that read batches, wait as long as the accelerator would
compute, meet at a barrier after each step, and write and read checkpoints. No framework is needed for it, and no MPI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_training.train.reading import Loaded, load
    from penstock_training.train.run import Finished, execute

__all__ = ["Finished", "Loaded", "execute", "load"]

_HOMES = {"Finished": "run", "Loaded": "reading", "execute": "run", "load": "reading"}


def __getattr__(name: str) -> Any:
    # Spawned ranks import this package, and need little of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
