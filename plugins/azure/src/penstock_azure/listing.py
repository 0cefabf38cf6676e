"""Listing a container: its pages of XML, read as they are without a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

from penstock.errors import InvalidKeyError, StoreConnectionError, UsageError
from penstock.http import parse_date
from penstock.store import ObjectInfo, Page
from penstock_azure.container import Container

__all__ = ["Listing", "list_pages", "listings", "read_listing"]

#: The most entries of a page, and of its XML the most bytes.
_MAX_PAGE = 5000
_MAX_XML = 64 * 1024 * 1024


class Listing:
    """What one page of XML holds. ``marker`` leads to the next; empty: it was the last."""

    __slots__ = ("marker", "objects", "prefixes")

    def __init__(self) -> None:
        self.objects: list[ObjectInfo] = []
        self.prefixes: list[str] = []
        self.marker = ""


def list_pages(container: Container, prefix: str, delimiter: str, start_after: str, page_size: int) -> Iterator[Page]:
    """The pages of a listing, one request each; see :meth:`penstock.store.ObjectStore.list_pages`."""
    if page_size < 1:
        raise UsageError(f"page_size is at least 1, not {page_size}")
    after = _utf8(start_after)
    last = None
    for listing in listings(container, prefix, delimiter, min(page_size, _MAX_PAGE)):
        objects, prefixes = listing.objects, listing.prefixes
        if prefixes:
            # A common prefix whose keys fill more than a page may stand in each of these.
            prefixes = [name for name in dict.fromkeys(prefixes) if name != last]
            last = listing.prefixes[-1]
        if after:
            objects = [info for info in objects if info.key.encode() > after]
            prefixes = [name for name in prefixes if name.encode() > after]
        if objects or prefixes:
            yield Page(objects, prefixes)


def listings(
    container: Container,
    prefix: str,
    delimiter: str,
    page_size: int,
    include: str = "",
    operation: str = "list_pages",
) -> Iterator[Listing]:
    """The pages as the service gives them, empty ones too."""
    _utf8(prefix)
    query = [("comp", "list"), ("maxresults", str(page_size)), ("restype", "container")]
    query += [
        (name, text) for name, text in (("delimiter", delimiter), ("include", include), ("prefix", prefix)) if text
    ]
    marker = ""
    while True:
        asked = [*query, ("marker", marker)] if marker else query
        answer = container.exchange(operation, "GET", None, query=asked)
        listing = read_listing(answer.read(_MAX_XML), container.uri(prefix))
        yield listing
        marker = listing.marker
        if not marker:
            return


def read_listing(xml: bytes, uri: str) -> Listing:
    """Read one page of the service's XML. Raises StoreConnectionError for text that is none."""
    listing = Listing()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    reader = _Reader(listing)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise StoreConnectionError(
            f"the service's listing is no XML ({error})", uri=uri, operation="list_pages"
        ) from error
    return listing


class _Reader:
    """Gathers an entry from the elements as they end. Elements that are not known are let go."""

    __slots__ = ("_encoded", "_fields", "_listing", "_text")

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._fields: dict[str, str] = {}
        self._text = ""
        self._encoded = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._text = ""
        if attributes and name == "Name":
            self._encoded = attributes.get("Encoded") == "true"
        elif name == "Blob" or name == "BlobPrefix":
            self._fields = {}

    def text(self, data: str) -> None:
        self._text += data

    def end(self, name: str) -> None:
        if name == "Blob":
            self._add()
        elif name == "BlobPrefix":
            self._listing.prefixes.append(self._fields.get("Name", ""))
        elif name == "NextMarker":
            self._listing.marker = self._text
        elif name == "Name" and self._encoded:
            self._fields[name] = unquote(self._text)
            self._encoded = False
        else:
            self._fields[name] = self._text

    def _add(self) -> None:
        fields: Any = self._fields
        if fields.get("ResourceType") == "directory":
            return  # of a hierarchical namespace; its objects come by themselves
        modified = fields.get("Last-Modified")
        self._listing.objects.append(
            ObjectInfo(
                fields["Name"],
                int(fields.get("Content-Length") or 0),
                parse_date(modified) if modified else None,
                fields.get("Etag", "").strip('"') or None,
                fields.get("Content-Type") or None,
                None,
                fields.get("VersionId") or None,
                fields.get("AccessTier") or None,
            )
        )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidKeyError(f"{text!r}: a prefix is text that UTF-8 can write (surrogate at {error.start})") from None
