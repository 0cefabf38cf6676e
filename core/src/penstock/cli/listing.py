"""``ls``, ``stat``, ``count`` and ``du``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeVar

import click

from penstock.cli.common import json_option, print_json
from penstock.cli.progress import Bar
from penstock.cli.session import Session, missing, store_command
from penstock.cli.text import count_text, described, size_text, table, time_text
from penstock.client import CommonPrefix, Count, Found
from penstock.errors import ObjectNotFoundError, UsageError
from penstock.globs import compile_glob, has_wildcard, unescape
from penstock.quantities import format_count
from penstock.store import ObjectInfo

__all__ = ["count", "du", "ls", "stat"]

_T = TypeVar("_T")

_exact = click.option("--bytes", "exact", is_flag=True, help="Sizes in bytes.")


@click.command()
@click.argument("uri", default=".")
@click.option("-l", "--long", "long", is_flag=True, help="With size and time of the last change (UTC).")
@click.option("-r", "--recursive", is_flag=True, help="All objects below, not just the next level.")
@click.option("-c", "--count", "only_count", is_flag=True, help="Count instead of printing, with a live rate.")
@click.option("--regex", metavar="EXPRESSION", help="Only names below URI that match this expression as a whole.")
@_exact
@json_option
@store_command
def ls(
    session: Session,
    uri: str,
    long: bool,
    recursive: bool,
    only_count: bool,
    regex: str | None,
    exact: bool,
    as_json: bool,
) -> None:
    """List URI: an object, what is below a directory or prefix, or the matches of a quoted glob.

    `*` stays within a segment, `**` does not. Without -r the next level is listed: objects, and prefixes with
    their slash. A URI that names only a service, such as s3://, lists its buckets. --json prints one line each.
    """
    if session.target(uri).address.bucket == "":
        from penstock.cli.buckets import list_buckets

        if recursive or exact or regex is not None:
            raise UsageError("-r, --regex and --bytes are for objects; name a bucket")
        list_buckets(session, uri, long=long, only_count=only_count, as_json=as_json)
        return
    (found,) = session.find(uri)
    entries = _entries(found, recursive=recursive, regex=regex)
    if only_count:
        _print_count(found, entries, as_json)
        return
    for entry in entries:
        _print_entry(found.store.uri + entry.key, entry, long=long, exact=exact, as_json=as_json)


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@json_option
@store_command
def stat(session: Session, uris: tuple[str, ...], as_json: bool) -> None:
    """Show what the store knows of each object."""
    for number, found in enumerate(session.find(*uris)):
        with missing(found, "list it with ls"):
            facts = described(found.uri, found.store.stat(found.key))
        if as_json:
            print_json(facts)
            continue
        if number:
            click.echo()
        facts["size"] = f"{facts['size']} ({size_text(facts['size'])})"
        rows = [(name.replace("_", " "), value) for name, value in facts.items() if name != "metadata"]
        rows += [(f"metadata {name}", value) for name, value in facts.get("metadata", {}).items()]
        for line in table([(name, str(value)) for name, value in rows]):
            click.echo(line)


@click.command()
@click.argument("uri")
@json_option
@store_command
def count(session: Session, uri: str, as_json: bool) -> None:
    """Count the objects below URI, or the matches of a quoted glob, and their bytes."""
    (found,) = session.find(uri)
    _print_count(found, _entries(found, recursive=True, regex=None), as_json)


@click.command()
@click.argument("uri", default=".")
@click.option("-d", "--depth", type=click.IntRange(min=0), default=1, show_default=True, help="Levels to show.")
@click.option("-s", "--summarize", is_flag=True, help="Only the total, as --depth 0.")
@_exact
@json_option
@store_command
def du(session: Session, uri: str, depth: int, summarize: bool, exact: bool, as_json: bool) -> None:
    """Sum up the sizes below URI by prefix, and in all."""
    (found,) = session.find(uri)
    top, entries = _below(found)
    sums: dict[str, list[int]] = {}
    with Bar("adding up") as bar:
        for info in entries:
            bar.object_done(info.size)
            for prefix in _ancestors(info.key, len(top), 0 if summarize else depth):
                pair = sums.setdefault(prefix, [0, 0])
                pair[0] += 1
                pair[1] += info.size
    sums.setdefault(top, [0, 0])
    rows = [(prefix, sums[prefix][0], sums[prefix][1]) for prefix in sorted(sums, key=lambda name: (name == top, name))]
    if as_json:
        print_json([{"uri": found.store.uri + name, "objects": n, "bytes": size} for name, n, size in rows])
        return
    cells = [(size_text(size, exact=exact), f"{n:,}", found.store.uri + name) for name, n, size in rows]
    for line in table([("SIZE", "OBJECTS", "URI"), *cells], right=(0, 1)):
        click.echo(line)


def _entries(found: Found, *, recursive: bool, regex: str | None) -> Iterator[ObjectInfo | CommonPrefix]:
    store, key = found.store, found.key
    if has_wildcard(key):
        cut = key.rfind("/", 0, compile_glob(key).start) + 1
        # A glob decides by itself how deep it goes; without ** prefixes of its own level match too.
        deep = recursive or "**" in key or "/" in key[compile_glob(key).start :]
        return _at_least_one(found, store.list(unescape(key[:cut]), recursive=deep, pattern=key[cut:]))
    key = unescape(key)
    if not key or key.endswith("/"):
        entries = _without_marker(key, store.list(key, recursive=recursive, regex=regex))
        return entries if not key or store.is_directory(key) else _at_least_one(found, entries)
    entries = _without_marker(f"{key}/", store.list(f"{key}/", recursive=recursive, regex=regex))
    first = next(entries, None)
    if first is not None:
        return itertools.chain([first], entries)
    return iter(()) if store.is_directory(key) else iter([store.stat(key)])


def _below(found: Found) -> tuple[str, Iterator[ObjectInfo]]:
    """A prefix and the objects below it; or an object's key and that object alone."""
    key = f"{found.key.rstrip('/')}/" if found.key.strip("/") else ""
    entries = found.store.list(key)
    first = next(entries, None)
    if first is None and key and not found.store.is_directory(key):
        return found.key, iter([found.store.stat(found.key)])
    return key, itertools.chain([first] if first is not None else [], entries)


