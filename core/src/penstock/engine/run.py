"""A whole run: plans, workers, and what is left of it in a result directory."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import attrs

from penstock.clocks import wall_ns
from penstock.engine.coordinator import Coordinator, Found
from penstock.engine.places import resolve
from penstock.engine.plan import WorkerPlan, describe, make_plans
from penstock.errors import PenstockError
from penstock.launchers import LaunchSpec
from penstock.oplog import join_parts
from penstock.options import resolve as resolve_options
from penstock.plugins import default_host
from penstock.report import results_directory, write_results
from penstock.report.live import LiveView
from penstock.report.outcome import Outcome, Status
from penstock.stats.system import environment
from penstock.urls import strip_scheme
from penstock.workload.config import Config, Loaded

__all__ = ["EXIT_ERRORS", "EXIT_FAILED", "EXIT_INTERRUPTED", "RunResult", "execute"]

EXIT_FAILED = 1
EXIT_ERRORS = 3
EXIT_INTERRUPTED = 130

_OP_LOG = "op-log.tsv.zst"


@attrs.frozen
class RunResult:
    """A finished run: what was found, and the directory that holds it."""

    outcome: Outcome
    directory: Path
    report: Path


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
    coordinator = Coordinator(config, plans, kind.open(options), view(directory))

    def write() -> RunResult:
        log = _join_log(op_log, plans, coordinator.found)
        outcome = _outcome(loaded, command_line, started, coordinator.found, log)
        plan = describe(config, plans)
        report = write_results(directory, outcome, config_text=loaded.text, plan=plan)
        return RunResult(outcome, directory, Path(report))

    return anyio.run(_carry_out, coordinator, directory, write)


async def _carry_out(coordinator: Coordinator, directory: Path, write: Callable[[], RunResult]) -> RunResult:
    result: RunResult | None = None
    failure: Exception | None = None
    async with coordinator.listening():
        try:
            with _scratch(directory) as scratch:
                await coordinator.run(LaunchSpec(scratch=scratch))
            result = write()
        except Exception as error:  # noqa: BLE001 - raised below, not wrapped in a group
            failure = error
    if result is None:
        assert failure is not None
        raise failure
    return result


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[str]:
    """Room for what workers print; kept beside the results when there is anything in it."""
    path = tempfile.mkdtemp(prefix="penstock-")
    try:
        yield path
        for name in sorted(os.listdir(path)):
            if os.path.getsize(os.path.join(path, name)):
                shutil.copy(os.path.join(path, name), directory / name)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _op_log_path(config: Config, directory: Path) -> str | None:
    if isinstance(config.op_log, str):
        return config.op_log
    return str(directory / _OP_LOG) if config.op_log else None


def _join_log(path: str | None, plans: list[WorkerPlan], found: Found) -> dict[str, Any] | None:
    """Join the parts of the log. A failure is noted, and leaves the parts."""
    if path is None:
        return None
    parts = [plan.op_log for plan in plans if plan.op_log is not None and os.path.exists(plan.op_log)]
    if not parts:
        return None
    counts = {"accepted": 0, "written": 0, "dropped": 0}
    for worker in found.workers:
        for name, value in (worker.log or {}).items():
            counts[name] += value
    try:
        join_parts(parts, path)
    except (PenstockError, OSError) as error:
        found.notes.append(f"the parts of the op-log could not be joined and were left: {error}")
        return {"parts": parts, **counts}
    return {"path": path, **counts}


def _outcome(loaded: Loaded, command_line: str, started: int, found: Found, log: dict[str, Any] | None) -> Outcome:
    config = loaded.config
    status, exit_code, reason = _status(config, found)
    target = config.target or config.workload[0].path
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
        environment=environment(_local_path(config)),
        op_log=log,
        notes=found.notes,
    )


def _status(config: Config, found: Found) -> tuple[Status, int, str]:
    limit = config.on_error.max_total_errors
    if found.interrupted:
        return "interrupted", EXIT_INTERRUPTED, "; ".join(filter(None, ("interrupted by its user", found.failure)))
    if found.failure:
        return "failed", EXIT_FAILED, found.failure
    if found.stopped or (limit is not None and found.totals.errors > limit):
        return "errors", EXIT_ERRORS, found.stopped or f"more than {limit} operations failed"
    lost = [worker for worker in found.workers if worker.lost is not None]
    if lost:
        return "degraded", EXIT_FAILED, f"{len(lost)} of {len(found.workers)} workers were lost"
    left = sum(phase.failed for phase in found.phases if phase.name == "cleanup")
    if left:
        return "done", EXIT_FAILED, f"the cleanup left {left} objects behind"
    return "done", 0, ""


def _local_path(config: Config) -> str | None:
    """The target as a path of this host, where its backend has real directories."""
    target = resolve(config, config.workload[0].path)
    if not target.kind.capabilities.directories:
        return None
    path = os.path.abspath(strip_scheme(target.address.base))
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
