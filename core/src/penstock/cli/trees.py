"""``cp``, ``mv``, ``upload`` and ``download``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import click

from penstock.cli.common import json_option, print_json, warn
from penstock.cli.lazy import FAILED
from penstock.cli.progress import Bar
from penstock.cli.removal import confirm_all
from penstock.cli.session import Session, missing, store_command, threads_option
from penstock.client import Found
from penstock.client.listing import count as count_listed
from penstock.client.listing import entries
from penstock.client.trees import Existing, TreeJob, plan, select, transfers
from penstock.client.values import Transfer
from penstock.errors import UsageError
from penstock.globs import has_wildcard

__all__ = ["carry_out", "cp", "download", "mv", "upload"]

_F = TypeVar("_F", bound=Callable[..., Any])
_Step = tuple[Found, Found, TreeJob]

_arguments = click.argument("uris", nargs=-1, required=True, metavar="SOURCE... TARGET")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
_metadata = click.option(
    "--metadata/--no-metadata", default=True, help="Take metadata and content type along, where TARGET keeps them."
)


def _sync_options(command: _F) -> _F:
    command = click.option(
        "--resume", is_flag=True, help="Leave out what is at TARGET in the same size, as after an interruption."
    )(command)
    return click.option(
        "--sync", is_flag=True, help="Leave out what is at TARGET in the same size and not older than its source."
    )(command)


@click.command()
@_arguments
@click.option("-r", "--recursive", is_flag=True, help="Copy everything below a directory or prefix.")
@_sync_options
@_dry_run
@_metadata
@threads_option
@json_option
@store_command
def cp(
    session: Session,
    uris: tuple[str, ...],
    recursive: bool,
    sync: bool,
    resume: bool,
    dry_run: bool,
    metadata: bool,
    threads: int,
    as_json: bool,
) -> int:
    """Copy objects to TARGET, within a store or from one backend to another.

    One object becomes TARGET, or goes below it if it ends in / or is a directory. What is below a directory (-r) or
    matches a quoted glob goes below TARGET and keeps its tree.
    """
    steps = _plan(session, uris, recursive, _existing(sync, resume), dry_run, threads, metadata=metadata)
    return _carry_out_all(session, steps, recursive, "copying", "copied", as_json)


@click.command()
@_arguments
@click.option("-r", "--recursive", is_flag=True, help="Move everything below a directory or prefix.")
@click.option("--yes", is_flag=True, help="Do not ask before moving all of a bucket or root.")
@_dry_run
@_metadata
@threads_option
@json_option
@store_command
def mv(
    session: Session,
    uris: tuple[str, ...],
    recursive: bool,
    yes: bool,
    dry_run: bool,
    metadata: bool,
    threads: int,
    as_json: bool,
) -> int:
    """Move objects to TARGET, as cp does; each source goes when its copy is whole."""
    steps = _plan(session, uris, recursive, "replace", dry_run, threads, metadata=metadata, move=True)
    for found, _, job in steps:
        if not dry_run and job.single is None and not job.source.prefix and job.pattern in (None, "**"):
            confirm_all(found, "move", yes)
    return _carry_out_all(session, steps, recursive, "moving", "moved", as_json)


@click.command()
@_arguments
@_sync_options
@_dry_run
@threads_option
@json_option
@store_command
def upload(
    session: Session, uris: tuple[str, ...], sync: bool, resume: bool, dry_run: bool, threads: int, as_json: bool
) -> int:
    """Copy local files to a store: a file, what is below a directory with its tree, or a glob's matches.

    `upload DIR URI` makes DIR/a/b the object URI/a/b. Exit code 1, with a list, when some could not be copied.
    """
    steps = _plan(session, uris, True, _existing(sync, resume), dry_run, threads)
    return carry_out(session, steps, "uploading", verb="uploaded", as_json=as_json)


@click.command()
@_arguments
@_sync_options
@_dry_run
@threads_option
@json_option
@store_command
def download(
    session: Session, uris: tuple[str, ...], sync: bool, resume: bool, dry_run: bool, threads: int, as_json: bool
) -> int:
    """Copy objects to local files: one object, what is below a prefix with its tree, or a glob's matches.

    `download URI DIR` makes the object URI/a/b the file DIR/a/b. Each file appears whole or not at all. Exit code
    1, with a list, when some could not be copied.
    """
    steps = _plan(session, uris, True, _existing(sync, resume), dry_run, threads)
    return carry_out(session, steps, "downloading", verb="downloaded", as_json=as_json)


def carry_out(session: Session, steps: Sequence[_Step], label: str, *, verb: str, as_json: bool = False) -> int:
    """Do all jobs behind one bar, print what came of them, and return the exit code."""
    skipped = 0
    failures: list[tuple[_Step, Transfer]] = []
    with Bar(label) as bar:
        if not session.logged:
            bar.expect(lambda: sum(_size(job) for _, _, job in steps))
        for step in steps:
            begin, end, job = step
            for done in transfers(attrs.evolve(job, watch=bar.advance)):
                if done.state == "planned":
                    click.echo(f"{begin.store.uri}{done.source} -> {end.store.uri}{done.target}")
                if done.state == "failed":
                    failures.append((step, done))
                elif done.state == "skipped":
                    skipped += 1
                else:
                    bar.object_done(done.nbytes if done.state == "planned" else 0)
        summary = bar.summary()
    if failures and len(steps) == 1 and steps[0][2].single is not None and failures[0][1].error is not None:
        raise failures[0][1].error
    dry_run = steps[0][2].dry_run
    if as_json:
        print_json(_as_json(bar, skipped, failures, dry_run))
    elif dry_run:
        click.echo(f"would have {verb} {bar.objects:,}, {skipped:,} up to date", err=True)
    else:
        click.echo(f"{verb} {summary}" + (f"; {skipped:,} up to date" if skipped else ""), err=True)
    for (begin, _, _), failed in failures:
        uri, text = begin.store.uri + failed.source, str(failed.error)
        warn(text if uri in text else f"{uri}: {text}")
    if failures:
        warn(f"{len(failures):,} could not be {verb}")
    return FAILED if failures else 0


def _carry_out_all(
    session: Session, steps: Sequence[_Step], recursive: bool, label: str, verb: str, as_json: bool
) -> int:
    if recursive or len(steps) > 1:
        return carry_out(session, steps, label, verb=verb, as_json=as_json)
    with missing(steps[0][0], "use -r for all of it"):
        return carry_out(session, steps, label, verb=verb, as_json=as_json)


def _plan(
    session: Session,
    uris: Sequence[str],
    recursive: bool,
    existing: Existing,
    dry_run: bool,
    threads: int,
    *,
    metadata: bool = True,
    move: bool = False,
) -> list[_Step]:
    if len(uris) < 2:
        raise UsageError("name at least one source, and the target last")
    *sources, end = session.find(*uris, threads=threads)
    if has_wildcard(end.key):
        raise UsageError(f"{end.uri}: the target can't be a glob; write [*] for a star in its name")
    steps = []
    for found in sources:
        selection = select(found.store.raw, found.store.uri, found.key, trees=recursive)
        # Several sources can't all become one object.
        target = f"{end.key.rstrip('/')}/" if len(sources) > 1 and end.key.strip("/") else end.key
        job = plan(
            selection,
            end.store.raw,
            end.store.uri,
            target,
            existing=existing,
            move=move,
            dry_run=dry_run,
            metadata=metadata,
            threads=threads,
        )
        steps.append((found, end, job))
    return steps


def _existing(sync: bool, resume: bool) -> Existing:
    if sync and resume:
        raise UsageError("--sync and --resume are two rules; choose one")
    return "sync" if sync else "resume" if resume else "replace"


def _size(job: TreeJob) -> int:
    root = job.source
    if job.single is not None:
        return root.store.stat(root.prefix + job.single[0]).size
    return count_listed(entries(root.store, root.prefix, pattern=job.pattern)).nbytes


def _as_json(bar: Bar, skipped: int, failures: Sequence[tuple[_Step, Transfer]], dry_run: bool) -> dict[str, Any]:
    return {
        "objects": bar.objects,
        "bytes": bar.nbytes,
        "skipped": skipped,
        "seconds": round(bar.seconds, 6),
        "dry_run": dry_run,
        "failures": [
            {
                "source": begin.store.uri + failed.source,
                "target": end.store.uri + failed.target,
                "error": str(failed.error),
            }
            for (begin, end, _), failed in failures
        ],
    }
