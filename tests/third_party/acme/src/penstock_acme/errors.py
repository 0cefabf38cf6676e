"""From the system's errors to penstock's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from penstock import errors

#: What the system's error numbers mean; any other is a plain StoreError.
_MEANING: Mapping[int | None, type[errors.StoreError]] = {
    errno.ENOENT: errors.ObjectNotFoundError,
    errno.ENOTDIR: errors.ObjectNotFoundError,
    errno.EISDIR: errors.NotAnObjectError,
    errno.EEXIST: errors.AlreadyExistsError,
    errno.EACCES: errors.AccessDeniedError,
    errno.EPERM: errors.AccessDeniedError,
    errno.ENOSPC: errors.StorageFullError,
}


@contextmanager
def translated(operation: str, uri: str) -> Iterator[None]:
    """Only penstock's errors leave the store, chained from what the system raised."""
    try:
        yield
    except errors.PenstockError:
        raise
    except OSError as error:
        kind = _MEANING.get(error.errno, errors.StoreError)
        raise kind(os.strerror(error.errno or 0), uri=uri, operation=operation, status=error.errno) from error
