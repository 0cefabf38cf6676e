"""``rm``, ``mkdir`` and ``rmdir``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from penstock.cli.common import json_option, print_json, warn
from penstock.cli.lazy import FAILED
from penstock.cli.progress import Bar
from penstock.cli.session import Duration, Session, missing, store_command, threads_option, was_given
from penstock.cli.text import count_text
from penstock.client import Found, Outcome, Store
from penstock.client.removal import delete_listed, remove_tree
from penstock.client.trees import Selection, select
from penstock.errors import ObjectNotFoundError, PenstockError, UsageError

__all__ = ["confirm_all", "mkdir", "rm", "rmdir"]


class _DeclinedError(PenstockError):
    """The user said no."""


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@click.option("-r", "--recursive", is_flag=True, help="Everything below a directory or prefix.")
@click.option("-f", "--force", is_flag=True, help="An object that is absent is no failure.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask before removing all of a bucket or root.")
@click.option("--incomplete", is_flag=True, help="Remove abandoned uploads at and below each URI, no objects.")
@click.option(
    "--older-than",
    type=Duration(),
    metavar="DURATION",
    help="With --incomplete: only uploads begun longer ago than this, such as 2h or 7d. Default 24h, so that no upload "
    "in progress is hit; 0 takes every one, also those at work now and those of unknown age.",
)
@threads_option
@json_option
@store_command
def rm(
    session: Session,
    uris: tuple[str, ...],
    recursive: bool,
    force: bool,
    dry_run: bool,
    yes: bool,
    incomplete: bool,
    older_than: float | None,
    threads: int,
    as_json: bool,
) -> int:
    """Delete each URI: exactly that one object; with -r everything below it; or the matches of a quoted glob.

    `*` stays within a segment: `logs/a*` leaves `logs/` and `logs/a1/x` alone. `-r logs` means `logs/`, never
    `logs-old/`. --incomplete removes the parts that killed writers left behind.
    """
    if incomplete:
        from penstock.cli.uploads import remove_uploads

        if any(map(was_given, ("recursive", "force", "yes", "threads"))):
            raise UsageError("--incomplete removes all abandoned uploads below a URI; leave out -r, -f, -j and --yes")
        return remove_uploads(session, uris, older_than=older_than, dry_run=dry_run, as_json=as_json)
    if older_than is not None:
        raise UsageError("--older-than is for --incomplete")
    places = session.find(*uris, threads=threads)
    selections = [select(found.store.raw, found.store.uri, found.key, trees=recursive) for found in places]
    for found, selection in zip(places, selections, strict=True):
        if not dry_run and _takes_all(selection):
            confirm_all(found, "remove", yes)
    failures: list[tuple[Found, Outcome]] = []
    with Bar("removing") as bar:
        for found, selection in zip(places, selections, strict=True):
            for outcome in _outcomes(found, selection, force=force, dry_run=dry_run):
                if outcome.error is not None:
                    failures.append((found, outcome))
                    continue
                bar.object_done(outcome.nbytes)
                if dry_run and not as_json:
                    click.echo(found.store.uri + outcome.key)
    _report(bar, failures, dry_run, as_json)
    return FAILED if failures else 0


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@store_command
def mkdir(session: Session, uris: tuple[str, ...]) -> None:
    """Make directories, with their parents; on stores that only have keys the marker objects `URI/`."""
    for found in session.find(*uris):
        found.store.make_directory(found.key)


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@click.option("-r", "--recursive", is_flag=True, help="Remove what is below it too.")
@store_command
def rmdir(session: Session, uris: tuple[str, ...], recursive: bool) -> int:
    """Remove empty directories, or their marker objects; with --recursive also what is below."""
    failed = 0
    for found in session.find(*uris):
        removal = found.store.remove_directory(found.key, recursive=recursive)
        for outcome in removal.failures:
            warn(f"{found.store.uri}{outcome.key}: {outcome.error}")
        failed += len(removal.failures)
    return FAILED if failed else 0


def confirm_all(found: Found, verb: str, yes: bool) -> None:
    """Ask before a whole bucket or root goes. Without anybody to ask it is a usage error."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this would {verb} everything in {found.store.uri}; pass --yes if that is meant")
    if not click.confirm(f"{verb.capitalize()} everything in {found.store.uri}?", err=True):
        raise _DeclinedError(f"nothing was {verb}d")


def _takes_all(selection: Selection) -> bool:
    return selection.name is None and not selection.root.prefix and selection.pattern in (None, "**")


def _outcomes(found: Found, selection: Selection, *, force: bool, dry_run: bool) -> Iterator[Outcome]:
    store = found.store
    if selection.name is not None:
        yield _one(found, selection.root.prefix + selection.name, force=force, dry_run=dry_run)
        return
    listed = ((info.key, info.size) for info in store.list(selection.root.prefix, pattern=selection.pattern))
    if dry_run:
        outcomes: Iterator[Outcome] = (Outcome(key, None, nbytes) for key, nbytes in listed)
    elif selection.pattern is not None:
        outcomes = delete_listed(store.raw, store.uri, listed, store.threads)
    else:
        outcomes = remove_tree(store.raw, store.uri, selection.root.prefix, store.threads)
    was_there = selection.pattern is None and _is_place(store, selection.root.prefix)
    empty = True
    for outcome in outcomes:
        empty = False
        yield outcome
    if empty and not (was_there or force):
        raise ObjectNotFoundError("nothing is there", uri=found.uri, operation="delete")


def _is_place(store: Store, prefix: str) -> bool:
    return not prefix or store.is_directory(prefix)


def _one(found: Found, key: str, *, force: bool, dry_run: bool) -> Outcome:
    """Delete one object. It is looked up first, so that a mistyped name is noticed."""
    nbytes = 0
    if not force or dry_run:
        with missing(found, "use rm -r to remove it with everything below it, or rmdir"):
            nbytes = found.store.stat(key).size
    if key.endswith("/") and found.store.capabilities.directories:
        raise UsageError(f"{found.uri} is a directory; use rmdir, or rm -r to remove it with everything below it")
    if not dry_run:
        found.store.delete(key)
    return Outcome(key, None, nbytes)


def _report(bar: Bar, failures: list[tuple[Found, Outcome]], dry_run: bool, as_json: bool) -> None:
    if as_json:
        failed = [{"uri": found.store.uri + outcome.key, "error": str(outcome.error)} for found, outcome in failures]
        print_json({"objects": bar.objects, "bytes": bar.nbytes, "dry_run": dry_run, "failures": failed})
    else:
        done = "would remove" if dry_run else "removed"
        click.echo(f"{done} {count_text(bar.objects, bar.nbytes)}", err=True)
    for found, outcome in failures:
        warn(f"{found.store.uri}{outcome.key}: {outcome.error}")
    if failures:
        warn(f"{len(failures):,} could not be removed")
