"""What a status code means when the service says no more."""

from __future__ import annotations

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CredentialsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageFullError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
    UnsupportedOperationError,
)

__all__ = ["status_class"]

_CLASSES: dict[int, tuple[type[StoreError], bool]] = {
    401: (CredentialsError, False),
    403: (AccessDeniedError, False),
    404: (ObjectNotFoundError, False),
    408: (StoreTimeoutError, True),
    409: (AlreadyExistsError, False),
    412: (PreconditionFailedError, False),
    429: (ThrottledError, True),
    500: (StoreError, True),
    501: (UnsupportedOperationError, False),
    502: (StoreError, True),
    503: (ThrottledError, True),
    504: (StoreTimeoutError, True),
    507: (StorageFullError, False),
}


def status_class(status: int) -> tuple[type[StoreError], bool]:
    """The error class of a status (RFC 9110, 15) and whether the request may be repeated.

    It is the fallback for answers whose own error code a backend does not know.
    """
    return _CLASSES.get(status, (StoreError, False))