def _ancestors(key: str, cut: int, depth: int) -> Iterator[str]:
    """The prefix of length ``cut`` and those below it that hold the key, at most ``depth`` of them."""
    yield key[:cut]
    for _ in range(depth):
        cut = key.find("/", cut) + 1
        if not cut:
            return
        yield key[:cut]


def _without_marker(prefix: str, entries: Iterator[ObjectInfo | CommonPrefix]) -> Iterator[ObjectInfo | CommonPrefix]:
    return (entry for entry in entries if entry.key != prefix)


def _at_least_one(found: Found, entries: Iterator[_T]) -> Iterator[_T]:
    first = next(entries, None)
    if first is None:
        raise ObjectNotFoundError("nothing is there", uri=found.uri, operation="list")
    return itertools.chain([first], entries)


def _print_entry(uri: str, entry: ObjectInfo | CommonPrefix, *, long: bool, exact: bool, as_json: bool) -> None:
    if as_json:
        print_json(described(uri, entry) if isinstance(entry, ObjectInfo) else {"prefix": uri})
    elif not long:
        click.echo(uri)
    elif isinstance(entry, ObjectInfo):
        click.echo(f"{size_text(entry.size, exact=exact):>12}  {time_text(entry):<19}  {uri}")
    else:
        click.echo(f"{'-':>12}  {'-':<19}  {uri}")


def _print_count(found: Found, entries: Iterator[ObjectInfo | CommonPrefix], as_json: bool) -> None:
    prefixes = 0
    with Bar("counting") as bar:
        for entry in entries:
            if isinstance(entry, ObjectInfo):
                bar.object_done(entry.size)
            else:
                prefixes += 1
        total, seconds = Count(bar.objects, bar.nbytes), max(bar.seconds, 1e-9)
    if as_json:
        facts = {"uri": found.uri, "objects": total.objects, "bytes": total.nbytes, "prefixes": prefixes}
        print_json(facts | {"seconds": round(seconds, 6)})
        return
    more = f", {prefixes:,} prefix{'es' if prefixes != 1 else ''}" if prefixes else ""
    rate = format_count(total.objects / seconds)
    click.echo(f"{count_text(total.objects, total.nbytes)} ({total.nbytes} bytes){more}; {rate} objects/s")
