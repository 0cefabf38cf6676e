"""Streaming into a file that appears when it is whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.posix import Namespace, Replacement, Translating, write_all
from penstock.store import ObjectInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FileWriter"]

_GATHER = 64 * 1024


class FileWriter:
    """An :class:`~penstock.store.ObjectWriter`. Large writes go to the kernel as they are, small ones are gathered."""

    def __init__(
        self,
        names: Namespace,
        key: str,
        part_size: int,
        *,
        create: bool,
        fsync: bool,
        after_write: Callable[[int], None] | None,
    ) -> None:
        self._names = names
        self._key = key
        self._limit = min(part_size, _GATHER)
        self._fsync = fsync
        self._after_write = after_write
        self._gathered = bytearray()
        path = names.object_path(key)
        with self._translating("open_writer"):
            if create:
                names.require_free(path)
            self._target = Replacement(path, create=create, unnamed=True)

    def write(self, data: Buffer, /) -> None:
        """A failure leaves the writer fit for nothing but ``abort``, so none is retryable."""
        view = memoryview(data).cast("B")
        if len(self._gathered) + view.nbytes < self._limit:
            self._gathered += view
            return
        with self._translating("write", final=True):
            self._flush()
            write_all(self._target.fd, view)

    def commit(self) -> ObjectInfo:
        """Give the file its name."""
        with self._translating("commit", final=True):
            self._flush()
            if self._after_write:
                self._after_write(self._target.fd)
            return self._names.info(self._key, self._target.publish(fsync=self._fsync))

    def abort(self) -> None:
        """Leave nothing behind; dropping the writer does the same."""
        self._target.discard()
        self._gathered.clear()

    def _flush(self) -> None:
        if self._gathered:
            with memoryview(self._gathered) as view:
                write_all(self._target.fd, view)
            self._gathered.clear()

    def _translating(self, operation: str, *, final: bool = False) -> Translating:
        return self._names.translating(self._key, operation, writing=True, final=final)
