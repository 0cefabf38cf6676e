"""What the service and google's libraries report, as errors of :mod:`penstock.errors`.

The service names a *reason* in its JSON errors, which decides; an answer without one (media requests have plain
text) is judged by its status. What neither table knows stays a plain StoreError with its status and code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChecksumMismatchError,
    CredentialsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageFullError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
)
from penstock.http import Answer, status_class

__all__ = ["answer_error", "reason_error", "translating"]

#: Reason to class, and whether the same request may succeed when it is repeated.
_REASONS: Mapping[str, tuple[type[StoreError], bool]] = {
    "notFound": (ObjectNotFoundError, False),
    "conditionNotMet": (PreconditionFailedError, False),
    "forbidden": (AccessDeniedError, False),
    "insufficientPermissions": (AccessDeniedError, False),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (AccessDeniedError, False),
    "accessNotConfigured": (AccessDeniedError, False),
    "SERVICE_DISABLED": (AccessDeniedError, False),
    "accountDisabled": (AccessDeniedError, False),
    "BILLING_DISABLED": (AccessDeniedError, False),
    "userProjectMissing": (AccessDeniedError, False),
    "userProjectAccessDenied": (AccessDeniedError, False),
    "objectUnderActiveHold": (AccessDeniedError, False),
    "retentionPolicyNotMet": (AccessDeniedError, False),
    "authError": (CredentialsError, False),
    "CREDENTIALS_MISSING": (CredentialsError, False),
    "ACCESS_TOKEN_EXPIRED": (CredentialsError, False),
    "conflict": (AlreadyExistsError, False),
    "quotaExceeded": (StorageFullError, False),
    "rateLimitExceeded": (ThrottledError, True),
    "userRateLimitExceeded": (ThrottledError, True),
    "backendError": (StoreError, True),
    "internalError": (StoreError, True),
    "uploadBrokenConnection": (StoreError, True),
    "methodNotAllowed": (StoreError, False),
}

_LOGIN = "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to a service account's file"
_BILLING = "check the billing account of the project"

#: What to do about it, by reason or status.
_REMEDIES: Mapping[str, str] = {
    "insufficientPermissions": "the token lacks the scope devstorage.full_control",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "the token lacks the scope devstorage.full_control",
    "accessNotConfigured": "enable the Cloud Storage API of the project",
    "SERVICE_DISABLED": "enable the Cloud Storage API of the project",
    "accountDisabled": _BILLING,
    "BILLING_DISABLED": _BILLING,
    "userProjectMissing": "name the project that pays with the option user_project",
    "401": f"the service takes no anonymous request here, or not these credentials; {_LOGIN}",
    "403": "grant the caller a role on the bucket: roles/storage.objectUser to read and write, "
    "roles/storage.objectViewer to read",
}

#: What the token endpoint says of a grant that it refuses, and what to do.
_GRANTS: tuple[tuple[str, str], ...] = (
    (r"iat|exp\b|timeframe", "this machine's clock is off; set it"),
    (r"JWT Signature", "the service account's key was deleted or is not its own; make a new one"),
    (r"account not found", "the service account does not exist any more"),
    (r"rapt|reauth", "the session has to be confirmed; run gcloud auth application-default login"),
    (r"expired or revoked|Bad Request", "the login was revoked; run gcloud auth application-default login"),
)

_MAX_BODY = 256 * 1024
_MAX_TEXT = 400
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def answer_error(answer: Answer, uri: str, operation: str, *, session: bool = False) -> StoreError:
    """The error that this answer reports; its body is read.

    ``session``: the answer belongs to an upload session, whose request id is the session's own secret name.
    """
    try:
        body = answer.read(_MAX_BODY)
    except StoreError:
        body = b""
    request_id = None if session else answer.header("x-guploader-uploadid")
    error = reason_error(answer.status, body, uri, operation, request_id)
    error.retry_after = answer.retry_after
    return error


def reason_error(status: int, body: bytes, uri: str, operation: str, request_id: str | None = None) -> StoreError:
    """The error of a status and a body, which is the service's JSON, or plain text."""
    reason, text = _read(body)
    if status == 401 and reason == "required":
        reason = "authError"
    kind, retryable = _REASONS.get(reason or "") or status_class(status)
    if "requester pays" in text:
        kind, reason = AccessDeniedError, "userProjectMissing"
    elif status == 400 and "match calculated" in text:
        kind, retryable = ChecksumMismatchError, True
    remedy = _REMEDIES.get(reason or "") or _REMEDIES.get(str(status), "")
    message = text or "the service refused the request"
    return kind(
        f"{message}; {remedy}" if remedy else message,
        uri=uri,
        operation=operation,
        status=status,
        code=reason,
        request_id=request_id,
        retryable=retryable,
    )


