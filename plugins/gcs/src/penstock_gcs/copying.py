"""Copies within the service, and metadata changed in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from penstock.errors import PreconditionFailedError, StoreError
from penstock.store import ObjectInfo
from penstock_gcs.resources import FIELDS, check_name, info_of, read_json
from penstock_gcs.wire import Wire, key_path

__all__ = ["copy_object"]

#: What else a resource holds that belongs to the object and not to one generation of it.
_FACTS = "contentType,contentEncoding,contentLanguage,contentDisposition,cacheControl,storageClass"
_JSON = b"Content-Type: application/json; charset=UTF-8\r\n"


def copy_object(wire: Wire, source: str, target: str, metadata: Mapping[str, str] | None) -> ObjectInfo:
    """See ``ObjectStore.copy``. Errors name the source."""
    check_name(target)
    uri = wire.base + source
    path = key_path(source)
    try:
        if metadata is None:
            return _rewrite(wire, path, target, uri, b"", b"")
        found = _facts(wire, path, uri)
        if source == target:
            return _patch(wire, path, source, uri, found, metadata)
        facts = {name: found[name] for name in _FACTS.split(",") if name in found}
        body = json.dumps({**facts, "metadata": dict(metadata)}).encode()
        return _rewrite(wire, path, target, uri, body, f"&ifSourceGenerationMatch={found['generation']}".encode())
    except PreconditionFailedError as error:
        error.message, error.retryable = "the object changed while its metadata was read and replaced", True
        raise
    except StoreError as error:
        wire.located(error, uri, "copy")
        raise


def _rewrite(wire: Wire, path: bytes, target: str, uri: str, body: bytes, condition: bytes) -> ObjectInfo:
    where = b"/storage/v1%b/%b/rewriteTo%b/%b?fields=done,rewriteToken,resource(%b)%b" % (
        wire.objects,
        path,
        wire.objects,
        key_path(target),
        FIELDS.encode(),
        condition,
    )
    token = b""
    while True:
        answer = wire.call(
            b"POST", where + token, uri, "copy", body=(body,) if body else (), headers=_JSON if body else b""
        )
        found = read_json(answer)
        if found.get("done"):
            return info_of(found.get("resource") or {}, target)
        if not found.get("rewriteToken"):
            raise StoreError("the service's answer to a copy is neither done nor goes on", uri=uri, operation="copy")
        token = f"&rewriteToken={quote(found['rewriteToken'], safe='')}".encode()


def _facts(wire: Wire, path: bytes, uri: str) -> dict[str, Any]:
    fields = f"generation,metageneration,metadata,{_FACTS}".encode()
    target = b"/storage/v1%b/%b?fields=%b" % (wire.objects, path, fields)
    return read_json(wire.call(b"GET", target, uri, "copy"))


def _patch(
    wire: Wire, path: bytes, key: str, uri: str, found: Mapping[str, Any], metadata: Mapping[str, str]
) -> ObjectInfo:
    """Replace all metadata. A patch merges, so each name that is to go is set to null."""
    gone = dict.fromkeys(found.get("metadata") or {})
    target = b"/storage/v1%b/%b?fields=%b&ifGenerationMatch=%b&ifMetagenerationMatch=%b" % (
        wire.objects,
        path,
        FIELDS.encode(),
        str(found["generation"]).encode(),
        str(found["metageneration"]).encode(),
    )
    body = json.dumps({"metadata": {**gone, **metadata}}).encode()
    return info_of(read_json(wire.call(b"PATCH", target, uri, "copy", body=(body,), headers=_JSON)), key)
