"""Uploads in parts, and the writer on them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from penstock.errors import StoreError
from penstock.http import Answer
from penstock.parts import Parts
from penstock.store import ObjectInfo
from penstock_s3.errors import Condition, failure, refused
from penstock_s3.facts import checksum_text, conditions, etag_of
from penstock_s3.markup import Refusal, read_answer, write_completion
from penstock_s3.signing import encode_query
from penstock_s3.sums import Sums
from penstock_s3.wire import Wire

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["MAX_PARTS", "S3Writer", "SentPart", "Upload"]

#: The most parts that S3 puts together.
MAX_PARTS = 10_000


@attrs.frozen(slots=True)
class SentPart:
    """A part that the service has. ``checksum`` is None where none was asked for."""

    etag: str
    nbytes: int
    checksum: str | None = None


class Upload:
    """A multipart upload: begun by its first part, at the latest by ``begin``. Threads share it."""

    def __init__(
        self,
        wire: Wire,
        sums: Sums,
        key: str,
        headers: Sequence[tuple[bytes, bytes]],
        line: bytes,
        *,
        create: bool = False,
        operation: str = "",
    ) -> None:
        """``operation``: what its errors name, where that is not ``write``, ``commit`` or ``abort``."""
        self.wire = wire
        self.key = key
        self._sums = sums
        self._headers = headers
        self._line = line
        self._create = create
        self._operation = operation
        # Reentrant, as the collector may abort a dropped writer in any thread and at any line.
        self._lock = threading.RLock()
        self._id: str | None = None

    def begin(self) -> str:
        """The service's name of the upload, asked for at the first call."""
        with self._lock:
            if self._id is None:
                operation = self._operation or "write"
                answer = self._send(
                    b"POST", operation, b"uploads=", (*self._headers, *self._sums.begin()), self._line, replay=False
                )
                upload_id = self._texts(answer, operation).get("UploadId")
                if not upload_id:
                    raise self._strange("the service began an upload without a name", operation)
                self._id = upload_id
            return self._id

    def part(self, number: int, data: memoryview) -> SentPart:
        """Send a part."""
        query = encode_query([("partNumber", str(number)), ("uploadId", self.begin())])
        headers, trailer = self._sums.announce(data, ())
        value = (trailer or headers[0])[1].decode() if self._sums.wanted else None
        operation = self._operation or "write"
        answer = self.wire.send(
            b"PUT",
            self.key,
            operation,
            query=query,
            headers=headers,
            body=data,
            length=data.nbytes,
            trailer=trailer,
        )
        self.wire.expect(answer, self.key, operation, 200)
        answer.close()
        etag = etag_of(answer.header("etag"))
        if not etag:
            raise self._strange("the service took a part without an etag", operation)
        return SentPart(etag, data.nbytes, value)

    def copy_part(self, number: int, headers: Sequence[tuple[bytes, bytes]], nbytes: int) -> SentPart:
        """Have the service take a part from another object; ``headers`` say which."""
        operation = self._operation or "copy"
        query = encode_query([("partNumber", str(number)), ("uploadId", self.begin())])
        answer = self._send(b"PUT", operation, query, headers, b"")
        etag = etag_of(self._texts(answer, operation).get("ETag"))
        if not etag:
            raise self._strange("the service copied a part without an etag", operation)
        return SentPart(etag, nbytes)

    def finish(self, parts: Sequence[SentPart]) -> ObjectInfo:
        """Put the parts together."""
        operation = self._operation or "commit"
        headers, element = self._sums.finish([(part.checksum, part.nbytes) for part in parts])
        body = write_completion([(part.etag, part.checksum) for part in parts], element)
        answer = self._send(
            b"POST",
            operation,
            encode_query([("uploadId", self.begin())]),
            headers,
            conditions(create=self._create) + b"content-type: application/xml\r\n",
            body,
            replay=False,
        )
        texts = self._texts(answer, operation)
        found = ((name[8:].lower(), value) for name, value in texts.items() if _is_checksum(name))
        checksum = next((checksum_text(algorithm, value) for algorithm, value in found), None)
        return ObjectInfo(
            self.key,
            sum(part.nbytes for part in parts),
            etag=etag_of(texts.get("ETag")),
            version=answer.header("x-amz-version-id"),
            checksum=checksum,
        )

    def abort(self) -> None:
        """Remove the parts. An upload that is gone, or was never begun, is no failure."""
        with self._lock:
            upload_id, self._id = self._id, None
        if upload_id is None:
            return
        operation = self._operation or "abort"
        query = encode_query([("uploadId", upload_id)])
        answer = self.wire.send(b"DELETE", self.key, operation, query=query)
        if answer.status in (200, 204):
            answer.close()
            return
        error = failure(answer, uri=self.wire.base + self.key, operation=operation)
        if error.status != 404:
            raise error

    def _send(
        self,
        method: bytes,
        operation: str,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        lines: bytes,
        body: Buffer | None = None,
        *,
        replay: bool = True,
    ) -> Answer:
        length = 0 if body is None else memoryview(body).nbytes
        return self.wire.send(
            method,
            self.key,
            operation,
            query=query,
            headers=headers,
            unsigned=lines,
            body=body,
            length=length,
            replay=replay,
        )

    def _texts(self, answer: Answer, operation: str) -> dict[str, str]:
        """The answer's elements. S3 may begin to answer 200 and find an error later."""
        condition: Condition | None = "create" if self._create else None
        self.wire.expect(answer, self.key, operation, 200, condition=condition)
        body = self.wire.read(answer, self.key, operation)
        try:
            found = read_answer(body)
        except StoreError as error:
            self.wire.told(error, self.key, operation)
            raise
        if isinstance(found, Refusal):
            uri = self.wire.base + self.key
            raise refused(found, answer, uri=uri, operation=operation, condition=condition)
        return found

    def _strange(self, message: str, operation: str) -> StoreError:
        return StoreError(message, uri=self.wire.base + self.key, operation=operation)


