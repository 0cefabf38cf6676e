"""Keys, paths and everything that a store over a file system does besides moving an object's bytes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.errors import (
    InvalidKeyError,
    LengthMismatchError,
    NotAnObjectError,
    PreconditionFailedError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.keys import check_path_key
from penstock.posix.errors import Translating, store_error
from penstock.posix.listing import walk
from penstock.posix.replace import TEMPORARY, Replacement, make_parents
from penstock.store import Capabilities, ObjectInfo, Page

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CAPABILITIES", "READ", "Namespace"]

#: What this package gives a store.
CAPABILITIES = Capabilities(create=True, copy=True, ordered=True, directories=True)

#: Flags for opening an object to read. Opening a FIFO must not wait for its writer.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY

_COPY_STEP = 1 << 30
_PLAIN_STEP = 1 << 20
_NO_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF})


class Namespace:
    """One root directory and the keys below it. Immutable, so threads share it.

    ``stat``, ``list_pages``, ``delete`` and ``copy`` are the store's own methods. The root need not exist: it
    lists as empty, and the first put makes it.
    """

    def __init__(self, scheme: str, root: str, *, fsync: bool = False) -> None:
        """``scheme`` stands in the URIs that errors name. ``fsync`` makes copies survive a loss of power."""
        path = os.path.abspath(root).rstrip("/") + "/"
        self.base = f"{scheme}://{path}"
        self.root = os.fsencode(path)
        self._fsync = fsync

    def path(self, key: str) -> bytes:
        """The path of an object. Raises InvalidKeyError for a key that can't name one."""
        check_path_key(key)
        if TEMPORARY in key and any(part.startswith(TEMPORARY) for part in key.split("/")):
            raise InvalidKeyError(f"{key!r}: names that begin with {TEMPORARY} are kept for temporary files")
        return self.root + key.encode()

    def object_path(self, key: str) -> bytes:
        """As ``path``, for a key under which bytes are to be stored: it can't name a directory."""
        if key.endswith("/"):
            raise InvalidKeyError(f"{key!r}: a key that ends in / is a directory's; it holds no bytes")
        return self.path(key)

    def translating(self, key: str, operation: str, *, writing: bool = False, final: bool = False) -> Translating:
        """A block whose OSErrors become penstock's errors about this object; ``final`` ones are never retryable."""
        return Translating(self.base + key, operation, writing=writing, final=final)

    def error(self, error: OSError, key: str, operation: str) -> StoreError:
        """The penstock error for one of the operating system about this object."""
        return store_error(error, self.base + key, operation)

    def info(self, key: str, status: os.stat_result) -> ObjectInfo:
        """What the file's state says of the object. The etag is as good as the file system's time stamps."""
        modified, size = status.st_mtime_ns, status.st_size
        return ObjectInfo(key, size, modified, f"{modified:x}-{size:x}-{status.st_ino:x}")

    def require_object(self, key: str, status: os.stat_result, operation: str) -> None:
        """Raise NotAnObjectError unless this is the state of a regular file."""
        if not stat.S_ISREG(status.st_mode):
            what = "a directory" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
            message = f"{what} has this name; only regular files are objects"
            raise NotAnObjectError(message, uri=self.base + key, operation=operation)

    def require_match(self, key: str, status: os.stat_result, if_match: str) -> None:
        """Raise PreconditionFailedError from a ``get`` unless the file's state gives this etag."""
        if self.info(key, status).etag != if_match:
            raise PreconditionFailedError("the file is another one", uri=self.base + key, operation="get")

    def shrank(self, key: str, promised: int, delivered: int, operation: str) -> StoreError:
        """The error for a file that ended before the bytes it had when it was opened."""
        message = f"the file shrank while it was read: {delivered} bytes of {promised} arrived"
        return LengthMismatchError(message, uri=self.base + key, operation=operation)

    def refuse_conditions(
        self, key: str, if_match: str | None, metadata: Mapping[str, str] | None, operation: str = "put"
    ) -> None:
        """Raise UnsupportedOperationError for what files can't keep or can't do atomically."""
        if if_match is None and not metadata:
            return
        what = "if_match: files have no atomic compare and replace" if if_match is not None else "metadata on files"
        raise self._unsupported(what, key, operation)

    def require_free(self, path: bytes) -> None:
        """Raise FileExistsError when the path is taken already. It may be taken later: publishing decides."""
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def stat(self, key: str, /) -> ObjectInfo:
        """State of an object, or with a trailing slash of a directory, whose size is 0."""
        path = self.path(key)
        with self.translating(key, "stat"):
            status = os.stat(path)
        if key.endswith("/"):
            return self._directory_info(key, status)
        self.require_object(key, status, "stat")
        return self.info(key, status)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        """Pages in byte order; one directory's names at a time are in memory."""
        if delimiter not in ("", "/"):
            raise UnsupportedOperationError(
                f"the delimiter {delimiter!r}; directories have /", uri=self.base + prefix, operation="list"
            )
        return self._pages(prefix, not delimiter, start_after, page_size)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        """Unlink each; a trailing slash removes an empty directory. A directory is not the object of its name."""
        paths = [(key, self.path(key)) for key in keys]
        failures = []
        for key, path in paths:
            try:
                self._remove(path)
            except OSError as error:
                failure = self.error(error, key, "delete")
                failure.__cause__ = error
                failures.append(failure)
        return failures

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """Copy inside the kernel; file systems that can share blocks do."""
        if metadata is not None:
            raise self._unsupported("metadata on files", source, "copy")
        with self.translating(source, "copy"):
            fd = os.open(self.path(source), READ)
        try:
            status = os.fstat(fd)
            self.require_object(source, status, "copy")
            path = self.object_path(target)
            with self.translating(target, "copy", writing=True), Replacement(path) as replacement:
                copied = _copy_bytes(fd, replacement.fd, status.st_size)
                if copied < status.st_size:
                    raise self.shrank(source, status.st_size, copied, "copy")
                return self.info(target, replacement.publish(fsync=self._fsync))
        finally:
            os.close(fd)

    def make_directory(self, key: str, data: Buffer, *, create: bool) -> ObjectInfo:
        """The put of a key with a trailing slash. An existing directory is fine unless ``create``."""
        path = self.path(key)
        if memoryview(data).nbytes:
            self.object_path(key)
        with self.translating(key, "put", writing=True):
            make_parents(path)
            try:
                os.mkdir(path)
            except FileExistsError:
                if create or not os.path.isdir(path):
                    raise
            return self._directory_info(key, os.stat(path))

    def _unsupported(self, what: str, key: str, operation: str) -> StoreError:
        return UnsupportedOperationError(f"there is no {what}", uri=self.base + key, operation=operation)

    def _directory_info(self, key: str, status: os.stat_result) -> ObjectInfo:
        modified = status.st_mtime_ns
        return ObjectInfo(key, 0, modified, f"{modified:x}-0-{status.st_ino:x}")

    def _pages(self, prefix: str, recursive: bool, start_after: str, page_size: int) -> Iterator[Page]:
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        with self.translating(prefix, "list"):
            for key, status in walk(self.root, prefix, recursive=recursive, start_after=start_after):
                if status is None:
                    prefixes.append(key)
                elif stat.S_ISREG(status.st_mode):
                    objects.append(self.info(key, status))
                if len(objects) + len(prefixes) == page_size:
                    yield Page(objects, prefixes)
                    objects, prefixes = [], []
        if objects or prefixes:
            yield Page(objects, prefixes)

    def _remove(self, path: bytes) -> None:
        try:
            if path.endswith(b"/"):
                os.rmdir(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            # There is no object of this name, and the directory is not meant.
            pass
        except NotADirectoryError:
            if path.endswith(b"/") and os.path.isdir(path):
                raise


def _copy_bytes(source: int, target: int, nbytes: int) -> int:
    copied = 0
    try:
        while copied < nbytes:
            step = os.copy_file_range(source, target, min(nbytes - copied, _COPY_STEP), copied, copied)
            if not step:
                break
            copied += step
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
    while copied < nbytes:
        data = os.pread(source, min(nbytes - copied, _PLAIN_STEP), copied)
        if not data:
            break
        copied += os.pwrite(target, data, copied)
    return copied
