"""``rm --incomplete``: uploads that were begun and neither finished nor aborted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from penstock.cli.common import print_json, warn
from penstock.cli.lazy import FAILED
from penstock.cli.session import Session
from penstock.cli.text import time_text
from penstock.client.buckets import ABANDONED_AFTER, BucketService, UploadOutcome
from penstock.errors import UsageError
from penstock.globs import has_wildcard, unescape
from penstock.quantities import format_duration
from penstock.service import UploadInfo
from penstock.store import ObjectInfo

__all__ = ["remove_uploads", "uploads_text"]


def remove_uploads(
    session: Session, uris: Sequence[str], *, older_than: float | None, dry_run: bool, as_json: bool
) -> int:
    """Abort what was begun at and below each URI, ``older_than`` seconds ago or more (None: as the library does).

    Prints what came of it and returns the exit code.
    """
    age = ABANDONED_AFTER if older_than is None else older_than
    session.refuse_log("--incomplete")
    services = [session.service(uri) for uri in uris]
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for service in services:
        base = service.target.address.base
        for outcome in _outcomes(service, age, dry_run):
            counts[outcome.state] += 1
            if outcome.state == "failed":
                failures.append({"uri": base + outcome.upload.key, "error": str(outcome.error)})
            elif outcome.state == "planned" and as_json:
                rows.append(_described(base, outcome.upload))
            elif outcome.state == "planned":
                click.echo(f"{time_text(_dated(outcome.upload)):<19}  {base}{outcome.upload.key}")
    if as_json:
        facts = {"uploads": counts["aborted"] + counts["planned"], "young": counts["young"]}
        facts |= {"undated": counts["undated"], "dry_run": dry_run}
        print_json(facts | ({"planned": rows} if dry_run else {}) | {"failures": failures})
    else:
        click.echo(_summary(counts, age, dry_run), err=True)
    for failure in failures:
        warn(f"{failure['uri']}: {failure['error']}")
    if failures:
        warn(f"{len(failures):,} could not be removed")
    return FAILED if failures else 0


def uploads_text(count: int) -> str:
    """``1 unfinished upload``."""
    return f"{count:,} unfinished upload{'' if count == 1 else 's'}"


def _outcomes(service: BucketService, age: float, dry_run: bool) -> Iterator[UploadOutcome]:
    service.target.need_bucket()
    address = service.target.address
    if has_wildcard(address.key):
        raise UsageError(f"{address.base}{address.key}: --incomplete takes no glob; name a prefix")
    key = unescape(address.key)

    def is_below(upload: UploadInfo) -> bool:
        # As with rm -r, logs means logs and logs/…, never logs-old.
        return not key or key.endswith("/") or upload.key == key or upload.key.startswith(f"{key}/")

    return service.abort_uploads(key, older_than=age, dry_run=dry_run, takes=is_below)


def _summary(counts: Counter[str], age: float, dry_run: bool) -> str:
    done = "would remove" if dry_run else "removed"
    text = f"{done} {uploads_text(counts['aborted'] + counts['planned'])}"
    if counts["young"]:
        text += f"; {counts['young']:,} begun within {format_duration(age)} left alone"
    if counts["undated"]:
        text += f"; {counts['undated']:,} of unknown age left alone (--older-than 0 takes them)"
    return text


def _dated(upload: UploadInfo) -> ObjectInfo:
    return ObjectInfo(upload.key, 0, upload.started_ns)


def _described(base: str, upload: UploadInfo) -> dict[str, Any]:
    started = _dated(upload).modified
    facts = {"uri": base + upload.key, "id": upload.id}
    return facts | ({"started": started.isoformat()} if started is not None else {})
