"""``penstock autotune``: the settings with which this client gets the most out of this storage."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import click

from penstock.cli.session import Duration
from penstock.errors import PenstockError, UsageError
from penstock.tuning.goals import Goal, parse_goal
from penstock.tuning.runner import Interrupted, Runner
from penstock.tuning.sweep import Vary, best_of, parse_vary, settings_of
from penstock.tuning.trials import Judged, judge, make_trial
from penstock.workload.config import Config, load

__all__ = ["autotune"]

SCHEMA = "penstock.autotune/1"
EXIT_INTERRUPTED = 130
_CONCURRENCY = (1, 2, 4, 8, 16, 32, 64)


@click.command(short_help="Try settings and print the best.")
@click.argument("workload", metavar="WORKLOAD.yaml")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=V1,V2,…",
    help="A key as --set writes it, and its values, the cheapest first. Default: concurrency, then processes.",
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
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the workload.")
@click.option("--trial", "seconds", type=Duration(), default="5s", show_default=True, help="Measured time of a trial.")
@click.option("--warmup", type=Duration(), default="1s", show_default=True, help="Warm-up of each trial.")
@click.option("--results-dir", metavar="DIR", help="Where to make the directory of results; default: as the file says.")
@click.option("--launcher", default="local", show_default=True, help="Where worker processes start.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print autotune.json at the end, and nothing else, on stdout.")
@click.pass_context
def autotune(
    context: click.Context,
    workload: str,
    varied: tuple[str, ...],
    objective: str | None,
    goals: tuple[str, ...],
    overrides: tuple[str, ...],
    seconds: float,
    warmup: float,
    results_dir: str | None,
    launcher: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run WORKLOAD.yaml with different settings and print the best as lines for the file.

    Of settings that are within 3 % of the best, those that come first win: give the cheap values first. Up to 16
    combinations are all tried; of more, one key after the other.

    Exit status: 0 done, 1 no settings could be used, 2 the configuration can't be used, 130 interrupted.
    """
    parsed = [parse_goal(goal) for goal in goals]
    vary = [parse_vary(text) for text in varied]
    loaded = load(workload, overrides=overrides, environ=os.environ)
    if results_dir is not None:
        loaded = attrs.evolve(loaded, config=attrs.evolve(loaded.config, results_dir=results_dir))
    sweep = _Sweep(
        workload=workload,
        overrides=overrides,
        runner=Runner.beside(
            loaded,
            suffix="autotune",
            command_line=shlex.join(["penstock", *sys.argv[1:]]),
            launcher=launcher,
            say=lambda text: None if quiet else click.echo(text, err=True),
        ),
        goals=parsed,
        objective=objective,
        seconds=seconds,
        warmup=warmup,
    )
    try:
        best = best_of(vary or _usual(loaded.config), sweep.score)
    except Interrupted:
        click.echo(f"penstock: interrupted; the trials so far are in {sweep.runner.directory}", err=True)
        context.exit(EXIT_INTERRUPTED)
    except UsageError:
        if not sweep.judged:
            raise
        best = None
    content = _write(sweep, best)
    if as_json:
        click.echo(json.dumps(content, indent=2))
    else:
        _print(sweep, best)
    context.exit(0 if best is not None else 1)


@attrs.define(kw_only=True)
class _Sweep:
    """Carries out combinations of settings and scores them."""

    workload: str
    overrides: Sequence[str]
    runner: Runner
    goals: Sequence[Goal]
    objective: str | None
    seconds: float
    warmup: float
    judged: list[Judged] = attrs.Factory(list)

    def score(self, settings: dict[str, Any]) -> float:
        """Higher is better; ``-inf`` where the settings can't be used or miss a goal."""
        assignments = settings_of(settings)
        self.runner.say(", ".join(assignments))
        try:
            config = load(self.workload, overrides=[*self.overrides, *assignments], environ=os.environ).config
            config = attrs.evolve(
                config, duration=self.seconds, warmup=self.warmup, total_operations=None, op_log=False
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


def _usual(config: Config) -> list[Vary]:
    usual = [Vary("concurrency", _CONCURRENCY)]
    cores = len(os.sched_getaffinity(0))
    if cores > 1 and config.processes == "auto":
        usual.append(Vary("processes", ("auto", 1)))
    return usual


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
