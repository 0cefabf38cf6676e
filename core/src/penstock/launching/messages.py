"""Messages between the coordinator and its workers, the same for every launcher.

A message is UTF-8 JSON; in a stream of bytes it follows its length, 4 bytes big-endian. Requests are
``{"id", "method", "body"}``; answers carry the same id and one of ``"body"`` (the answer to a call), ``"item"``
(one of a stream), ``"end": true`` (its end) or ``"error"``. A worker's first message is its greeting
(:class:`penstock.launchers.Greeting`), or ``{"error"}`` where it can't begin. Towards a worker on another host the
first is the specification (:mod:`penstock.launching.rules`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock import errors

__all__ = [
    "HEADER_BYTES",
    "MAX_FRAME",
    "PROTOCOL",
    "body_length",
    "decode",
    "encode",
    "from_error",
    "header_of",
    "to_error",
]

#: Version of the messages; coordinator and workers must agree.
PROTOCOL = 3
HEADER_BYTES = 4
#: Longest message in bytes; a longer one is a broken peer.
MAX_FRAME = 256 * 1024 * 1024


def encode(message: Mapping[str, Any]) -> bytes:
    """The bytes of one message, without its length."""
    return json.dumps(message, separators=(",", ":")).encode()


def header_of(frame: bytes) -> bytes:
    """What stands before a message in a stream of bytes. Raises ValueError for one that is too long."""
    if len(frame) > MAX_FRAME:
        raise ValueError(f"a message of {len(frame)} bytes; at most {MAX_FRAME} can be sent")
    return len(frame).to_bytes(HEADER_BYTES, "big")


def body_length(header: bytes) -> int:
    """The length of the message that follows a header. Raises ValueError for one that can't be."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes; something else than penstock wrote to the worker's channel")
    return length


def decode(frame: bytes) -> dict[str, Any]:
    """The message that these bytes are. Raises ValueError for what is none."""
    message = json.loads(frame)
    if not isinstance(message, dict):
        raise ValueError("a message is a mapping")
    return message


def from_error(error: BaseException) -> dict[str, Any]:
    """What a worker sends of an error."""
    data = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, errors.WorkerLostError):
        return data | {"rank": error.rank, "host": error.host, "cause": error.cause}
    return data


def to_error(data: Mapping[str, Any]) -> Exception:
    """The error that a worker sent: of the same class where it is one of penstock's that takes a message."""
    message = str(data["message"])
    kind = getattr(errors, str(data["type"]), None)
    if kind is errors.WorkerLostError and "rank" in data:
        return kind(int(data["rank"]), str(data["host"]), str(data["cause"]))
    special = (errors.ConfigError, errors.WorkerLostError)
    if isinstance(kind, type) and issubclass(kind, errors.PenstockError) and not issubclass(kind, special):
        return kind(message)
    return errors.RunError(f"{data['type']}: {message}")
