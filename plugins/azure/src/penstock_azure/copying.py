"""Copies within a container, without a byte through this client.

``Copy Blob`` is used, not ``Copy Blob From URL``: the latter wants a source that is public or has a signature of its
own, and takes at most 256 MiB. Within one account the service shares the blocks, whatever their size, and is done
when it answers; if it is not, its progress is asked for until it is.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from penstock.errors import StoreError
from penstock.http import Answer, parse_date
from penstock.store import ObjectInfo
from penstock_azure.container import Container
from penstock_azure.naming import check_etag, metadata_fields

__all__ = ["copy"]

#: Seconds between two looks at a copy that is under way: from the first to the last.
_FIRST_S = 0.05
_LAST_S = 5.0


def copy(container: Container, source: ObjectInfo, target: str, metadata: Mapping[str, str] | None) -> ObjectInfo:
    """Copy what ``source`` describes; see :meth:`penstock.store.ObjectStore.copy`."""
    if source.key == target:
        # The service refuses or pointlessly rewrites an object that is copied onto itself.
        return source if metadata is None else _set_metadata(container, source, metadata)
    fields = metadata_fields(metadata)
    url = container.url(source.key) + container.query
    ms = fields | {"x-ms-copy-source": url}
    if source.etag is not None:
        ms["x-ms-source-if-match"] = check_etag(source.etag)
    answer = container.exchange("copy", "PUT", target, ms=ms, expect=(201, 202))
    answer.close()
    if answer.header("x-ms-copy-status") not in (None, "success"):
        answer = _wait(container, target, answer.header("x-ms-copy-id") or "")
    info = _info(target, source, answer, source.metadata if metadata is None else metadata)
    # Without any the service takes the source's.
    return info if fields or metadata is None else _set_metadata(container, info, metadata)


def _set_metadata(container: Container, info: ObjectInfo, metadata: Mapping[str, str]) -> ObjectInfo:
    """Replace the metadata of an object in place, if it still is the one that was described."""
    answer = container.exchange(
        "copy",
        "PUT",
        info.key,
        query=(("comp", "metadata"),),
        ms=metadata_fields(metadata),
        if_match="" if info.etag is None else check_etag(info.etag),
    )
    answer.close()
    return _info(info.key, info, answer, metadata)


def _info(key: str, source: ObjectInfo, answer: Answer, metadata: Mapping[str, str] | None) -> ObjectInfo:
    modified, etag = answer.header("last-modified"), answer.header("etag")
    return ObjectInfo(
        key,
        source.size,
        parse_date(modified) if modified else None,
        etag.strip('"') if etag else None,
        source.content_type,
        dict(metadata) if metadata else None,
        answer.header("x-ms-version-id"),
    )


def _wait(container: Container, target: str, copy_id: str) -> Answer:
    """Look at a copy until it is done, ever less often. Raises StoreError when it failed or another replaced it."""
    pause = _FIRST_S
    while True:
        threading.Event().wait(pause)
        pause = min(pause * 2, _LAST_S)
        answer = container.exchange("copy", "HEAD", target)
        status = answer.header("x-ms-copy-status")
        if answer.header("x-ms-copy-id") != copy_id:
            raise StoreError("another write replaced the copy", uri=container.uri(target), operation="copy")
        if status == "success":
            return answer
        if status != "pending":
            why = answer.header("x-ms-copy-status-description") or "no reason was given"
            raise StoreError(f"the copy was {status}: {why}", uri=container.uri(target), operation="copy")
