"""Whether the file system under an object really has O_DIRECT.

Most that lack it refuse the flag when a file is opened. tmpfs takes it and ignores it, so the file system of each
device is looked at once, when its first object is opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import Literal

from penstock.errors import UnsupportedOperationError
from penstock.posix import Namespace, Replacement
from penstock.posix.namespace import READ

__all__ = ["Access"]

_MEMORY_ONLY = {0x01021994: "tmpfs", 0x858458F6: "ramfs"}

_libc = ctypes.CDLL(None, use_errno=True)
_warned: set[str] = set()
_warned_lock = threading.Lock()


class Access:
    """Opens the files of one store, and admits or refuses their file systems."""

    def __init__(self, names: Namespace, fallback: Literal["none", "buffered"]) -> None:
        self._names = names
        self._buffered = fallback == "buffered"
        #: Devices that were looked at and not refused.
        self.admitted: set[int] = set()

    def open_refused(self, error: OSError, key: str, path: bytes) -> int:
        """After a failed open with O_DIRECT: a descriptor without it where the fallback was chosen, else an error."""
        names = self._names
        if error.errno != errno.EINVAL:
            raise names.error(error, key, "get") from error
        with names.translating(key, "get"):
            # Directories and pipes refuse the flag as well.
            names.require_object(key, os.stat(path), "get")
            self._refuse(key, "get", "this file system")
            return os.open(path, READ)

    def open_replacement(self, key: str, *, create: bool = False, unnamed: bool = False) -> Replacement:
        """A new file for an object. Raises OSError, or UnsupportedOperationError where O_DIRECT is refused."""
        path = self._names.object_path(key)
        try:
            return Replacement(path, create=create, unnamed=unnamed, flags=os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._refuse(key, "put", "this file system")
        return Replacement(path, create=create, unnamed=unnamed)

    def admit(self, fd: int, status: os.stat_result, key: str, operation: str) -> None:
        """Refuse a file that lives in memory only; remember the devices that are not refused."""
        if status.st_dev in self.admitted:
            return
        name = _MEMORY_ONLY.get(_file_system(fd))
        if name:
            self._refuse(key, operation, name)
        self.admitted.add(status.st_dev)

    def _refuse(self, key: str, operation: str, what: str) -> None:
        """Raise, or where the fallback was chosen say so once for this root."""
        base = self._names.base
        if not self._buffered:
            raise UnsupportedOperationError(
                f"{what} has no O_DIRECT; use {base.replace('direct', 'file', 1)} or the option fallback=buffered",
                uri=base + key,
                operation=operation,
            )
        with _warned_lock:
            if base in _warned:
                return
            _warned.add(base)
        import structlog

        structlog.get_logger("penstock_direct").warning(
            "no O_DIRECT here: reads and writes go through the page cache", root=base, file_system=what
        )


def _file_system(fd: int) -> int:
    """The magic number of the file system that a file is on; the first field of struct statfs."""
    answer = (ctypes.c_ulong * 32)()
    if _libc.fstatfs(fd, answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer[0] & 0xFFFFFFFF
