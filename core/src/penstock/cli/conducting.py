"""What ``run`` and ``replay`` have in common: their views, and what is printed when they are over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from penstock.engine.conduct import RunResult
from penstock.report.live import LiveView, open_view, print_summary, several
from penstock.report.prometheus import open_exporter
from penstock.report.terminal import print_job

__all__ = ["conduct", "prometheus_option"]

prometheus_option = click.option(
    "--prometheus",
    metavar="[HOST:]PORT",
    help="Serve metrics to Prometheus at http://HOST:PORT/metrics while it runs; HOST is 127.0.0.1 unless named.",
)


def conduct(
    start: Callable[[Callable[[Path], LiveView]], RunResult], *, prometheus: str | None, quiet: bool, as_json: bool
) -> int:
    """Call ``start`` with what makes the view for a result directory, print what came of it, and return the exit code.

    ``as_json`` prints ``result.json`` and nothing else on standard output.
    """
    views: list[LiveView] = []
    if prometheus is not None:
        exporter = open_exporter(prometheus)
        views.append(exporter)

    def view(directory: Path) -> LiveView:
        views.append(open_view(directory / "console.log", quiet=quiet or as_json))
        if prometheus is not None:
            views[-1].note(f"metrics for Prometheus at {exporter.url}")
        return several(views)

    try:
        result = start(view)
    finally:
        for each in views:
            each.close()
    told = False
    if as_json and result.report == result.directory:
        # It could not be written; why is said below.
        pass
    elif as_json:
        click.echo((result.directory / "result.json").read_text(), nl=False)
    elif not result.job.did_nothing:
        if len(result.job.legs) == 1 and not result.job.legs[0].label:
            print_summary(result.outcome, result.report)
        else:
            print_job(result.job, result.report)
        # The summary says why; who sees both streams at once is not told twice.
        told = sys.stdout.isatty() and sys.stderr.isatty()
    if result.job.reason and not told:
        click.echo(f"penstock: {result.job.status}: {result.job.reason}", err=True)
    return result.job.exit_code