def _read(body: bytes) -> tuple[str | None, str]:
    """The reason and the message in an error's body."""
    reason, text = None, body.decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text).get("error")
        except ValueError:
            found = None
        if isinstance(found, dict):
            reason, text = _reason(found), str(found.get("message", ""))
    elif "<" in text:
        text = re.sub(r"<[^>]*>", " ", text)
    text = _CONTROL.sub(" ", text).strip().rstrip(".")
    return reason, text[:_MAX_TEXT]


def _reason(found: Mapping[str, Any]) -> str | None:
    for name in ("details", "errors"):
        entries = found.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("reason"), str):
                return str(entry["reason"])
    status = found.get("status")
    return status if isinstance(status, str) else None


@contextmanager
def translating(uri: str, operation: str) -> Iterator[None]:
    """Turns what google-auth, google-cloud-storage and requests raise into errors of penstock."""
    try:
        yield
    except StoreError as error:
        error.uri = error.uri or uri
        error.operation = error.operation or operation
        raise
    except Exception as error:
        translated = _translated(error, uri, operation)
        if translated is None:
            raise
        if isinstance(translated, CredentialsError) and any(isinstance(arg, Exception) for arg in error.args):
            # google-auth shows what it could not decode of a file of credentials, which may be a key.
            raise translated from None
        raise translated from error


def _translated(error: Exception, uri: str, operation: str) -> StoreError | None:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth import exceptions as auth
    from requests import exceptions as http

    def make(kind: type[StoreError], message: str, code: str | None = None) -> StoreError:
        return kind(message, uri=uri, operation=operation, code=code)

    if isinstance(error, GoogleAPICallError):
        body = getattr(error.response, "content", b"") if error.response is not None else b""
        return reason_error(int(error.code or 0), body or str(error.message).encode(), uri, operation)
    if isinstance(error, auth.DefaultCredentialsError):
        return make(CredentialsError, f"no usable Google credentials: {_line(error)}; {_LOGIN}")
    if isinstance(error, auth.RefreshError):
        code, text = _grant(error)
        remedy = next((what for pattern, what in _GRANTS if re.search(pattern, text, re.IGNORECASE)), _LOGIN)
        return make(CredentialsError, f"no token was granted: {text}; {remedy}", code)
    if isinstance(error, auth.TransportError | http.ConnectionError | http.ProxyError):
        found = make(StoreConnectionError, f"Google's token service can't be reached: {_network(error)}")
        found.retryable = "CERTIFICATE_VERIFY_FAILED" not in found.message
        return found
    if isinstance(error, auth.TimeoutError | http.Timeout):
        return make(StoreTimeoutError, f"Google's token service did not answer in time: {_network(error)}")
    if isinstance(error, auth.GoogleAuthError | http.RequestException):
        return make(CredentialsError, f"{_line(error)}; {_LOGIN}")
    return None


def _grant(error: Exception) -> tuple[str | None, str]:
    """The token endpoint's code and description; the rest of its answer is not shown."""
    for part in error.args:
        found = part
        if isinstance(part, str) and part.lstrip().startswith("{"):
            try:
                found = json.loads(part)
            except ValueError:
                continue
        if isinstance(found, dict) and isinstance(found.get("error"), str):
            return found["error"], _line(str(found.get("error_description") or found["error"]))
    return None, _line(error.args[0] if error.args else error)


def _network(error: BaseException) -> str:
    """Host and first cause of a failure that went through several libraries."""
    host, first = re.search(r"host='([^']+)'", str(error)), error
    while (deeper := first.__cause__ or first.__context__) is not None:
        first = deeper
    cause = _line(first.strerror if isinstance(first, OSError) and first.strerror else first)
    return f"{host[1]}: {cause}" if host else cause


def _line(what: object) -> str:
    if isinstance(what, Exception):
        what = next((arg for arg in what.args if isinstance(arg, str)), what)
    return _CONTROL.sub(" ", str(what)).strip().rstrip(".")[:_MAX_TEXT]
