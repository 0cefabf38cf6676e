"""What has to be true before a checkpoint is published, and the publishing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

import penstock
from penstock.errors import ObjectNotFoundError, StoreError
from penstock.store import ObjectInfo
from penstock_torch.checkpoint.entries import entry_of
from penstock_torch.checkpoint.errors import SaveError

__all__ = ["planned_in", "prove", "publish"]

_NAMED = 5


def planned_in(metadata: Metadata) -> set[Any]:
    """The items that a checkpoint's metadata promises: what a load will look for."""
    promised = set()
    for name, said in metadata.state_dict_metadata.items():
        chunks = getattr(said, "chunks", None)
        if chunks is None:
            promised.add(MetadataIndex(name))
        else:
            promised |= {MetadataIndex(name, chunk.offsets) for chunk in chunks}
    return promised


def prove(store: penstock.Store, planned: Collection[Any], written: Mapping[Any, Any]) -> list[str]:
    """Raise SaveError unless each planned item was written, and lies within a file that the store has in its size.

    Answers the names of all objects whose names begin as those of data files do.
    """
    missing = [index for index in planned if index not in written]
    if missing:
        raise SaveError(_some(f"{len(missing)} of {len(planned)} planned items were not written", missing))
    found = {info.key: info.size for info in store.list("__")}
    wrong = []
    for name, size in _sizes(written).items():
        there = found.get(name)
        if there is None:
            # A listing may be older than the object.
            there = _size_of(store, name)
        if there != size:
            wrong.append(f"{name}: {'absent' if there is None else there}, not {size} bytes")
    if wrong:
        raise SaveError(_some(f"{len(wrong)} data files in {store.uri} are not what was written", wrong))
    return list(found)


def publish(store: penstock.Store, name: str, data: bytes, before: ObjectInfo | None) -> None:
    """Put the metadata in one step and see that it is there.

    Where the store can, it replaces nothing but ``before``, the metadata that was there when the save began. Raises
    SaveError, with ``unknown`` when the store answered neither the put nor the look.
    """
    able = store.capabilities
    failures: list[StoreError] = []
    try:
        if before is None:
            store.put(name, data, if_absent=able.create)
        else:
            store.put(name, data, if_match=before.etag if able.if_match else None)
    except StoreError as error:
        failures.append(error)
    try:
        published = store.get(name) == data
    except ObjectNotFoundError:
        published = False
    except StoreError as error:
        raise SaveError(f"whether {store.uri}{name} was published is not known", [*failures, error], True) from error
    if not published:
        raise SaveError(f"{store.uri}{name} was not published", failures)


def _sizes(written: Mapping[Any, Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for index, info in written.items():
        entry = entry_of(info)
        if entry.size is None or entry.start + entry.length > entry.size:
            raise SaveError(f"{index} reaches beyond the end of its file {entry.name}")
        sizes[entry.name] = entry.size
    return sizes


def _size_of(store: penstock.Store, name: str) -> int | None:
    try:
        return store.stat(name).size
    except ObjectNotFoundError:
        return None


def _some(what: str, names: Collection[Any]) -> str:
    shown = ", ".join(str(name) for name in list(names)[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {shown}{more}"
