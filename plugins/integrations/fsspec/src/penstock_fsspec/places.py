"""From a path of fsspec to an opened store and a key in it.

A path is a URI without its scheme: ``bucket/key``, ``account/container/key``, ``/directory/file``. Which part of it
names the store is for the backend to say; it is asked once for each store, then remembered.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock import Store, StoreCache
from penstock.errors import InvalidURIError

__all__ = ["Place", "Places"]

#: Stores that all file systems of this process keep open between calls.
_LIMIT = 64


class _Opened:
    """The stores of this process. A forked child gets others: its parent's connections are not its own."""

    def __init__(self) -> None:
        self.cache = StoreCache(limit=_LIMIT)
        # Never collected, so that a child closes nothing of its parent's.
        self.abandoned: list[StoreCache] = []

    def forget(self) -> None:
        self.abandoned.append(self.cache)
        self.cache = StoreCache(limit=_LIMIT)


_opened = _Opened()
os.register_at_fork(after_in_child=_opened.forget)


@attrs.frozen(slots=True)
class Place:
    """A key, or a prefix, in a store. ``root`` plus a key is its path; it ends with a slash."""

    store: Store
    root: str
    key: str

    @property
    def prefix(self) -> str:
        """What the keys below this one begin with, as a directory; empty at the root of the store."""
        return f"{self.key}/" if self.key else ""

    @property
    def uri(self) -> str:
        """The whole URI, for errors."""
        return self.store.uri + self.key

    def path(self, key: str) -> str:
        """The path of another key of this store; one trailing slash is left out."""
        return (self.root + key).removesuffix("/") or "/"


class Places:
    """Finds the places of one scheme with one set of options. Threads share it, and a forked child may use it."""

    def __init__(self, scheme: str, options: Mapping[str, Any]) -> None:
        self.scheme = scheme
        self.options = dict(options)
        self._roots: tuple[StoreCache, dict[str, Store]] = (_opened.cache, {})

    def uri(self, path: str) -> str:
        """The URI of a path."""
        return f"{self.scheme}://{path}"

    def find(self, path: str) -> Place:
        """The place of a path. Raises InvalidURIError where the path names no store, such as an empty one."""
        cache, roots = self._roots
        if cache is not _opened.cache:
            self._roots = cache, roots = _opened.cache, {}
        for root, store in roots.items():
            if path.startswith(root):
                return Place(store, root, path[len(root) :])
        found = cache.find(self.uri(path), self.options)
        key = found.key.rstrip("/")
        root = path[: len(path) - len(key)] if key else f"{path.rstrip('/')}/"
        if path == root + key or not key:
            # Another thread may be iterating over the old one.
            self._roots = cache, {**roots, root: found.store}
        return Place(found.store, root, key)

    def check(self) -> None:
        """Refuse options that the backend does not have, and a scheme that nobody serves.

        Where the scheme alone is no URI of the backend, the options are checked when the first store is opened.
        """
        try:
            _opened.cache.find(self.uri(""), self.options)
        except InvalidURIError:
            return
