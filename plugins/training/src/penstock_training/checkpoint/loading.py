"""From manifests to what was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from penstock.errors import UsageError
from penstock.options import nearest
from penstock.samples.spans import together
from penstock_training.checkpoint.dtypes import Framework
from penstock_training.checkpoint.manifest import Manifest, Shard
from penstock_training.checkpoint.naming import parse_shard_key
from penstock_training.checkpoint.reading import Reading, read_shard, read_shard_header, read_tensors
from penstock_training.checkpoint.safetensors import Header, read_header, tensor_of
from penstock_training.checkpoint.trees import TREE, unflatten

if TYPE_CHECKING:
    from penstock import Store

__all__ = ["Checkpoint", "TensorInfo", "begun_ns", "infos", "load", "load_tensors", "shard_of"]


@attrs.frozen(slots=True, kw_only=True)
class TensorInfo:
    """A tensor in a checkpoint; ``dtype`` is safetensors' name of its type, such as ``BF16``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    rank: int


@attrs.frozen(slots=True, kw_only=True, eq=False)
class Checkpoint:
    """What was loaded. ``by_rank`` has, of each rank that was asked for, a memoryview of the bytes that were saved, or
    the state.
    """

    manifest: Manifest
    by_rank: Mapping[int, Any]

    @property
    def step(self) -> int:
        """The step it was saved at."""
        return self.manifest.step

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata it was saved with."""
        return self.manifest.metadata

    @property
    def data(self) -> Any:
        """What the only rank saved. Raises UsageError where there are several: see ``by_rank``."""
        if len(self.by_rank) != 1:
            raise UsageError(f"this checkpoint has {len(self.by_rank)} ranks; use by_rank, or load one by rank=")
        return next(iter(self.by_rank.values()))


def begun_ns(shard: Shard) -> int:
    """When the shard's writing began, in nanoseconds since 1970, as its key tells."""
    name = parse_shard_key(shard.key)
    assert name is not None
    return name.time_ns


def shard_of(manifest: Manifest, rank: int) -> Shard:
    """One rank's shard. Raises UsageError where there is no such rank."""
    if not 0 <= rank < manifest.world_size:
        raise UsageError(
            f"rank {rank}: the checkpoint of step {manifest.step} has ranks 0 to {manifest.world_size - 1}"
        )
    return manifest.shards[rank]


def load(store: Store, manifest: Manifest, rank: int | None, framework: Framework, reading: Reading) -> Checkpoint:
    """All shards, or one rank's, one after the other, each by several requests at once."""
    _check_framework(framework)
    shards = _shards(manifest, rank)
    return Checkpoint(
        manifest=manifest,
        by_rank={shard.rank: _content(shard, read_shard(store, shard, reading), framework) for shard in shards},
    )


def infos(store: Store, manifest: Manifest, rank: int | None, reading: Reading) -> dict[str, TensorInfo]:
    """The tensors by name; a name that several ranks have is followed by ``@`` and the rank."""
    shards = _shards(manifest, rank)
    headers = _headers(store, shards, reading)
    found: dict[str, TensorInfo] = {}
    count: dict[str, int] = {}
    for header in headers:
        for entry in header.entries:
            count[entry.name] = count.get(entry.name, 0) + 1
    for shard, header in zip(shards, headers, strict=True):
        for entry in header.entries:
            name = entry.name if count[entry.name] == 1 else f"{entry.name}@{shard.rank}"
            found[name] = TensorInfo(
                name=entry.name, dtype=entry.dtype, shape=entry.shape, nbytes=entry.nbytes, rank=shard.rank
            )
    return found


def load_tensors(
    store: Store,
    manifest: Manifest,
    names: Sequence[str],
    rank: int | None,
    framework: Framework,
    reading: Reading,
) -> dict[str, Any]:
    """Some tensors by range, in the order of ``names``."""
    _check_framework(framework)
    if isinstance(names, str):
        raise UsageError(f"names are a list of names: write [{names!r}]")
    shards = _shards(manifest, rank)
    headers = _headers(store, shards, reading)
    homes = _homes(shards, headers)
    wanted: dict[int, list[str]] = {}
    for name in dict.fromkeys(names):
        wanted.setdefault(_home(name, homes), []).append(name)
    found: dict[str, Any] = {}
    for number, theirs in wanted.items():
        for name, (entry, data) in read_tensors(store, shards[number], theirs, reading, headers[number]).items():
            found[name] = tensor_of(entry, data, framework)
    return {name: found[name] for name in names}


def _shards(manifest: Manifest, rank: int | None) -> Sequence[Shard]:
    return manifest.shards if rank is None else [shard_of(manifest, rank)]


def _headers(store: Store, shards: Sequence[Shard], reading: Reading) -> list[Header]:
    headers: list[Header | None] = [None] * len(shards)

    def look(number: int) -> None:
        headers[number] = read_shard_header(store, shards[number])

    together(look, len(shards), reading.in_flight)
    return [header for header in headers if header is not None]


def _homes(shards: Sequence[Shard], headers: Sequence[Header]) -> dict[str, list[int]]:
    homes: dict[str, list[int]] = {}
    for number, header in enumerate(headers):
        for entry in header.entries:
            homes.setdefault(entry.name, []).append(number)
    return homes


def _home(name: str, homes: Mapping[str, list[int]]) -> int:
    numbers = homes.get(name)
    if not numbers:
        raise UsageError(f"no tensor named {name}; {nearest(name, homes)}")
    if len(numbers) > 1:
        raise UsageError(f"{len(numbers)} ranks have a tensor named {name}; say which by rank=")
    return numbers[0]


def _content(shard: Shard, data: memoryview, framework: Framework) -> Any:
    if shard.format == "bytes":
        return data
    header = read_header(data, data.nbytes)
    tensors = {entry.name: tensor_of(entry, data[entry.start : entry.end], framework) for entry in header.entries}
    return unflatten(tensors, header.metadata.get(TREE))


def _check_framework(framework: str) -> None:
    if framework not in ("numpy", "torch"):
        raise UsageError(f"framework {framework!r}: write 'numpy' or 'torch'")
