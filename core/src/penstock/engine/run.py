"""A whole run: plans, workers, and what is left of it in a result directory."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from penstock.clocks import wall_ns
from penstock.engine import board, starting
from penstock.engine.arrivals import offered, rate_phases
from penstock.engine.conduct import OP_LOG, RunResult, carry_out, join_log
from penstock.engine.contents import content_limits
from penstock.engine.coordinator import Coordinator
from penstock.engine.course import Course, course_of
from penstock.engine.found import Found, Measured
from penstock.engine.judging import judge_limit
from penstock.engine.knowing import count_versions
from penstock.engine.legs import Leg, legs_of
from penstock.engine.outcomes import (
    EXIT_ERRORS,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    About,
    leg_end,
    outcome_of,
    status_of,
)
from penstock.engine.parts import HostPlan, host_plans
from penstock.engine.places import resolve
from penstock.engine.plan import Host, WorkerPlan, describe, make_plans, private_schemes
from penstock.engine.preflight import questions
from penstock.engine.starting import open_launcher
from penstock.errors import redact
from penstock.launchers import WORKER, LaunchSpec
from penstock.report import results_directory, write_job, write_results
from penstock.report.job import Job, LegOutcome
from penstock.report.live import LiveView
from penstock.report.outcome import Outcome, Planned
from penstock.stats.system import environment
from penstock.urls import strip_scheme
from penstock.workload.config import Config, Loaded
from penstock.workload.hiding import hide

__all__ = ["EXIT_ERRORS", "EXIT_FAILED", "EXIT_INTERRUPTED", "RunResult", "execute", "expected_hosts"]


def execute(
    loaded: Loaded, *, command_line: str, preflight: bool = True, view: Callable[[Path], LiveView]
) -> RunResult:
    """Carry out a configuration and write its results, also when it fails or is interrupted.

    ``preflight`` looks at every host before anything is done, where the launcher has hosts. ``view`` gets the result
    directory once it exists. Raises what a configuration that can't be carried out raises (UsageError and its kin)
    before anything is started, or done on the hosts that there are; after that failures are in the outcome.
    """
    config = loaded.config
    command_line = hide(config, command_line)
    starter = open_launcher(config.launcher, config.distributed)
    run_id = secrets.token_hex(4)
    plans = make_plans(config, run_id=run_id, hosts=expected_hosts(config) if starter.hosts else None)
    started = wall_ns()
    directory = results_directory(config.results_dir, loaded.name, started)
    op_log = _op_log_path(config, directory)
    if op_log is not None:
        plans = [plan.logging_to(op_log) for plan in plans]
    shown = {"name": loaded.name, "target": redact(_target(config)), "command_line": redact(command_line)}
    course = attrs.evolve(course_of(config), about=shown)
    planner = _RunPlanner(config, run_id, logs=op_log is not None, look=preflight)
    coordinator = Coordinator(course, plans, starter, view(directory), for_hosts=planner, directory=directory)
    path = _local_path(config)
    about = About(name=loaded.name, command_line=command_line, target=_target(config), started_ns=started, path=path)

    def write() -> RunResult:
        log = join_log(op_log, coordinator.plans, coordinator.found)
        plan = planner.describe() if starter.hosts else describe(config, plans)
        job = _job(config, about, course, coordinator.found, log)
        text = hide(config, loaded.text)
        try:
            if len(course.legs) == 1:
                report = write_results(directory, job.legs[0].outcome, config_text=text, plan=plan)
            else:
                report = write_job(directory, job, config_text=text, plan=plan)
        except OSError as error:
            # What was measured is shown all the same.
            return RunResult(_unwritten(job, directory, error), directory, directory)
        return RunResult(job, directory, Path(report))

    try:
        return carry_out(coordinator, LaunchSpec(), directory, write)
    finally:
        board.remove(run_id)


def _unwritten(job: Job, directory: Path, error: OSError) -> Job:
    reason = f"the results can't be written to {directory}: {error.strerror}; make room, or name another --results-dir"
    reason = f"{reason} ({job.status}: {job.reason})" if job.reason else reason
    return attrs.evolve(job, status="failed", exit_code=1, reason=reason)


def expected_hosts(config: Config) -> list[Host]:
    """The hosts as far as they are known before they start: what can't be carried out on any is found with these."""
    return starting.expected_hosts(config.distributed)


