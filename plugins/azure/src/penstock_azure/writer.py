"""Streaming into blocks, which become an object when the list of them is committed.

Blocks are put under the object's own name and seen by nobody before that. The id of a block is made of the writer's
own nonce and the part's number, all of one length: a part that is sent again replaces itself, and two writers of one
key never mix their parts. Azure keeps only one set of unfinished blocks for a key, though: a commit or a put of the
key by somebody else drops those of a writer that is open, whose commit then fails and changes nothing.

An aborted or killed writer leaves its blocks to the service, which drops them with the next commit or put of the key,
and else a week after the last one: removing them at once would need an empty object at the key for a moment.
:meth:`penstock_azure.service.AzureService.abort_upload` does that on demand.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import attrs

from penstock.errors import LengthMismatchError, StoreError, UsageError
from penstock.http import parse_date
from penstock.parts import Parts
from penstock.store import ObjectInfo
from penstock_azure.checksums import Checksum
from penstock_azure.container import Container
from penstock_azure.naming import check_type, metadata_fields
from penstock_azure.plugin import CAPABILITIES, MAX_BLOCKS

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["AzureWriter", "Upload"]


@attrs.frozen(slots=True)
class Upload:
    """The requests of one object that is sent in blocks."""

    container: Container
    key: str
    create: bool
    metadata: Mapping[str, str] | None
    content_type: str | None
    checksum: Checksum | None
    nonce: str = attrs.field(factory=lambda: secrets.token_hex(7))

    def send(self, number: int, data: memoryview) -> str:
        """Put Block: answers the block's id."""
        # 14 + 1 + 6 characters: base64 without padding, and without a character that a query would need to encode.
        block = b64encode(f"{self.nonce}-{number:06}".encode()).decode()
        md5, ms = "", None
        if self.checksum is not None:
            md5, field = self.checksum.of(data)
            ms = dict([field.rstrip("\n").split(":")]) if field else None
        answer = self.container.exchange(
            "write",
            "PUT",
            self.key,
            query=(("blockid", block), ("comp", "block")),
            ms=ms,
            md5=md5,
            body=data,
            expect=(201,),
        )
        answer.close()
        return block

    def commit(self, blocks: list[str], size: int) -> ObjectInfo:
        """Put Block List. Sent again it does the same again, as blocks that were committed count too."""
        ms = metadata_fields(self.metadata)
        if kind := check_type(self.content_type):
            ms["x-ms-blob-content-type"] = kind
        listed = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        answer = self.container.exchange(
            "commit",
            "PUT",
            self.key,
            query=(("comp", "blocklist"),),
            ms=ms,
            content_type="application/xml",
            if_none_match="*" if self.create else "",
            body=body,
            replay=not self.create,
            expect=(201,),
            create=self.create,
        )
        answer.close()
        modified, etag = answer.header("last-modified"), answer.header("etag")
        return ObjectInfo(
            self.key,
            size,
            parse_date(modified) if modified else None,
            etag.strip('"') if etag else None,
            self.content_type,
            self.metadata,
            answer.header("x-ms-version-id"),
        )


class AzureWriter:
    """An :class:`~penstock.store.ObjectWriter`. What never fills a part is one put."""

    def __init__(self, upload: Upload, part_size: int, in_flight: int, put: Callable[[memoryview], ObjectInfo]) -> None:
        """``put`` stores the whole object in one request."""
        if not CAPABILITIES.min_part <= part_size <= (CAPABILITIES.max_part or part_size):
            raise UsageError(f"parts of {part_size} bytes; on Azure they have 1 to {CAPABILITIES.max_part} bytes")
        self._upload = upload
        self._put = put
        self._most = part_size * MAX_BLOCKS
        # The parts hold no reference to the writer: dropping it frees the memory at once.
        self._parts: Parts[str] = Parts(part_size, partial(Upload.send, upload), in_flight=in_flight)
        self._done = False

    def write(self, data: Buffer, /) -> None:
        self._require_open("write")
        if self._parts.nbytes + memoryview(data).nbytes > self._most:
            raise LengthMismatchError(
                f"more than {MAX_BLOCKS} parts, {self._most} bytes; write larger parts (part_size)",
                uri=self._upload.container.uri(self._upload.key),
                operation="write",
            )
        self._parts.write(data)

    def commit(self) -> ObjectInfo:
        self._require_open("commit")
        if self._parts.started:
            try:
                blocks = self._parts.finish()
            except StoreError as error:
                error.operation = "commit"
                raise
            info = self._upload.commit(blocks, self._parts.nbytes)
        else:
            info = self._put(self._parts.rest())
        self._done = True
        self._parts.cancel()
        return info

    def abort(self) -> None:
        """Send nothing more. No request: what was sent is nobody's; see the module."""
        self._done = True
        self._parts.cancel()

    def _require_open(self, operation: str) -> None:
        if self._done:
            raise StoreError(
                "the writer is finished",
                uri=self._upload.container.uri(self._upload.key),
                operation=operation,
            )
