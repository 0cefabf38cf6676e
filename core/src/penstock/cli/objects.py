"""``cat`` and ``get``."""

from __future__ import annotations

import sys

import click

from penstock.cli.progress import Bar
from penstock.cli.session import Session, Size, missing, store_command
from penstock.cli.trees import carry_out
from penstock.client import Found
from penstock.client.trees import plan, select
from penstock.errors import UsageError
from penstock.globs import has_wildcard, unescape

__all__ = ["cat", "get"]

_DIRECTORY = "use download or cp -r for all of it, or ls to see it"


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@click.option("--offset", type=Size(), default=0, help="Start at this byte.")
@click.option("--length", type=Size(), help="At most this many bytes of each object.")
@store_command
def cat(session: Session, uris: tuple[str, ...], offset: int, length: int | None) -> None:
    """Write objects to standard output, one after the other."""
    for found in session.find(*uris):
        _write_out(found, offset, length)


@click.command()
@click.argument("uri")
@click.argument("target", default=".")
@store_command
def get(session: Session, uri: str, target: str) -> int:
    """Read one object into TARGET: a file, a directory, or `-` for standard output.

    The file appears whole or not at all. A quoted glob reads its matches into a directory.
    """
    if target == "-":
        (found,) = session.find(uri)
        _write_out(found, 0, None)
        return 0
    found, end = session.find(uri, target)
    selection = select(found.store.raw, found.store.uri, found.key, trees=False)
    job = plan(selection, end.store.raw, end.store.uri, end.key)
    with missing(found, _DIRECTORY):
        return carry_out(session, [(found, end, job)], "reading", verb="read")


def _write_out(found: Found, offset: int, length: int | None) -> None:
    if has_wildcard(found.key):
        raise UsageError(f"{found.uri}: this takes one object; write [*] for a star in its name")
    out = sys.stdout.buffer
    with missing(found, _DIRECTORY), Bar("reading") as bar:
        # The bar and the bytes would mix on one terminal, so it counts only where they go elsewhere.
        key = unescape(found.key)
        with found.store.open_read(key, offset=offset, length=length) as stream:
            for chunk in stream:
                out.write(chunk)
                bar.advance(chunk.nbytes)
        out.flush()
