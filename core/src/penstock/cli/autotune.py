"""``penstock autotune``: the settings with which this client gets the most out of this storage."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import click

from penstock.cli.trying import Trying, trying
from penstock.errors import PenstockError, UsageError
from penstock.tuning.goals import Goal, parse_goal
from penstock.tuning.runner import Interrupted, Runner
from penstock.tuning.sweep import Vary, best_of, parse_vary, settings_of
from penstock.tuning.trials import Judged, judge, make_trial
from penstock.tuning.usual import usual_sweep
from penstock.workload.config import Config

__all__ = ["autotune"]

SCHEMA = "penstock.autotune/1"
EXIT_INTERRUPTED = 130


@click.command(short_help="Try settings and print the best.")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=V1,V2,…",
    help="A key as --set writes it, and its values, the cheapest first. Default: concurrency, processes, and of large "
    "objects the sizes of parts and ranges.",
)
@click.option(
    "--for",
    "objective",
    type=click.Choice(["ops", "bytes", "cpu"]),
    default=None,
    help="What counts: operations per second, bytes per second, or little client CPU for each operation. "
    "Default: bytes where objects have 256 KiB and more on average, else operations.",
)
@click.option("--slo", "goals", multiple=True, metavar="GOAL", help="Settings must meet it, as for penstock find.")
@trying("5s")
@click.pass_context
def autotune(
    context: click.Context,
    varied: tuple[str, ...],
    objective: str | None,
    goals: tuple[str, ...],
    trials: Trying,
) -> None:
    """Run WORKLOAD.yaml with different settings and print the best as lines for the file.

    Of settings that are within 3 % of the best, those that come first win: give the cheap values first. Up to 16
    combinations are all tried; of more, one key after the other.

    Exit status: 0 done, 1 no settings could be used, 2 the configuration can't be used, 130 interrupted.
    """
    parsed = [parse_goal(goal) for goal in goals]
    vary = [parse_vary(text) for text in varied]
    sweep = _Sweep(trials=trials, runner=trials.runner("autotune"), goals=parsed, objective=objective)
    try:
        best = best_of(vary or _usual(trials, sweep.runner.loaded.config), sweep.score)
    except Interrupted:
        click.echo(f"penstock: interrupted; the trials so far are in {sweep.runner.directory}", err=True)
        context.exit(EXIT_INTERRUPTED)
    except UsageError:
        if not sweep.judged:
            raise
        best = None
    content = _write(sweep, best)
    if trials.as_json:
        click.echo(json.dumps(content, indent=2))
    else:
        _print(sweep, best)
    context.exit(0 if best is not None else 1)


@attrs.define(kw_only=True)
class _Sweep:
    """Carries out combinations of settings and scores them."""

    trials: Trying
    runner: Runner
    goals: Sequence[Goal]
    objective: str | None
    judged: list[Judged] = attrs.Factory(list)

    def score(self, settings: dict[str, Any]) -> float:
        """Higher is better; ``-inf`` where the settings can't be used or miss a goal."""
        assignments = settings_of(settings)
        self.runner.say(", ".join(assignments))
        try:
            config = self.trials.load(assignments).config
            config = attrs.evolve(
                config,
                duration=self.trials.seconds,
                warmup=self.trials.warmup,
                total_operations=None,
                op_log=False,
            )
            result = self.runner.run(config)
        except PenstockError as error:
            self.runner.say(f"  {error}")
            return -math.inf
        planned = result.outcome.planned
        offered = None if planned is None else planned.operations / result.outcome.measured_seconds
        trial = make_trial(result.outcome, result.directory, settings=settings, offered=offered)
        judged = judge(result.outcome, trial, self.goals)
        self.judged.append(judged)
        if self.objective is None:
            mean = trial.mib_per_second * 2**20 / trial.achieved if trial.achieved else 0
            self.objective = "bytes" if mean >= 256 * 1024 else "ops"
        figure = f"{trial.achieved:,.1f} operations/s, {trial.mib_per_second:,.1f} MiB/s"
        self.runner.say(f"  {figure}{'' if judged.passed else ': ' + '; '.join(judged.why)}")
        if not judged.passed:
            return -math.inf
        if self.objective == "cpu":
            return -math.inf if trial.cpu_us is None else -trial.cpu_us
        return trial.mib_per_second if self.objective == "bytes" else trial.achieved


def _write(sweep: _Sweep, best: dict[str, Any] | None) -> dict[str, Any]:
    """Write ``autotune.json`` and return what it holds."""
    content = {
        "schema": SCHEMA,
        "objective": sweep.objective,
        "best": best,
        "trials": [{**each.trial.to_json(), "passed": each.passed, "why": list(each.why)} for each in sweep.judged],
    }
    (sweep.runner.directory / "autotune.json").write_text(json.dumps(content, indent=2) + "\n")
    return content


def _usual(trials: Trying, config: Config) -> list[Vary]:
    return usual_sweep(config, processors=len(os.sched_getaffinity(0)), stage=trials.place())


def _print(sweep: _Sweep, best: dict[str, Any] | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    keys = list(sweep.judged[0].trial.settings)
    table = Table(*keys, "ops/s", "MiB/s", "p50 ms", "p99 ms", "CPU µs/op", "errors", "", box=SIMPLE_HEAD)
    for column in table.columns[:-1]:
        column.justify = "right"
    for judged in sweep.judged:
        trial = judged.trial
        latencies = ("" if value is None else f"{value / 1e6:,.3f}" for value in (trial.p50, trial.p99))
        cpu = "" if trial.cpu_us is None else f"{trial.cpu_us:,.1f}"
        remark = "best" if trial.settings == best else "; ".join(judged.why)
        figures = (f"{trial.achieved:,.1f}", f"{trial.mib_per_second:,.1f}", *latencies, cpu, f"{trial.errors:,}")
        table.add_row(*(str(trial.settings[key]) for key in keys), *figures, remark)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    if best is None:
        console.print("No settings could be used; see the reasons above.")
    else:
        console.print("For the workload file:", soft_wrap=True)
        for line in settings_of(best):
            key, _, value = line.partition("=")
            console.print(f"  {key}: {value}", soft_wrap=True)
    console.print(f"results: {sweep.runner.directory}", soft_wrap=True)
