"""Removing checkpoints, and what saves that were never committed left behind.

A shard belongs to nobody while its manifest is not written yet, which is just what an orphan looks like. They are told
apart by age: a shard that was begun, or appeared, less than ``older_than`` seconds ago is left alone, and a commit
refuses shards that were begun longer ago than the lease, which is shorter by an hour. So a save is safe from ``prune``
as long as clocks agree to within that hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from penstock.clocks import wall_ns
from penstock.errors import ChecksumMismatchError, FormatError
from penstock.store import ObjectInfo
from penstock_training.checkpoint.catalog import Catalog, Entry
from penstock_training.checkpoint.naming import SHARDS, ManifestName, parse_shard_key

if TYPE_CHECKING:
    from penstock import Store

__all__ = ["MARGIN", "Pruned", "remove", "retain", "sweep"]

#: Seconds by which the age of an orphan exceeds the lease.
MARGIN = 3600.0


@attrs.frozen(slots=True, kw_only=True)
class Pruned:
    """What was removed, or with ``dry_run`` would be.

    ``checkpoints`` were too many, ``orphans`` belonged to none, ``uploads`` were begun and never finished (None where
    the store has no such thing). ``young`` counts shards of no checkpoint that stayed because they may be of a save in
    progress; ``damaged`` are manifests that can't be read: they and the shards of their steps stay.
    """

    checkpoints: tuple[ManifestName, ...] = ()
    orphans: tuple[ObjectInfo, ...] = ()
    uploads: int | None = None
    young: int = 0
    damaged: tuple[Entry, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the orphans."""
        return sum(info.size for info in self.orphans)


def remove(store: Store, catalog: Catalog, names: Iterable[ManifestName]) -> None:
    """Delete checkpoints: each one's manifest, then its shards. A crash between leaves orphans, never half a
    checkpoint. The pointer is not moved.
    """
    for name in names:
        try:
            keys = [shard.key for shard in catalog.read(name).shards]
            catalog.remove(name)
        except (ChecksumMismatchError, FormatError):
            catalog.remove(name)
            # Those that are begun later are of another save.
            lost = _without(_shards(store), catalog.entries())
            keys = [info.key for info in lost if _step(info) == name.step and _begun(info) <= name.time_ns]
        _delete(store, keys)


def retain(catalog: Catalog, keep: int, saved: ManifestName | None = None) -> list[ManifestName]:
    """The checkpoints that are too many: all but the ``keep`` newest, and but the one that was just saved."""
    return [name for name in catalog.names()[:-keep] if name != saved]


def sweep(store: Store, catalog: Catalog, *, older_than: float, dry_run: bool) -> Pruned:
    """Remove shards of no checkpoint that are older than ``older_than`` seconds."""
    # Shards before manifests: one whose manifest comes meanwhile is known by then.
    shards = _shards(store)
    entries = catalog.entries()
    damaged = tuple(entry for entry in entries if entry.manifest is None)
    spared = {entry.name.step for entry in damaged}
    lost = [info for info in _without(shards, entries) if _step(info) not in spared]
    limit = wall_ns() - int(older_than * 1e9)
    orphans = [info for info in lost if _time_ns(info) <= limit]
    if not dry_run:
        _delete(store, [info.key for info in orphans])
    return Pruned(orphans=tuple(orphans), young=len(lost) - len(orphans), damaged=damaged)


def _shards(store: Store) -> list[ObjectInfo]:
    """Objects that are shards by their names. Whatever else somebody has put there is not ours to remove."""
    return [info for info in store.list(SHARDS) if parse_shard_key(info.key) is not None]


def _without(shards: Sequence[ObjectInfo], entries: Sequence[Entry]) -> list[ObjectInfo]:
    claimed = {shard.key for entry in entries if entry.manifest is not None for shard in entry.manifest.shards}
    return [info for info in shards if info.key not in claimed]


def _step(info: ObjectInfo) -> int:
    name = parse_shard_key(info.key)
    assert name is not None
    return name.step


def _time_ns(info: ObjectInfo) -> int:
    """When it was begun or appeared, whichever is later."""
    return max(_begun(info), info.modified_ns or 0)


def _begun(info: ObjectInfo) -> int:
    name = parse_shard_key(info.key)
    assert name is not None
    return name.time_ns


def _delete(store: Store, keys: Sequence[str]) -> None:
    for outcome in store.delete_many(keys):
        if outcome.error is not None:
            raise outcome.error
