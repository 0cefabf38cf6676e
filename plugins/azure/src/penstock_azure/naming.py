"""What the service can hold as the name of an object and as metadata, and how names are written in URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from penstock.errors import InvalidKeyError, UsageError
from penstock.keys import check_key

__all__ = ["check_etag", "check_type", "encode_key", "metadata_fields"]

_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]{1,255}\Z")
_SEGMENTS = 254
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?\Z")
_ETAG = re.compile(r"[!#-~]+\Z")
_META = "x-ms-meta-"
_META_BYTES = 8 * 1024


def encode_key(key: str) -> str:
    """A key as it stands in a URL's path, encoded once (RFC 3986): ``/`` and unreserved characters as they are.

    Raises InvalidKeyError for keys that the service refuses or would change: backslashes become slashes there, dots
    at the end of a segment are lost, and control characters are forbidden.
    """
    if _PLAIN.match(key) and "./" not in key and key[-1] != ".":
        return key
    check_key(key)
    if "\\" in key:
        raise InvalidKeyError(f"{key!r}: Azure turns a backslash into a slash; name the object without one")
    if _CONTROL.search(key):
        raise InvalidKeyError(f"{key!r}: Azure's keys hold no control characters")
    if "./" in key or key.endswith("."):
        raise InvalidKeyError(f"{key!r}: in Azure's keys no segment between slashes ends in a dot; name it otherwise")
    if key.count("/") >= _SEGMENTS:
        raise InvalidKeyError(f"a key of {key.count('/') + 1} segments ({key[:40]!r}…); Azure's limit is {_SEGMENTS}")
    return quote(key, safe="/~")


def check_etag(etag: str) -> str:
    """An etag as a condition quotes it. Raises UsageError."""
    if not _ETAG.match(etag):
        raise UsageError(f"{etag!r} is no etag; pass the one of put, stat or get")
    return f'"{etag}"'


def check_type(content_type: str | None) -> str:
    """A content type, empty for none. Raises UsageError for one that no header can carry."""
    if content_type is None:
        return ""
    if not content_type or not _VALUE.match(content_type):
        raise UsageError(f"{content_type!r} is no content type; write one such as application/json")
    return content_type


def metadata_fields(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata as header fields. Names come back in lower case, as the service does not tell cases apart.

    Raises UsageError for names that are no C# identifiers in ASCII, which the service refuses, and values that
    would not come back as they are.
    """
    fields: dict[str, str] = {}
    for name, value in (metadata or {}).items():
        if not _NAME.match(name):
            raise UsageError(
                f"metadata {name!r}: on Azure a name is an identifier: letters, digits and _, a digit not first"
            )
        if not _VALUE.match(value):
            raise UsageError(f"metadata {name!r}: on Azure a value is printable ASCII without spaces at its ends")
        field = _META + name.lower()
        if field in fields:
            raise UsageError(f"metadata {name!r}: on Azure names that differ in case alone are the same")
        fields[field] = value
    if sum(len(name) - len(_META) + len(value) for name, value in fields.items()) > _META_BYTES:
        raise UsageError(f"metadata of more than {_META_BYTES} bytes, names and values together; Azure keeps no more")
    return fields
