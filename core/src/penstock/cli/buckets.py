"""``mb``, ``rb``, and the buckets that ``ls`` lists."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import attrs
import click

from penstock.cli.common import print_json, warn
from penstock.cli.lazy import FAILED
from penstock.cli.progress import Bar
from penstock.cli.removal import confirm_all
from penstock.cli.session import Session, service_command, store_command, threads_option, was_given
from penstock.cli.text import count_text, time_text
from penstock.cli.uploads import uploads_text
from penstock.client import Found
from penstock.client.buckets import BucketService
from penstock.client.removal import remove_tree
from penstock.errors import PenstockError, StoreError, UnsupportedOperationError, UsageError
from penstock.service import BucketInfo
from penstock.store import ObjectInfo

__all__ = ["list_buckets", "mb", "rb"]


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@service_command
def mb(session: Session, uris: tuple[str, ...]) -> None:
    """Make the buckets, or containers, that the URIs name. One that is there already is a failure."""
    for uri in uris:
        session.service(uri).create_bucket()


@click.command()
@click.argument("uri")
@click.option("--force", is_flag=True, help="First delete every object in it and abort every unfinished upload.")
@click.option("--yes", is_flag=True, help="With --force: do not ask.")
@threads_option
@store_command
def rb(session: Session, uri: str, force: bool, yes: bool, threads: int) -> int:
    """Remove the bucket, or container, that URI names. It has to be empty, or --force empties it."""
    if not force and (yes or was_given("threads")):
        raise UsageError("--yes and -j are for --force")
    service = session.service(uri)
    base = service.bucket_uri
    (found,) = session.find(uri, threads=threads)
    if not force:
        try:
            service.delete_bucket()
        except StoreError as error:
            if _holds_something(service, found):
                error.message += f"; `penstock rb --force {base}` removes what is in it first"
            raise
        return 0
    confirm_all(found, "remove", yes)
    if failed := _empty(service, found):
        warn(f"{failed:,} could not be removed, so {base} stays")
        return FAILED
    service.delete_bucket()
    return 0


def list_buckets(session: Session, uri: str, *, long: bool, only_count: bool, as_json: bool) -> None:
    """Print the buckets of the service that a URI names, or how many there are."""
    session.refuse_log("a listing of buckets")
    service = session.service(uri)
    if only_count:
        count = sum(1 for _ in service.list_buckets())
        if as_json:
            print_json({"uri": service.target.address.base, "buckets": count})
        else:
            click.echo(f"{count:,} bucket{'' if count == 1 else 's'}")
        return
    for bucket in service.list_buckets():
        if as_json:
            print_json(_described(bucket))
        elif long:
            click.echo(f"{bucket.region or '-':<14}  {time_text(_dated(bucket)):<19}  {bucket.uri}")
        else:
            click.echo(bucket.uri)


def _described(bucket: BucketInfo) -> dict[str, Any]:
    created = _dated(bucket).modified
    facts = attrs.asdict(bucket, filter=lambda field, value: field.name != "created_ns" and value is not None)
    return facts | ({"created": created.isoformat()} if created is not None else {})


def _dated(bucket: BucketInfo) -> ObjectInfo:
    return ObjectInfo(bucket.name, 0, bucket.created_ns)


def _holds_something(service: BucketService, found: Found) -> bool:
    try:
        return next(found.store.list(), None) is not None or next(service.list_uploads(""), None) is not None
    except PenstockError:
        # The failure to delete is the one to report.
        return False


def _empty(service: BucketService, found: Found) -> int:
    """Delete all that is in the bucket, say so, and return how many failures there were."""
    states: Counter[str] = Counter()
    # A service that lists no uploads removes them with the bucket, or has none.
    with contextlib.suppress(UnsupportedOperationError):
        for outcome in service.abort_uploads("", older_than=0):
            states[outcome.state] += 1
            if outcome.error is not None:
                warn(f"{found.store.uri}{outcome.upload.key}: {outcome.error}")
    with Bar("removing") as bar:
        for done in remove_tree(found.store.raw, found.store.uri, "", found.store.threads):
            if done.error is None:
                bar.object_done(done.nbytes)
            else:
                states["failed"] += 1
                warn(f"{found.store.uri}{done.key}: {done.error}")
    click.echo(f"removed {count_text(bar.objects, bar.nbytes)} and {uploads_text(states['aborted'])}", err=True)
    return states["failed"]
