"""``penstock checkpoint list|show|verify|prune URI``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from penstock.cli.common import json_option, print_json, warn
from penstock.cli.lazy import FAILED
from penstock.cli.session import Duration, Session, store_command
from penstock.cli.text import size_text, table
from penstock.errors import ChecksumMismatchError, ObjectNotFoundError, UsageError
from penstock.quantities import format_bytes
from penstock_training.checkpoint.catalog import Entry
from penstock_training.checkpoint.manifest import Manifest
from penstock_training.checkpoint.pruning import Pruned
from penstock_training.checkpoint.store import CheckpointStore

__all__ = ["checkpoint", "list_checkpoints", "prune", "show", "verify"]

_step = click.option("--step", type=click.IntRange(min=0), help="The newest save of this step, not the latest of all.")


@click.group()
def checkpoint() -> None:
    """List, show, verify and prune the checkpoints of training below a URI."""


@checkpoint.command("list", short_help="List the checkpoints below URI.")
@click.argument("uri")
@json_option
@store_command
def list_checkpoints(session: Session, uri: str, as_json: bool) -> int:
    """List the checkpoints below URI, the oldest first; the latest has a star.

    Exit code 1 where a manifest is damaged: such a checkpoint is listed, and nobody can load it.
    """
    with _opened(session, uri) as checkpoints:
        entries = checkpoints.entries()
        latest = next((entry.name for entry in reversed(entries) if entry.manifest is not None), None)
        damaged = [entry for entry in entries if entry.manifest is None]
        if as_json:
            for entry in entries:
                print_json(_listed(entry, entry.name == latest))
        elif entries:
            rows = [_row(entry, entry.name == latest) for entry in entries]
            for line in table([("STEP", "", "CREATED", "RANKS", "SIZE", "ID"), *rows], right=(0, 3, 4)):
                click.echo(line)
        else:
            click.echo(f"no checkpoints below {checkpoints.uri}", err=True)
        for entry in damaged:
            warn(f"step {entry.name.step}: {entry.problem}")
    return FAILED if damaged else 0


@checkpoint.command(short_help="Show a checkpoint: metadata, shards, tensors.")
@click.argument("uri")
@_step
@click.option("--tensors", "tensors", is_flag=True, help="With every tensor: its type, shape, size and rank.")
@json_option
@store_command
def show(session: Session, uri: str, step: int | None, tensors: bool, as_json: bool) -> None:
    """Show the latest checkpoint below URI: its metadata, its shards, and what they hold."""
    with _opened(session, uri) as checkpoints:
        manifest = checkpoints.find(step)
        if as_json:
            facts = _described(manifest)
            if tensors:
                facts["tensors"] = _tensors(checkpoints, manifest)
            print_json(facts)
            return
        for line in _shown(manifest):
            click.echo(line)
        if tensors:
            rows = [
                (each["name"], each["dtype"], " x ".join(map(str, each["shape"])) or "-", each["bytes"], each["rank"])
                for each in _tensors(checkpoints, manifest)
            ]
            cells = [(name, kind, shape, format_bytes(size), str(rank)) for name, kind, shape, size, rank in rows]
            click.echo()
            for line in table([("TENSOR", "TYPE", "SHAPE", "SIZE", "RANK"), *cells], right=(3, 4)):
                click.echo(line)


@checkpoint.command(short_help="Compare shards with their checksums.")
@click.argument("uri")
@_step
@click.option("--all", "every", is_flag=True, help="Every checkpoint, not just the latest.")
@json_option
@store_command
def verify(session: Session, uri: str, step: int | None, every: bool, as_json: bool) -> int:
    """Read the latest checkpoint below URI and compare each shard with its checksum.

    Exit code 1 where a shard is missing or not what was saved.
    """
    if every and step is not None:
        raise UsageError("--all takes every checkpoint; leave --step out")
    failed = 0
    with _opened(session, uri) as checkpoints:
        for entry in _chosen(checkpoints, step, every):
            name, found = entry.name, _problem(checkpoints, entry)
            failed += found is not None
            if as_json:
                print_json({"step": name.step, "id": name.id, "ok": found is None, "problem": found})
            elif found is None:
                click.echo(f"step {name.step}: every shard is what was saved")
            else:
                click.echo(f"step {name.step}: {found}")
    return FAILED if failed else 0


@checkpoint.command(short_help="Remove what was never committed, and old checkpoints.")
@click.argument("uri")
@click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="Delete all checkpoints but the N newest.")
@click.option(
    "--older-than",
    type=Duration(),
    metavar="DURATION",
    help="How old shards of no checkpoint have to be, such as 2h or 7d. Default 25h: younger ones may be of a save in "
    "progress. 0s is safe only while nobody saves.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@store_command
def prune(
    session: Session, uri: str, keep_last: int | None, older_than: float | None, dry_run: bool, as_json: bool
) -> None:
    """Remove what saves below URI left behind that were never committed; with --keep-last old checkpoints too."""
    with _opened(session, uri, keep_last) as checkpoints:
        pruned = checkpoints.prune(older_than=older_than, dry_run=dry_run)
    if as_json:
        print_json(_pruned(pruned, dry_run))
        return
    verb = "would remove" if dry_run else "removed"
    if dry_run:
        for name in pruned.checkpoints:
            click.echo(f"checkpoint of step {name.step}, {name.id}")
        for info in pruned.orphans:
            click.echo(f"{checkpoints.uri}{info.key}")
    orphans = f"{_count(len(pruned.orphans), 'orphan')} of {format_bytes(pruned.nbytes)}"
    click.echo(f"{verb} {_count(len(pruned.checkpoints), 'checkpoint')} and {orphans}")
    if pruned.uploads:
        click.echo(f"{verb} {_count(pruned.uploads, 'unfinished upload')}")
    if pruned.young:
        click.echo(f"kept {_count(pruned.young, 'shard')} that may be of a save in progress; see --older-than")
    for entry in pruned.damaged:
        warn(f"step {entry.name.step} is damaged and stays, with its shards: {entry.problem}")


def _opened(session: Session, uri: str, keep_last: int | None = None) -> CheckpointStore:
    return CheckpointStore(uri, keep_last=keep_last, options=session.options_for(uri)[uri])


def _chosen(checkpoints: CheckpointStore, step: int | None, every: bool) -> Sequence[Entry]:
    if not every:
        manifest = checkpoints.find(step)
        return [Entry(manifest.name, manifest)]
    entries = checkpoints.entries()
    if not entries:
        checkpoints.find()
    return entries


def _problem(checkpoints: CheckpointStore, entry: Entry) -> str | None:
    if entry.manifest is None:
        return entry.problem
    try:
        checkpoints.verify(entry.manifest)
    except (ChecksumMismatchError, ObjectNotFoundError) as error:
        return str(error)
    return None


def _row(entry: Entry, is_latest: bool) -> tuple[str, ...]:
    star = "*" if is_latest else ""
    if entry.manifest is None:
        return (str(entry.name.step), star, "damaged", "-", "-", entry.name.id)
    manifest = entry.manifest
    created = f"{manifest.created:%Y-%m-%d %H:%M:%S}"
    return (str(manifest.step), star, created, str(manifest.world_size), size_text(manifest.nbytes), manifest.id)


def _listed(entry: Entry, is_latest: bool) -> dict[str, Any]:
    if entry.manifest is None:
        return {"step": entry.name.step, "id": entry.name.id, "problem": entry.problem}
    return {**_facts(entry.manifest), "latest": is_latest}


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "step": manifest.step,
        "id": manifest.id,
        "created": manifest.created.isoformat(),
        "world_size": manifest.world_size,
        "bytes": manifest.nbytes,
        "metadata": dict(manifest.metadata),
    }


def _described(manifest: Manifest) -> dict[str, Any]:
    shards = [
        {
            "rank": shard.rank,
            "key": shard.key,
            "bytes": shard.size,
            "content_bytes": shard.content_size,
            "crc32c": shard.crc32c,
            "format": shard.format,
            "compression": shard.compression,
        }
        for shard in manifest.shards
    ]
    return {**_facts(manifest), "manifest": manifest.key, "shards": shards}


def _shown(manifest: Manifest) -> list[str]:
    content = sum(shard.content_size for shard in manifest.shards)
    size = format_bytes(manifest.nbytes) + ("" if content == manifest.nbytes else f", {format_bytes(content)} unpacked")
    facts = [
        ("step", str(manifest.step)),
        ("created", f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("size", size),
        ("manifest", manifest.key),
    ]
    facts += [(f"metadata {name}", json.dumps(value, ensure_ascii=False)) for name, value in manifest.metadata.items()]
    rows = [
        (str(shard.rank), shard.format + (f" + {shard.compression}" if shard.compression else ""),
         format_bytes(shard.size), shard.crc32c, shard.key)
        for shard in manifest.shards
    ]  # fmt: skip
    return [*table(facts), "", *table([("RANK", "FORMAT", "SIZE", "CRC-32C", "KEY"), *rows], right=(0, 2))]


def _tensors(checkpoints: CheckpointStore, manifest: Manifest) -> list[dict[str, Any]]:
    if any(shard.format != "safetensors" for shard in manifest.shards):
        raise UsageError("this checkpoint holds bytes, no tensors; leave --tensors out")
    found = checkpoints.tensors(manifest).values()
    return [
        {"name": each.name, "dtype": each.dtype, "shape": list(each.shape), "bytes": each.nbytes, "rank": each.rank}
        for each in found
    ]


def _pruned(pruned: Pruned, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "checkpoints": [{"step": name.step, "id": name.id} for name in pruned.checkpoints],
        "orphans": [{"key": info.key, "bytes": info.size} for info in pruned.orphans],
        "bytes": pruned.nbytes,
        "uploads": pruned.uploads,
        "young": pruned.young,
        "damaged": [
            {"step": entry.name.step, "id": entry.name.id, "problem": entry.problem} for entry in pruned.damaged
        ],
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
