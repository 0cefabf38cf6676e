"""``format list``, ``describe``, ``index`` and ``cat``: what is in files of samples."""

from __future__ import annotations

import re
from typing import Any

import click

from penstock.cli.common import json_option, print_json
from penstock.cli.formatted import format_options
from penstock.cli.session import Session, missing, store_command
from penstock.cli.text import size_text, table
from penstock.client import Found
from penstock.errors import UsageError
from penstock.formats import FileSummary
from penstock.globs import has_wildcard, unescape

__all__ = ["formats"]

_SLICE = re.compile(r"(?P<start>-?\d+)?(?P<colon>:(?P<stop>-?\d+)?)?\Z")
_format_option = click.option("-f", "--format", "name", metavar="FORMAT", help="Default: as the name ends.")
_index_option = click.option(
    "--index", metavar="URI", help="The file's index. Default: the one beside it, if there is one."
)


@click.group("format")
def formats() -> None:
    """Look into files of samples, whatever their format, and write indexes of them."""


@formats.command("list")
@json_option
def list_formats(as_json: bool) -> None:
    """List the data formats that are installed."""
    from penstock.plugins import default_host

    records = [record for record in default_host().records() if record.group == "penstock.formats"]
    if as_json:
        print_json([_kind_facts(record) for record in records])
        return
    rows = [("NAME", "ENDINGS", "SPLIT", "INDEXES", "DISTRIBUTION", "WHAT IT IS")]
    for record in records:
        kind = record.kind
        if kind is None:
            rows.append((record.name, "-", "-", "-", record.distribution, f"PROBLEM: {record.problem}"))
            continue
        split = "yes" if kind.splittable else "no"
        forms = ", ".join(kind.index_forms) or "-"
        rows.append((kind.name, " ".join(kind.extensions), split, forms, record.distribution, kind.summary))
    for line in table(rows):
        click.echo(line)
    if any(record.problem for record in records):
        click.get_current_context().exit(1)


@formats.command()
@click.argument("uri")
@_format_option
@format_options
@_index_option
@json_option
@store_command
def describe(
    session: Session, uri: str, name: str | None, format_options: dict[str, str], index: str | None, as_json: bool
) -> None:
    """Say what is in the file URI: its format, samples and fields.

    Only what says that is read: of many formats headers and a directory, of others an index or the whole file.
    """
    found, *others = session.find(uri, *([index] if index else []))
    with _opened(found, name, format_options, others) as opened:
        summary = opened.summary()
        nbytes = opened.file.size
        kind = opened.format.kind
    if as_json:
        print_json({"uri": found.uri, "format": kind.name, "size": nbytes, **_summary_facts(summary)})
        return
    samples = "unknown without reading all" if summary.samples is None else f"{summary.samples:,}"
    head = [("uri", found.uri), ("format", f"{kind.name}: {kind.summary}"), ("size", size_text(nbytes))]
    for line in table([*head, ("samples", samples), *summary.details.items()]):
        click.echo(line)
    if summary.fields:
        click.echo("")
        fields = [(field.name, field.dtype, _shape_text(field.shape)) for field in summary.fields]
        for line in table([("FIELD", "TYPE", "SHAPE"), *fields]):
            click.echo(line)


@formats.command()
@click.argument("uri")
@_format_option
@format_options
@click.option("--form", default="", metavar="FORM", help="Which form, where there are several. Default: the first.")
@click.option("-o", "--output", metavar="URI", help="Where to write it. Default: beside the file.")
@store_command
def index(
    session: Session, uri: str, name: str | None, format_options: dict[str, str], form: str, output: str | None
) -> None:
    """Write the index of the file URI, by which single samples are found, beside it.

    `penstock format list` names the forms that each format has.
    """
    from penstock.samples import choose_format
    from penstock.samples.writing import index_ending, index_found

    chosen = choose_format(uri, name, format_options or None)
    ending = index_ending(chosen.kind, form)
    found, *others = session.find(uri, *([output] if output else []))
    found = _one_file(found)
    place = _place(others[0]) if others else Found(found.store, found.key + ending)
    with missing(found, "name one file"):
        info = index_found(found, place, chosen, form)
    click.echo(f"wrote {info.key}, {size_text(info.size)}", err=True)


