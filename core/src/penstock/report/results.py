"""Reads a result directory back, exactly as it was before it was written: to draw its report again, or to compare."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from penstock.errors import UsageError
from penstock.report.outcome import STATUSES, Outcome, PhaseOutcome, Planned, Steady
from penstock.report.summary import SCHEMA, parse_wall
from penstock.report.tallies import NAME, read_tallies
from penstock.report.verified import read_verification
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

__all__ = ["JOB_SCHEMA", "Result", "is_result", "read_json", "read_phase", "read_result", "read_text", "understanding"]

#: The schema of a result of several legs.
JOB_SCHEMA: Final = "penstock.job/1"

_SUMMARY: Final = "result.json"


@attrs.frozen(kw_only=True)
class Result:
    """A result directory: its outcome with every tally and histogram, the configuration as it was given, and the plan
    as it was resolved.
    """

    directory: Path
    outcome: Outcome
    config_text: str
    plan: Mapping[str, Any]


def is_result(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a directory of results, or the ``result.json`` in one; nothing but its name is looked at."""
    place = Path(path)
    return place.name == _SUMMARY or place.is_dir()


@contextlib.contextmanager
def understanding(directory: Path) -> Iterator[None]:
    """Raise UsageError, which names the ``result.json`` in here, where something in it is missing or is not as it
    should be.
    """
    try:
        yield
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{directory / _SUMMARY} is damaged: {type(error).__name__} {error}") from error


def read_result(path: str | os.PathLike[str]) -> Result:
    """The result in a directory, which may also be named by the ``result.json`` in it.

    The outcome equals the one that was written: intervals with their counts and histograms by operation and size
    bucket, totals, workers, endpoints, errors. Raises UsageError where there is no result, one of another version, or
    one that is damaged or incomplete.
    """
    directory = Path(path).parent if Path(path).name == _SUMMARY else Path(path)
    summary = _read_summary(directory)
    with understanding(directory):
        outcome = _outcome(directory, summary)
    return Result(
        directory=directory,
        outcome=outcome,
        config_text=read_text(directory / "config.yaml"),
        plan=read_json(directory / "plan.json"),
    )


def _read_summary(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "does not exist"
        raise UsageError(f"{directory} {what}; name a result directory of penstock run or replay")
    if not (directory / _SUMMARY).exists():
        raise UsageError(f"{directory} holds no {_SUMMARY}; name a result directory of penstock run or replay")
    summary = read_json(directory / _SUMMARY)
    found = summary.get("schema")
    if found == JOB_SCHEMA:
        parts = sorted(str(each.parent) for each in directory.rglob(_SUMMARY) if each.parent != directory)
        raise UsageError(f"{directory} has several legs (stages or repeats); name one of them, such as {parts[0]}")
    if found != SCHEMA:
        raise UsageError(
            f"{directory / _SUMMARY} is of version {found!r}, and this penstock reads {SCHEMA}; use the one that wrote"
            " it"
        )
    return summary


def read_text(path: Path) -> str:
    """A file of a result directory. Raises UsageError."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}; copy the result directory again") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """An object of a result directory. Raises UsageError."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it holds no object")
    return value


def _outcome(directory: Path, summary: Mapping[str, Any]) -> Outcome:
    if summary["status"] not in STATUSES:
        raise ValueError(f"no status {summary['status']!r}")
    file = directory / NAME
    if not file.exists():
        if summary["status"] == "failed":
            raise UsageError(f"{directory}: that run failed before anything was measured: {summary['reason']}")
        raise UsageError(f"{directory} holds no {NAME}; it was copied incompletely, or written before penstock kept it")
    try:
        tallies = read_tallies(file)
    except ValueError as error:
        raise UsageError(f"{file} {error}") from error
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    window = summary["window"]
    return Outcome(
        name=summary["name"],
        version=summary["penstock"],
        command_line=summary["command_line"],
        target=summary["target"],
        started_ns=parse_wall(summary["started"]),
        ended_ns=parse_wall(summary["ended"]),
        measured_from_ns=0 if window["from"] is None else parse_wall(window["from"]),
        measured_seconds=window["seconds"],
        status=summary["status"],
        reason=summary["reason"],
        exit_code=summary["exit_code"],
        verdict=summary["verdict"],
        limit=summary.get("limit", ""),
        totals=tallies.totals,
        warmup_operations=summary["warmup"]["operations"],
        intervals=tallies.intervals,
        workers=tallies.workers,
        errors=_errors(summary),
        phases=[read_phase(phase) for phase in summary["phases"]],
        environment=summary["environment"],
        op_log=summary["op_log"],
        notes=summary["notes"],
        endpoints=tallies.endpoints,
        replay=tallies.replay,
        planned=None if summary.get("planned") is None else Planned(**summary["planned"]),
        verification=read_verification(summary.get("verification")),
        steady=_steady(summary.get("steady"), tallies.steady),
        balance=tallies.balance,
    )


def _errors(summary: Mapping[str, Any]) -> ErrorTable:
    return ErrorTable.from_message([entry | {"example": entry["example_key"]} for entry in summary["errors"]])


def read_phase(phase: Mapping[str, Any]) -> PhaseOutcome:
    """One of ``phases`` in ``result.json``."""
    fields = dict(phase)
    fields["nbytes"] = fields.pop("bytes")
    return PhaseOutcome(**fields)


def _steady(summary: Mapping[str, Any] | None, totals: Tally | None) -> Steady | None:
    if summary is None:
        return None
    fields = {name: value for name, value in summary.items() if name != "operations"}
    return Steady(**fields, totals=totals or Tally())
