"""Checkpoints of sharded arrays: each device's part once, restored onto any other sharding.

They are checkpoints of ``penstock_training``: an object for each device that holds the first copy of anything, in the
layout of safetensors, and a manifest that is written last and makes them a checkpoint. The index of the arrays, which
part of each is where, stands in the manifest's metadata under ``penstock_jax``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from penstock.errors import UsageError
from penstock.options import nearest
from penstock.samples.spans import together
from penstock_jax.boxes import Box, assemble, box_of, name_of, overlap
from penstock_jax.exchange import agree
from penstock_jax.leaves import INDEX, Leaf, index_of, leaves_of, named_leaves, read_index
from penstock_training.checkpoint import CheckpointStore, Manifest, Shard

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ShardedCheckpoints"]

_MIB = 1024 * 1024


@attrs.frozen(slots=True)
class _Wanted:
    """One leaf to restore: where it goes, and the boxes of it that this process needs."""

    leaf: Leaf
    like: Any
    sharding: Any
    boxes: tuple[Box, ...]

    @property
    def parts(self) -> dict[str, tuple[int, Box]]:
        """The stored parts that have anything of the boxes: rank and box by name."""
        return {
            name_of(self.leaf.name, part.box): (part.rank, part.box)
            for part in self.leaf.parts
            if any(box == part.box or overlap(box, part.box) is not None for box in self.boxes)
        }

    @property
    def nbytes(self) -> int:
        items = sum(int(np.prod([b - a for a, b in box], dtype=np.int64)) for _, box in self.parts.values())
        return items * np.dtype(_numpy_dtype(self.leaf.dtype)).itemsize


class ShardedCheckpoints:
    """Trees of ``jax.Array`` below a URI, saved by all processes together and restored onto any sharding.

    A checkpoint is there from the moment its manifest is, after all of its objects; a crash before leaves the one
    before it. Objects carry a CRC-32C for each part, which is compared whenever the part is read.
    """

    def __init__(
        self,
        uri: str,
        *,
        strategy: Literal["flat", "round_robin", "hashed"] = "flat",
        compression_level: int | None = None,
        keep_last: int | None = None,
        in_flight: int = 4,
        max_bytes: int = 1024 * _MIB,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``in_flight`` objects are written at once by a process. A restore holds at most ``max_bytes`` of stored
        parts beside the arrays, unless a single array takes more. The rest is :class:`CheckpointStore`'s.
        """
        if in_flight < 1 or max_bytes < 1:
            raise UsageError("in_flight and max_bytes are at least 1")
        self.store = CheckpointStore(uri, strategy, compression_level, keep_last, in_flight=in_flight, options=options)
        self._in_flight = in_flight
        self._max_bytes = max_bytes

    def save(self, step: int, tree: Any, metadata: Mapping[str, Any] | None = None) -> Manifest:
        """Save a tree. Every process calls it, with its own part of the same arrays, and returns when it is there.

        Numbers and NumPy arrays in the tree are saved by process 0. ``metadata`` is what JSON can hold. A failure of
        any process is raised by all of them, and there is no checkpoint then. Raises UsageError for what can't be
        saved, naming its place in the tree.
        """
        shards: list[Shard] = []
        failure: Exception | None = None
        try:
            shards = self.save_shards(step, tree)
        except Exception as error:  # noqa: BLE001 - the other processes have to hear of it first
            failure = error
        everybodys = agree([shard.as_dict() for shard in shards], failure)
        committed: Exception | None = None
        manifest: Manifest | None = None
        if _process() == 0:
            try:
                manifest = self.commit(step, (Shard.from_dict(each) for each in everybodys), tree, metadata)
            except Exception as error:  # noqa: BLE001 - likewise
                committed = error
        agree([], committed)
        return self.store.find(step) if manifest is None else manifest

    def save_shards(self, step: int, tree: Any) -> list[Shard]:
        """Write what this process has of a tree; nothing is a checkpoint before :meth:`commit` has all processes'."""
        _, contents = leaves_of(tree)
        mine = [(rank, dict(parts)) for rank, process, parts in contents if process == _process()]
        shards: dict[int, Shard] = {}

        def write(number: int) -> None:
            rank, parts = mine[number]
            shards[rank] = self.store.save_shard(step, parts, rank=rank, world_size=len(contents))

        together(write, len(mine), self._in_flight)
        return [shards[rank] for rank in sorted(shards)]

    def commit(
        self, step: int, shards: Iterable[Shard], tree: Any, metadata: Mapping[str, Any] | None = None
    ) -> Manifest:
        """Make a checkpoint of the shards of all processes. One of them calls it, with its part of the same arrays."""
        if metadata and INDEX in metadata:
            raise UsageError(f"the name {INDEX} in the metadata is the index's own")
        leaves, _ = leaves_of(tree)
        return self.store.commit(step, shards, {**(metadata or {}), INDEX: index_of(leaves)})

    def restore(self, like: Any, which: int | Manifest | None = None) -> Any:
        """Load a checkpoint, the latest unless told, as a tree like ``like``, each leaf onto the sharding it has there.

        Leaves are ``jax.ShapeDtypeStruct`` with or without a sharding, or arrays, of which only shape, type and
        sharding count; a NumPy array or a number gives one of its kind. Each process reads only the parts that its
        devices need, each of them once, by range, and compares their checksums. ``like`` may leave arrays of the
        checkpoint out. Raises UsageError where shape, type or name differ, ObjectNotFoundError, ChecksumMismatchError.
        """
        manifest = self.store.find(which)
        stored = read_index(manifest.metadata, manifest.step)
        named, structure = named_leaves(like)
        wanted = [_want(name, leaf, stored) for name, leaf in named]
        made: list[Any] = []
        for group in _groups(wanted, self._max_bytes):
            parts = self._parts(manifest, group)
            made += [_made(each, parts) for each in group]
        return structure.unflatten(made)

    def arrays(self, which: int | Manifest | None = None) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and type of every array of a checkpoint, by its place in the tree; from the manifest alone."""
        manifest = self.store.find(which)
        found = read_index(manifest.metadata, manifest.step)
        return {name: (leaf.shape, leaf.dtype) for name, leaf in found.items()}

    def metadata(self, which: int | Manifest | None = None) -> dict[str, Any]:
        """The metadata that a checkpoint was saved with."""
        return {name: value for name, value in self.store.find(which).metadata.items() if name != INDEX}

    def latest_step(self) -> int | None:
        """The step of the latest checkpoint; None when there is none."""
        latest = self.store.latest()
        return None if latest is None else latest.step

    def close(self) -> None:
        """Close what was opened."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _parts(self, manifest: Manifest, group: Sequence[_Wanted]) -> dict[str, Any]:
        ranks: dict[int, list[str]] = {}
        for each in group:
            for name, (rank, _) in each.parts.items():
                ranks.setdefault(rank, []).append(name)
        names = list(ranks.items())
        found: list[dict[str, Any]] = [{} for _ in names]

        def load(number: int) -> None:
            rank, parts = names[number]
            found[number] = self.store.load_tensors(manifest, parts, rank=rank)

        together(load, len(names), self._in_flight)
        return {name: data for parts in found for name, data in parts.items()}


