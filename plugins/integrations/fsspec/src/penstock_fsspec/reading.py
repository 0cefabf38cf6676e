"""Files that are read: a cache of fsspec's over ranges of one version of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from penstock.store import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from penstock_fsspec.filesystem import PenstockFileSystem

__all__ = ["ReadFile"]

_LINE = 64 * 1024


class ReadFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file opened with ``rb``. It is of the object as it was when opened.

    When another object takes the name, the next request raises PreconditionFailedError; what the cache holds is
    still read. It pickles, with its position and the version that it is of, and a forked child may go on reading.
    """

    def __init__(
        self,
        fs: PenstockFileSystem,
        path: str,
        info: ObjectInfo,
        *,
        block_size: int,
        cache_type: str,
        cache_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._version = info
        super().__init__(
            fs,
            path,
            "rb",
            block_size=block_size,
            cache_type=cache_type,
            cache_options=dict(cache_options or {}),
            size=info.size,
        )
        self._options = dict(cache_options or {})
        self._details = fs._entry(path, info)

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer. One of at least a block is filled straight from the store, past the cache."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = memoryview(buffer).cast("B")
        if view.nbytes < self.blocksize:
            data = self.read(view.nbytes)
            view[: len(data)] = data
            return len(data)
        count: int = max(0, min(view.nbytes, self.size - self.loc))
        if count:
            self.fs._file_of(self.path, self._version).read_into(self.loc, view[:count])
            self.loc += count
        return count

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """The bytes up to and with ``char``, looked for in pieces of 64 KiB, or of ``blocks`` bytes."""
        return bytes(super().readuntil(char, blocks or min(_LINE, self.blocksize)))

    def read1(self, length: int = -1) -> bytes:
        """At most ``length`` bytes, as text wrappers ask for them."""
        return bytes(self.read(length))

    def _fetch_range(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        return bytes(self.fs._file_of(self.path, self._version).read(start, end - start)) if end > start else b""

    def __reduce__(self) -> tuple[Any, ...]:
        name = self.cache.name if self.cache is not None else "none"
        return _reopen, (self.fs, self.path, self._version, self.blocksize, name, self._options, self.loc, self.closed)


def _reopen(
    fs: PenstockFileSystem,
    path: str,
    info: ObjectInfo,
    block_size: int,
    cache_type: str,
    cache_options: Mapping[str, Any],
    position: int,
    closed: bool,
) -> ReadFile:
    file = ReadFile(fs, path, info, block_size=block_size, cache_type=cache_type, cache_options=cache_options)
    file.loc = position
    if closed:
        file.close()
    return file
