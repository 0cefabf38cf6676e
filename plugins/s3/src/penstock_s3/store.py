"""The S3 store: objects over the project's own transport, each call one signed request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from penstock.errors import PreconditionFailedError, StoreError, UsageError
from penstock.http import Answer
from penstock.keys import check_key
from penstock.store import ObjectInfo, ObjectWriter, Page, Sink
from penstock_s3.copying import Copier
from penstock_s3.deleting import Deleter
from penstock_s3.errors import Condition, refused
from penstock_s3.facts import checksum_of, conditions, describe, etag_of, metadata_headers, type_line
from penstock_s3.listing import list_pages
from penstock_s3.markup import read_refusal
from penstock_s3.plugin import CAPABILITIES, S3Options
from penstock_s3.reading import Checked, Enough, Window, range_line, size_of_range, size_of_refused
from penstock_s3.sums import Sums
from penstock_s3.wire import Wire
from penstock_s3.writer import S3Writer, Upload

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["S3Store"]

_ASK_CHECKSUM = ((b"x-amz-checksum-mode", b"ENABLED"),)


class S3Store:
    """An :class:`~penstock.store.ObjectStore` over one bucket.

    Requests per call: ``get``, ``put``, ``stat`` and each page of ``list_pages`` one; ``delete`` one per thousand
    keys (and one per key that XML can't write); ``copy`` two, for S3's answer to a copy does not tell the size, and
    above 5 GiB two and one per part; a writer one per part, one to begin and one to finish, or a single put.
    A request is repeated once in the bucket's own region when it turns out to be in another.
    """

    def __init__(self, options: S3Options, threads: int = 1) -> None:
        wire = self._wire = Wire(options)
        self._options = options
        self._sums = Sums.of(options)
        self._ask: Sequence[tuple[bytes, bytes]] = _ASK_CHECKSUM if options.verify_reads else ()
        ask_stat = options.verify_reads or options.checksum != "none"
        self._ask_stat: Sequence[tuple[bytes, bytes]] = _ASK_CHECKSUM if ask_stat else ()
        self.capabilities = attrs.evolve(CAPABILITIES, ordered=not wire.place.express)
        self.delete = Deleter(wire).delete
        self._copier = Copier(wire, self.stat, options.part_concurrency)
        self.copy = self._copier.copy

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        if length == 0:
            return self._head(key, "get", if_match)
        check_key(key)
        lines = b"" if if_match is None else conditions(if_match=if_match)
        ranged = start != 0 or length is not None
        if ranged:
            lines += range_line(start, length)
        answer = self._wire.send(b"GET", key, "get", headers=() if ranged else self._ask, unsigned=lines)
        if answer.status == 200 and not ranged and not self._ask and if_match is None:
            try:
                size = answer.into(sink)
            except StoreError as error:
                self._wire.told(error, key, "get")
                raise
            return describe(key, size, answer)
        return self._deliver(answer, key, sink, start, length, if_match)

    def put(
        self,
        key: str,
        data: Buffer,
        /,
        *,
        create: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        headers = metadata_headers(metadata) if metadata else ()
        lines = type_line(content_type) if content_type is not None else b""
        if create or if_match is not None:
            lines += conditions(create=create, if_match=if_match)
            condition: Condition = "create" if create else "replace"
            return self._put(check_key(key), data, headers, lines, condition, "put")
        return self._put(check_key(key), data, headers, lines, None, "put")

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectWriter:
        """Parts are sent by threads of the writer, ``part_concurrency`` at once; an upload has at most 10,000."""
        check_key(key)
        claims = self.capabilities
        if not claims.min_part <= part_size <= (claims.max_part or part_size):
            raise UsageError(f"s3: a part has from {claims.min_part} to {claims.max_part} bytes, not {part_size}")
        headers, line = metadata_headers(metadata), type_line(content_type)
        condition: Condition | None = "create" if create else None

        def put(data: Buffer) -> ObjectInfo:
            return self._put(key, data, headers, line + conditions(create=create), condition, "commit")

        upload = Upload(self._wire, self._sums, key, headers, line, create=create)
        return S3Writer(upload, put, part_size, self._options.part_concurrency)

    def stat(self, key: str, /) -> ObjectInfo:
        return self._head(key, "stat", None)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        """Pages hold at most 1000 entries, whatever ``page_size`` says. Any delimiter will do."""
        return list_pages(self._wire, prefix, delimiter, start_after, page_size)

    def close(self) -> None:
        """Close the connections that are idle; the others close when their call ends."""
        self._wire.close()

    def _put(
        self,
        key: str,
        data: Buffer,
        headers: Sequence[tuple[bytes, bytes]],
        lines: bytes,
        condition: Condition | None,
        operation: str,
    ) -> ObjectInfo:
        view = memoryview(data)
        trailer = None
        if self._sums.wanted:
            headers, trailer = self._sums.announce(view, headers)
        answer = self._wire.send(
            b"PUT",
            key,
            operation,
            headers=headers,
            unsigned=lines,
            body=view,
            length=view.nbytes,
            trailer=trailer,
            replay=condition is None,
        )
        # S3 says 200; servers that speak its protocol also say 201 or 204.
        if not 200 <= answer.status < 300:
            self._wire.expect(answer, key, operation, condition=condition)
        answer.close()
        etag = answer.header("etag")
        return ObjectInfo(
            key,
            view.nbytes,
            etag=None if etag is None else etag.strip('"'),
            version=answer.header("x-amz-version-id"),
            checksum=checksum_of(answer.headers) if self._sums.wanted else None,
        )

    def _head(self, key: str, operation: str, if_match: str | None) -> ObjectInfo:
        check_key(key)
        lines = conditions(if_match=if_match) if if_match is not None else b""
        answer = self._wire.send(b"HEAD", key, operation, headers=self._ask_stat, unsigned=lines)
        if answer.status != 200:
            self._wire.expect(answer, key, operation)
        try:
            _require(answer, if_match)
        except StoreError as error:
            self._wire.told(error, key, operation)
            raise
        if answer.length is None:
            message = "the service does not say how long the object is"
            raise StoreError(message, uri=self._wire.base + key, operation=operation)
        return describe(key, answer.length, answer)

    def _deliver(
        self, answer: Answer, key: str, sink: Sink, start: int, length: int | None, if_match: str | None
    ) -> ObjectInfo:
        """Take an answer that is not simply the whole object."""
        wire = self._wire
        ranged = start != 0 or length is not None
        try:
            if answer.status in (200, 206):
                _require(answer, if_match)
            if answer.status == 206 and ranged:
                size = size_of_range(answer, start, length)
                answer.into(sink)
                return describe(key, size, answer)
            if answer.status == 416 and ranged:
                return self._beyond(answer, key, start, if_match)
            wire.expect(answer, key, "get", 200)
            if ranged:
                return self._cut(answer, key, sink, start, length)
            return self._checked(answer, key, sink)
        except StoreError as error:
            answer.close()
            wire.told(error, key, "get")
            raise

    def _beyond(self, answer: Answer, key: str, start: int, if_match: str | None) -> ObjectInfo:
        """The range lies behind the end: nothing to deliver. Only a service that hides the size costs a HEAD."""
        refusal = read_refusal(answer.read())
        size = size_of_refused(answer)
        if size is None and refusal is not None:
            size = refusal.size
        if size is None:
            info = self._head(key, "get", if_match)
            size = info.size
        if size > start:
            raise refused(refusal, answer, uri=self._wire.base + key, operation="get")
        return ObjectInfo(key, size, etag=etag_of(answer.header("etag")))

    def _cut(self, answer: Answer, key: str, sink: Sink, start: int, length: int | None) -> ObjectInfo:
        """The service answered a range with the whole object."""
        if answer.length is None:
            raise StoreError("the service ignores ranges, and does not say how long the object is")
        size = answer.length
        count = max(0, size - start if length is None else min(length, size - start))
        if count:
            with suppress(Enough):
                answer.into(Window(sink, start, count))
        answer.close()
        return describe(key, size, answer)

    def _checked(self, answer: Answer, key: str, sink: Sink) -> ObjectInfo:
        """The whole object, compared with its checksum where the service has one of the whole."""
        stored = checksum_of(answer.headers)
        if stored is None or not Checked.can(stored):
            return describe(key, answer.into(sink), answer)
        checked = Checked(sink, stored)
        size = answer.into(checked)
        checked.verify()
        return describe(key, size, answer)


def _require(answer: Answer, if_match: str | None) -> None:
    """Some services ignore the condition: then it is held here, before any byte is delivered."""
    if if_match is not None and etag_of(answer.header("etag")) not in (None, if_match):
        raise PreconditionFailedError("the object is another one than the condition names", status=answer.status)
