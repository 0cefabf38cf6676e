"""What goes with an object's bytes: headers that are sent, and what an answer's headers tell."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping

from penstock.errors import UsageError
from penstock.http import Answer, parse_date
from penstock.store import ObjectInfo

__all__ = ["checksum_of", "checksum_text", "conditions", "describe", "etag_of", "metadata_headers", "type_line"]

Headers = tuple[tuple[bytes, bytes], ...]

_META = "x-amz-meta-"
# A header's name is a token (RFC 9110, 5.6.2); S3 gives names back in lower case.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
# What a header carries unchanged: printable ASCII, no space at either end.
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?\Z")
_LINE = re.compile(r"[ -~]+\Z")
_CHECKSUMS = tuple((f"x-amz-checksum-{name}", name) for name in ("crc64nvme", "crc32c", "crc32", "sha256", "sha1"))


def metadata_headers(metadata: Mapping[str, str] | None) -> Headers:
    """``x-amz-meta-…`` headers. Raises UsageError for names and values that no header can carry."""
    if not metadata:
        return ()
    headers: dict[str, str] = {}
    for name, value in metadata.items():
        if not _NAME.match(name):
            raise UsageError(f"s3: metadata can't be named {name!r}; use ASCII letters, digits, - and _")
        if not _VALUE.match(value):
            raise UsageError(
                f"s3: the metadata {name} can't be {value[:60]!r}; S3 keeps printable ASCII without space at its ends"
            )
        lower = name.lower()
        if lower in headers:
            raise UsageError(f"s3: two metadata names differ only in case: {name!r}; S3 keeps them in lower case")
        headers[lower] = value
    return tuple((f"{_META}{name}".encode(), value.encode()) for name, value in headers.items())


def type_line(content_type: str | None) -> bytes:
    """The line of a content type, which needs no signature."""
    if content_type is None:
        return b""
    if not _LINE.match(content_type):
        raise UsageError(f"s3: {content_type[:60]!r} is no content type; write one such as application/json")
    return b"content-type: %b\r\n" % content_type.encode()


def conditions(*, create: bool = False, if_match: str | None = None) -> bytes:
    """The lines that make a request conditional."""
    if create and if_match is not None:
        raise UsageError("s3: create and if_match exclude each other")
    if create:
        return b"if-none-match: *\r\n"
    if if_match is None:
        return b""
    if not _LINE.match(if_match) or '"' in if_match:
        raise UsageError(f"s3: {if_match[:60]!r} is no etag; pass the etag that stat gives")
    return b'if-match: "%b"\r\n' % if_match.encode()


def etag_of(text: str | None) -> str | None:
    """An etag without its quotes."""
    return text.strip('"') if text else None


def checksum_of(headers: Mapping[str, str]) -> str | None:
    """The stored checksum as ``algorithm:value``, the value in hex; one of parts ends in ``-`` and their number."""
    for name, algorithm in _CHECKSUMS:
        value = headers.get(name)
        if value:
            return checksum_text(algorithm, value)
    return None


def checksum_text(algorithm: str, value: str) -> str | None:
    """A checksum as S3 writes it (base64) as ObjectInfo has it; None for one that S3 would not write."""
    encoded, dash, parts = value.partition("-")
    try:
        return f"{algorithm}:{b64decode(encoded, validate=True).hex()}{dash}{parts}"
    except ValueError:
        return None


def describe(key: str, size: int, answer: Answer) -> ObjectInfo:
    """What the headers of an answer say of the object."""
    get = answer.header
    names = answer.names
    modified = get("last-modified")
    etag = get("etag")
    return ObjectInfo(
        key,
        size,
        None if modified is None else parse_date(modified),
        None if etag is None else etag.strip('"'),
        get("content-type"),
        _metadata(answer) if _META in names else None,
        get("x-amz-version-id"),
        get("x-amz-storage-class"),
        checksum_of(answer.headers_like("x-amz-checksum-")) if "x-amz-checksum-" in names else None,
    )


def _metadata(answer: Answer) -> dict[str, str]:
    return {name[len(_META) :]: value for name, value in answer.headers_like(_META).items()}
