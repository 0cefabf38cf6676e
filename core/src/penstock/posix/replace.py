"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from types import TracebackType
from typing import TYPE_CHECKING

from penstock.errors import UnsupportedOperationError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["TEMPORARY", "Replacement", "make_parents", "write_all"]

#: How the names of temporary files begin; no key may have such a segment and no listing shows one.
TEMPORARY = ".penstock-tmp-"

_ATTEMPTS = 16
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})
# Giving an unnamed file its name goes through /proc.
_UNNAMED = getattr(os, "O_TMPFILE", 0) if os.path.isdir("/proc/self/fd") else 0


class _Names:
    """Temporary names that no other process, and no other thread of this one, makes."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self._stem = f"{TEMPORARY}{os.urandom(8).hex()}-".encode()
        self._numbers = itertools.count()

    def beside(self, path: bytes) -> bytes:
        return b"%b/%b%d" % (path.rpartition(b"/")[0], self._stem, next(self._numbers))


_names = _Names()


class Replacement:
    """A file under way to ``path``: write to ``fd``, then ``publish``.

    Used as a context manager it discards what was not published; so does dropping it. ``unnamed`` asks for a file
    that has no name until it is published, so that even a killed process leaves nothing; where the file system
    lacks them it gets a temporary name in the same directory. Missing parent directories are made.
    """

    __slots__ = ("_create", "_fsync", "_made", "_path", "_sealed", "_temporary", "fd")

    def __init__(self, path: bytes, *, create: bool = False, unnamed: bool = False, flags: int = 0) -> None:
        """``create`` makes publishing fail when ``path`` exists. ``flags`` are added to those of open(2)."""
        self.fd = -1
        self._path = path
        self._create = create
        self._temporary = b""
        self._made: list[bytes] = []
        self._fsync = False
        self._sealed: os.stat_result | None = None
        self._open(flags | os.O_WRONLY, unnamed or create)

    def seal(self, *, fsync: bool = False) -> os.stat_result:
        """The state of the file, which is written whole. With ``fsync`` its bytes survive a loss of power."""
        if fsync:
            os.fsync(self.fd)
        self._fsync = fsync
        self._sealed = os.fstat(self.fd)
        return self._sealed

    def publish(self, *, fsync: bool = False) -> os.stat_result:
        """Give the file its name and close it; ``fsync`` holds for the name too. Seals it unless that was done.

        Returns the file's state. Raises OSError; FileExistsError with ``create`` when the name is taken.
        """
        status = self._sealed or self.seal(fsync=fsync)
        if self._temporary:
            # A network file system may report a failed write only now, so it is closed before it is shown.
            self._close()
        if self._create:
            self._link(self._path)
        else:
            self._rename()
        self.discard()
        if self._fsync:
            for path in (self._path, *self._made):
                _sync_directory(_parent(path))
        return status

    def discard(self) -> None:
        """Leave nothing behind. Harmless when that is done, and after ``publish``."""
        if self.fd >= 0:
            self._close()
        if self._temporary:
            temporary, self._temporary = self._temporary, b""
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def __del__(self) -> None:
        if self.fd >= 0 or self._temporary:
            self.discard()

    def _open(self, flags: int, unnamed: bool) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                if unnamed and _UNNAMED and self._open_unnamed(flags):
                    return
                self._open_named(flags)
                return
            except FileNotFoundError:
                # Another process may remove the directory again; a dangling link in the path never resolves.
                if attempt == _ATTEMPTS - 1:
                    raise
                self._made += make_parents(self._path)

    def _open_unnamed(self, flags: int) -> bool:
        try:
            self.fd = os.open(_parent(self._path), flags | _UNNAMED, 0o666)
        except OSError as error:
            if error.errno in _NO_UNNAMED:
                return False
            raise
        return True

    def _open_named(self, flags: int) -> None:
        temporary = _names.beside(self._path)
        try:
            self.fd = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # A refused O_DIRECT is noticed only after the file was made.
                self._temporary = temporary
                self.discard()
            raise
        self._temporary = temporary

    def _rename(self) -> None:
        if not self._temporary:
            temporary = _names.beside(self._path)
            self._link(temporary)
            self._temporary = temporary
        os.rename(self._temporary, self._path)
        self._temporary = b""

    def _link(self, target: bytes) -> None:
        source = self._temporary or b"/proc/self/fd/%d" % self.fd
        try:
            # src_dir_fd is without effect on an absolute path, but only with it are links followed.
            os.link(source, target, src_dir_fd=0, follow_symlinks=not self._temporary)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise UnsupportedOperationError(
                    "this file system has no hard links, which an atomic create needs", status=error.errno
                ) from error
            raise

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        os.close(fd)


def write_all(fd: int, data: memoryview) -> None:
    """Write all of ``data`` (of format ``B``) at the file's position."""
    done = os.write(fd, data)
    while done < data.nbytes:
        done += os.write(fd, data[done:])


def make_parents(path: bytes) -> list[bytes]:
    """Make the directories that lead to ``path``, as far as they are missing; returns them, the deepest first."""
    missing: list[bytes] = []
    directory = _parent(path)
    while not os.path.isdir(directory) and directory != b"/":
        missing.append(directory)
        directory = _parent(directory)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory) from None
    return missing


def _parent(path: bytes) -> bytes:
    return path.rstrip(b"/").rpartition(b"/")[0] or b"/"


def _sync_directory(directory: bytes) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
