"""``put``: a file, standard input, or generated objects."""

from __future__ import annotations

import mmap
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import click
from click.core import ParameterSource

from penstock.buffers import aligned_buffer
from penstock.cli.common import key_values
from penstock.cli.progress import Bar
from penstock.cli.session import Session, Size, store_command, threads_option
from penstock.cli.trees import carry_out
from penstock.client import Found, Store
from penstock.client.crew import each
from penstock.client.trees import plan, select
from penstock.errors import UsageError
from penstock.globs import has_wildcard
from penstock.payload import Payload
from penstock.writers import GuardedWriter

__all__ = ["put"]

_MIB = 1024 * 1024
#: Generated objects up to this size are made in one piece; larger ones are written in parts.
_WHOLE = 64 * _MIB
_PART = 8 * _MIB
_GENERATING = ("number", "size", "template", "object_type", "seed")


@attrs.frozen(slots=True)
class _Headers:
    """What goes with one object."""

    if_absent: bool
    metadata: Mapping[str, str]
    content_type: str | None

    def any(self) -> bool:
        return bool(self.if_absent or self.metadata or self.content_type)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[FILE] URI")
@click.option("-n", "--number", type=click.IntRange(min=1), default=1, show_default=True, help="Objects to generate.")
@click.option("-s", "--size", type=Size(), default="20MiB", show_default=True, help="Size of a generated object.")
@click.option(
    "-t",
    "--template",
    default="object_{}_of_{}.dat",
    show_default=True,
    help="Names of generated objects; the first {} is the object's number from 0, the second how many there are.",
)
@click.option(
    "-o", "--object-type", default="RAW", show_default=True, metavar="FORMAT", help="RAW, or an installed data format."
)
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
    seed: int | None,
    if_absent: bool,
    metadata: dict[str, str],
    content_type: str | None,
    threads: int,
) -> int:
    """Store FILE, or standard input (`-`), as the object URI; or generate objects below URI.

    Objects are generated when FILE is left out and any of -n, -s, -t, -o is given. Each has bytes of its own that
    don't compress.
    """
    headers = _Headers(if_absent, metadata, content_type)
    if len(names) > 2:
        raise UsageError("put takes one file and one URI; use upload for several files")
    chosen = [name for name in _GENERATING if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if len(names) == 2:
        if chosen:
            raise UsageError(f"--{chosen[0].replace('_', '-')} is for generated objects; leave out {names[0]}")
        return _put_file(session, names[0], names[1], headers)
    if not chosen:
        raise UsageError("name a file and the URI, or -s SIZE and the URI to generate objects below it")
    (found,) = session.find(names[0], threads=threads)
    _refuse_glob(found)
    make = _maker(object_type, size, secrets.randbits(63) if seed is None else seed)
    _generate(found, _names(template, number), make, headers)
    return 0


def _put_file(session: Session, source: str, uri: str, headers: _Headers) -> int:
    if source == "-":
        (end,) = session.find(uri)
        _refuse_glob(end)
        with Bar("writing") as bar, _open_writer(end.store, end.key, headers) as writer:
            while chunk := sys.stdin.buffer.read(_MIB):
                writer.write(chunk)
                bar.advance(len(chunk))
        return 0
    found, end = session.find(source, uri)
    _refuse_glob(end)
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


def _put_mapped(path: str, store: Store, key: str, headers: _Headers) -> int:
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


def _names(template: str, number: int) -> Callable[[int], str]:
    """The name of each object number. Every name must be another one."""
    holes = template.count("{}")
    if holes > 2:
        raise UsageError(f"{template!r}: at most two {{}}, for the object's number and for how many there are")
    if number > 1 and not holes:
        raise UsageError(f"{template!r}: {number} objects need different names; put {{}} where the number goes")
    parts = template.split("{}")
    if holes == 2:
        return lambda obj: f"{parts[0]}{obj}{parts[1]}{number}{parts[2]}"
    return lambda obj: template.replace("{}", str(obj))


@attrs.frozen(slots=True)
class _Maker:
    """How one object is made: ``whole`` gives all of it, or ``fill`` parts of ``size`` bytes in all."""

    size: int
    fill: Callable[[memoryview, int, int], None]
    encode: Callable[[memoryview], Any] | None = None


def _maker(object_type: str, size: int, seed: int) -> _Maker:
    from penstock.options import resolve
    from penstock.plugins import default_host

    payload: Payload = default_host().payload_type("random").open(seed)

    def fill(buffer: memoryview, obj: int, offset: int) -> None:
        payload.fill(buffer, obj=obj, offset=offset)

    if object_type.upper() == "RAW":
        return _Maker(size, fill)
    kind = default_host().format_type(object_type.lower())
    codec = kind.open(resolve(kind.options, scheme=kind.name).options)

    def encode(data: memoryview) -> Any:
        import numpy as np

        return codec.encode([{"data": np.frombuffer(data, dtype=np.uint8)}])

    return _Maker(size, fill, encode)


def _generate(found: Found, name: Callable[[int], str], make: _Maker, headers: _Headers) -> None:
    count = click.get_current_context().params["number"]
    below = f"{found.key.rstrip('/')}/" if found.key.strip("/") else ""
    with Bar("writing", nbytes=count * make.size) as bar:

        def one(obj: int) -> None:
            _write_one(found.store, below + name(obj), obj, make, headers, bar)

        for _ in each(one, range(count), min(count, found.store.threads)):
            bar.object_done()
    click.echo(f"wrote {bar.summary()}", err=True)


def _write_one(store: Store, key: str, obj: int, make: _Maker, headers: _Headers, bar: Bar) -> None:
    limit = store.capabilities.max_put
    fits = make.size <= (_WHOLE if limit is None else min(_WHOLE, limit))
    if fits or make.encode is not None:
        data = aligned_buffer(make.size)
        make.fill(data, obj, 0)
        body = data if make.encode is None else make.encode(data)
        info = store.put(
            key,
            body,
            if_absent=headers.if_absent,
            metadata=headers.metadata or None,
            content_type=headers.content_type,
        )
        bar.advance(info.size)
        return
    with _open_writer(store, key, headers) as writer:
        _write_parts(writer, obj, make, bar)


def _open_writer(store: Store, key: str, headers: _Headers) -> GuardedWriter:
    return store.open_writer(
        key,
        if_absent=headers.if_absent,
        metadata=headers.metadata or None,
        content_type=headers.content_type,
    )


def _write_parts(writer: GuardedWriter, obj: int, make: _Maker, bar: Bar) -> None:
    part = aligned_buffer(_PART)
    for offset in range(0, make.size, _PART):
        piece = part[: min(_PART, make.size - offset)]
        make.fill(piece, obj, offset)
        writer.write(piece)
        bar.advance(piece.nbytes)


def _refuse_glob(found: Found) -> None:
    if has_wildcard(found.key):
        raise UsageError(f"{found.uri}: a glob can't be written to; write [*] for a star in the name")
