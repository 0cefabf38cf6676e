"""Streaming past the page cache into a file that appears when it is whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from penstock.posix import Namespace
from penstock.store import ObjectInfo
from penstock_direct.access import Access
from penstock_direct.aligned import AlignedOutput
from penstock_direct.pool import BufferPool

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["DirectWriter"]

_STRAIGHT_FROM = 1024 * 1024


class DirectWriter:
    """An :class:`~penstock.store.ObjectWriter` that holds one buffer while bytes are gathered in it."""

    def __init__(
        self, names: Namespace, access: Access, pool: BufferPool, key: str, *, create: bool, fsync: bool
    ) -> None:
        self._names = names
        self._key = key
        self._fsync = fsync
        with names.translating(key, "open_writer", writing=True):
            if create:
                names.require_free(names.object_path(key))
            target = access.open_replacement(key, create=create, unnamed=True)
            self._target = target
            access.admit(target.fd, os.fstat(target.fd), key, "open_writer")
        self._output = AlignedOutput(target.fd, pool, straight_from=min(pool.nbytes, _STRAIGHT_FROM))

    def write(self, data: Buffer, /) -> None:
        """A failure leaves the writer fit for nothing but ``abort``, so none is retryable."""
        with self._names.translating(self._key, "write", writing=True, final=True):
            self._output.write(data)

    def commit(self) -> ObjectInfo:
        """Give the file its name."""
        with self._names.translating(self._key, "commit", writing=True, final=True):
            self._output.finish()
            self._output.release()
            self._target.seal(fsync=self._fsync)
            return self._names.info(self._key, self._target.publish())

    def abort(self) -> None:
        """Leave nothing behind; dropping the writer does the same."""
        self._output.release()
        self._target.discard()
