"""Objects as the JSON API writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from penstock.errors import (
    AlreadyExistsError,
    ChecksumMismatchError,
    InvalidKeyError,
    LengthMismatchError,
    PreconditionFailedError,
    StoreConnectionError,
    StoreError,
)
from penstock.http import Answer
from penstock.keys import check_key
from penstock.store import ObjectInfo
from penstock_gcs.checksums import from_base64, shown

__all__ = ["FIELDS", "check_name", "info_of", "read_json", "refused_write", "require_stored", "resource_of"]

#: What is asked of an object, so that answers stay short.
FIELDS = "name,size,generation,updated,contentType,metadata,storageClass,crc32c"

_PLAIN = re.compile(r"[A-Za-z0-9\-_~/][A-Za-z0-9\-._~/]{0,1023}").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_JSON = 64 * 1024 * 1024
#: As ``json.loads``, which looks at its other arguments each time.
_decode = json.JSONDecoder().decode


def resource_of(key: str, metadata: Mapping[str, str] | None, content_type: str | None) -> str:
    """The JSON of an object to be written, without the brace at its end. Raises InvalidKeyError."""
    if not _PLAIN(key):
        check_name(key)
    elif not metadata and content_type is None:
        return f'{{"name":"{key}"'
    found: dict[str, object] = {"name": key}
    if content_type is not None:
        found["contentType"] = content_type
    if metadata:
        found["metadata"] = dict(metadata)
    return json.dumps(found)[:-1]


def check_name(key: str) -> None:
    check_key(key)
    if "\r" in key or "\n" in key or key in (".", ".."):
        raise InvalidKeyError(f"{key!r}: Cloud Storage takes no line end in a name, and neither . nor .. as one")


def read_json(answer: Answer) -> dict[str, Any]:
    """The object in an answer's body. Raises StoreConnectionError for anything else."""
    try:
        found = _decode(answer.read(_MAX_JSON).decode())
    except ValueError as error:
        raise StoreConnectionError("the service's answer is no JSON") from error
    if not isinstance(found, dict):
        raise StoreConnectionError("the service's answer is no JSON object")
    return found


def info_of(resource: Mapping[str, Any], key: str, *, listed: bool = False) -> ObjectInfo:
    """What a resource of the JSON API says. A listing does not ask for the metadata."""
    generation = resource.get("generation")
    generation = None if generation is None else str(generation)
    return ObjectInfo(
        key,
        int(resource.get("size", 0)),
        _nanoseconds(resource.get("updated")),
        generation,
        resource.get("contentType"),
        None if listed else resource.get("metadata") or {},
        generation,
        resource.get("storageClass"),
        shown(from_base64(resource.get("crc32c"))),
    )


def require_stored(resource: Mapping[str, Any], nbytes: int, crc: int | None) -> None:
    """Raise LengthMismatchError or ChecksumMismatchError when the service stored other bytes than were sent."""
    stored = resource.get("size")
    if stored is not None and int(stored) != nbytes:
        raise LengthMismatchError(f"{nbytes} bytes were sent and {stored} were stored")
    found = None if crc is None else from_base64(resource.get("crc32c"))
    if crc is not None and found is not None and crc != found:
        raise ChecksumMismatchError(f"CRC-32C {crc:08x} was sent and {found:08x} was stored", retryable=True)


def refused_write(error: StoreError, condition: bytes) -> StoreError:
    """A condition of a write that failed, as what it was there for: ``create``, or ``if_match``."""
    if error.status != 412:
        return error
    created = condition.endswith(b"=0")
    kind = AlreadyExistsError if created else PreconditionFailedError
    return kind(
        "the key is taken" if created else "the object is another one, or is not there",
        uri=error.uri,
        operation=error.operation,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )


def _nanoseconds(text: str | None) -> int | None:
    """RFC 3339 to nanoseconds since 1970."""
    if not text:
        return None
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, TypeError):
        return None
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