class _RunPlanner:
    """Plans for the hosts that there are, once they are known."""

    def __init__(self, config: Config, run_id: str, *, logs: bool, look: bool = True) -> None:
        """``logs``: every process writes a part of the op-log. ``look``: there are questions to hosts."""
        self._config = config
        self._run_id = run_id
        self._logs = logs
        self._look = look
        self._hosts: Sequence[Host] = ()
        self._plans: Sequence[WorkerPlan] = ()

    def plans(self, hosts: Sequence[Host]) -> Sequence[HostPlan]:
        """The part of each host. Raises what :func:`~penstock.engine.plan.make_plans` does."""
        self._hosts = hosts
        plans = make_plans(self._config, run_id=self._run_id, hosts=hosts)
        self._plans = plans = [plan.logging_to(OP_LOG) for plan in plans] if self._logs else plans
        agents = [None if number is None else self._config.distributed.agents[number] for number in self._agents()]
        return host_plans(
            plans,
            run_id=self._run_id,
            worker=WORKER,
            shares=len(self._config.parts()),
            environments=[{} if agent is None else agent.env for agent in agents],
        )

    def questions(self) -> Sequence[Mapping[str, Any]]:
        """What each host is to look at before anything is done."""
        return questions(self._config, [host.names for host in self._hosts]) if self._look else ()

    def describe(self) -> dict[str, Any]:
        """What ``plan.json`` holds."""
        hosts = self._hosts or expected_hosts(self._config)
        plans = self._plans or make_plans(self._config, run_id=self._run_id, hosts=hosts)
        named = [{"host": rank, "names": list(host.names), "cpus": host.cpus} for rank, host in enumerate(hosts)]
        return describe(self._config, list(plans)) | {"hosts": named}

    def _agents(self) -> Sequence[int | None]:
        return self._config.distributed.agents_of([host.names for host in self._hosts])


def _op_log_path(config: Config, directory: Path) -> str | None:
    if isinstance(config.op_log, str):
        return config.op_log
    return str(directory / OP_LOG) if config.op_log else None


def _target(config: Config) -> str:
    return config.target or config.parts()[0].workload[0].path


def _job(config: Config, about: About, course: Course, found: Found, log: dict[str, Any] | None) -> Job:
    found.notes.extend([*_doubts(found), *_blind_spots(config, found), *content_limits(config)])
    legs = legs_of(config)
    if len(legs) == 1:
        measured = found.only(course.legs[0])
        return Job.of(_outcome(config, legs[0], about, measured, found, log))
    status, exit_code, reason = status_of(config.on_error, found)
    done = [_leg(config, legs[measured.leg.number], about, measured) for measured in found.legs]
    return Job(
        name=about.name,
        version=version("penstock"),
        command_line=about.command_line,
        target=about.target,
        started_ns=about.started_ns,
        ended_ns=wall_ns(),
        status=status,
        reason=reason,
        exit_code=exit_code,
        legs=done,
        missing=[leg.label for leg in legs[len(done) :]],
        phases=found.phases,
        environment=environment(about.path),
        op_log=log,
        notes=found.notes,
    )


def _leg(config: Config, leg: Leg, about: About, measured: Measured) -> LegOutcome:
    named = attrs.evolve(about, name=f"{about.name}, {leg.label}")
    outcome = _outcome(config, leg, named, measured, None, None)
    return LegOutcome(label=leg.label, stage=leg.stage, repeat=leg.repeat, directory=leg.directory, outcome=outcome)


def _outcome(
    config: Config,
    leg: Leg,
    about: About,
    measured: Measured,
    found: Found | None,
    log: dict[str, Any] | None,
) -> Outcome:
    """Of one leg; with ``found`` it is the whole run."""
    end = leg_end(config.on_error, measured) if found is None else status_of(config.on_error, found)
    planned, private = _planned(leg.config, measured), private_schemes(config)
    hosts = any(worker.remote is not None for worker in measured.workers)
    lanes = sum(worker.lanes for worker in measured.workers) if hosts else leg.config.concurrency
    limit = judge_limit(measured, lanes=lanes, planned=planned, path=about.path, private=(private or [""])[0])
    return outcome_of(about, measured, end, limit=limit, planned=planned, found=found, op_log=log)


def _planned(config: Config, measured: Measured) -> Planned | None:
    if config.rate is None or measured.measured_seconds <= 0:
        return None
    seconds = config.warmup + measured.measured_seconds
    phases = rate_phases(config.rate, config.warmup)
    due = offered(phases, seconds) - offered(phases, config.warmup)
    return Planned(operations=due, missed=sum(worker.missed for worker in measured.workers))


def _doubts(found: Found) -> Sequence[str]:
    """Where reads were wrong: what may be wrong with the expectation instead."""
    wrong = sum(counts.wrong for measured in found.legs if (counts := measured.verification()) is not None)
    there = sum(phase.objects_found for phase in found.phases[:1])
    if not wrong or not there:
        return []
    text = (
        f"{there:,} prepared objects were there before this run and were taken for its own; if a run of another seed "
        "or configuration made them, or replaced some since, they don't hold what this one expects: prepare them anew "
        "(prepare.force_overwrite: true)"
    )
    return [text]


def _blind_spots(config: Config, found: Found) -> Sequence[str]:
    """What reads on several hosts can't be checked for."""
    hosts = sum(worker.remote is not None for worker in found.workers)
    if config.verify == "off" or hosts < 2 or not any(map(count_versions, config.parts())):
        return []
    text = (
        "verify: each host knows which objects it has replaced itself, by puts with a mask; a read of what another "
        "host had replaced is not told as stale. Torn and corrupt reads, and wrong sizes, are found all the same"
    )
    return [text]


def _local_path(config: Config) -> str | None:
    """Where the first operation works, as a path of this host, where its backend has real directories; what is not
    there yet is left off.
    """
    target = resolve(config, config.parts()[0].workload[0].path)
    if not target.kind.capabilities.directories:
        return None
    # Up to a glob, or to the number in new names.
    key = re.split(r"[*?\[{]", target.address.key, maxsplit=1)[0]
    path = os.path.abspath(strip_scheme(target.address.base + key))
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
