"""Deleting objects: one by a request of its own, many by batches, each with its own outcome."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence

from penstock.errors import StoreConnectionError, StoreError
from penstock_azure.container import Container
from penstock_azure.errors import error_of, error_of_part
from penstock_azure.naming import encode_key
from penstock_azure.plugin import CAPABILITIES
from penstock_azure.signing import standard_fields

__all__ = ["delete"]

_MAX_ANSWER = 8 * 1024 * 1024
_DELETE = standard_fields("DELETE")
_SNAPSHOTS = "x-ms-delete-snapshots:include\n"
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9][0-9])")


def delete(container: Container, keys: Sequence[str], *, snapshots: bool) -> Sequence[StoreError]:
    """Delete these keys; see :meth:`penstock.store.ObjectStore.delete`. Every key is checked before any is sent."""
    paths = [(key, container.root + encode_key(key)) for key in keys]
    if len(paths) == 1:
        return _delete_one(container, keys[0], snapshots)
    size = CAPABILITIES.delete_batch
    failed: list[StoreError] = []
    for begin in range(0, len(paths), size):
        failed += _delete_batch(container, paths[begin : begin + size], snapshots)
    return failed


def _delete_one(container: Container, key: str, snapshots: bool) -> Sequence[StoreError]:
    ms = {"x-ms-delete-snapshots": "include"} if snapshots else None
    answer = container.exchange("delete", "DELETE", key, ms=ms, expect=range(200, 600))
    if answer.status in (200, 202):
        answer.close()
        return ()
    error = error_of(answer, "delete", container.uri(key))
    if error.code in ("BlobNotFound", "ResourceNotFound"):
        return ()
    if error.retryable or error.status in (401, 403) or error.code == "ContainerNotFound":
        raise error
    return (error,)


def _delete_batch(container: Container, batch: Sequence[tuple[str, str]], snapshots: bool) -> Iterator[StoreError]:
    boundary = f"batch_{secrets.token_hex(8)}"
    body = _body(container, batch, boundary, snapshots)
    answer = container.exchange(
        "delete",
        "POST",
        None,
        query=(("comp", "batch"), ("restype", "container")),
        content_type=f"multipart/mixed; boundary={boundary}",
        body=body,
        expect=(202,),
    )
    match = _BOUNDARY.search(answer.header("content-type") or "")
    text = answer.read(_MAX_ANSWER).decode("utf-8", "replace")
    if match is None:
        raise StoreConnectionError("the answer to a batch has no parts", uri=container.base, operation="delete")
    outcomes = dict(_outcomes(container, text, match[1]))
    for number, (key, _) in enumerate(batch):
        status, headers, story = outcomes.get(number, (0, {}, ""))
        code = headers.get("x-ms-error-code")
        if 200 <= status < 300 or (status == 404 and code in (None, "BlobNotFound", "ResourceNotFound")):
            continue
        if not status:
            headers, story = {}, "<Message>the answer to the batch says nothing of this key</Message>"
        yield error_of_part(status, headers, story, "delete", container.uri(key))


def _body(container: Container, batch: Sequence[tuple[str, str]], boundary: str, snapshots: bool) -> bytes:
    after = _SNAPSHOTS if snapshots else ""
    # Unlike the head of a request, these lines need the space behind their colons.
    lines = after.replace(":", ": ").replace("\n", "\r\n")
    sign = container.signer.sign
    parts = []
    for number, (_, path) in enumerate(batch):
        auth = sign(_DELETE, "", after, path, "")
        parts.append(
            f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {number}\r\n\r\n"
            f"DELETE {path}{container.query} HTTP/1.1\r\n{lines}{auth}Content-Length: 0\r\n\r\n"
        )
    parts.append(f"--{boundary}--\r\n")
    return "".join(parts).encode()


def _outcomes(
    container: Container, text: str, boundary: str
) -> Iterator[tuple[int, tuple[int, Mapping[str, str], str]]]:
    """The answers within the answer, by the number of their request: status, headers, body."""
    for part in text.split(f"--{boundary}")[1:]:
        if part.startswith("--"):
            return
        outer, _, answer = part.lstrip("\r\n").partition("\r\n\r\n")
        head, _, body = answer.partition("\r\n\r\n")
        status_line, _, lines = head.partition("\r\n")
        match = _STATUS.match(status_line)
        if match is None:
            raise StoreConnectionError(
                "a part of the answer to a batch is no answer", uri=container.base, operation="delete"
            )
        status, headers = int(match[1]), _headers(lines)
        number = _headers(outer).get("content-id")
        if number is None or not number.isdecimal():
            # The service has refused the batch as a whole.
            raise error_of_part(status, headers, body, "delete", container.base)
        yield int(number), (status, headers, body)


def _headers(lines: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in lines.split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
