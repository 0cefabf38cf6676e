"""The protocol of resumable uploads: one session, whose bytes the service takes in order and keeps as far as they
came. The name of a session is as good as a password, so no error shows it.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from penstock.errors import StoreConnectionError, StoreError
from penstock.http import Answer
from penstock_gcs.resources import FIELDS, read_json, refused_write
from penstock_gcs.wire import Wire

__all__ = ["GRANULE", "UploadSession", "cancel"]

#: Every part but the last is a multiple of this many bytes.
GRANULE = 256 * 1024

_RANGE = re.compile(r"bytes=0-([0-9]{1,19})\Z")
#: The service's way to say that a session was cancelled.
_CANCELLED = 499


class UploadSession:
    """One upload. ``at`` is how many bytes the service has for certain; they need not be sent again."""

    def __init__(self, wire: Wire, uri: str, condition: bytes) -> None:
        self._wire = wire
        self._uri = uri
        self._condition = condition
        self._target = b""
        # Whether the last answer was lost, so that the service may have more than is known here.
        self._unsure = False
        # The object, once it is whole.
        self._done: dict[str, Any] | None = None
        self.at = 0

    @property
    def target(self) -> bytes:
        """Path and query of the session; empty before it was begun."""
        return self._target

    def begin(self, resource: bytes, operation: str) -> None:
        """Ask for a session. Raises AlreadyExistsError when the object must be new and is not."""
        wire = self._wire
        where = b"/upload/storage/v1%b?uploadType=resumable&fields=%b%b" % (
            wire.objects,
            FIELDS.encode(),
            self._condition,
        )
        kind = b"Content-Type: application/json; charset=UTF-8\r\n"
        try:
            answer = wire.call(b"POST", where, self._uri, operation, body=(resource,), headers=kind)
        except StoreError as error:
            raise refused_write(error, self._condition) from error.__cause__
        url = urlsplit(answer.header("location") or "")
        answer.close()
        target = f"{url.path}?{url.query}"
        if not (url.path.startswith("/") and target.isascii() and target.isprintable() and " " not in target):
            raise StoreConnectionError("the service named no upload session", uri=self._uri, operation=operation)
        # Only path and query are taken: requests go to this endpoint whatever host the service thinks it has.
        self._target = target.encode()

    def send(self, data: memoryview, total: int | None, checksum: bytes, operation: str) -> dict[str, Any] | None:
        """Send ``data``, whose first byte is number ``at``: as the object's end when ``total`` is given, else as many
        granules of it as there are.

        Returns the object's resource once it is whole. However it ends, ``at`` counts what the service has, so after
        a retryable error the rest can be sent again.
        """
        end = self.at + data.nbytes
        if self._unsure and self._done is None:
            self._done = self._ask(total, checksum, operation)
        while self._done is None:
            left = end - self.at
            if not 0 <= left <= data.nbytes:
                raise self._broken(f"the service has {self.at} bytes, which is not what was sent", operation)
            if total is None:
                left -= left % GRANULE
                if not left:
                    return None
            before, begin = self.at, data.nbytes - (end - self.at)
            self._done = self._put(data[begin : begin + left], total, checksum, operation)
            if self._done is None and self.at == before:
                message = "the service took nothing of a part" if left else "the service did not finish the upload"
                raise StoreConnectionError(message, uri=self._uri, operation=operation)
        if int(self._done.get("size", end)) != end:
            raise self._broken("the service ended the upload early", operation)
        self.at = end
        return self._done

    def _put(self, data: memoryview, total: int | None, checksum: bytes, operation: str) -> dict[str, Any] | None:
        size = b"*" if total is None else b"%d" % total
        if data.nbytes:
            said = b"Content-Range: bytes %d-%d/%b\r\n" % (self.at, self.at + data.nbytes - 1, size)
        else:
            said = b"Content-Range: bytes */%b\r\n" % size
        return self._exchange(said + (checksum if total is not None else b""), data, operation)

    def _ask(self, total: int | None, checksum: bytes, operation: str) -> dict[str, Any] | None:
        """What the service has: ``at`` is set, or the object returned. A session without a Range has nothing."""
        size = b"*" if total is None else b"%d" % total
        return self._exchange(b"Content-Range: bytes */%b\r\n" % size + checksum, memoryview(b""), operation)

    def _exchange(self, lines: bytes, data: memoryview, operation: str) -> dict[str, Any] | None:
        wire = self._wire
        try:
            authorization = wire.tokens.header()
            length = b"Content-Length: %d\r\n" % data.nbytes
            head = b"".join((b"PUT ", self._target, wire.common, authorization, length, lines, b"\r\n"))
            # From here on the service may have more than was heard of it.
            self._unsure = True
            answer = wire.client.send(head, data)
            if answer.status in (200, 201):
                found = read_json(answer)
                self._unsure = False
                return found
            if answer.status == 308:
                self._hear(answer)
                return None
        except StoreError as error:
            wire.located(error, self._uri, operation)
            raise
        raise self._refused(answer, authorization, operation)

    def _hear(self, answer: Answer) -> None:
        said = answer.header("range")
        match = _RANGE.match(said or "")
        answer.close()
        if said is not None and match is None:
            raise StoreConnectionError("the service's answer to a part has no usable Range")
        self.at = int(match[1]) + 1 if match else 0
        self._unsure = False

    def _refused(self, answer: Answer, authorization: bytes, operation: str) -> StoreError:
        error = self._wire.refusal(answer, authorization, self._uri, operation, session=True)
        if error.status in (404, 410, _CANCELLED):
            return self._broken("the service has no such upload any more; write the object anew", operation, error)
        return refused_write(error, self._condition)

    def _broken(self, message: str, operation: str, error: StoreError | None = None) -> StoreError:
        status = error.status if error else None
        return StoreError(message, uri=self._uri, operation=operation, status=status, retryable=False)


def cancel(wire: Wire, target: bytes) -> None:
    """Tell the service to forget a session. Should that fail it does so by itself, after a week."""
    try:
        authorization = wire.tokens.header()
        head = b"".join((b"DELETE ", target, wire.common, authorization, b"Content-Length: 0\r\n\r\n"))
        wire.client.send(head).close()
    except StoreError:
        return
