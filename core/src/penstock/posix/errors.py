"""From the operating system's error numbers to penstock's errors."""

from __future__ import annotations

import errno
import os
from types import TracebackType

import attrs

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    NotAnObjectError,
    ObjectNotFoundError,
    StorageFullError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
)

__all__ = ["Translating", "store_error"]


@attrs.frozen(slots=True)
class _Meaning:
    kind: type[StoreError]
    message: str
    retryable: bool | None = None


_GONE = _Meaning(ObjectNotFoundError, "no such object")
_BROKEN = "the connection to the file server was lost"
_FULL = "no space is left on the file system"

_MEANINGS = {
    errno.ENOENT: _GONE,
    errno.ELOOP: _Meaning(ObjectNotFoundError, "no such object: its symbolic links form a loop"),
    errno.EISDIR: _Meaning(NotAnObjectError, "a directory has this name; only a listing reads it"),
    errno.ENXIO: _Meaning(NotAnObjectError, "a socket or device has this name; only regular files are objects"),
    errno.ENOTDIR: _Meaning(StoreError, "a part of the path is an object, not a directory"),
    errno.ENOTEMPTY: _Meaning(StoreError, "the directory is not empty"),
    errno.EEXIST: _Meaning(AlreadyExistsError, "the key is taken"),
    errno.EACCES: _Meaning(AccessDeniedError, "permission denied; check the owner and mode of the path"),
    errno.EPERM: _Meaning(AccessDeniedError, "operation not permitted; check the owner and mode of the path"),
    errno.EROFS: _Meaning(AccessDeniedError, "read-only file system; mount it read-write or choose another root"),
    errno.ENOSPC: _Meaning(StorageFullError, _FULL),
    errno.EDQUOT: _Meaning(StorageFullError, "the quota on this file system is used up"),
    errno.EFBIG: _Meaning(StorageFullError, "larger than this file system or the process's limit allows a file to be"),
    errno.EMFILE: _Meaning(StoreError, "too many open files in this process; raise its limit (ulimit -n)", True),
    errno.ENFILE: _Meaning(StoreError, "too many open files in the system", True),
    errno.EBUSY: _Meaning(StoreError, "the file is busy", True),
    errno.EAGAIN: _Meaning(StoreError, "the file system asks to try again", True),
    errno.ESTALE: _Meaning(StoreError, "the file handle went stale: the server replaced the file", True),
    errno.ETIMEDOUT: _Meaning(StoreTimeoutError, "the file server did not answer in time"),
    errno.EHOSTDOWN: _Meaning(StoreConnectionError, "the file server is down"),
    errno.EHOSTUNREACH: _Meaning(StoreConnectionError, "the file server can't be reached"),
    errno.ENOTCONN: _Meaning(StoreConnectionError, _BROKEN),
    errno.ECONNRESET: _Meaning(StoreConnectionError, _BROKEN),
    errno.ECONNREFUSED: _Meaning(StoreConnectionError, _BROKEN),
    errno.EPIPE: _Meaning(StoreConnectionError, _BROKEN),
}


def store_error(error: OSError, uri: str, operation: str, *, writing: bool = False) -> StoreError:
    """The penstock error for one of the operating system; raise it ``from error``.

    Below an object there is nothing to read, and nothing can be written: ``writing`` tells which was tried. An
    error number that the table lacks becomes a plain StoreError; ``status`` is the number, ``code`` its name.
    """
    number = error.errno
    if number is None:
        return StoreError(str(error), uri=uri, operation=operation)
    meaning = _GONE if number == errno.ENOTDIR and not writing else _MEANINGS.get(number)
    if meaning is None:
        meaning = _Meaning(StoreError, os.strerror(number))
    code = errno.errorcode.get(number)
    return meaning.kind(
        meaning.message, uri=uri, operation=operation, status=number, code=code, retryable=meaning.retryable
    )


class Translating:
    """A block in which the operating system's errors become penstock's, chained; penstock's own pass through.

    After a ``final`` one the block can't be repeated: it is not retryable, whatever it was.
    """

    __slots__ = ("_final", "_operation", "_uri", "_writing")

    def __init__(self, uri: str, operation: str, *, writing: bool = False, final: bool = False) -> None:
        self._uri = uri
        self._operation = operation
        self._writing = writing
        self._final = final

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, StoreError):
            failure = store_error(error, self._uri, self._operation, writing=self._writing)
            if self._final:
                failure.retryable = False
            raise failure from error
