"""A whole run: plans, workers, and what is left of it in a result directory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from penstock.clocks import wall_ns
from penstock.engine import board
from penstock.engine.arrivals import offered, rate_phases
from penstock.engine.conduct import (
    EXIT_ERRORS,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    OP_LOG,
    RunResult,
    carry_out,
    join_log,
    status_of,
)
from penstock.engine.coordinator import Coordinator, Found
from penstock.engine.course import course_of
from penstock.engine.judging import judge_limit
from penstock.engine.places import resolve
from penstock.engine.plan import describe, make_plans
from penstock.launchers import LaunchSpec
from penstock.options import resolve as resolve_options
from penstock.plugins import default_host
from penstock.report import results_directory, write_results
from penstock.report.live import LiveView
from penstock.report.outcome import Outcome, Planned
from penstock.stats.system import environment
from penstock.urls import strip_scheme
from penstock.workload.config import Config, Loaded

__all__ = ["EXIT_ERRORS", "EXIT_FAILED", "EXIT_INTERRUPTED", "RunResult", "execute"]


def execute(
    loaded: Loaded, *, command_line: str, launcher: str = "local", view: Callable[[Path], LiveView]
) -> RunResult:
    """Carry out a configuration and write its results, also when it fails or is interrupted.

    ``view`` gets the result directory once it exists. Raises what a configuration that can't be carried out raises
    (UsageError and its kin) before anything is started; after that failures are in the outcome.
    """
    config = loaded.config
    kind = default_host().launcher_type(launcher)
    plans = make_plans(config, run_id=secrets.token_hex(4))
    started = wall_ns()
    directory = results_directory(config.results_dir, loaded.name, started)
    op_log = _op_log_path(config, directory)
    if op_log is not None:
        plans = [plan.logging_to(op_log) for plan in plans]
    options = resolve_options(kind.options, scheme=kind.name).options
    coordinator = Coordinator(course_of(config), plans, kind.open(options), view(directory))

    def write() -> RunResult:
        log = join_log(op_log, plans, coordinator.found)
        outcome = _outcome(loaded, command_line, started, coordinator.found, log)
        plan = describe(config, plans)
        report = write_results(directory, outcome, config_text=loaded.text, plan=plan)
        return RunResult(outcome, directory, Path(report))

    try:
        return carry_out(coordinator, LaunchSpec(), directory, write)
    finally:
        board.remove(plans[0].run_id)


def _op_log_path(config: Config, directory: Path) -> str | None:
    if isinstance(config.op_log, str):
        return config.op_log
    return str(directory / OP_LOG) if config.op_log else None


def _outcome(loaded: Loaded, command_line: str, started: int, found: Found, log: dict[str, Any] | None) -> Outcome:
    config = loaded.config
    status, exit_code, reason = status_of(config.on_error, found)
    target = config.target or config.workload[0].path
    planned, path = _planned(config, found), _local_path(config)
    limit = judge_limit(found, lanes=config.concurrency, planned=planned, path=path)
    return Outcome(
        name=loaded.name,
        version=version("penstock"),
        command_line=command_line,
        target=target,
        started_ns=started,
        ended_ns=wall_ns(),
        measured_from_ns=found.measured_from_ns,
        measured_seconds=found.measured_seconds,
        status=status,
        reason=reason,
        exit_code=exit_code,
        totals=found.totals,
        warmup_operations=found.totals.warmup,
        intervals=found.intervals(),
        workers=[worker.outcome() for worker in found.workers],
        errors=found.errors,
        phases=found.phases,
        environment=environment(path),
        op_log=log,
        notes=[*found.notes, *_doubts(found)],
        endpoints=found.endpoints(),
        verification=found.verification(),
        planned=planned,
        verdict=limit.text if limit is not None else "",
        limit=limit.kind if limit is not None else "",
    )


def _planned(config: Config, found: Found) -> Planned | None:
    if config.rate is None or found.measured_seconds <= 0:
        return None
    seconds = config.warmup + found.measured_seconds
    phases = rate_phases(config.rate, config.warmup)
    due = offered(phases, seconds) - offered(phases, config.warmup)
    return Planned(operations=due, missed=sum(worker.missed for worker in found.workers))


def _doubts(found: Found) -> list[str]:
    """Where reads were wrong: what may be wrong with the expectation instead."""
    counts, there = found.verification(), sum(phase.objects_found for phase in found.phases)
    if counts is None or not counts.wrong or not there:
        return []
    text = (
        f"{there:,} prepared objects were there before this run and were taken for its own; if a run of another seed "
        "or configuration made them, or replaced some since, they don't hold what this one expects: prepare them anew "
        "(prepare.force_overwrite: true)"
    )
    return [text]


def _local_path(config: Config) -> str | None:
    """The target as a path of this host, where its backend has real directories."""
    target = resolve(config, config.workload[0].path)
    if not target.kind.capabilities.directories:
        return None
    path = os.path.abspath(strip_scheme(target.address.base))
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