@formats.command()
@click.argument("uri")
@_format_option
@format_options
@_index_option
@click.option("--samples", default=":", metavar="RANGE", help="5, 0:10, 10: or -3:, as Python counts. Default: all.")
@json_option
@store_command
def cat(
    session: Session,
    uri: str,
    name: str | None,
    format_options: dict[str, str],
    index: str | None,
    samples: str,
    as_json: bool,
) -> None:
    """Print the samples of the file URI, arrays in short; --json prints all values, one sample in a line."""
    from penstock.cli.format_text import sample_facts, sample_lines

    first = _SLICE.match(samples)
    if first is None or not samples:
        raise UsageError(f"--samples {samples!r}: write a number, or a range such as 0:10")
    found, *others = session.find(uri, *([index] if index else []))
    with _opened(found, name, format_options, others) as opened:
        start, stop = _bounds(first, len(opened))
        for number, sample in enumerate(opened.samples(start, stop), start):
            if as_json:
                print_json({"sample": number, "values": sample_facts(sample)})
            else:
                for line in (f"sample {number}", *sample_lines(sample)):
                    click.echo(line)


def _bounds(written: re.Match[str], length: int) -> tuple[int, int]:
    """First and last number, as written: ``5`` is one sample, the others are slices."""
    start, stop = (int(text) if text else None for text in written.group("start", "stop"))
    if written["colon"] is None:
        assert start is not None
        if not -length <= start < length:
            raise UsageError(f"--samples {start}: the file has {length} samples")
        return start % length, start % length + 1
    first, last, _ = slice(start, stop).indices(length)
    return first, last


def _opened(found: Found, name: str | None, options: dict[str, str], others: list[Found]) -> Any:
    from penstock.samples import SampleFile, StoreFile, choose_format, find_index

    found = _one_file(found)
    chosen = choose_format(found.key, name, options or None)
    with missing(found, "name one file"):
        content: memoryview | None
        if others:
            if not chosen.kind.index_forms:
                raise UsageError(f"{chosen.kind.name} has no index; leave --index out")
            content = others[0].store.get(unescape(others[0].key))
        else:
            content = find_index(found.store.raw, found.key, chosen.kind)
        file = StoreFile(found.store.raw, found.key, uri=found.uri)
        return SampleFile(found.uri, chosen, file, content, found.store)


def _place(found: Found) -> Found:
    if has_wildcard(found.key):
        raise UsageError(f"{found.uri}: a glob can't be written to; write [*] for a star in the name")
    return Found(found.store, unescape(found.key))


def _one_file(found: Found) -> Found:
    if has_wildcard(found.key):
        raise UsageError(f"{found.uri}: this takes one file; write [*] for a star in its name")
    return Found(found.store, unescape(found.key))


def _shape_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "any"
    return "x".join("?" if size is None else str(size) for size in shape) or "-"


def _summary_facts(summary: FileSummary) -> dict[str, Any]:
    return {
        "samples": summary.samples,
        "fields": [{"name": field.name, "dtype": field.dtype, "shape": field.shape} for field in summary.fields],
        "details": dict(summary.details),
    }


def _kind_facts(record: Any) -> dict[str, Any]:
    facts = {"name": record.name, "distribution": record.distribution, "version": record.version}
    if record.kind is None:
        return facts | {"problem": record.problem}
    return facts | {
        "summary": record.kind.summary,
        "endings": list(record.kind.extensions),
        "splittable": record.kind.splittable,
        "indexes": dict(record.kind.index_forms),
    }
