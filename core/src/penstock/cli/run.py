"""``penstock run``: the main job."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import attrs
import click

from penstock.engine.run import execute
from penstock.report.live import LiveView, open_view, print_summary, several
from penstock.report.prometheus import open_exporter
from penstock.workload.config import load

__all__ = ["run"]


@click.command(short_help="Run a workload and report what the storage did.")
@click.argument("workload", metavar="WORKLOAD.yaml")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as concurrency=32.")
@click.option("--results-dir", metavar="DIR", help="Where to make the result directory; default: as the file says.")
@click.option("--op-log", metavar="FILE", help="Log every operation to FILE (.tsv.zst or .tsv).")
@click.option("--launcher", default="local", show_default=True, help="Where worker processes start.")
@click.option(
    "--prometheus",
    metavar="[HOST:]PORT",
    help="Serve metrics to Prometheus at http://HOST:PORT/metrics while it runs; HOST is 127.0.0.1 unless named.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json at the end, and nothing else, on stdout.")
@click.pass_context
def run(
    context: click.Context,
    workload: str,
    overrides: tuple[str, ...],
    results_dir: str | None,
    op_log: str | None,
    launcher: str,
    prometheus: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Prepare what WORKLOAD.yaml asks for, drive its operations, and leave a result directory.

    Ctrl-C once finishes the operations in flight and reports what was measured; twice stops at once.

    Exit status: 0 done, 1 failed or a worker was lost, 2 the configuration can't be used, 3 more errors than allowed,
    130 interrupted.
    """
    loaded = load(workload, overrides=overrides, environ=os.environ)
    if loaded.notes and not quiet:
        click.echo("\n".join((f"{workload}: a file of s3-bench or sai3-bench, read so:", *loaded.notes)), err=True)
    config = loaded.config
    if results_dir is not None:
        config = attrs.evolve(config, results_dir=results_dir)
    if op_log is not None:
        config = attrs.evolve(config, op_log=op_log)
    loaded = attrs.evolve(loaded, config=config)
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
        result = execute(loaded, command_line=shlex.join(["penstock", *sys.argv[1:]]), launcher=launcher, view=view)
    finally:
        for each in views:
            each.close()
    told = False
    if as_json:
        click.echo((result.directory / "result.json").read_text(), nl=False)
    elif not result.outcome.did_nothing:
        print_summary(result.outcome, result.report)
        # The summary says why; who sees both streams at once is not told twice.
        told = sys.stdout.isatty() and sys.stderr.isatty()
    if result.outcome.reason and not told:
        click.echo(f"penstock: {result.outcome.status}: {result.outcome.reason}", err=True)
    context.exit(result.outcome.exit_code)
