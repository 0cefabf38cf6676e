"""Deleting what a run made, and nothing else."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator

import attrs

from penstock.engine.prepare import Progress, exists
from penstock.engine.threads import work_through
from penstock.errors import StoreError
from penstock.metering import describe_error
from penstock.store import ObjectStore

__all__ = ["Cleanup", "missing_directories"]

_DIRECTORIES = 256
#: Batches in flight from one worker: each is the work of hundreds of requests for the service.
_BATCHES = 4


@attrs.define
class Cleanup:
    """Deletes keys of one store in its batches. What is gone already is no failure."""

    store: ObjectStore
    threads: int
    progress: Progress = attrs.field(factory=Progress)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def run(self, keys: Iterable[str]) -> Iterator[Progress]:
        """Delete these objects; yields progress."""
        size = self.store.capabilities.delete_batch
        threads = self.threads if size == 1 else min(self.threads, _BATCHES)
        for _ in work_through(_batches(keys, size), threads, self._start):
            yield self.progress

    def run_directories(self, keys: Iterable[str]) -> Iterator[Progress]:
        """Remove directories one after the other, the deepest first; those that hold something else stay."""
        for batch in _batches(sorted(keys, key=lambda key: (-key.count("/"), key)), _DIRECTORIES):
            for key in batch:
                if not self.store.delete([key]):
                    self.progress.made += 1
            yield self.progress

    def _start(self) -> Callable[[list[str]], None]:
        return self._delete

    def _delete(self, keys: list[str]) -> None:
        try:
            failures = list(self.store.delete(keys))
        except StoreError as error:
            failures = [error] * len(keys)
        with self._lock:
            self.progress.made += len(keys) - len(failures)
            self.progress.failed += len(failures)
            if failures and not self.progress.example:
                self.progress.example = describe_error(failures[0])


def missing_directories(store: ObjectStore, prefixes: Iterable[str]) -> list[str]:
    """Which of the directories on the way to these prefixes do not exist now: a run that makes them may remove them.

    Only for stores with real directories; elsewhere there is nothing to remove.
    """
    if not store.capabilities.directories:
        return []
    wanted: set[str] = set()
    for prefix in prefixes:
        segments = prefix.split("/")[:-1]
        wanted.update("/".join(segments[:depth]) + "/" for depth in range(1, len(segments) + 1))
    return sorted(key for key in wanted if not exists(store, key))


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    source = iter(keys)
    while batch := list(itertools.islice(source, size)):
        yield batch
