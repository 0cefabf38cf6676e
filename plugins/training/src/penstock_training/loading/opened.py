"""What one process holds open of a dataset: stores, and files of a format."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.errors import UsageError
from penstock.samples import SampleFile
from penstock_training.loading.splitting import Split
from penstock_training.loading.stores import Stores
from penstock_training.loading.table import FileTable

__all__ = ["OpenFiles", "Opened"]


class Opened:
    """The stores of a dataset, and its files where a format splits them. Threads share it."""

    def __init__(
        self,
        files: FileTable,
        split: Split | None,
        *,
        options: Mapping[str, Any],
        threads: int,
        max_open: int,
        part_size: int,
    ) -> None:
        """``threads`` is how many will read at once, ``part_size`` the most that a request for a part of a file of a
        format asks for, in bytes.
        """
        self.stores = Stores(files, options, threads)

        def open_file(file: int) -> SampleFile:
            if split is None:
                raise UsageError("a dataset without a format has no samples in its files")
            return split.open(files, self.stores, file, part_size=part_size, in_flight=threads)

        self.samples = OpenFiles(open_file, max_open)

    def close(self) -> None:
        """Close all of it."""
        self.samples.close()
        self.stores.close()


class _Entry:
    __slots__ = ("file", "lock", "users")

    def __init__(self) -> None:
        self.file: SampleFile | None = None
        self.lock = threading.Lock()
        self.users = 0


class OpenFiles:
    """Keeps the files that were used last open. Threads share it."""

    def __init__(self, open_file: Callable[[int], SampleFile], limit: int) -> None:
        """At most ``limit`` stay open that are not being read."""
        self._open_file = open_file
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, _Entry] = OrderedDict()

    @contextlib.contextmanager
    def use(self, number: int) -> Iterator[SampleFile]:
        """A file, by its number, open at least as long as the block runs."""
        with self._lock:
            entry = self._entries.setdefault(number, _Entry())
            entry.users += 1
            self._entries.move_to_end(number)
        try:
            with entry.lock:
                if entry.file is None:
                    entry.file = self._open_file(number)
            yield entry.file
        finally:
            with self._lock:
                entry.users -= 1
                surplus = self._surplus()
            for file in surplus:
                file.close()

    def close(self) -> None:
        """Close those that nobody reads."""
        with self._lock:
            self._limit, limit = 0, self._limit
            surplus = self._surplus()
            self._limit = limit
        for file in surplus:
            file.close()

    def _surplus(self) -> list[SampleFile]:
        if len(self._entries) <= self._limit:
            return []
        idle = [number for number, entry in self._entries.items() if not entry.users]
        found = [self._entries.pop(number).file for number in idle[: len(self._entries) - self._limit]]
        return [file for file in found if file is not None]
