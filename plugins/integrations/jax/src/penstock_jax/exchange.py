"""What the processes of a program tell each other about a save."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.errors import StoreError

__all__ = ["agree"]


def agree(mine: Sequence[Any], failure: Exception | None) -> list[Any]:
    """What every process has brought, in the order of the processes; it waits for all of them.

    Raises ``failure``, or where another process failed a StoreError that says which and why. A single process
    communicates with nobody. The items go as JSON.
    """
    import jax

    count = jax.process_count()
    if count == 1:
        if failure is not None:
            raise failure
        return list(mine)
    said = {"items": list(mine), "error": None if failure is None else f"{type(failure).__name__}: {failure}"}
    heard = _gather(json.dumps(said).encode(), count)
    if failure is not None:
        raise failure
    told = [json.loads(each) for each in heard]
    for process, each in enumerate(told):
        if each["error"] is not None:
            raise StoreError(f"process {process} could not save its part: {each['error']}", operation="save")
    return [item for each in told for item in each["items"]]


def _gather(mine: bytes, count: int) -> list[bytes]:
    from jax.experimental import multihost_utils

    # Arrays of one length alone can be gathered, so the lengths go first.
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(mine)], dtype=np.int32))).reshape(count)
    room = np.zeros(int(sizes.max()), dtype=np.uint8)
    room[: len(mine)] = np.frombuffer(mine, dtype=np.uint8)
    rooms = np.asarray(multihost_utils.process_allgather(room)).reshape(count, room.size)
    return [rooms[process, : sizes[process]].tobytes() for process in range(count)]
