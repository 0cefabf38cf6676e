"""Copies within the bucket, by the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from penstock.errors import PreconditionFailedError, StoreError
from penstock.keys import check_key
from penstock.store import ObjectInfo
from penstock_s3.errors import refused
from penstock_s3.facts import etag_of, metadata_headers, type_line
from penstock_s3.markup import Refusal, read_answer
from penstock_s3.signing import encode_key
from penstock_s3.sums import Sums
from penstock_s3.wire import Wire
from penstock_s3.writer import MAX_PARTS, SentPart, Upload

__all__ = ["Copier"]

#: The largest object that one request copies.
_MAX_COPY = 5 * 1024**3
_PART = 1024**3


class Copier:
    """Copies objects of one bucket.

    The source is looked at first: S3's answer to a copy tells neither size nor type, which a copy with new metadata
    would lose, and an object above 5 GiB is copied in parts. Should the source change meanwhile the copy fails.
    """

    def __init__(self, wire: Wire, stat: Callable[[str], ObjectInfo], part_concurrency: int) -> None:
        self._wire = wire
        self._stat = stat
        self._part_concurrency = part_concurrency

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """Copy one object; see :class:`~penstock.store.ObjectStore`."""
        check_key(target)
        extra = metadata_headers(metadata)
        try:
            found = self._stat(source)
        except StoreError as error:
            error.operation = "copy"
            raise
        origin = [(b"x-amz-copy-source", self._name(source))]
        if found.etag:
            origin.append((b"x-amz-copy-source-if-match", b'"%b"' % found.etag.encode()))
        if found.size > _MAX_COPY:
            kept = extra if metadata is not None else metadata_headers(found.metadata)
            return self._in_parts(found, target, origin, kept)
        line = b""
        if metadata is not None:
            origin += [(b"x-amz-metadata-directive", b"REPLACE"), *extra]
            line = type_line(found.content_type)
        answer = self._wire.send(b"PUT", target, "copy", headers=origin, unsigned=line, length=0)
        uri = self._wire.base + (source if answer.status in (404, 412) else target)
        try:
            self._wire.expect(answer, target, "copy", 200)
            texts = read_answer(self._wire.read(answer, target, "copy"))
            if isinstance(texts, Refusal):
                raise refused(texts, answer, uri=uri, operation="copy")
        except StoreError as error:
            raise self._told(error, uri) from error.__cause__
        return ObjectInfo(
            target, found.size, etag=etag_of(texts.get("ETag")), version=answer.header("x-amz-version-id")
        )

    def _in_parts(
        self,
        found: ObjectInfo,
        target: str,
        origin: Sequence[tuple[bytes, bytes]],
        metadata: Sequence[tuple[bytes, bytes]],
    ) -> ObjectInfo:
        size = found.size
        part = max(_PART, -(-size // MAX_PARTS))
        upload = Upload(self._wire, Sums(None), target, metadata, type_line(found.content_type), operation="copy")

        def send(number: int) -> SentPart:
            begin = (number - 1) * part
            end = min(begin + part, size)
            span = (b"x-amz-copy-source-range", b"bytes=%d-%d" % (begin, end - 1))
            return upload.copy_part(number, (*origin, span), end - begin)

        try:
            upload.begin()
            with ThreadPoolExecutor(self._part_concurrency, "penstock-copy") as pool:
                parts = list(pool.map(send, range(1, -(-size // part) + 1)))
            return upload.finish(parts)
        except BaseException:
            upload.abort()
            raise

    def _name(self, key: str) -> bytes:
        bucket = self._wire.bucket
        middle = "/object/" if bucket.startswith("arn:") else "/"
        return f"{bucket}{middle}".encode() + encode_key(key)

    def _told(self, error: StoreError, uri: str) -> StoreError:
        error.uri = uri
        error.operation = "copy"
        if isinstance(error, PreconditionFailedError):
            error.retryable = True
        return error
