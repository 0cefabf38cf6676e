"""Deleting many objects, with an outcome for each; and directories."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from penstock.client.crew import each
from penstock.client.values import Outcome
from penstock.errors import PenstockError, StoreError
from penstock.store import ObjectStore

__all__ = ["delete_listed", "remove_directory", "remove_tree"]

_BATCH = 1000


def delete_listed(store: ObjectStore, base: str, found: Iterable[tuple[str, int]], threads: int) -> Iterator[Outcome]:
    """Delete keys, given with their sizes, in batches as large as the store takes; outcomes come in no order.

    ``found`` is pulled while batches are deleted, so listing and deleting overlap. ``base`` is the store's URI, by
    which errors are matched to keys.
    """
    size = min(store.capabilities.delete_batch, _BATCH)
    # Where a request takes one key, a batch only saves hand-overs between threads.
    batches = _batches(found, size if size > 1 else 16)
    for outcomes in each(lambda batch: _delete_batch(store, base, batch), batches, threads):
        yield from outcomes


def remove_directory(store: ObjectStore, directory: str) -> None:
    """Remove one directory, named with its slash, or its marker object. Absent is no failure; not empty is one."""
    if not store.capabilities.directories:
        for page in store.list_pages(directory, page_size=2):
            if any(info.key != directory for info in page.objects):
                raise StoreError("the directory is not empty", uri=directory, operation="remove_directory")
    for error in store.delete([directory]):
        raise error


def remove_tree(store: ObjectStore, base: str, directory: str, threads: int) -> Iterator[Outcome]:
    """Delete all that is below a directory, named with its slash, then the directories, the deepest first.

    Outcomes are of objects; and of directories, with their slash, where one could not be removed.
    """
    yield from delete_listed(store, base, _sizes(store, directory), threads)
    if not store.capabilities.directories:
        return
    for name in _directories(store, directory):
        for error in store.delete([name]):
            yield Outcome(name, error)


def _sizes(store: ObjectStore, prefix: str) -> Iterator[tuple[str, int]]:
    for page in store.list_pages(prefix):
        for info in page.objects:
            yield info.key, info.size


def _directories(store: ObjectStore, directory: str) -> Iterator[str]:
    """A directory and those below it, children first. Each level is read before it is changed."""
    below = [name for page in store.list_pages(directory, delimiter="/") for name in page.prefixes]
    for name in below:
        yield from _directories(store, name)
    if directory:
        yield directory


def _batches(found: Iterable[tuple[str, int]], size: int) -> Iterator[list[tuple[str, int]]]:
    iterator = iter(found)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _delete_batch(store: ObjectStore, base: str, batch: Sequence[tuple[str, int]]) -> list[Outcome]:
    errors: dict[str, PenstockError] = {}
    step = store.capabilities.delete_batch
    for begin in range(0, len(batch), step):
        keys = [key for key, _ in batch[begin : begin + step]]
        try:
            errors |= _by_key(keys, base, store.delete(keys))
        except PenstockError as error:
            errors |= dict.fromkeys(keys, error)
    return [Outcome(key, errors.get(key), nbytes) for key, nbytes in batch]


def _by_key(keys: Sequence[str], base: str, failed: Sequence[StoreError]) -> dict[str, PenstockError]:
    """Each error with the key it is of; one that names no key of the batch makes them all suspects."""
    errors: dict[str, PenstockError] = {}
    for error in failed:
        uri = error.uri or ""
        known = [key for key in keys if uri in (key, base + key)]
        known = known or [key for key in sorted(keys, key=len, reverse=True) if uri.endswith(f"/{key}")][:1]
        errors |= dict.fromkeys(known or keys, error)
    return errors
