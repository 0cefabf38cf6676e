"""Listing on the transport: one request a page. The SDK would make an object of each key, which costs several times
the CPU of the JSON itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from penstock.errors import InvalidKeyError, StoreError
from penstock.keys import sort_key
from penstock.store import ObjectInfo, Page
from penstock_gcs.resources import info_of, read_json
from penstock_gcs.wire import Wire

__all__ = ["list_pages"]

_FIELDS = "nextPageToken,prefixes,items(name,size,generation,updated,contentType,storageClass,crc32c)"
#: The most that the service gives in one page.
_MOST = 1000


def list_pages(wire: Wire, prefix: str, delimiter: str, start_after: str, page_size: int) -> Iterator[Page]:
    """See ``ObjectStore.list_pages``. Pages of the service without an entry, which it may send, are passed over."""
    for text in (prefix, delimiter, start_after):
        _require_text(text)
    query = {"projection": "noAcl", "maxResults": str(min(page_size, _MOST)), "fields": _FIELDS}
    if prefix:
        query["prefix"] = prefix
    if delimiter:
        query["delimiter"] = delimiter
    begin = _begin(prefix, delimiter, start_after)
    if begin:
        query["startOffset"] = begin
    while True:
        found = _page(wire, query, prefix)
        page = _entries(found, start_after)
        if page.objects or page.prefixes:
            yield page
        token = found.get("nextPageToken")
        if not token:
            return
        query["pageToken"] = token


def _require_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidKeyError(f"{text!r}: a prefix is text that UTF-8 can write") from None


def _page(wire: Wire, query: Mapping[str, str], prefix: str) -> dict[str, Any]:
    encoded = "&".join(f"{name}={quote(value, safe='(),')}" for name, value in query.items())
    target = b"/storage/v1%b?%b" % (wire.objects, encoded.encode())
    uri = wire.base + prefix
    answer = wire.call(b"GET", target, uri, "list_pages")
    try:
        return read_json(answer)
    except StoreError as error:
        wire.located(error, uri, "list_pages")
        raise


def _entries(found: Mapping[str, Any], start_after: str) -> Page:
    objects: list[ObjectInfo] = [info_of(item, item["name"], listed=True) for item in found.get("items", ())]
    prefixes: list[str] = found.get("prefixes", [])
    if start_after:
        # The service begins with start_after itself, and may roll up what contains it.
        after = sort_key(start_after)
        objects = [info for info in objects if sort_key(info.key) > after]
        prefixes = [name for name in prefixes if sort_key(name) > after]
    return Page(objects, prefixes)


def _begin(prefix: str, delimiter: str, start_after: str) -> str:
    """The first name that may be listed after ``start_after``, inclusive; empty when that is the very first."""
    if sort_key(start_after) <= sort_key(prefix):
        return ""
    cut = start_after.find(delimiter, len(prefix)) if delimiter and start_after.startswith(prefix) else -1
    if cut < 0:
        return start_after
    # All that rolls up with it comes before it, or is it.
    return _behind(start_after[: cut + len(delimiter)])


def _behind(prefix: str) -> str:
    """The smallest name that is greater than all that begin with ``prefix``, if only its last character is changed."""
    last = ord(prefix[-1])
    if last >= 0x10FFFF:
        return prefix
    return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
