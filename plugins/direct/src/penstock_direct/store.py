"""The O_DIRECT store: objects are files that never pass through the page cache."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.buffers import PAGE
from penstock.errors import StoreError
from penstock.posix import CAPABILITIES, Namespace
from penstock.posix.namespace import READ
from penstock.store import ObjectInfo, ObjectWriter, Sink
from penstock_direct.access import Access
from penstock_direct.aligned import AlignedOutput, read_copying, read_straight
from penstock_direct.pool import BufferPool
from penstock_direct.writer import DirectWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock_direct.plugin import DirectOptions

__all__ = ["DirectStore"]

_READ_DIRECT = READ | os.O_DIRECT


class DirectStore:
    """An :class:`~penstock.store.ObjectStore` over one directory; see :mod:`penstock_direct.aligned`."""

    capabilities = CAPABILITIES

    def __init__(self, options: DirectOptions, threads: int = 1) -> None:
        """As many buffers are kept as ``threads`` can use at once, unless the options say how many."""
        names = Namespace("direct", options.root, fsync=options.fsync)
        self._names = names
        self._access = Access(names, options.fallback)
        self._pool = BufferPool(options.buffer_size, options.buffers or threads)
        self._fsync = options.fsync
        self.stat = names.stat
        self.list_pages = names.list_pages
        self.delete = names.delete
        self.copy = names.copy

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        names = self._names
        path = names.path(key)
        try:
            fd = os.open(path, _READ_DIRECT)
        except OSError as error:
            fd = self._access.open_refused(error, key, path)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                names.require_object(key, status, "get")
            if status.st_dev not in self._access.admitted:
                self._access.admit(fd, status, key, "get")
            if if_match is not None:
                names.require_match(key, status, if_match)
            size = status.st_size
            end = size if length is None or start + length > size else start + length
            if start < end:
                self._deliver(fd, key, sink, start, end, size)
        finally:
            os.close(fd)
        return names.info(key, status)

    def put(
        self,
        key: str,
        data: Buffer,
        /,
        *,
        create: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        self._names.refuse_conditions(key, if_match, metadata)
        if key.endswith("/"):
            return self._names.make_directory(key, data, create=create)
        with (
            self._names.translating(key, "put", writing=True),
            self._access.open_replacement(key, create=create) as target,
        ):
            output = AlignedOutput(target.fd, self._pool)
            try:
                output.write(data)
                output.finish()
            finally:
                output.release()
            status = target.seal(fsync=self._fsync)
            self._access.admit(target.fd, status, key, "put")
            target.publish()
        return self._names.info(key, status)

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectWriter:
        """A file has no parts: the writer holds one buffer, of the option ``buffer_size``, whatever ``part_size``."""
        self._names.refuse_conditions(key, None, metadata, "open_writer")
        return DirectWriter(self._names, self._access, self._pool, key, create=create, fsync=self._fsync)

    def close(self) -> None:
        """Let the idle buffers go."""
        self._pool.clear()

    def _deliver(self, fd: int, key: str, sink: Sink, start: int, end: int, size: int) -> None:
        def fail(error: OSError) -> StoreError:
            return self._names.error(error, key, "get")

        position = start if start % PAGE else read_straight(fd, sink, fail, start, end, size)
        if position < end:
            position = read_copying(fd, sink, self._pool, fail, position, end)
            if position < end:
                raise self._names.shrank(key, end - start, position - start, "get")