def _process() -> int:
    import jax

    return int(jax.process_index())


def _numpy_dtype(name: str) -> np.dtype[Any]:
    import jax.numpy as jnp

    return np.dtype(getattr(jnp, name, name))


def _want(name: str, like: Any, stored: Mapping[str, Leaf]) -> _Wanted:
    import jax

    leaf = stored.get(name)
    if leaf is None:
        raise UsageError(f"the checkpoint has no {name}; {nearest(name, stored)}")
    shape = tuple(np.shape(like))
    dtype = str(np.dtype(like.dtype)) if hasattr(like, "dtype") else leaf.dtype
    if (shape, dtype) != (leaf.shape, leaf.dtype):
        raise UsageError(f"{name} is {dtype}{list(shape)}, and in the checkpoint it is {leaf.dtype}{list(leaf.shape)}")
    whole = box_of((slice(None),) * len(shape), shape)
    if not isinstance(like, jax.Array | jax.ShapeDtypeStruct):
        return _Wanted(leaf, like, None, (whole,))
    sharding = like.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    indices = sharding.addressable_devices_indices_map(shape).values()
    return _Wanted(leaf, like, sharding, tuple({box_of(index or (), shape): None for index in indices}))


def _groups(wanted: Sequence[_Wanted], max_bytes: int) -> Iterator[list[_Wanted]]:
    group: list[_Wanted] = []
    held = 0
    for each in wanted:
        nbytes = each.nbytes
        if group and held + nbytes > max_bytes:
            yield group
            group, held = [], 0
        group.append(each)
        held += nbytes
    if group:
        yield group


def _made(wanted: _Wanted, parts: Mapping[str, Any]) -> Any:
    import jax

    leaf = wanted.leaf
    dtype = _numpy_dtype(leaf.dtype)
    held = [(box, np.asarray(parts[name])) for name, (_, box) in wanted.parts.items()]
    if wanted.sharding is None:
        array = assemble(wanted.boxes[0], dtype, held)
        return array if isinstance(wanted.like, np.ndarray) else type(wanted.like)(array.item())
    # One array for each box: devices that hold copies of it share it.
    made = {box: assemble(box, dtype, held) for box in wanted.boxes}
    return jax.make_array_from_callback(
        leaf.shape, wanted.sharding, lambda index: made[box_of(index or (), leaf.shape)], dtype=dtype
    )
