"""``penstock find``: the highest rate that storage sustains within a goal."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import Any

import attrs
import click

from penstock.cli.session import Duration
from penstock.errors import UsageError
from penstock.tuning.drawing import render_search
from penstock.tuning.goals import parse_goal
from penstock.tuning.runner import Found, Interrupted, Runner, find_rate, write_found
from penstock.workload.config import load

__all__ = ["find"]

EXIT_NOTHING = 1
EXIT_INTERRUPTED = 130


@click.command(short_help="Search the highest rate that meets a service goal.")
@click.argument("workload", metavar="WORKLOAD.yaml")
@click.option(
    "--slo",
    "goals",
    multiple=True,
    required=True,
    metavar="GOAL",
    help="[OPERATION.]METRIC < LIMIT, such as 'get.p99 < 20ms' or 'errors < 0.1%'; several must all be met.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the workload.")
@click.option("--trial", "seconds", type=Duration(), default="10s", show_default=True, help="Measured time of a trial.")
@click.option("--warmup", type=Duration(), default="1s", show_default=True, help="Warm-up of each trial.")
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "uniform"]),
    default="poisson",
    show_default=True,
    help="How operations are spread over time.",
)
@click.option(
    "--guess",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATE",
    help="Operations per second to begin with; default: what the workload reaches as fast as possible.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.001, max=0.5),
    default=0.02,
    show_default=True,
    help="How close the answer must be, as a share.",
)
@click.option(
    "--max-trials", type=click.IntRange(min=2), default=16, show_default=True, help="Give up refining after so many."
)
@click.option("--results-dir", metavar="DIR", help="Where to make the directory of results; default: as the file says.")
@click.option("--launcher", default="local", show_default=True, help="Where worker processes start.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print find.json at the end, and nothing else, on stdout.")
@click.pass_context
def find(
    context: click.Context,
    workload: str,
    goals: tuple[str, ...],
    overrides: tuple[str, ...],
    seconds: float,
    warmup: float,
    arrivals: str,
    guess: float | None,
    tolerance: float,
    max_trials: int,
    results_dir: str | None,
    launcher: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search the highest rate of arrivals at which WORKLOAD.yaml meets every goal.

    Latencies are those a user sees: from when an operation was due, whether or not earlier ones have ended. A rate
    counts when all goals are met and 98 % of what was due was begun in time, in two trials. Give the workload
    enough concurrency that the storage, and not the number of operations in flight, is the limit.

    Exit status: 0 found, 1 no rate met the goals, 2 the configuration can't be used, 130 interrupted.
    """
    parsed = [parse_goal(goal) for goal in goals]
    if seconds <= 0:
        raise UsageError("--trial: measure for some time, such as 10s")
    loaded = load(workload, overrides=overrides, environ=os.environ)
    if results_dir is not None:
        loaded = attrs.evolve(loaded, config=attrs.evolve(loaded.config, results_dir=results_dir))

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    command_line = shlex.join(["penstock", *sys.argv[1:]])
    runner = Runner.beside(loaded, suffix="find", command_line=command_line, launcher=launcher, say=say)
    try:
        found = find_rate(
            runner,
            parsed,
            seconds=seconds,
            warmup=warmup,
            arrivals=arrivals,
            guess=guess,
            tolerance=tolerance,
            most=max_trials,
        )
    except Interrupted:
        click.echo(f"penstock: interrupted; the trials so far are in {runner.directory}", err=True)
        context.exit(EXIT_INTERRUPTED)
    content = write_found(found, runner.directory)
    report = runner.directory / "report.html"
    report.write_text(render_search(found, loaded.name), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(content, indent=2))
    else:
        _print(found, str(report))
    context.exit(0 if found.rate is not None else EXIT_NOTHING)


def _print(found: Found, report: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    columns = ("offered/s", "done/s", "MiB/s", "p50 ms", "p99 ms", "p99.9 ms", "errors", "")
    table = Table(*columns, box=SIMPLE_HEAD)
    for column in table.columns[:-1]:
        column.justify = "right"
    for judged in found.curve():
        trial = judged.trial
        table.add_row(
            f"{trial.offered:,.1f}",
            f"{trial.achieved:,.1f}",
            f"{trial.mib_per_second:,.1f}",
            *(_ms(value) for value in (trial.p50, trial.p99, trial.p999)),
            f"{trial.errors:,}",
            "passed" if judged.passed else "; ".join(judged.why),
        )
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    goals = " and ".join(goal.text for goal in found.goals)
    if found.rate is None:
        text = found.limit or (found.closed.trial.reason if found.closed else "") or "nothing was done"
        console.print(f"No rate meets {goals}: {text}", soft_wrap=True)
    else:
        limit = f" Beyond it: {found.limit}." if found.limit else " No higher rate was tried."
        console.print(f"{found.rate:,.1f} operations per second meet {goals}.{limit}", soft_wrap=True)
    console.print(f"report: {report}", soft_wrap=True)


def _ms(value: Any) -> str:
    return "" if value is None else f"{value / 1e6:,.3f}"
