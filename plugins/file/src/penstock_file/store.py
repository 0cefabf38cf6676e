"""The file store: objects are files, read straight into the caller's memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.keys import is_plain_path
from penstock.posix import CAPABILITIES, Namespace, Replacement, write_all
from penstock.posix.namespace import READ
from penstock.store import ObjectInfo, ObjectWriter, Sink
from penstock_file.cache import after_read, after_write, before_read
from penstock_file.writer import FileWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock_file.plugin import FileOptions

__all__ = ["FileStore"]


class FileStore:
    """An :class:`~penstock.store.ObjectStore` over one directory.

    A whole-object get is four system calls: open, fstat, read, close.
    """

    capabilities = CAPABILITIES

    def __init__(self, options: FileOptions) -> None:
        names = Namespace("file", options.root, fsync=options.fsync)
        self._names = names
        self._fsync = options.fsync
        self._before_read = before_read(options.page_cache)
        self._after_read = after_read(options.page_cache)
        self._after_write = after_write(options.page_cache)
        self._hints = options.page_cache not in ("auto", "normal")
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
            fd = os.open(path, READ)
        except OSError as error:
            raise names.error(error, key, "get") from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                names.require_object(key, status, "get")
            if if_match is not None:
                names.require_match(key, status, if_match)
            size = status.st_size
            count = size - start if length is None else min(length, size - start)
            if count > 0:
                if self._before_read:
                    self._before_read(fd, start, count, size)
                self._deliver(fd, key, sink, start, count)
                if self._after_read:
                    self._after_read(fd, start, count)
        finally:
            os.close(fd)
        return names.info(key, status)

    def fill_many(self, keys: Sequence[str], rooms: Sequence[memoryview], /) -> int:
        """As :class:`penstock.store.FillsMany` says, with three system calls for each file: one byte of room beyond
        its end shows that the file is as long as it should be.
        """
        if self._hints:
            return 0
        root, beyond, done = self._names.root, bytearray(1), 0
        for key, room in zip(keys, rooms, strict=True):
            size = room.nbytes
            if not (size and is_plain_path(key)):
                break
            try:
                fd = os.open(root + key.encode(), READ)
            except OSError:
                break
            try:
                if os.preadv(fd, (room, beyond), 0) != size:
                    break
            except OSError:
                break
            finally:
                os.close(fd)
            done += 1
        return done

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
        names = self._names
        names.refuse_conditions(key, if_match, metadata)
        if key.endswith("/"):
            return names.make_directory(key, data, create=create)
        path = names.path(key)
        with names.translating(key, "put", writing=True), Replacement(path, create=create) as target:
            write_all(target.fd, memoryview(data).cast("B"))
            if self._after_write:
                self._after_write(target.fd)
            return names.info(key, target.publish(fsync=self._fsync))

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
        """Bytes go to the file as they come: a file has no parts, so ``part_size`` bounds only what is gathered
        of small writes.
        """
        self._names.refuse_conditions(key, None, metadata, "open_writer")
        return FileWriter(self._names, key, part_size, create=create, fsync=self._fsync, after_write=self._after_write)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _deliver(self, fd: int, key: str, sink: Sink, start: int, count: int) -> None:
        left = count
        while left:
            room = sink.reserve(left)
            if room.nbytes > left:
                room = room[:left]
            try:
                got = os.preadv(fd, (room,), start)
            except OSError as error:
                raise self._names.error(error, key, "get") from error
            if not got:
                raise self._names.shrank(key, count, count - left, "get")
            sink.commit(got)
            start += got
            left -= got
