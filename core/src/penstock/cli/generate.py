"""``generate`` and ``verify``: objects of content that can be made again, and their check."""

from __future__ import annotations

import secrets
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import click

from penstock.cli.common import json_option, print_json
from penstock.cli.formatted import ExpectPieces, Formatted, object_type_options, refuse_without_size
from penstock.cli.generated import (
    DEFAULT_TEMPLATE,
    Content,
    Headers,
    Maker,
    Template,
    below,
    content_options,
    refuse_glob,
    write_objects,
)
from penstock.cli.progress import Bar
from penstock.cli.session import Session, Size, store_command, threads_option, was_given
from penstock.client import Found
from penstock.client.crew import each
from penstock.errors import ChecksumMismatchError, ObjectNotFoundError, StoreError, UsageError
from penstock.payload import Payload
from penstock.sinks import Verify

__all__ = ["generate", "verify"]

_MOST_LINES = 20
_template_option = click.option(
    "-t",
    "--template",
    default=DEFAULT_TEMPLATE,
    show_default=True,
    help="Names of the objects: the first {} or {:06d} is the object's number from 0, the second how many there are.",
)


@click.command()
@click.argument("uri")
@click.option("-n", "--number", type=click.IntRange(min=1), default=1, show_default=True, help="How many objects.")
@click.option("-s", "--size", type=Size(), default="20MiB", show_default=True, help="Size of each.")
@_template_option
@object_type_options
@content_options
@click.option("--seed", type=click.IntRange(min=0), help="Generate the same content again. Default: new content.")
@click.option("--if-absent", is_flag=True, help="Fail if an object is there already.")
@threads_option
@store_command
def generate(
    session: Session,
    uri: str,
    number: int,
    size: int,
    template: str,
    object_type: str,
    format_options: dict[str, str],
    fill: str,
    dedup_factor: float,
    dedup_across: bool,
    compress_factor: float,
    seed: int | None,
    if_absent: bool,
    threads: int,
) -> None:
    """Write objects of generated content below URI.

    The bytes depend on the seed, the object's number and the offset alone, so that `penstock verify` can check them
    without a copy. The command for that is printed at the end. With -o they are the content of files of that format.
    """
    formatted = Formatted.of(object_type, format_options)
    if formatted is not None and not was_given("template"):
        template = formatted.template(template)
    names = Template.compile(template)
    content = Content(fill, dedup_factor, dedup_across, compress_factor)
    chosen = secrets.randbits(63) if seed is None else seed
    payload = content.open(chosen, size)
    (found,) = session.find(uri, threads=threads)
    refuse_glob(found)
    if limits := content.limits():
        click.echo(limits, err=True)
    write_objects(found, number, names.namer(number), Maker.of(payload, size, number, formatted), Headers(if_absent))
    words = ["penstock verify", shlex.quote(uri), f"-n {number} -s {size} --seed {chosen}", content.arguments()]
    if formatted is not None:
        words.append(formatted.arguments())
    if was_given("template") and template != DEFAULT_TEMPLATE:
        words.insert(3, f"-t {shlex.quote(template)}")
    click.echo(f"to check them: {' '.join(word for word in words if word)}", err=True)


@click.command()
@click.argument("uri")
@click.option("-n", "--number", type=click.IntRange(min=1), help="How many there must be. Default: as the names say.")
@click.option("-s", "--size", type=Size(), help="Size of each. Default: the one that most of them have.")
@_template_option
@object_type_options
@content_options
@click.option("--seed", type=click.IntRange(min=0), required=True, help="The seed that they were generated with.")
@json_option
@threads_option
@store_command
def verify(
    session: Session,
    uri: str,
    number: int | None,
    size: int | None,
    template: str,
    object_type: str,
    format_options: dict[str, str],
    fill: str,
    dedup_factor: float,
    dedup_across: bool,
    compress_factor: float,
    seed: int,
    as_json: bool,
    threads: int,
) -> int:
    """Check objects below URI that `penstock generate` wrote, byte for byte, by making them again.

    Objects that are missing, of another size, or different are listed, with the first byte that differs; then the exit
    code is 1. Objects with other names are counted, and not checked.
    """
    formatted = Formatted.of(object_type, format_options)
    refuse_without_size(formatted, size)
    if formatted is not None and not was_given("template"):
        template = formatted.template(template)
    names = Template.compile(template)
    content = Content(fill, dedup_factor, dedup_across, compress_factor)
    content.open(seed, size or 0)
    (found,) = session.find(uri, threads=threads)
    refuse_glob(found)
    listed = _listed(found, names)
    if not listed.objects and number is None:
        raise ObjectNotFoundError(f"no object there has a name of the template {template!r}", uri=uri)
    expected = listed.usual_size() if size is None else size
    payload = content.open(seed, expected)
    check = _Check(found, Maker.of(payload, expected, 2, formatted), payload)
    with Bar("checking", nbytes=sum(nbytes for _, nbytes in listed.objects.values())) as bar:
        results = each(lambda item: check.one(item, bar), listed.objects.items(), min(threads, found.store.threads))
        wrong = sorted((each for each in results if each is not None), key=lambda fault: fault.obj)
    missing = listed.missing(names, number)
    _report(found, bar, wrong, missing, listed.others, as_json=as_json)
    return 1 if wrong or missing else 0


