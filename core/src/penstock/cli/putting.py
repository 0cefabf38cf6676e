"""``put``: a file, standard input, or generated objects."""

from __future__ import annotations

import mmap
import os
import secrets
import sys

import click
from click.core import ParameterSource

from penstock.cli.common import key_values
from penstock.cli.formatted import Formatted, object_type_options
from penstock.cli.generated import (
    DEFAULT_TEMPLATE,
    Content,
    Headers,
    Maker,
    Template,
    open_writer,
    refuse_glob,
    write_objects,
)
from penstock.cli.progress import Bar
from penstock.cli.session import Session, Size, store_command, threads_option
from penstock.cli.trees import carry_out
from penstock.client import Store
from penstock.client.trees import plan, select
from penstock.errors import UsageError

__all__ = ["put"]

_MIB = 1024 * 1024
_GENERATING = ("number", "size", "template", "object_type", "format_options", "seed")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[FILE] URI")
@click.option("-n", "--number", type=click.IntRange(min=1), default=1, show_default=True, help="Objects to generate.")
@click.option("-s", "--size", type=Size(), default="20MiB", show_default=True, help="Size of a generated object.")
@click.option(
    "-t",
    "--template",
    default=DEFAULT_TEMPLATE,
    show_default=True,
    help="Names of generated objects; the first {} is the object's number from 0, the second how many there are.",
)
@object_type_options
@click.option("--seed", type=click.IntRange(min=0), help="Generate the same content again. Default: new content.")
@click.option("--if-absent", is_flag=True, help="Fail if the object is there already.")
@click.option(
    "-m", "--metadata", multiple=True, metavar="NAME=VALUE", callback=key_values, help="Metadata of the object."
)
@click.option("--content-type", help="Media type of the object.")
@threads_option
@click.pass_context
@store_command
def put(
    session: Session,
    ctx: click.Context,
    names: tuple[str, ...],
    number: int,
    size: int,
    template: str,
    object_type: str,
    format_options: dict[str, str],
    seed: int | None,
    if_absent: bool,
    metadata: dict[str, str],
    content_type: str | None,
    threads: int,
) -> int:
    """Store FILE, or standard input (`-`), as the object URI; or generate objects below URI.

    Objects are generated when FILE is left out and any of -n, -s, -t, -o is given. Each has bytes of its own that
    don't compress; with -o they are the content of a file of that format, and names end as such files do.
    """
    headers = Headers(if_absent, metadata, content_type)
    if len(names) > 2:
        raise UsageError("put takes one file and one URI; use upload for several files")
    chosen = [name for name in _GENERATING if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if len(names) == 2:
        if chosen:
            raise UsageError(
                f"--{chosen[0].removesuffix('s').replace('_', '-')} is for generated objects; leave out {names[0]}"
            )
        return _put_file(session, names[0], names[1], headers)
    if not chosen:
        raise UsageError("name a file and the URI, or -s SIZE and the URI to generate objects below it")
    formatted = Formatted.of(object_type, format_options)
    if formatted is not None and "template" not in chosen:
        template = formatted.template(template)
    (found,) = session.find(names[0], threads=threads)
    refuse_glob(found)
    payload = Content().open(secrets.randbits(63) if seed is None else seed, size)
    make = Maker.of(payload, size, number, formatted)
    write_objects(found, number, Template.compile(template).namer(number), make, headers)
    return 0


def _put_file(session: Session, source: str, uri: str, headers: Headers) -> int:
    if source == "-":
        (end,) = session.find(uri)
        refuse_glob(end)
        with Bar("writing") as bar, open_writer(end.store, end.key, headers) as writer:
            while chunk := sys.stdin.buffer.read(_MIB):
                writer.write(chunk)
                bar.advance(len(chunk))
        return 0
    found, end = session.find(source, uri)
    refuse_glob(end)
    job = plan(select(found.store.raw, found.store.uri, found.key, trees=False), end.store.raw, end.store.uri, end.key)
    if job.single is None:
        raise UsageError("put takes one file; use upload for several")
    if not headers.any():
        return carry_out(session, [(found, end, job)], "writing", verb="wrote")
    with Bar("writing") as bar:
        nbytes = _put_mapped(source, end.store, job.target.prefix + job.single[1], headers)
        bar.object_done(nbytes)
    click.echo(f"wrote {bar.summary()}", err=True)
    return 0


def _put_mapped(path: str, store: Store, key: str, headers: Headers) -> int:
    with open(path, "rb") as file:
        nbytes = os.fstat(file.fileno()).st_size
        # An empty file can't be mapped.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if nbytes else b""
        store.put(
            key,
            data,
            if_absent=headers.if_absent,
            metadata=headers.metadata or None,
            content_type=headers.content_type,
        )
    return nbytes
