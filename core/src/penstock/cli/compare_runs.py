"""What ``compare`` is given, as runs: result directories, and operation logs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from penstock.analysis.comparing import FEWEST_STRETCHES
from penstock.analysis.comparing_values import Run, Side, Stretch, run_of
from penstock.analysis.values import Analysis, Selection
from penstock.cli.analyze_logs import find_logs
from penstock.errors import UsageError
from penstock.report.jobs import is_job, read_job
from penstock.report.results import Result, is_result, read_result
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

__all__ = ["check_runs", "hints", "load_run", "load_runs"]

# What of a plan and of a host says nothing of the measurement.
_LEFT_OUT: Final = ("target", "name", "results_dir", "op_log", "live_interval")
_OF_HOST: Final = ("cpu_model", "cpus_usable", "kernel", "python")


def check_runs(a: Sequence[str], b: Sequence[str]) -> None:
    """Raises UsageError when a run is given twice, also as a result and its op-log, or is not there."""
    seen: dict[tuple[int, int], tuple[str, str]] = {}
    for side, paths in (("A", a), ("B", b)):
        for path in paths:
            places = set(_places(path))
            for place in places & seen.keys():
                raise UsageError(_twice(seen[place], (side, path)))
            seen |= dict.fromkeys(places, (side, path))


def _places(path: str) -> Iterator[tuple[int, int]]:
    """What tells a log or a result directory from others; of a result, of its op-log too."""
    paths = [path]
    if is_result(path):
        folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
        paths = [folder]
        with contextlib.suppress(UsageError):
            paths += find_logs(folder)
    for each in paths:
        try:
            found = os.stat(each)
        except OSError as error:
            raise UsageError(f"{each} can't be read: {error.strerror}") from error
        yield found.st_dev, found.st_ino


def _twice(first: tuple[str, str], second: tuple[str, str]) -> str:
    if first[0] != second[0]:
        return f"A and B are the same: {first[1]} is {second[1]}; compare two different runs"
    return f"{second[1]} is given twice for {first[0]}; a run counts once, for its copy says nothing new"


def load_run(path: str, selection: Selection, analyse: Callable[[str], Analysis]) -> Run:
    """A run; of a log by ``analyse``. Raises UsageError for a result where calls are chosen by more than operation."""
    if not is_result(path):
        return run_of(analyse(path), path)
    _check_selection(path, selection)
    return _run(read_result(path), path, selection)


def load_runs(path: str, selection: Selection, analyse: Callable[[str], Analysis]) -> dict[str, list[Run]]:
    """The runs of a path by stage: of a result with stages and repeats each repeat of each stage, else the one, of a
    stage without a name. Repeats that were cut short are left out. Raises as :func:`load_run`.
    """
    if not is_job(path):
        return {"": [load_run(path, selection, analyse)]}
    _check_selection(path, selection)
    whole, runs = read_job(path), dict[str, list[Run]]()
    for leg, result in zip(whole.job.legs, whole.legs, strict=True):
        if leg.outcome.status not in ("interrupted", "failed"):
            runs.setdefault(leg.stage, []).append(_run(result, str(result.directory), selection))
    if not runs:
        raise UsageError(f"{path} has no stage or repeat that was measured to its end; there is nothing to compare")
    return runs


def _check_selection(path: str, selection: Selection) -> None:
    if selection != Selection(operations=selection.operations):
        raise UsageError(
            f"{path} is a result, which holds sums; --skip, --from, --to, --size, --client and --endpoint need a log: "
            "compare the op-logs"
        )


def _run(result: Result, path: str, selection: Selection) -> Run:
    outcome = result.outcome
    return Run(
        name=path,
        begin_ns=outcome.measured_from_ns,
        seconds=outcome.measured_seconds,
        tally=_only(outcome.totals, selection),
        stretches=[Stretch(seconds=one.seconds, tally=_only(one.tally, selection)) for one in outcome.intervals],
        errors=_errors(outcome.errors, selection),
        facts={"status": outcome.status} | dict(_facts(result.plan, outcome.environment, outcome.version)),
    )


def hints(sides: Sequence[Side]) -> Iterator[str]:
    """That windows differ in kind; and what tells more of short results: their op-logs, which hold every call."""
    kinds = {is_result(run.name) for side in sides for run in side.runs}
    if len(kinds) == 2:
        yield (
            "results and logs are compared: rates of a result are over the time that was measured, those of a log from "
            "its first start to its last end, which is a little shorter"
        )
    for side in sides:
        run = side.runs[0]
        if len(side.runs) == 1 and is_result(run.name) and len(run.stretches) < FEWEST_STRETCHES:
            try:
                log = find_logs(run.name)[0]
            except UsageError:
                continue
            yield f"{run.name} has an op-log, whose intervals are shorter: compare {log}"


def _only(tally: Tally, selection: Selection) -> Tally:
    if not selection.operations:
        return tally
    chosen = Tally()
    chosen.cells = {key: cell for key, cell in tally.cells.items() if key[0] in selection.operations}
    return chosen


def _errors(errors: ErrorTable, selection: Selection) -> ErrorTable:
    if not selection.operations:
        return errors
    return ErrorTable.from_message([each for each in errors.to_message() if each["operation"] in selection.operations])


def _facts(plan: Mapping[str, Any], environment: Mapping[str, Any], version: str) -> Iterator[tuple[str, str]]:
    """What was asked for, each key of the configuration by its path; the hosts; the version."""
    config = plan.get("config", {})
    if isinstance(config, Mapping):
        yield from _flat({name: value for name, value in config.items() if name not in _LEFT_OUT}, "")
    for name in _OF_HOST:
        if name in environment:
            yield name.replace("_", " "), str(environment[name])
    yield "penstock", version


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _flat(item, f"{path}[{place}]")
    else:
        yield path, "none" if value is None else str(value)
