"""The Cloud Storage store: media straight to and from the caller's memory, the rest in short JSON."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.errors import ChecksumMismatchError, StoreError
from penstock.http import Answer
from penstock.store import ObjectInfo, ObjectWriter, Page, Sink
from penstock_gcs.checksums import Checked, crc32c, flat, from_base64, shown, to_base64
from penstock_gcs.copying import copy_object
from penstock_gcs.deleting import delete_keys
from penstock_gcs.listing import list_pages
from penstock_gcs.plugin import CAPABILITIES, GCSOptions
from penstock_gcs.resources import FIELDS, info_of, read_json, refused_write, require_stored, resource_of
from penstock_gcs.wire import Wire, key_path, match_query
from penstock_gcs.writer import GCSWriter, cancel_abandoned

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["GCSStore"]

_CRC = re.compile(r"crc32c=([A-Za-z0-9+/]{6}==)")
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})\Z")
_NO_RANGE = re.compile(r"bytes \*/([0-9]{1,19})\Z")
_CREATE = b"&ifGenerationMatch=0"


class GCSStore:
    """An :class:`~penstock.store.ObjectStore` over one bucket.

    The etag is the object's generation, a number that the service raises with each new version of the bytes; it is
    the ``version`` too. Changing only the metadata leaves it as it is.
    """

    capabilities = CAPABILITIES

    def __init__(self, options: GCSOptions) -> None:
        self._wire = wire = Wire(options)
        self._verify = options.verify
        # Without Accept-Encoding the service would decompress objects that were stored with a gzip encoding.
        self._get_common = wire.common + b"Accept-Encoding: gzip\r\n"
        self._get = b"GET /download/storage/v1" + wire.objects + b"/"
        self._stat = b"/storage/v1" + wire.objects + b"/"
        self._fields = f"?fields={FIELDS}".encode()
        boundary = secrets.token_hex(16)
        self._put = b"POST /upload/storage/v1%b?uploadType=multipart&fields=%b" % (wire.objects, FIELDS.encode())
        self._put_common = wire.common + f"Content-Type: multipart/related; boundary={boundary}\r\n".encode()
        self._opening = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        self._middle = f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        self._closing = f"\r\n--{boundary}--\r\n".encode()

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        if length == 0:
            return self._describe(key, "get", if_match)
        wire = self._wire
        whole = length is None and not start
        path = key_path(key)
        try:
            authorization = wire.tokens.header()
            head = b"".join(
                (
                    self._get,
                    path,
                    b"?alt=media",
                    b"" if if_match is None else match_query(if_match),
                    self._get_common,
                    authorization,
                    b"\r\n" if whole else _range_line(start, length),
                )
            )
            answer = wire.client.send(head)
            if answer.status == 200 and (whole or _covers(answer, start, length)):
                return self._whole(key, answer, sink)
            if answer.status in (206, 200):
                return self._part(key, answer, sink, start, length)
            if answer.status == 416 and not whole:
                return self._beyond(key, answer, if_match)
        except StoreError as error:
            wire.located(error, wire.base + key, "get")
            raise
        raise wire.refusal(answer, authorization, wire.base + key, "get")

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
        view = flat(data)
        crc = crc32c(view) if self._verify else None
        condition = _CREATE if create else match_query(if_match)
        return self._send(key, view, crc, condition, resource_of(key, metadata, content_type), "put")

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
        """Parts are sent one after the other, which is how resumable uploads work; each is ``part_size`` rounded up to
        a multiple of 256 KiB. Nothing is asked of the service before the first part is full.
        """
        resource = resource_of(key, metadata, content_type)
        cancel_abandoned(self._wire)
        condition = _CREATE if create else b""

        def send_whole(view: memoryview, crc: int) -> ObjectInfo:
            return self._send(key, view, crc if self._verify else None, condition, resource, "commit")

        return GCSWriter(self._wire, key, part_size, resource, condition, send_whole, verify=self._verify)

    def stat(self, key: str, /) -> ObjectInfo:
        return self._describe(key, "stat", None)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        return list_pages(self._wire, prefix, delimiter, start_after, page_size)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        return delete_keys(self._wire, keys)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """One request for up to as much as the service copies in one, which within a location is any size; then one
        for each further piece. With ``metadata`` one more before it, for the facts that stay.
        """
        return copy_object(self._wire, source, target, metadata)

    def close(self) -> None:
        cancel_abandoned(self._wire)
        self._wire.close()

    def _describe(self, key: str, operation: str, if_match: str | None) -> ObjectInfo:
        wire = self._wire
        target = self._stat + key_path(key) + self._fields + match_query(if_match)
        answer = wire.call(b"GET", target, wire.base + key, operation)
        try:
            return info_of(read_json(answer), key)
        except StoreError as error:
            wire.located(error, wire.base + key, operation)
            raise

    def _whole(self, key: str, answer: Answer, sink: Sink) -> ObjectInfo:
        header = answer.header
        if header("content-encoding") is not None:
            _require_stored_encoding(answer)
        match = _CRC.search(header("x-goog-hash") or "")
        crc = from_base64(match[1]) if match else None
        if crc is None or not self._verify:
            size = answer.into(sink)
        else:
            checked = Checked(sink)
            size = answer.into(checked)
            if checked.crc != crc:
                message = f"the bytes that came have CRC-32C {checked.crc:08x}, the object's is {crc:08x}"
                raise ChecksumMismatchError(message, retryable=True)
        generation = header("x-goog-generation")
        return ObjectInfo(
            key,
            size,
            None,
            generation,
            header("content-type"),
            None,
            generation,
            header("x-goog-storage-class"),
            shown(crc),
        )

    def _part(self, key: str, answer: Answer, sink: Sink, start: int, length: int | None) -> ObjectInfo:
        match = _RANGE.match(answer.header("content-range") or "")
        first, last, size = (int(number) for number in match.groups()) if match else (-1, -1, -1)
        wanted = size - start if length is None else min(length, size - start)
        if answer.status != 206 or first != start or last - first + 1 != wanted or answer.length not in (None, wanted):
            answer.close()
            raise StoreError(
                f"asked for {length or 'all'} bytes from {start}, the service sends others", status=answer.status
            )
        _require_stored_encoding(answer)
        answer.into(sink)
        generation = answer.header("x-goog-generation")
        content_type, storage = answer.header("content-type"), answer.header("x-goog-storage-class")
        return ObjectInfo(key, size, None, generation, content_type, None, generation, storage)

    def _beyond(self, key: str, answer: Answer, if_match: str | None) -> ObjectInfo:
        match = _NO_RANGE.match(answer.header("content-range") or "")
        generation = answer.header("x-goog-generation")
        answer.close()
        if match is None:
            # An emulator that does not say the size; the service does.
            return self._describe(key, "get", if_match)
        return ObjectInfo(key, int(match[1]), None, generation, version=generation)

    def _send(
        self, key: str, view: memoryview, crc: int | None, condition: bytes, resource: str, operation: str
    ) -> ObjectInfo:
        """Store one object in one request. ``resource`` is its JSON without the brace at its end."""
        wire, uri = self._wire, self._wire.base + key
        checksum = "}" if crc is None else f',"crc32c":"{to_base64(crc)}"}}'
        before = f"{self._opening}{resource}{checksum}{self._middle}".encode()
        try:
            authorization = wire.tokens.header()
            head = b"".join(
                (
                    self._put,
                    condition,
                    self._put_common,
                    authorization,
                    b"Content-Length: %d\r\n\r\n" % (len(before) + view.nbytes + len(self._closing)),
                )
            )
            # With a condition a second sending could meet what the first one stored.
            answer = wire.client.send(head, (before, view, self._closing), replay=not condition)
            if answer.status == 200:
                found = read_json(answer)
                require_stored(found, view.nbytes, crc)
                return info_of(found, key)
        except StoreError as error:
            wire.located(error, uri, operation)
            raise
        raise refused_write(wire.refusal(answer, authorization, uri, operation), condition)


def _require_stored_encoding(answer: Answer) -> None:
    """Refuse an answer that somebody compressed on the way: its bytes are not the object's."""
    coding, stored = answer.header("content-encoding"), answer.header("x-goog-stored-content-encoding")
    if coding not in (None, "identity") and stored is not None and coding != stored:
        answer.close()
        raise StoreError(f"the answer is encoded as {coding}, the object as {stored}", status=answer.status)


def _covers(answer: Answer, start: int, length: int | None) -> bool:
    """Whether an answer with the whole object is what a range asked for."""
    return start == 0 and answer.length is not None and (length is None or answer.length <= length)


def _range_line(start: int, length: int | None) -> bytes:
    if length is None:
        return b"Range: bytes=%d-\r\n\r\n" % start
    return b"Range: bytes=%d-%d\r\n\r\n" % (start, start + length - 1)
