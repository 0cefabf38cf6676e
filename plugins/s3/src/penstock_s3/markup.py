"""The XML of S3's answers and requests, as far as the store speaks it.

Answers come from a server that is not trusted further than its TLS: they are bounded by the caller, and a document
type, the only way to make a small answer grow, is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape

import attrs

from penstock.errors import StoreConnectionError
from penstock.store import ObjectInfo

__all__ = [
    "Listing",
    "Refusal",
    "can_write",
    "read_answer",
    "read_failed",
    "read_listing",
    "read_refusal",
    "write_completion",
    "write_deletion",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_XMLNS = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
# What no XML 1.0 document can hold, not even as a reference.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# A carriage return would be read back as a line feed.
_REFERENCES = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


@attrs.frozen(slots=True)
class Refusal:
    """What an ``<Error>`` says. ``region``, ``size`` and ``key`` are there when the service names them."""

    code: str
    message: str
    request_id: str | None = None
    region: str | None = None
    size: int | None = None
    key: str | None = None


@attrs.frozen(slots=True)
class Listing:
    """One page. ``token`` asks for the next one; None: this is the last."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None


def read_answer(body: bytes) -> dict[str, str] | Refusal:
    """The texts of the elements of an answer, by name, or the error that it is, whatever its status was.

    Raises StoreConnectionError for what is no XML.
    """
    root, space = _parse(body)
    texts = {child.tag[len(space) :]: child.text or "" for child in root}
    return _refusal(texts) if root.tag == f"{space}Error" else texts


def read_refusal(body: bytes) -> Refusal | None:
    """The error that an answer's body describes; None when it describes none, as a proxy's page."""
    try:
        found = read_answer(body) if body else None
    except StoreConnectionError:
        return None
    return found if isinstance(found, Refusal) else None


def read_failed(body: bytes) -> list[Refusal] | Refusal:
    """What a batch delete did not delete, or the error of the whole call."""
    root, space = _parse(body)
    if root.tag == f"{space}Error":
        return _refusal({child.tag[len(space) :]: child.text or "" for child in root})
    failed = root.iterfind(f"{space}Error")
    return [_refusal({child.tag[len(space) :]: child.text or "" for child in item}) for item in failed]


def read_listing(body: bytes) -> Listing | Refusal:
    """A page of ListObjectsV2."""
    root, space = _parse(body)
    if root.tag == f"{space}Error":
        return _refusal({child.tag[len(space) :]: child.text or "" for child in root})
    encoded = root.findtext(f"{space}EncodingType") == "url"
    prefixes = [item.findtext(f"{space}Prefix") or "" for item in root.iterfind(f"{space}CommonPrefixes")]
    if encoded:
        prefixes = [unquote_plus(prefix) for prefix in prefixes]
    more = root.findtext(f"{space}IsTruncated") == "true"
    token = root.findtext(f"{space}NextContinuationToken") if more else None
    if more and not token:
        raise StoreConnectionError("the service's listing is cut short and does not say how to go on")
    return Listing(list(_objects(root, space, encoded)), prefixes, token)


def can_write(key: str) -> bool:
    """Whether an XML document can hold the key."""
    return _UNWRITABLE.search(key) is None


def write_deletion(keys: Sequence[str]) -> bytes:
    """The body of a batch delete whose answer names only what failed."""
    items = "".join(f"<Object><Key>{escape(key, _REFERENCES)}</Key></Object>" for key in keys)
    return b"<Delete %b><Quiet>true</Quiet>%b</Delete>" % (_XMLNS, items.encode())


def write_completion(parts: Sequence[tuple[str, str | None]], element: str = "") -> bytes:
    """The body that completes an upload: each part's etag and, in ``element``, its checksum."""
    items = []
    for number, (etag, checksum) in enumerate(parts, 1):
        extra = f"<{element}>{escape(checksum)}</{element}>" if checksum else ""
        items.append(f"<Part>{extra}<ETag>&quot;{escape(etag)}&quot;</ETag><PartNumber>{number}</PartNumber></Part>")
    return b"<CompleteMultipartUpload %b>%b</CompleteMultipartUpload>" % (_XMLNS, "".join(items).encode())


def _parse(body: bytes) -> tuple[Element, str]:
    if b"<!DOCTYPE" in body:
        raise StoreConnectionError("the service's answer declares a document type; S3 sends none")
    try:
        root = fromstring(body)  # noqa: S314  (bounded, and without a document type nothing expands)
    except ParseError as error:
        raise StoreConnectionError(f"the service's answer is no XML ({error})") from error
    return root, root.tag[: root.tag.rfind("}") + 1]


def _refusal(texts: dict[str, str]) -> Refusal:
    size = texts.get("ActualObjectSize", "")
    return Refusal(
        texts.get("Code", ""),
        texts.get("Message", ""),
        texts.get("RequestId") or None,
        texts.get("Region") or None,
        int(size) if size.isascii() and size.isdecimal() else None,
        texts.get("Key"),
    )


def _objects(root: Element, space: str, encoded: bool) -> Iterator[ObjectInfo]:
    names = [space + name for name in ("Key", "Size", "LastModified", "ETag", "StorageClass")]
    key_tag, size_tag, modified_tag, etag_tag, class_tag = names
    for item in root.iterfind(f"{space}Contents"):
        text = item.findtext
        key, size, modified = text(key_tag) or "", text(size_tag) or "", text(modified_tag)
        if not (size.isascii() and size.isdecimal()):
            raise StoreConnectionError(f"the service's listing gives the size {size[:20]!r} for a key")
        etag = text(etag_tag)
        yield ObjectInfo(
            unquote_plus(key) if encoded and ("%" in key or "+" in key) else key,
            int(size),
            None if modified is None else _time(modified[:19]),
            etag.strip('"') if etag else None,
            storage_class=text(class_tag) or None,
        )


@functools.lru_cache(4096)
def _time(text: str) -> int | None:
    """A listing's time in nanoseconds, in whole seconds as the headers of an object give it."""
    try:
        since = datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH
    except ValueError:
        return None
    return (since.days * 86400 + since.seconds) * 1_000_000_000
