"""``penstock run``: the main job."""

from __future__ import annotations

import os
import shlex
import sys

import attrs
import click

from penstock.cli.common import print_json
from penstock.cli.conducting import conduct, prometheus_option
from penstock.cli.config import describe_run
from penstock.cli.launching import Launching, launching_options
from penstock.cli.preflight import print_findings
from penstock.engine.findings import PreflightError
from penstock.engine.legs import legs_of
from penstock.engine.plan import describe, make_plans
from penstock.engine.run import execute, expected_hosts
from penstock.workload.config import Loaded, load

__all__ = ["run"]


def _show_plan(loaded: Loaded, *, hosts: bool, as_json: bool) -> None:
    """Print what a run would do; raises what a run raises that can't be planned.

    Hosts are those that the file names, each with as many processors as this one: which there are is known only when
    they start.
    """
    plans = make_plans(loaded.config, run_id="dry-run", hosts=expected_hosts(loaded.config) if hosts else None)
    if as_json:
        print_json(describe(loaded.config, plans) | {"legs": [leg.label for leg in legs_of(loaded.config)]})
        return
    for label, text in describe_run(loaded):
        click.echo(f"{label:<12} {text}")
    if hosts:
        click.echo(f"{'hosts':<12} {plans[0].hosts}")
    click.echo(f"{'workers':<12} {len(plans)}")
    for leg in legs_of(loaded.config):
        if leg.label:
            lanes = "+".join(str(plan.lanes_of(leg.place)) for plan in plans)
            click.echo(f"{f'leg {leg.number + 1}':<12} {leg.label}: {lanes} lanes; results in {leg.directory}/")


@click.command(short_help="Run a workload and report what the storage did.")
@click.argument("workload", metavar="WORKLOAD.yaml")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as concurrency=32.")
@click.option("--results-dir", metavar="DIR", help="Where to make the result directory; default: as the file says.")
@click.option("--op-log", metavar="FILE", help="Log every operation to FILE (.tsv.zst or .tsv).")
@click.option("--repeat", type=click.IntRange(1, 1000), metavar="N", help="Measure N times, and tell the spread.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, stage by stage, and do nothing.")
@launching_options
@click.option("--no-preflight", is_flag=True, help="Begin without a look at every host; see penstock preflight.")
@prometheus_option
@click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json at the end, and nothing else, on stdout.")
@click.pass_context
def run(
    context: click.Context,
    workload: str,
    overrides: tuple[str, ...],
    results_dir: str | None,
    op_log: str | None,
    repeat: int | None,
    dry_run: bool,
    launching: Launching,
    no_preflight: bool,
    prometheus: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Prepare what WORKLOAD.yaml asks for, drive its operations, and leave a result directory.

    Of a file with stages, and with --repeat, each part is measured by itself, and has a directory of its own in the
    result directory; Ctrl-C keeps those that are done.

    Where workers are on several hosts, each is looked at before anything is done, as penstock preflight does.

    Ctrl-C once finishes the operations in flight and reports what was measured; twice stops at once.

    Exit status: 0 done, 1 failed or a worker was lost, 2 the configuration can't be used, 3 more errors than allowed,
    130 interrupted.
    """
    loaded = load(workload, overrides=overrides, environ=os.environ, edit=launching.edit)
    hosts = launching.ready(context, loaded.config.launcher, loaded.config.distributed)
    if loaded.notes and not quiet:
        click.echo("\n".join((f"{workload}: a file of s3-bench or sai3-bench, read so:", *loaded.notes)), err=True)
    config = loaded.config
    if results_dir is not None:
        config = attrs.evolve(config, results_dir=results_dir)
    if op_log is not None:
        config = attrs.evolve(config, op_log=op_log)
    if repeat is not None:
        config = attrs.evolve(config, repeat=repeat)
    loaded = attrs.evolve(loaded, config=config)
    if dry_run:
        _show_plan(loaded, hosts=hosts, as_json=as_json)
        return
    try:
        code = conduct(
            lambda view: execute(
                loaded, command_line=shlex.join(["penstock", *sys.argv[1:]]), preflight=not no_preflight, view=view
            ),
            prometheus=prometheus,
            quiet=quiet,
            as_json=as_json,
        )
    except PreflightError as error:
        print_findings(error.findings, err=True)
        click.echo("penstock: nothing was done; correct it, or begin nevertheless: --no-preflight", err=True)
        code = 2
    context.exit(code)
