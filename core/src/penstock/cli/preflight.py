"""``penstock preflight``: a look at every host of a workload, before anything is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from penstock.cli.common import json_option, print_json
from penstock.cli.launching import Launching, launching_options
from penstock.engine.findings import LEVELS, Finding, of_level
from penstock.engine.looking import look
from penstock.workload.config import load

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["preflight", "print_findings"]

SCHEMA = "penstock.preflight/1"
EXIT_ERRORS = 2


@click.command(short_help="Look at every host of a workload before it runs.")
@click.argument("workload", metavar="WORKLOAD.yaml")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as concurrency=32.")
@launching_options
@json_option
@click.pass_context
def preflight(
    context: click.Context, workload: str, overrides: tuple[str, ...], launching: Launching, as_json: bool
) -> None:
    """Say what is in the way of WORKLOAD.yaml on each of its hosts, and what to do about it.

    Looks at versions and plugins, at each store (a page of a listing and, where the run writes, an object of its own
    that is removed again), at free space, memory, open files and clocks. With workers on several hosts penstock run
    does this by itself, unless it is told --no-preflight.

    Exit status: 0 nothing is in the way, 1 the hosts could not be started, 2 something is.
    """
    loaded = load(workload, overrides=overrides, environ=os.environ, edit=launching.edit)
    launching.ready(context, loaded.config.launcher, loaded.config.distributed)
    findings = look(loaded.config)
    if as_json:
        counts = {f"{level}s": len(of_level(findings, level)) for level in LEVELS}
        print_json({"schema": SCHEMA, **counts, "findings": [each.to_message() for each in findings]})
    else:
        print_findings(findings)
        click.echo(_verdict(findings))
    context.exit(EXIT_ERRORS if of_level(findings, "error") else 0)


def _verdict(findings: Sequence[Finding]) -> str:
    errors, warnings = len(of_level(findings, "error")), len(of_level(findings, "warning"))
    if errors:
        return f"{errors} {'things are' if errors > 1 else 'thing is'} in the way"
    return f"nothing is in the way{f'; {warnings} to think about' if warnings else ''}"


def print_findings(findings: Sequence[Finding], *, err: bool = False) -> None:
    """A table, the gravest first."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    stream = sys.stderr if err else sys.stdout
    hosts = any(each.host for each in findings)
    table = Table(*(["host"] if hosts else []), "", "about", "what was found", "what to do", box=SIMPLE_HEAD)
    for each in findings:
        row = ([each.host] if hosts else []) + [each.level, each.subject, each.cause, each.remedy]
        table.add_row(*row)
    # What reads a pipe wants each finding on a line.
    console: Console = Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 1000)
    console.print(table)