@attrs.frozen
class _Fault:
    """What is wrong with an object; ``offset`` is that of the first byte that differs, None where that is not it."""

    obj: int
    key: str
    kind: str
    message: str
    offset: int | None = None


@attrs.define
class _Listed:
    """Objects by number, each with its key and size; and how many have other names."""

    prefix: str
    objects: dict[int, tuple[str, int]] = attrs.field(factory=dict)
    others: int = 0
    count: int = 0

    def usual_size(self) -> int:
        sizes = Counter(nbytes for _, nbytes in self.objects.values())
        return max(sizes, key=lambda size: (sizes[size], size), default=0)

    def missing(self, names: Template, number: int | None) -> list[_Fault]:
        """Those that the names, or the command, say there must be."""
        count = max(self.count, max(self.objects, default=-1) + 1) if number is None else number
        name = names.namer(count)
        absent = (obj for obj in range(count) if obj not in self.objects)
        return [_Fault(obj, self.prefix + name(obj), "missing", "there is no such object") for obj in absent]


def _listed(found: Found, names: Template) -> _Listed:
    prefix = below(found.key)
    listed = _Listed(prefix)
    for info in found.store.list(prefix):
        numbers = names.parse(info.key[len(prefix) :])
        if numbers is None:
            listed.others += 1
            continue
        obj, count = numbers
        if obj in listed.objects:
            raise UsageError(
                f"{found.uri}: {listed.objects[obj][0]} and {info.key} are both object {obj}; "
                "give a template that only one of them has"
            )
        listed.objects[obj] = info.key, info.size
        listed.count = max(listed.count, count or 0)
    return listed


@attrs.frozen
class _Check:
    found: Found
    make: Maker
    payload: Payload

    def one(self, item: tuple[int, tuple[str, int]], bar: Bar) -> _Fault | None:
        """Read an object; None when it is right."""
        obj, (key, _) = item
        formatted = self.make.formatted is not None
        sink: Verify | ExpectPieces = ExpectPieces(self.make.pieces(obj)) if formatted else Verify(self.payload, obj)
        try:
            self.found.store.raw.get(key, sink)
        except ChecksumMismatchError as error:
            if sink.difference is None:
                return _Fault(obj, key, "unreadable", str(error))
            return _Fault(obj, key, "different", f"differs from byte {sink.difference} on", sink.difference)
        except StoreError as error:
            return _Fault(obj, key, "unreadable", str(error))
        finally:
            bar.object_done(sink.nbytes)
        size = sink.nbytes + sink.missing() if isinstance(sink, ExpectPieces) else self.make.size
        if sink.nbytes != size:
            return _Fault(obj, key, "size", f"has {sink.nbytes} bytes, not {size}", min(sink.nbytes, size))
        return None


def _report(
    found: Found, bar: Bar, wrong: Sequence[_Fault], missing: Sequence[_Fault], others: int, *, as_json: bool
) -> None:
    faults = [*wrong, *missing]
    if as_json:
        print_json(_result(found, bar, faults, others))
        return
    for fault in faults[:_MOST_LINES]:
        click.echo(f"{found.store.uri}{fault.key}: {fault.message}")
    if len(faults) > _MOST_LINES:
        click.echo(f"and {len(faults) - _MOST_LINES:,} more; --json lists all")
    for line in _summary(bar, wrong, missing, others):
        click.echo(line, err=True)


def _summary(bar: Bar, wrong: Sequence[_Fault], missing: Sequence[_Fault], others: int) -> Iterator[str]:
    kinds = Counter(fault.kind for fault in [*wrong, *missing])
    words = {"different": "different", "size": "of another size", "unreadable": "unreadable", "missing": "missing"}
    found = ", ".join(f"{kinds[kind]:,} {word}" for kind, word in words.items() if kinds[kind])
    yield f"checked {bar.summary()}: {found or 'all as generated'}"
    if others:
        yield f"not checked: {others:,} with other names"


def _result(found: Found, bar: Bar, faults: Sequence[_Fault], others: int) -> dict[str, Any]:
    return {
        "uri": found.uri,
        "objects": bar.objects,
        "bytes": bar.nbytes,
        "seconds": round(bar.seconds, 6),
        "right": bar.objects - sum(fault.kind != "missing" for fault in faults),
        "not_checked": others,
        "wrong": [
            {"uri": found.store.uri + fault.key, "kind": fault.kind, "offset": fault.offset, "message": fault.message}
            for fault in faults
        ],
    }
