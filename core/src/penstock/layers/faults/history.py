"""The versions that objects had before they were last changed, as far as memory allows."""

from __future__ import annotations

import threading
from collections import OrderedDict

import attrs

from penstock.errors import StoreError
from penstock.sinks import Collect
from penstock.store import ObjectInfo, ObjectStore

__all__ = ["History", "Version"]


@attrs.frozen(slots=True)
class Version:
    """An object as it was."""

    data: memoryview
    info: ObjectInfo


class History:
    """The previous version of each key, the longest unused forgotten first. Threads share it."""

    def __init__(self, store: ObjectStore, limit: int) -> None:
        """``limit`` is in bytes."""
        self._store = store
        self._limit = limit
        self._versions: OrderedDict[str, Version] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def now(self, key: str) -> Version | None:
        """The object as it is, None where there is none or it can't be read."""
        sink = Collect()
        try:
            info = self._store.get(key, sink)
        except StoreError:
            return None
        return Version(sink.view(), info)

    def keep(self, key: str) -> None:
        """Read the object, which is about to be changed, and remember it."""
        version = self.now(key)
        with self._lock:
            old = self._versions.pop(key, None)
            self._nbytes -= old.data.nbytes if old is not None else 0
            if version is None or version.data.nbytes > self._limit:
                return
            self._versions[key] = version
            self._nbytes += version.data.nbytes
            while self._nbytes > self._limit:
                _, dropped = self._versions.popitem(last=False)
                self._nbytes -= dropped.data.nbytes

    def previous(self, key: str) -> Version | None:
        """The version before the last change, where it is remembered."""
        with self._lock:
            version = self._versions.get(key)
            if version is not None:
                self._versions.move_to_end(key)
            return version
