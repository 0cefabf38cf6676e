"""``penstock find``: the highest rate that storage sustains within a goal."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from penstock.cli.trying import Trying, trying
from penstock.tuning.drawing import render_search
from penstock.tuning.goals import parse_goal
from penstock.tuning.runner import Found, Interrupted, find_rate, write_found

__all__ = ["find"]

EXIT_NOTHING = 1
EXIT_INTERRUPTED = 130


@click.command(short_help="Search the highest rate that meets a service goal.")
@click.option(
    "--slo",
    "goals",
    multiple=True,
    required=True,
    metavar="GOAL",
    help="[OPERATION.]METRIC < LIMIT, such as 'get.p99 < 20ms' or 'errors < 0.1%'; several must all be met.",
)
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
@trying("10s")
@click.pass_context
def find(
    context: click.Context,
    goals: tuple[str, ...],
    arrivals: str,
    guess: float | None,
    tolerance: float,
    max_trials: int,
    trials: Trying,
) -> None:
    """Search the highest rate of arrivals at which WORKLOAD.yaml meets every goal.

    Latencies are those a user sees: from when an operation was due, whether or not earlier ones have ended. A rate
    counts when all goals are met and 98 % of what was due was begun in time, in two trials. Give the workload
    enough concurrency that the storage, and not the number of operations in flight, is the limit.

    Exit status: 0 found, 1 no rate met the goals, 2 the configuration can't be used, 130 interrupted.
    """
    parsed = [parse_goal(goal) for goal in goals]
    runner = trials.runner("find")
    try:
        found = find_rate(
            runner,
            parsed,
            seconds=trials.seconds,
            warmup=trials.warmup,
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
    report.write_text(render_search(found, runner.loaded.name), encoding="utf-8")
    if trials.as_json:
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
        lowest = min((judged.trial.offered or 0.0 for judged in found.trials), default=None)
        where = "" if lowest is None else f" At {lowest:,.1f} per second, the lowest that was tried:"
        console.print(f"No rate meets {goals}.{where} {text}", soft_wrap=True)
    else:
        limit = f" Beyond it: {found.limit}." if found.limit else " No higher rate was tried."
        console.print(f"{found.rate:,.1f} operations per second meet {goals}.{limit}", soft_wrap=True)
    console.print(f"report: {report}", soft_wrap=True)


def _ms(value: Any) -> str:
    return "" if value is None else f"{value / 1e6:,.3f}"
