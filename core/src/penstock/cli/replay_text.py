"""What ``penstock replay`` prints of a dry run, and keeps as its configuration."""

from __future__ import annotations

import json
from typing import Any

import attrs
import click

from penstock.cli.text import table
from penstock.quantities import format_bytes, format_duration
from penstock.records import Op
from penstock.replay.dryrun import DryRun
from penstock.replay.run import Prepared
from penstock.report.text import printable

__all__ = ["config_text", "facts", "say_dry_run"]


def config_text(prepared: Prepared, remap: str | None) -> str:
    """The settings as YAML, each key as JSON writes it."""
    lines = [f"{name}: {json.dumps(value)}" for name, value in prepared.shown().items()]
    source = [] if remap is None else [f"# rules: from {json.dumps(remap)}"]
    return "\n".join(["# a replay; the settings in full", *source, *lines]) + "\n"


def facts(prepared: Prepared, found: DryRun) -> dict[str, Any]:
    """A dry run as JSON."""
    extent = prepared.extent
    return {
        "log": prepared.settings.log,
        "rows": extent.rows,
        "bad_rows": extent.bad_rows,
        "cut_off": extent.cut_off,
        "displaced_seconds": extent.displaced_ns / 1e9,
        **found.to_json(),
    }


def say_dry_run(prepared: Prepared, found: DryRun) -> None:
    """Print a dry run."""
    extent, settings = prepared.extent, prepared.settings
    say = click.echo
    state = "sorted" if not extent.displaced_ns else f"unsorted by {format_duration(extent.displaced_ns / 1e9)} at most"
    bad = f", {extent.bad_rows:,} bad rows" if extent.bad_rows else ""
    cut = ", cut off" if extent.cut_off else ""
    say(f"{printable(settings.log)}: {extent.rows:,} rows, {state}{bad}{cut}")
    rows = [(name, f"{count:,}") for name, count in sorted(found.operations.items(), key=lambda item: Op[item[0]])]
    for line in table([("operation", "count"), *rows, ("ALL", f"{found.count:,}")]):
        say(line)
    say(f"reads {format_bytes(found.bytes_read)}, writes {format_bytes(found.bytes_written)}, as recorded")
    if found.failed:
        say(f"{found.failed:,} of them had failed")
    say(f"recorded: {format_duration(found.recorded_seconds)}, at most {found.recorded_peak:,} calls at once")
    if found.seconds is None:
        say(f"replayed: as fast as possible, by {found.threads:,} threads, each in its order")
    else:
        say(
            f"replayed: {format_duration(found.seconds)} at speed {settings.speed:g}, about {found.expected_peak:,} "
            "calls at once if each takes as long as it did"
        )
    most = settings.backpressure.max_in_flight
    if found.expected_peak > most:
        say(f"warning: --concurrency {most:,} is less than that, so calls will start late")
    for number, count in enumerate(found.rules):
        say(f"rule {number + 1} of {len(found.rules)}: {count:,} names")
    if settings.target is not None and settings.rules:
        say(f"target: {found.by_target:,} names")
    if found.as_recorded:
        say(f"in place: {found.as_recorded:,} names, where they were recorded")
    samples = [attrs.astuple(sample) for sample in found.samples]
    for line in table([("operation", "recorded", "replayed"), *(tuple(map(printable, one)) for one in samples)]):
        say(line)
    for remark in found.remarks():
        say(remark)
    for scheme in found.guessed:
        say(f"no plugin serves {scheme}://; what follows it was taken for the bucket")
