"""Deleting: one request for one key, and batches of up to 100."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from penstock.errors import InvalidKeyError, ObjectNotFoundError, StoreConnectionError, StoreError
from penstock_gcs.errors import reason_error
from penstock_gcs.plugin import CAPABILITIES
from penstock_gcs.wire import Wire, key_path

__all__ = ["delete_keys"]

_MAX_ANSWER = 16 * 1024 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[^\n]*\n")
_ID = re.compile(rb"content-id:[^\n]*response-([0-9]+)>?\s*\n", re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary="?([^";,]+)')


def delete_keys(wire: Wire, keys: Sequence[str]) -> list[StoreError]:
    """One error for each key that failed. A failure of a whole request raises."""
    most = CAPABILITIES.delete_batch
    failed: list[StoreError] = []
    for begin in range(0, len(keys), most):
        # A batch that names a key twice could meet itself.
        batch = list(dict.fromkeys(keys[begin : begin + most]))
        failed += _delete_one(wire, batch[0]) if len(batch) == 1 else _delete_batch(wire, batch)
    return failed


def _delete_one(wire: Wire, key: str) -> list[StoreError]:
    try:
        target = b"/storage/v1%b/%b" % (wire.objects, key_path(key))
    except InvalidKeyError:
        return []
    try:
        wire.call(b"DELETE", target, wire.base + key, "delete", good=(204, 200)).close()
    except ObjectNotFoundError as error:
        _require_bucket(error)
    return []


def _delete_batch(wire: Wire, keys: Sequence[str]) -> list[StoreError]:
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    sent: list[str] = []
    for key in keys:
        try:
            path = key_path(key)
        except InvalidKeyError:
            continue
        number = len(sent)
        sent.append(key)
        lines.append(
            b"--%b\r\nContent-Type: application/http\r\nContent-ID: <%d>\r\n\r\n"
            b"DELETE /storage/v1%b/%b HTTP/1.1\r\n\r\n\r\n" % (boundary.encode(), number, wire.objects, path)
        )
    lines.append(f"--{boundary}--\r\n".encode())
    answer = wire.call(
        b"POST",
        b"/batch/storage/v1",
        wire.base,
        "delete",
        body=(b"".join(lines),),
        headers=f"Content-Type: multipart/mixed; boundary={boundary}\r\n".encode(),
    )
    match = _BOUNDARY.search(answer.header("content-type") or "")
    try:
        parts = answer.read(_MAX_ANSWER).split(b"--" + match[1].encode()) if match else []
    except StoreError as error:
        wire.located(error, wire.base, "delete")
        raise
    return _outcomes(wire, sent, parts)


def _outcomes(wire: Wire, keys: Sequence[str], parts: Sequence[bytes]) -> list[StoreError]:
    failed: list[StoreError] = []
    answered: set[int] = set()
    for part in parts:
        status, name = _STATUS.search(part), _ID.search(part)
        # An emulator names no parts and answers in order.
        number = int(name[1]) if name else len(answered)
        if status is None or number >= len(keys):
            continue
        code = int(status[1])
        answered.add(number)
        if code >= 300:
            _, _, body = part[status.end() :].replace(b"\r\n", b"\n").partition(b"\n\n")
            error = reason_error(code, body, wire.base + keys[number], "delete")
            if isinstance(error, ObjectNotFoundError):
                _require_bucket(error)
            else:
                failed.append(error)
    if len(answered) != len(keys):
        raise StoreConnectionError(
            f"the service's answer tells what became of {len(answered)} of {len(keys)} keys",
            uri=wire.base,
            operation="delete",
        )
    return failed


def _require_bucket(error: ObjectNotFoundError) -> None:
    """An absent object is as it should be; an absent bucket is not."""
    if "bucket does not exist" in error.message:
        raise error
