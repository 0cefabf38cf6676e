"""``oplog validate``: what is wrong with a log."""

from __future__ import annotations

import click

from penstock.cli.common import json_option, print_json, verbose_option
from penstock.cli.lazy import FAILED
from penstock.cli.text import table

__all__ = ["validate"]


@click.command()
@click.argument("log", metavar="LOG")
@click.option("--any-order", is_flag=True, help="Rows need not be sorted by start; a log is not until it was sorted.")
@click.option(
    "-n", "most", type=click.IntRange(min=0), default=10, show_default=True, help="How many of each kind to list."
)
@json_option
@verbose_option
def validate(log: str, any_order: bool, most: int, as_json: bool) -> int:
    """Check a log: its order, its numbers, its times and its rows. Exit code 1 when anything is wrong.

    All problems are counted and the first of each kind listed with their lines.
    """
    import attrs

    from penstock.oplog import validate_log
    from penstock.oplog.validating import PROBLEMS

    verdict = validate_log(log, any_order=any_order, most=most)
    if as_json:
        facts = attrs.asdict(verdict)
        for finding in facts["findings"]:
            finding["text"] = _printable(finding["text"])
        print_json({"good": verdict.is_good, **facts})
        return 0 if verdict.is_good else FAILED
    counts = [(f"{count:,}", kind, PROBLEMS[kind]) for kind, count in verdict.counts.items()]
    for line in table([("count", "problem", "what it means"), *counts]) if counts else ():
        click.echo(line)
    for finding in verdict.findings:
        click.echo(f"{log}:{finding.line}: {finding.kind}: {_printable(finding.text)}")
    found = "nothing is wrong" if verdict.is_good else f"{sum(verdict.counts.values()):,} problems"
    click.echo(f"{log}: {verdict.rows:,} rows, {found}")
    return 0 if verdict.is_good else FAILED


def _printable(text: str) -> str:
    """Without what would move the terminal's cursor, or that UTF-8 can't write."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
