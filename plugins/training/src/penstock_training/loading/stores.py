"""The stores of a dataset's files, as one process has them open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock import Store, StoreCache
from penstock_training.loading.table import FileTable

__all__ = ["Stores"]


class Stores:
    """The stores of a table's files, opened when they are first asked for. Threads share it."""

    def __init__(self, files: FileTable, options: Mapping[str, Any], threads: int) -> None:
        """``threads`` is how many will call a store at once."""
        self._files = files
        self._options = options
        self._cache = StoreCache(limit=max(32, len(files.bases)), threads=threads)
        self._open: dict[int, Store] = {}

    def of(self, file: int) -> Store:
        """The store of a file, by the file's number."""
        base = self._files.base(file)
        store = self._open.get(base)
        if store is None:
            store = self._open[base] = self._cache.find(self._files.bases[base], self._options).store
        return store

    def close(self) -> None:
        """Close them all."""
        self._open.clear()
        self._cache.close()
