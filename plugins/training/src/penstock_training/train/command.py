"""``penstock train``: a DLIO workload without DLIO."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import attrs
import click

from penstock.cli.common import env_file_option, print_json, verbose_option
from penstock.cli.lazy import REGRESSION
from penstock.clocks import wall_ns
from penstock.errors import UsageError
from penstock.report.files import results_directory
from penstock_training.train.plan import Plan, resolve
from penstock_training.train.reading import Loaded, load
from penstock_training.train.results import exit_code, write_results
from penstock_training.train.run import execute
from penstock_training.train.view import Console, plan_lines, result_lines

__all__ = ["train"]


@click.command(short_help="Run a training-shaped workload of DLIO's.")
@click.argument("workload", metavar="DLIO.yaml")
@click.argument("overrides", nargs=-1, metavar="[++workload.KEY=VALUE]...")
@click.option("--ranks", type=click.IntRange(1, 4096), default=1, show_default=True, help="Processes, each a rank.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key: reader.batch_size=4.")
@click.option("--results", metavar="DIR", help="Where to make the result directory; default: output.folder, or here.")
@click.option("--op-log", metavar="FILE", type=click.Path(dir_okay=False), help="Log every call (.tsv.zst or .tsv).")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--strict-au", is_flag=True, help="Exit with 4 where the utilization is below metric.au.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json at the end, and nothing else, on stdout.")
@env_file_option
@verbose_option
def train(
    workload: str,
    overrides: tuple[str, ...],
    ranks: int,
    settings: tuple[str, ...],
    results: str | None,
    op_log: str | None,
    dry_run: bool,
    strict_au: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run DLIO.yaml, a workload file of the DLIO benchmark: generate data, train, evaluate, write checkpoints.

    Data is really read and decoded; computation is a wait of the time that the file says. The result says how busy an
    accelerator would have been, samples and bytes per second, and how long checkpoints took. Every key of the file is
    honoured, or refused by name.

    Ctrl-C once ends it after the step and reports what was measured; twice ends it at once.

    Exit status: 0 done, 1 failed, 2 the workload can't be used, 4 below the goal with --strict-au, 130 interrupted.
    """
    loaded = load(workload, overrides=(*overrides, *settings), environ=os.environ)
    plan = resolve(loaded, ranks=ranks)
    if not quiet and not as_json:
        for note in plan.notes:
            click.echo(f"note: {note}", err=True)
    if dry_run:
        if as_json:
            print_json(plan.as_dict() | {"notes": list(plan.notes)})
        else:
            click.echo("\n".join(plan_lines(plan)))
        return 0
    if os.environ.get("PENSTOCK_OPLOG"):
        raise UsageError("PENSTOCK_OPLOG is set; ranks write one log together: unset it, and give --op-log FILE")
    if results is not None:
        plan = attrs.evolve(plan, results=results)
    _check_places(plan)
    return _run(plan, loaded, op_log, strict_au, quiet or as_json, as_json)


def _run(plan: Plan, loaded: Loaded, op_log: str | None, strict_au: bool, quiet: bool, as_json: bool) -> int:
    log = None if op_log is None else _log_place(op_log)
    directory = results_directory(plan.results, plan.name, wall_ns())
    console = Console(plan, directory / Path(plan.log_file).name, quiet=quiet)
    try:
        for note in plan.notes:
            console.keep(f"note: {note}")
        finished = execute(plan, op_log=log, view=console.see)
        command_line = shlex.join(["penstock", *sys.argv[1:]])
        result = write_results(directory, plan, finished, text=loaded.text, command_line=command_line)
        lines = list(result_lines(result))
        for line in lines:
            console.keep(line)
    finally:
        console.close()
    if as_json:
        click.echo((directory / "result.json").read_text(), nl=False)
    else:
        click.echo("\n".join([*lines, f"results in {directory}"]))
    if finished.status != "done":
        click.echo(f"penstock: {finished.status}: {finished.reason}", err=True)
        if isinstance(finished.error, UsageError):
            return 2
        return exit_code(finished)
    if strict_au and result["au_met"] is False:
        return REGRESSION
    return 0


def _check_places(plan: Plan) -> None:
    """Raise UsageError where ranks could not share what they write, or results can't be."""
    if any(uri.startswith("mem://") for uri in (plan.training.uri, plan.checkpoints.uri)):
        raise UsageError(
            "mem:// is each process's own, and ranks are processes; name a directory, such as /dev/shm/data"
        )
    if "://" in plan.results:
        raise UsageError(f"{plan.results}: results are written to a directory; name one by --results")


def _log_place(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    if not path.endswith((".tsv", ".tsv.zst")):
        raise UsageError(f"--op-log {path}: name it *.tsv.zst or *.tsv")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--op-log {path}: {folder} is no directory that can be written")
    return os.path.abspath(path)
