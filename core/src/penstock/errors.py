"""Every error that penstock raises, in one tree.

::

    PenstockError
     ├ UsageError (ValueError)            what was asked for can't be done as written
     │   ├ InvalidURIError
     │   ├ InvalidKeyError
     │   ├ UnknownSchemeError
     │   ├ UnknownOptionError
     │   └ ConfigError                    a workload file, with file:line:col for each problem
     ├ PluginError                        a plugin is broken, missing, disabled or clashes
     ├ FormatError (ValueError)           bytes that are not what their format says
     ├ OpLogError (ValueError)            an operation log that can't be read or written
     ├ WorkerLostError                    a worker process ended before its work did
     ├ RunError                           a run that could not be carried out
     └ StoreError                         a call on a store failed
         ├ ObjectNotFoundError (FileNotFoundError)
         │   └ NotAnObjectError           the name is a directory's
         ├ AlreadyExistsError (FileExistsError)
         ├ PreconditionFailedError
         ├ AccessDeniedError (PermissionError)
         │   └ CredentialsError           no credentials, or refused ones
         ├ StorageFullError               no space or quota left
         ├ ThrottledError                 retryable
         ├ StoreTimeoutError (TimeoutError)         retryable
         ├ StoreConnectionError (ConnectionError)   retryable
         ├ LengthMismatchError (ValueError)
         ├ ChecksumMismatchError (ValueError)
         │   ├ StaleReadError             an older version of the object
         │   └ TornReadError              parts of two versions
         └ UnsupportedOperationError (NotImplementedError)

Store errors pickle with all their fields; their ``__cause__`` (the SDK's or the operating system's own
error) stays in the process that saw it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "ChecksumMismatchError",
    "ConfigError",
    "CredentialsError",
    "FormatError",
    "InvalidKeyError",
    "InvalidURIError",
    "LengthMismatchError",
    "NotAnObjectError",
    "ObjectNotFoundError",
    "OpLogError",
    "PenstockError",
    "PluginError",
    "PreconditionFailedError",
    "RunError",
    "StaleReadError",
    "StorageFullError",
    "StoreConnectionError",
    "StoreError",
    "StoreTimeoutError",
    "ThrottledError",
    "TornReadError",
    "UnknownOptionError",
    "UnknownSchemeError",
    "UnsupportedOperationError",
    "UsageError",
    "WorkerLostError",
    "redact",
]

# Values that open a door: query parameters of signed URLs, and settings that SDKs quote in their messages.
_SECRET = re.compile(
    r"(?i)(?<![a-z0-9])((?:x-(?:amz|goog)-)?(?:sig|signature|credential|security-token)"
    r"|[a-z_]*(?:secret|password|token|access_?key|account_?key)[a-z_]*)=([^&\s'\";,)]+)"
)
_USERINFO = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")


def redact(text: str) -> str:
    """``text`` with signatures, tokens, keys and passwords in it replaced by ``***``."""
    if "=" in text:
        text = _SECRET.sub(r"\1=***", text)
    return _USERINFO.sub(r"\1:***@", text) if "@" in text else text


class PenstockError(Exception):
    """Base of every error that penstock raises on purpose."""


class UsageError(PenstockError, ValueError):
    """What was asked for can't be done as written; the message names the remedy."""


class InvalidURIError(UsageError):
    """Text that is not a URI penstock understands."""


class InvalidKeyError(UsageError):
    """A key that this store can't hold, such as one with ``..`` on a file system."""


class UnknownSchemeError(UsageError):
    """No installed plugin serves the URI's scheme."""


class UnknownOptionError(UsageError):
    """A store option that the backend does not have."""


class ConfigError(UsageError):
    """A configuration that can't be used, with every problem found in it.

    ``problems`` holds one line each, ``file:line:col: path: what is wrong``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class PluginError(PenstockError):
    """A plugin that is broken, missing, disabled, or offers a name that another one has."""


class FormatError(PenstockError, ValueError):
    """Bytes that are not what their format requires."""


class OpLogError(PenstockError, ValueError):
    """An operation log that can't be read or written."""


class RunError(PenstockError):
    """A run that could not be carried out; what was measured before is kept."""


class WorkerLostError(PenstockError):
    """A worker process ended, or went silent, before its work was done.

    ``rank`` and ``host`` name the worker, ``cause`` says what was seen (a signal, an exit code, silence).
    """

    def __init__(self, rank: int, host: str, cause: str) -> None:
        super().__init__(f"worker {rank} on {host} was lost: {cause}")
        self.rank = rank
        self.host = host
        self.cause = cause

    def __reduce__(self) -> tuple[type[WorkerLostError], tuple[int, str, str]]:
        return type(self), (self.rank, self.host, self.cause)


class StoreError(PenstockError):
    """A call on a store failed.

    ``uri`` is the object's URI, or its key where no more is known; ``operation`` the contract's method
    (``get``, ``put``, …); ``status`` the service's status code or the operating system's errno; ``code`` the
    service's own error code; ``request_id`` the service's id of the request. What is not known is None.
    ``retryable`` says whether the same call may succeed if it is repeated, ``retry_after`` how many seconds the
    service asked to wait before that. Signatures and passwords are taken out of the message.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        uri: str | None = None,
        operation: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.uri = uri
        self.operation = operation
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        where = " ".join(part for part in (self.operation, redact(self.uri or "")) if part)
        facts = [
            f"{name} {value}"
            for name, value in (("status", self.status), ("code", self.code), ("request", self.request_id))
            if value is not None
        ]
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({', '.join(facts)})" if facts else text

    def __reduce__(self) -> tuple[object, ...]:
        fields = {
            "uri": self.uri,
            "operation": self.operation,
            "status": self.status,
            "code": self.code,
            "request_id": self.request_id,
            "retryable": self.retryable,
            "retry_after": self.retry_after,
        }
        return _rebuild, (type(self), self.message, fields)


def _rebuild(kind: type[StoreError], message: str, fields: dict[str, object]) -> StoreError:
    return kind(message, **fields)  # type: ignore[arg-type]


class ObjectNotFoundError(StoreError, FileNotFoundError):
    """There is no object of that key."""


class NotAnObjectError(ObjectNotFoundError):
    """The name belongs to a directory, which can be listed but not read."""


class AlreadyExistsError(StoreError, FileExistsError):
    """A put that was told to create found the key taken."""


class PreconditionFailedError(StoreError):
    """The object is not the one that ``if_match`` named."""


class AccessDeniedError(StoreError, PermissionError):
    """The caller may not do this."""


class CredentialsError(AccessDeniedError):
    """Credentials are missing, expired or refused."""


class StorageFullError(StoreError, OSError):
    """The storage has no space, or the caller no quota, left."""


class ThrottledError(StoreError):
    """The service asks its clients to slow down."""

    retryable = True


class StoreTimeoutError(StoreError, TimeoutError):
    """No answer came in time."""

    retryable = True


class StoreConnectionError(StoreError, ConnectionError):
    """The service could not be reached, or the connection was lost."""

    retryable = True


class LengthMismatchError(StoreError, ValueError):
    """More or fewer bytes than promised, or a buffer too small for them."""


class ChecksumMismatchError(StoreError, ValueError):
    """The bytes are not the ones that were stored."""


class StaleReadError(ChecksumMismatchError):
    """The bytes are those of an older version, which had been replaced before the read began."""


class TornReadError(ChecksumMismatchError):
    """The bytes are part of one version of the object and part of another."""


class UnsupportedOperationError(StoreError, NotImplementedError):
    """The backend does not have this operation, as its capabilities say."""
