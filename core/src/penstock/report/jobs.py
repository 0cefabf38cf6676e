"""``result.json`` of a run of several legs, and reading such a result back::

    schema              "penstock.job/1"
    penstock            the version that wrote it
    name, target, command_line
    status              of the whole, as in a result of one leg; with its reason and exit_code
    started, ended      of the run with all its phases; RFC 3339, UTC
    legs                list, in the order in which they were measured: label, stage (empty without stages), repeat
                        (from 1), directory (relative to this one; it holds the leg's own result.json), status,
                        reason, verdict, limit, window, warmup, steady, totals and operations, as in that
    missing             labels of legs that were not begun
    repeats             null without repeats; else by stage, by operation (and ALL where there are several), by figure
                        (ops_per_sec, mib_per_sec, p50_us, p99_us): values, by repeat, mean, stdev, min, max, and the
                        interval of the mean at level, low and high (null of one value)
    level               of these intervals
    phases, op_log, environment, notes
                        as in a result of one leg

Legs that were interrupted or failed are left out of ``repeats``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from penstock.errors import UsageError
from penstock.oplog.columns import escape
from penstock.report.job import Job, LegOutcome
from penstock.report.outcome import Outcome
from penstock.report.results import (
    JOB_SCHEMA,
    Result,
    is_result,
    read_json,
    read_phase,
    read_result,
    read_text,
    understanding,
)
from penstock.report.summary import format_wall, parse_wall, summarise, summarise_phase
from penstock.stats.spread import LEVEL, Spread, spread_of
from penstock.stats.tally import ALL, Cell

__all__ = ["FIGURES", "JobResult", "is_job", "read_job", "repeat_lines", "spreads_of", "summarise_job"]

#: Figures whose spread is told, and what people call them.
FIGURES: Final[Mapping[str, str]] = {
    "ops_per_sec": "ops/s",
    "mib_per_sec": "MiB/s",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
}
_OF_LEG: Final = ("status", "reason", "verdict", "limit", "window", "warmup", "steady", "totals", "operations")
_WHOLE: Final = ("done", "errors", "degraded")


@attrs.frozen(kw_only=True)
class JobResult:
    """A result directory of several legs: its job, the configuration as it was given, the plan as it was resolved, and
    the result of each leg, in the order of ``job.legs``.
    """

    directory: Path
    job: Job
    config_text: str
    plan: Mapping[str, Any]
    legs: list[Result]


def summarise_job(job: Job) -> dict[str, Any]:
    """The content of ``result.json``."""
    repeated = any(leg.repeat > 1 for leg in job.legs)
    return {
        "schema": JOB_SCHEMA,
        "penstock": job.version,
        "name": job.name,
        "target": job.target,
        "command_line": job.command_line,
        "status": job.status,
        "reason": job.reason,
        "exit_code": job.exit_code,
        "started": format_wall(job.started_ns),
        "ended": format_wall(job.ended_ns),
        "legs": [_leg(leg) for leg in job.legs],
        "missing": list(job.missing),
        "repeats": {stage: _repeats(job, stage) for stage in job.stages} if repeated else None,
        "level": LEVEL,
        "phases": [summarise_phase(phase) for phase in job.phases],
        "op_log": None if job.op_log is None else dict(job.op_log),
        "environment": dict(job.environment),
        "notes": list(job.notes),
    }


def _leg(leg: LegOutcome) -> dict[str, Any]:
    summary = summarise(leg.outcome)
    place = {"label": leg.label, "stage": leg.stage, "repeat": leg.repeat, "directory": leg.directory}
    return place | {name: summary[name] for name in _OF_LEG}


def _repeats(job: Job, stage: str) -> dict[str, Any]:
    return {
        operation: {figure: _spread(spread) for figure, spread in figures.items()}
        for operation, figures in spreads_of(job, stage).items()
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return {
        "values": list(spread.values),
        "mean": spread.mean,
        "stdev": spread.stdev,
        "min": spread.minimum,
        "max": spread.maximum,
        "low": spread.low,
        "high": spread.high,
    }


def spreads_of(job: Job, stage: str) -> dict[str, dict[str, Spread]]:
    """By operation, and ALL where there are several, the spread of each of FIGURES over the repeats of a stage.

    A figure that a repeat does not have, as a latency of an operation that never succeeded in it, is left out.
    """
    outcomes = [leg.outcome for leg in job.repeats_of(stage) if leg.outcome.status in _WHOLE]
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.totals.operations()))
    found: dict[str, dict[str, Spread]] = {}
    for name in [*names, ALL] if len(names) > 1 else names:
        figures = [_figures(outcome, name) for outcome in outcomes]
        found[name] = {
            figure: spread_of([each[figure] for each in figures])
            for figure in FIGURES
            if all(figure in each for each in figures)
        }
    return found


def _figures(outcome: Outcome, operation: str) -> dict[str, float]:
    cell: Cell = outcome.totals.roll_up(ALL) if operation == ALL else outcome.totals.operation(operation)
    figures: dict[str, float] = {}
    if outcome.measured_seconds > 0:
        figures["ops_per_sec"] = cell.count / outcome.measured_seconds
        if cell.nbytes:
            figures["mib_per_sec"] = cell.nbytes / outcome.measured_seconds / 2**20
    if cell.service.count:
        p50, p99 = cell.service.percentiles((50, 99))
        figures |= {"p50_us": p50 / 1000, "p99_us": p99 / 1000}
    return figures


def repeat_lines(job: Job) -> Iterator[str]:
    """``repeats.tsv``: a row for each stage, operation and figure, with its spread over the repeats; tab-separated
    with a header line. Empty fields are those of a single value.
    """
    columns = ("stage", "operation", "figure", "repeats", "mean", "stdev", "min", "max", "low", "high")
    yield "\t".join(columns) + "\n"
    for stage in job.stages:
        for operation, figures in spreads_of(job, stage).items():
            for figure, spread in figures.items():
                numbers = (spread.mean, spread.stdev, spread.minimum, spread.maximum, spread.low, spread.high)
                fields = (escape(stage), operation, figure, str(len(spread.values)))
                yield "\t".join((*fields, *("" if value is None else f"{value:.6g}" for value in numbers))) + "\n"


def is_job(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a result directory of several legs, or the ``result.json`` in one. Raises UsageError for a
    result that can't be read; what is no result at all is none.
    """
    if not is_result(path):
        return False
    place = _place(path)
    return place.exists() and read_json(place).get("schema") == JOB_SCHEMA


