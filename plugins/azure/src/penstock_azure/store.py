"""The Azure store: gets, puts and stats on the lean transport, one request each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.errors import (
    LengthMismatchError,
    NotAnObjectError,
    PreconditionFailedError,
    StoreConnectionError,
    StoreError,
)
from penstock.http import Answer, parse_date
from penstock.store import ObjectInfo, ObjectWriter, Page, Sink
from penstock_azure.checksums import Checksum, checksum_of
from penstock_azure.container import Container
from penstock_azure.copying import copy
from penstock_azure.deleting import delete
from penstock_azure.errors import error_of, located
from penstock_azure.listing import list_pages
from penstock_azure.naming import check_etag, check_type, encode_key, metadata_fields
from penstock_azure.plugin import CAPABILITIES, AzureOptions
from penstock_azure.signing import ms_fields, standard_fields
from penstock_azure.writer import AzureWriter, Upload

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["AzureStore", "describe"]

_META = "x-ms-meta-"
_BLOCK_BLOB = "x-ms-blob-type:BlockBlob\n"
_GET = standard_fields("GET")


def describe(key: str, answer: Answer, size: int) -> ObjectInfo:
    """What an answer says of an object, its metadata apart."""
    header = answer.header
    modified, etag = header("last-modified"), header("etag")
    return ObjectInfo(
        key,
        size,
        parse_date(modified) if modified else None,
        etag.strip('"') if etag else None,
        header("content-type"),
        None,
        header("x-ms-version-id"),
        header("x-ms-access-tier"),
    )


class AzureStore:
    """An :class:`~penstock.store.ObjectStore` over one container."""

    capabilities = CAPABILITIES

    def __init__(self, options: AzureOptions) -> None:
        self._container = container = Container.of(options)
        self._checksum: Checksum | None = checksum_of(options.checksum)
        self._delete_snapshots = options.delete_snapshots
        self._part_concurrency = options.part_concurrency
        self._root = container.root
        self._base = container.base
        self._query = container.query

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        if length == 0:
            # No range is empty on the wire: the answer without a body is that to HEAD.
            return self._head(key, "get", if_match)
        path = self._root + encode_key(key)
        uri = self._base + key
        standard, after, lines = _GET, "", ""
        if start or length is not None:
            end = "" if length is None else start + length - 1
            after = f"x-ms-range:bytes={start}-{end}\n"
            if self._checksum is not None:
                after += self._checksum.ask_for_range(length)
        if if_match is not None:
            etag = check_etag(if_match)
            standard, lines = standard_fields("GET", if_match=etag), f"If-Match:{etag}\r\n"
        answer = self._container.send("get", uri, "GET", path + self._query, path, standard, "", after, lines)
        status = answer.status
        if status != 200 and status != 206:
            return self._without_bytes(answer, key, uri)
        size = _whole_size(answer)
        try:
            count = answer.into(sink) if self._checksum is None else self._checksum.verified(answer, sink)
        except StoreError as error:
            raise located(error, "get", uri) from error.__cause__
        return describe(key, answer, count if size is None else size)

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
        return self._put("put", key, memoryview(data), create, if_match, metadata, content_type)

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
        """Parts are blocks under the object's own name, which nobody sees before the list of them is committed."""
        encode_key(key)
        metadata_fields(metadata)
        check_type(content_type)
        facts = dict(metadata) if metadata else None

        def put(data: memoryview) -> ObjectInfo:
            return self._put("commit", key, data, create, None, facts, content_type)

        upload = Upload(self._container, key, create, facts, content_type, self._checksum)
        return AzureWriter(upload, part_size, self._part_concurrency, put)

    def stat(self, key: str, /) -> ObjectInfo:
        return self._head(key, "stat", None)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        """Azure can't begin a listing at a key, so ``start_after`` costs the pages before it."""
        return list_pages(self._container, prefix, delimiter, start_after, page_size)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        return delete(self._container, keys, snapshots=self._delete_snapshots)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """Two requests, as the answer to a copy does not say how large the object is: a stat, and the copy of what
        it found. An empty ``metadata`` takes one more, and so does each look at a copy that is not done at once.
        """
        encode_key(target)
        metadata_fields(metadata)
        return copy(self._container, self._head(source, "copy", None), target, metadata)

    def close(self) -> None:
        """Close the connections."""
        self._container.close()

    def _put(
        self,
        operation: str,
        key: str,
        view: memoryview,
        create: bool,
        if_match: str | None,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
    ) -> ObjectInfo:
        path = self._root + encode_key(key)
        uri = self._base + key
        nbytes = view.nbytes
        if nbytes > CAPABILITIES.max_put:  # type: ignore[operator]
            raise LengthMismatchError(
                f"{nbytes} bytes in one put; Azure's limit is {CAPABILITIES.max_put}: write it in parts (open_writer)",
                uri=uri,
                operation=operation,
            )
        before, after, lines, md5, condition, unless = _BLOCK_BLOB, "", f"Content-Length:{nbytes}\r\n", "", "", ""
        kind = check_type(content_type)
        if metadata:
            after = ms_fields(metadata_fields(metadata))[1]
        if kind:
            lines += f"Content-Type:{kind}\r\n"
        if create:
            unless, lines = "*", f"{lines}If-None-Match:*\r\n"
        if if_match is not None:
            condition = check_etag(if_match)
            lines += f"If-Match:{condition}\r\n"
        if self._checksum is not None:
            md5, field = self._checksum.of(view)
            before += field
            lines += f"Content-MD5:{md5}\r\n" if md5 else ""
        standard = standard_fields(
            "PUT", length=nbytes, md5=md5, content_type=kind, if_match=condition, if_none_match=unless
        )
        replay = not (create or condition)
        answer = self._container.send(
            operation, uri, "PUT", path + self._query, path, standard, before, after, lines, view, replay
        )
        if answer.status != 201:
            raise error_of(answer, operation, uri, create=create)
        answer.close()
        modified, etag = answer.header("last-modified"), answer.header("etag")
        return ObjectInfo(
            key,
            nbytes,
            parse_date(modified) if modified else None,
            etag.strip('"') if etag else None,
            content_type,
            dict(metadata) if metadata else None,
            answer.header("x-ms-version-id"),
        )

    def _head(self, key: str, operation: str, if_match: str | None) -> ObjectInfo:
        condition = "" if if_match is None else check_etag(if_match)
        try:
            answer = self._container.exchange(operation, "HEAD", key, if_match=condition)
        except PreconditionFailedError:
            if condition:
                self._head(key, operation, None)
            raise
        headers = answer.headers
        if headers.get("x-ms-resource-type") == "directory":
            raise NotAnObjectError(
                "this is a directory of the account's hierarchical namespace", uri=self._base + key, operation=operation
            )
        info = describe(key, answer, answer.length or 0)
        metadata = {name[len(_META) :]: value for name, value in headers.items() if name.startswith(_META)}
        return ObjectInfo(
            info.key,
            info.size,
            info.modified_ns,
            info.etag,
            info.content_type,
            metadata or None,
            info.version,
            info.storage_class,
        )

    def _without_bytes(self, answer: Answer, key: str, uri: str) -> ObjectInfo:
        """A range that begins at or beyond the end succeeds; anything else is an error."""
        size = (answer.header("content-range") or "").removeprefix("bytes */")
        if answer.status == 416 and size.isdecimal():
            answer.read()  # to its end, which keeps the connection
            return ObjectInfo(key, int(size))
        error = error_of(answer, "get", uri)
        if error.status == 412:
            # The condition may hide that there is no object at all; only then a second request is made.
            self._head(key, "get", None)
        raise error


def _whole_size(answer: Answer) -> int | None:
    """The object's size, where the answer's head has it."""
    if answer.status == 200:
        return answer.length
    size = (answer.header("content-range") or "").rpartition("/")[2]
    if size.isdecimal():
        return int(size)
    answer.close()
    raise StoreConnectionError("a part came without saying of how large an object")
