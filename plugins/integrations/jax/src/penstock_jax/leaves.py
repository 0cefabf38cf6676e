"""Trees of arrays as names and descriptions, in and out of the index of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from penstock.errors import FormatError, UsageError
from penstock_jax.boxes import Box, box_of, name_of

__all__ = ["INDEX", "Leaf", "Part", "index_of", "leaves_of", "named_leaves", "read_index"]

#: Where the index stands in the metadata of a checkpoint.
INDEX = "penstock_jax"
_VERSION = 1


@attrs.frozen(slots=True)
class Part:
    """A part of an array that one device had: its box, and the rank of the object that it is in."""

    rank: int
    box: Box


@attrs.frozen(slots=True)
class Leaf:
    """An array as a whole: its shape, NumPy's name of its type, and the parts that make it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: tuple[Part, ...]


def named_leaves(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Every leaf of a tree with JAX's name of its place, such as ``['dense']['kernel']``, and the tree's structure."""
    import jax

    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in paths], structure


def leaves_of(tree: Any) -> tuple[list[Leaf], list[tuple[int, int, list[tuple[str, Any]]]]]:
    """What all processes know of a tree, and what this one has to write of it.

    The second are ``(rank, process, parts)`` for every device that holds the first copy of anything: the parts by
    name, whose data only its own process has. Ranks go by the devices' numbers. What is not on a device, such as
    plain numbers, is written by process 0.
    """
    named, _ = named_leaves(tree)
    shards = {name: _shards(name, leaf) for name, leaf in named}
    devices = sorted({(device, process) for found in shards.values() for device, process, _, _ in found})
    ranks = {device: rank for rank, (device, _) in enumerate(devices)}
    contents: dict[int, list[tuple[str, Any]]] = {rank: [] for rank in ranks.values()}
    leaves = []
    for name, leaf in named:
        for device, _, box, data in shards[name]:
            contents[ranks[device]].append((name_of(name, box), data))
        parts = tuple(Part(ranks[device], box) for device, _, box, _ in shards[name])
        leaves.append(Leaf(name, tuple(np.shape(leaf)), str(_dtype_of(name, leaf)), parts))
    return leaves, [(ranks[device], process, contents[ranks[device]]) for device, process in devices]


def index_of(leaves: Sequence[Leaf]) -> dict[str, Any]:
    """The index as JSON."""
    return {
        "version": _VERSION,
        "arrays": {
            leaf.name: {
                "shape": list(leaf.shape),
                "dtype": leaf.dtype,
                "parts": [[part.rank, [list(each) for each in part.box]] for part in leaf.parts],
            }
            for leaf in leaves
        },
    }


def read_index(metadata: Mapping[str, Any], step: int) -> dict[str, Leaf]:
    """The arrays of a checkpoint by name. Raises UsageError where it is not one of sharded arrays, FormatError."""
    index = metadata.get(INDEX)
    if index is None:
        raise UsageError(f"the checkpoint of step {step} holds no sharded arrays; CheckpointStore loads it")
    if index.get("version") != _VERSION:
        raise FormatError(f"the index of step {step} has version {index.get('version')!r}; update penstock-jax")
    return {name: _leaf(name, fields) for name, fields in index["arrays"].items()}


def _leaf(name: str, fields: Mapping[str, Any]) -> Leaf:
    try:
        parts = tuple(Part(int(rank), tuple((int(a), int(b)) for a, b in box)) for rank, box in fields["parts"])
        return Leaf(name, tuple(map(int, fields["shape"])), str(fields["dtype"]), parts)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the index of {name} can't be read: {error}") from error


def _shards(name: str, leaf: Any) -> list[tuple[int, int, Box, Any]]:
    """Device, process, box and data of each part, of every process; data is None where another process has it."""
    import jax

    if not isinstance(leaf, jax.Array):
        array = np.asarray(leaf)
        return [(_host(), 0, box_of((slice(None),) * array.ndim, array.shape), array)]
    _dtype_of(name, leaf)
    return [
        (shard.device.id, shard.device.process_index, box_of(shard.index, leaf.shape), shard.data)
        for shard in leaf.global_shards
        if shard.replica_id == 0
    ]


def _host() -> int:
    """The number of the first device, beside whose parts goes what no device has."""
    import jax

    return min(int(device.id) for device in jax.devices() if device.process_index == 0)


def _dtype_of(name: str, leaf: Any) -> np.dtype[Any]:
    import jax
    import jax.numpy as jnp

    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        raise UsageError(f"{name} has the type {leaf.dtype}; store jax.random.key_data(…) of it")
    dtype = np.asarray(leaf).dtype if not hasattr(leaf, "dtype") else np.dtype(leaf.dtype)
    if dtype.kind in "OSU":
        raise UsageError(f"{name} is {type(leaf).__name__}, no array; put it into the metadata")
    return dtype
