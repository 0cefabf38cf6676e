"""Messages between the coordinator and its workers, the same for every launcher.

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON. Requests are
``{"id", "method", "body"}``; answers carry the same id and one of ``"body"`` (the answer to a call), ``"item"``
(one of a stream), ``"end": true`` (its end) or ``"error"``. A worker's first frame is its greeting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock import errors

__all__ = ["HEADER_BYTES", "MAX_FRAME", "PROTOCOL", "body_length", "decode", "encode", "from_error", "to_error"]

#: Version of the messages; coordinator and workers must agree.
PROTOCOL = 2
HEADER_BYTES = 4
#: Longest body in bytes; a longer one is a broken peer.
MAX_FRAME = 256 * 1024 * 1024


def encode(message: Mapping[str, Any]) -> bytes:
    """One frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_length(header: bytes) -> int:
    """The length of the body that follows a header. Raises ValueError for one that can't be."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes; something else than penstock wrote to the worker's channel")
    return length


def decode(body: bytes) -> dict[str, Any]:
    """The message of a frame's body."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("a message is a mapping")
    return message


def from_error(error: BaseException) -> dict[str, Any]:
    """What a worker sends of an error."""
    return {"type": type(error).__name__, "message": str(error)}


def to_error(data: Mapping[str, Any]) -> Exception:
    """The error that a worker sent: of the same class where it is one of penstock's that takes a message."""
    message = str(data["message"])
    kind = getattr(errors, str(data["type"]), None)
    special = (errors.ConfigError, errors.WorkerLostError)
    if isinstance(kind, type) and issubclass(kind, errors.PenstockError) and not issubclass(kind, special):
        return kind(message)
    return errors.RunError(f"{data['type']}: {message}")
