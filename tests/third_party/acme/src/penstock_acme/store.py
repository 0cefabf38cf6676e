"""The nine methods over a directory: an object is a file, its key the path below the root."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock import errors
from penstock.keys import check_path_key, sort_key
from penstock.store import ObjectInfo, Page, Sink
from penstock_acme.errors import translated
from penstock_acme.plugin import CAPABILITIES, AcmeOptions
from penstock_acme.writer import TEMPORARY, AcmeWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer


class AcmeStore:
    """One directory. It holds nothing open between calls, so threads share it without a lock."""

    capabilities = CAPABILITIES

    def __init__(self, options: AcmeOptions) -> None:
        self._root = options.root.rstrip("/") + "/"
        self._fsync = options.fsync

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        with translated("get", self._uri(key)), open(self._path(key), "rb", buffering=0) as file:
            info = self._info(key, os.fstat(file.fileno()))
            if if_match is not None and info.etag != if_match:
                raise errors.PreconditionFailedError("the file is another one", uri=self._uri(key), operation="get")
            left = info.size - start if length is None else min(length, info.size - start)
            file.seek(start)
            while left > 0:
                room = sink.reserve(left)
                count = file.readinto(room[:left])
                if not count:
                    raise errors.StoreError("the file became shorter", uri=self._uri(key), operation="get")
                sink.commit(count)
                left -= count
        return info

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
        if if_match is not None or metadata:
            raise self._unsupported("if_match and metadata", "put", key)
        if key.endswith("/"):
            return self._make_directory(key, create)
        writer = self._writer(key, "put", create)
        try:
            writer.write(data)
            return writer.commit()
        finally:
            writer.abort()

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> AcmeWriter:
        if metadata:
            raise self._unsupported("metadata", "open_writer", key)
        return self._writer(key, "commit", create)

    def stat(self, key: str, /) -> ObjectInfo:
        with translated("stat", self._uri(key)):
            if not key.endswith("/") and os.path.isdir(self._path(key)):
                raise errors.NotAnObjectError("it is a directory", uri=self._uri(key), operation="stat")
            return self._info(key, os.stat(self._path(key)))

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        if delimiter not in ("", "/"):
            raise self._unsupported(f"the delimiter {delimiter}", "list_pages", prefix)
        with translated("list_pages", self._uri(prefix)):
            found = sorted(self._walk(prefix, delimiter), key=lambda entry: sort_key(entry[0]))
        later = (entry for entry in found if not start_after or sort_key(entry[0]) > sort_key(start_after))
        while chunk := list(itertools.islice(later, page_size)):
            yield Page([info for _, info in chunk if info], [name for name, info in chunk if not info])

    def delete(self, keys: Sequence[str], /) -> Sequence[errors.StoreError]:
        failed = []
        for key in keys:
            try:
                with translated("delete", self._uri(key)):
                    (os.rmdir if key.endswith("/") else os.unlink)(self._path(key))
            except errors.ObjectNotFoundError:
                continue  # An absent key is no failure, and a directory's name is no object's.
            except errors.StoreError as error:
                failed.append(error)
        return failed

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        raise self._unsupported("copy", "copy", target)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, key: str) -> str:
        if f"/{TEMPORARY}" in f"/{key}":
            raise errors.InvalidKeyError(f"{key!r}: names that begin with {TEMPORARY} are kept for temporary files")
        return self._root + check_path_key(key)

    def _uri(self, key: str) -> str:
        return f"acme://{self._root}{key}"

    def _writer(self, key: str, operation: str, create: bool = False) -> AcmeWriter:
        if key.endswith("/"):
            raise errors.InvalidKeyError(f"{key!r}: a directory is made by put")
        return AcmeWriter(key, self._path(key), self._uri(key), operation, create=create, fsync=self._fsync)

    def _info(self, key: str, facts: os.stat_result) -> ObjectInfo:
        size = 0 if key.endswith("/") else facts.st_size
        etag = f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{size:x}"
        return ObjectInfo(key, size, facts.st_mtime_ns, etag)

    def _make_directory(self, key: str, create: bool) -> ObjectInfo:
        with translated("put", self._uri(key)):
            os.makedirs(self._path(key), exist_ok=not create)
        return self.stat(key)

    def _walk(self, prefix: str, delimiter: str) -> Iterator[tuple[str, ObjectInfo | None]]:
        pending = [prefix[: prefix.rfind("/") + 1]]
        while pending:
            above = pending.pop()
            for entry in self._scan(above):
                name = above + entry.name + ("/" if entry.is_dir() else "")
                if not name.startswith(prefix):
                    continue
                if not entry.is_dir():
                    with contextlib.suppress(FileNotFoundError):
                        yield name, self._info(name, entry.stat())
                elif delimiter:
                    yield name, None
                else:
                    pending.append(name)

    def _scan(self, directory: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._path(directory) if directory else self._root) as entries:
                return [entry for entry in entries if not entry.name.startswith(TEMPORARY)]
        except (FileNotFoundError, NotADirectoryError, errors.InvalidKeyError):
            return []  # No key can begin so.

    def _unsupported(self, what: str, operation: str, key: str) -> errors.UnsupportedOperationError:
        return errors.UnsupportedOperationError(f"acme has no {what}", uri=self._uri(key), operation=operation)
