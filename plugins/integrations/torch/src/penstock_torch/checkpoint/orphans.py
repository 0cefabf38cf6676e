"""Data files that no metadata names: what failed and killed saves leave."""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection

import penstock
from penstock.errors import ObjectNotFoundError
from penstock_torch.checkpoint.entries import METADATA, is_data
from penstock_torch.places import Connect, Place, uri_of

__all__ = ["forget", "names_in", "remove_orphans", "remove_others"]


def remove_orphans(checkpoint_id: str | os.PathLike[str], *, connect: Connect | None = None) -> list[str]:
    """Delete the data files of a checkpoint that its metadata does not name, all where it has none; their names.

    A save that is under way there fails by it. The next save under the same name does the same by itself.
    """
    place = Place(uri_of(checkpoint_id), connect)
    try:
        return remove_others(place.store)
    finally:
        place.close()


def remove_others(store: penstock.Store) -> list[str]:
    """As :func:`remove_orphans`, in an opened store."""
    found = [info.key for info in store.list("__")]
    named: set[str] = set()
    for name in [METADATA, *(key for key in found if key.endswith(METADATA))]:
        named |= _named(store, name)
    orphans = [key for key in found if is_data(key) and key not in named]
    forget(store, orphans)
    return orphans


def names_in(metadata: object) -> set[str]:
    """The data files that a checkpoint's metadata names."""
    entries = getattr(metadata, "storage_data", None) or {}
    return {info.relative_path for info in entries.values()}


def forget(store: penstock.Store, names: Collection[str]) -> None:
    """Delete objects. Raises the first failure, when all were tried."""
    for outcome in store.delete_many(names):
        if outcome.error is not None:
            raise outcome.error


def _named(store: penstock.Store, name: str) -> set[str]:
    try:
        data = store.get(name)
    except ObjectNotFoundError:
        return set()
    return names_in(pickle.loads(data))  # noqa: S301  (whoever loads the checkpoint runs it too)
