"""``penstock health``: a URI checked step by step."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli.common import json_option, print_json
from penstock.cli.lazy import FAILED, USAGE
from penstock.cli.session import Session, store_command
from penstock.client.health import Step, check
from penstock.errors import UsageError, redact
from penstock.quantities import format_duration

__all__ = ["health"]

_MARKS = {"ok": "ok", "failed": "FAILED", "not tried": "not tried", "left out": "left out"}


@click.command()
@click.argument("uri")
@click.option("--read-only", is_flag=True, help="Write nothing: leave out the last step.")
@json_option
@store_command
def health(session: Session, uri: str, read_only: bool, as_json: bool) -> int:
    """Check that URI can be used, step by step, with the time of each; for one that fails, what to do about it.

    The steps: understand the URI and the options; look up the host; connect to each of its addresses, or to the
    proxy; agree on TLS and verify the certificate; authenticate, and compare the clocks; list one page; write a small
    object below URI, read it back and delete it. A store without a service has the first one and the last two.
    Nothing is repeated, and after a failure the rest is not tried. Exit code 0 only when nothing failed.
    """
    code = 0
    facts = []
    for step in check(uri, options=session.options, read_only=read_only):
        if step.state == "failed":
            code = USAGE if isinstance(step.error, UsageError) else FAILED
        if as_json:
            facts.append(_described(step))
        else:
            _show(step)
    if as_json:
        print_json({"uri": redact(uri), "ok": code == 0, "steps": facts})
    return code


def _show(step: Step) -> None:
    time = format_duration(step.seconds) if step.seconds is not None else ""
    click.echo(f"{step.name:<13} {_MARKS[step.state]:<10} {time:>8}".rstrip())
    width = max(map(len, step.facts), default=0)
    for name, value in step.facts.items():
        click.echo(f"    {name:<{width}}  {value}")
    if step.error is not None:
        click.echo(f"    {step.error}")
    if step.remedy is not None:
        click.echo(f"    remedy: {step.remedy}")


def _described(step: Step) -> dict[str, Any]:
    facts: dict[str, Any] = {"step": step.name, "state": step.state}
    if step.seconds is not None:
        facts["seconds"] = round(step.seconds, 6)
    if step.facts:
        facts["facts"] = dict(step.facts)
    if step.error is not None:
        facts["error"] = str(step.error)
    if step.remedy is not None:
        facts["remedy"] = step.remedy
    return facts