def _place(path: str | os.PathLike[str]) -> Path:
    return Path(path) if Path(path).name == "result.json" else Path(path) / "result.json"


def read_job(path: str | os.PathLike[str]) -> JobResult:
    """The result in a directory, exactly as it was before it was written. Raises UsageError where there is no result of
    several legs, or it is damaged or incomplete.
    """
    directory = _place(path).parent
    summary = read_json(directory / "result.json")
    if summary.get("schema") != JOB_SCHEMA:
        raise UsageError(f"{directory} is no result of several legs, of the schema {JOB_SCHEMA}")
    with understanding(directory):
        results = [read_result(directory / leg["directory"]) for leg in summary["legs"] if _was_measured(leg)]
        legs = [
            LegOutcome(
                label=leg["label"],
                stage=leg["stage"],
                repeat=leg["repeat"],
                directory=leg["directory"],
                outcome=result.outcome,
            )
            for leg, result in zip(filter(_was_measured, summary["legs"]), results, strict=True)
        ]
        unmeasured = [leg["label"] for leg in summary["legs"] if not _was_measured(leg)]
        job = Job(
            name=summary["name"],
            version=summary["penstock"],
            command_line=summary["command_line"],
            target=summary["target"],
            started_ns=parse_wall(summary["started"]),
            ended_ns=parse_wall(summary["ended"]),
            status=summary["status"],
            reason=summary["reason"],
            exit_code=summary["exit_code"],
            legs=legs,
            missing=[*unmeasured, *summary["missing"]],
            phases=[read_phase(phase) for phase in summary["phases"]],
            environment=summary["environment"],
            op_log=summary["op_log"],
            notes=summary["notes"],
        )
    return JobResult(
        directory=directory,
        job=job,
        config_text=read_text(directory / "config.yaml"),
        plan=read_json(directory / "plan.json"),
        legs=results,
    )


def _was_measured(leg: Mapping[str, Any]) -> bool:
    """A leg that failed before anything ended has no figures to read."""
    return leg["status"] != "failed" or bool(leg["totals"]) or bool(leg["warmup"]["operations"])
