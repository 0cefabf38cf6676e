"""Listings, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.errors import StoreError, UsageError
from penstock.store import Page
from penstock_s3.errors import refused
from penstock_s3.markup import Listing, read_listing
from penstock_s3.signing import encode_query
from penstock_s3.wire import Wire

__all__ = ["list_pages"]

_MAX_PAGE = 1000
#: A page of a thousand keys of 1024 bytes, each of them escaped, with room for what stands beside.
_MAX_BODY = 16 * 1024 * 1024


def list_pages(wire: Wire, prefix: str, delimiter: str, start_after: str, page_size: int) -> Iterator[Page]:
    """Every page of ListObjectsV2, in the service's order.

    Directory buckets know neither start-after nor prefixes within a segment: there both are applied here, to the
    listing of the whole directory.
    """
    if page_size < 1:
        raise UsageError(f"a page of {page_size} entries; the least is 1")
    asked = [
        ("encoding-type", "url"),
        ("list-type", "2"),
        ("max-keys", str(min(page_size, _MAX_PAGE))),
        ("prefix", prefix[: prefix.rfind("/") + 1] if wire.place.express else prefix),
    ]
    if delimiter:
        asked.append(("delimiter", delimiter))
    if start_after and not wire.place.express:
        asked.append(("start-after", start_after))
    after = start_after.encode()
    token: str | None = None
    while True:
        found = _page(wire, prefix, asked if token is None else [*asked, ("continuation-token", token)])
        # Services on file systems find too much for a prefix that is no path, and whoever lists may delete.
        objects = [info for info in found.objects if info.key.startswith(prefix)]
        prefixes = [name for name in found.prefixes if name.startswith(prefix)]
        if after:
            # A common prefix may hold keys behind start_after and stand before it itself.
            prefixes = [name for name in prefixes if name.encode() > after]
            if wire.place.express:
                objects = [info for info in objects if info.key.encode() > after]
        if objects or prefixes:
            yield Page(objects, prefixes)
        if found.token is None:
            return
        if found.token == token:
            raise StoreError("the listing does not go on", uri=wire.base + prefix, operation="list_pages")
        token = found.token


def _page(wire: Wire, prefix: str, query: list[tuple[str, str]]) -> Listing:
    answer = wire.send(b"GET", "", "list_pages", query=encode_query(query))
    wire.expect(answer, prefix, "list_pages", 200)
    body = wire.read(answer, prefix, "list_pages", _MAX_BODY)
    try:
        found = read_listing(body)
    except StoreError as error:
        wire.told(error, prefix, "list_pages")
        raise
    if not isinstance(found, Listing):
        raise refused(found, answer, uri=wire.base + prefix, operation="list_pages")
    return found
