"""Listings that are kept, for those who ask for it: ``use_listings_cache=True``."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from fsspec.dircache import DirCache

__all__ = ["Entry", "Listings", "shared_listings"]

Entry = dict[str, Any]


class Listings(DirCache):  # type: ignore[misc]
    """What directories hold, as fsspec keeps it. Off unless asked for: another program's writes are not noticed.

    A change that this process makes forgets the directory, those above it and those below it; a listing that was
    under way meanwhile is not kept.
    """

    def __init__(
        self,
        use_listings_cache: bool = False,
        listings_expiry_time: float | None = None,
        max_paths: int | None = None,
    ) -> None:
        super().__init__(use_listings_cache, listings_expiry_time, max_paths)
        self._lock = threading.Lock()
        self.changes = 0
        _all.add(self)

    def find(self, path: str) -> list[Entry] | None:
        """The entries of a directory, or None."""
        if not self.use_listings_cache:
            return None
        with self._lock:
            try:
                found: list[Entry] = self[path]
            except KeyError:
                return None
        return [dict(entry) for entry in found]

    def keep(self, path: str, entries: list[Entry], changes: int) -> None:
        """Keep a listing that was begun when there had been that many changes."""
        with self._lock:
            if changes == self.changes:
                self[path] = [dict(entry) for entry in entries]

    def forget(self, path: str | None) -> None:
        """Forget a path: its own listing, those above it, which name it, and those below it. None: everything."""
        with self._lock:
            self.changes += 1
            if path is None:
                self.clear()
                return
            for kept in list(self._cache):
                above = not kept or path == kept or path.startswith(kept.rstrip("/") + "/")
                if above or kept.startswith(f"{path}/"):
                    self._cache.pop(kept, None)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> Any:
        raise TypeError("listings do not pickle; a file system does, without them")

    def _renew(self) -> None:
        self._lock = threading.Lock()


_all: weakref.WeakSet[Listings] = weakref.WeakSet()


class _Shared:
    """Listings by what distinguishes their file systems: fsspec makes an instance for each thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_token: weakref.WeakValueDictionary[str, Listings] = weakref.WeakValueDictionary()

    def forget(self) -> None:
        # In a forked child: another thread of the parent may have held a lock.
        self.lock = threading.Lock()
        for listings in _all:
            listings._renew()


_shared = _Shared()
os.register_at_fork(after_in_child=_shared.forget)


def shared_listings(
    token: str, use_listings_cache: bool, listings_expiry_time: float | None, max_paths: int | None
) -> Listings:
    """The listings of all file systems with this token, so that none of them misses what another one changes."""
    with _shared.lock:
        found = _shared.by_token.get(token)
        if found is None:
            found = Listings(use_listings_cache, listings_expiry_time, max_paths)
            _shared.by_token[token] = found
        return found