class S3Writer:
    """An :class:`~penstock.store.ObjectWriter`: a single put, unless a part was filled; then an upload in parts.

    At most ``part_size × (part_concurrency + 1)`` bytes are held. An abort that the service refuses raises; one
    that does not reach it leaves the upload to :meth:`penstock.service.StoreService.list_uploads`.
    """

    def __init__(
        self, upload: Upload, put: Callable[[Buffer], ObjectInfo], part_size: int, part_concurrency: int
    ) -> None:
        self._upload = upload
        self._put = put
        self._part_size = part_size
        self._parts: Parts[SentPart] = Parts(part_size, upload.part, in_flight=part_concurrency)
        # Neither holds the writer, so dropping it calls this.
        self._drop = weakref.finalize(self, _abandon, self._parts, upload)
        self._drop.atexit = False

    def write(self, data: Buffer, /) -> None:
        if self._parts.nbytes + memoryview(data).nbytes > MAX_PARTS * self._part_size:
            raise StoreError(
                f"an upload has at most {MAX_PARTS:,} parts, which hold {MAX_PARTS * self._part_size:,} bytes of "
                f"this part_size; write with a part_size above {self._part_size:,}",
                uri=self._upload.wire.base + self._upload.key,
                operation="write",
            )
        self._parts.write(data)

    def commit(self) -> ObjectInfo:
        parts = self._parts
        info = self._upload.finish(parts.finish()) if parts.started else self._put(parts.rest())
        self._drop.detach()
        self._parts.cancel()
        return info

    def abort(self) -> None:
        """Leave no object and no parts."""
        if self._drop.detach() is not None:
            self._parts.cancel()
            try:
                self._upload.abort()
            except StoreError as error:
                if not error.retryable:
                    raise


def _abandon(parts: Parts[SentPart], upload: Upload) -> None:
    parts.cancel()
    # Nobody waits for this: what stays is listed as an unfinished upload.
    with suppress(StoreError):
        upload.abort()


def _is_checksum(name: str) -> bool:
    return name.startswith("Checksum") and name != "ChecksumType"
