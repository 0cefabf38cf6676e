"""``set-metadata``."""

from __future__ import annotations

import click

from penstock.cli.common import key_values
from penstock.cli.session import Session, missing, store_command
from penstock.errors import UsageError
from penstock.globs import has_wildcard, unescape

__all__ = ["set_metadata"]


@click.command()
@click.argument("uri")
@click.argument("metadata", nargs=-1, metavar="NAME=VALUE...", callback=key_values)
@click.option("--clear", is_flag=True, help="Take all metadata away; instead of NAME=VALUE.")
@store_command
def set_metadata(session: Session, uri: str, metadata: dict[str, str], clear: bool) -> None:
    """Replace all metadata of the object URI by these pairs, without moving its bytes.

    What is not named is gone afterwards; `penstock stat URI` shows what is there.
    """
    if clear == bool(metadata):
        raise UsageError("write NAME=VALUE for each pair that the object shall have, or --clear for none")
    (found,) = session.find(uri)
    if has_wildcard(found.key):
        raise UsageError(f"{found.uri}: this takes one object; write [*] for a star in its name")
    with missing(found, "name one object"):
        found.store.set_metadata(unescape(found.key), metadata)
