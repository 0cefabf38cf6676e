"""From what the coordinator found to outcomes: what is common to all kinds of jobs, and how one has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import attrs

from penstock.clocks import wall_ns
from penstock.engine.found import Found, Measured
from penstock.engine.watch import Watched
from penstock.report.outcome import Outcome, Planned, Status
from penstock.stats.limits import Verdict
from penstock.stats.system import environment
from penstock.workload.config import OnError

__all__ = ["EXIT_ERRORS", "EXIT_FAILED", "EXIT_INTERRUPTED", "About", "End", "leg_end", "outcome_of", "status_of"]

EXIT_FAILED = 1
EXIT_ERRORS = 3
EXIT_INTERRUPTED = 130

#: How it ended, the exit code, and why it is not done.
End = tuple[Status, int, str]
_WORST: Final = ("done", "degraded", "errors", "failed", "interrupted")


@attrs.frozen(kw_only=True)
class About:
    """What is said of a job in each of its outcomes. ``path`` lies where it works, None where that is not this host."""

    name: str
    command_line: str
    target: str
    started_ns: int
    path: str | None


def outcome_of(
    about: About,
    measured: Measured,
    end: End,
    *,
    limit: Verdict | None = None,
    planned: Planned | None = None,
    found: Found | None = None,
    op_log: Mapping[str, Any] | None = None,
) -> Outcome:
    """The outcome of a leg. With ``found`` it is that of the whole job."""
    status, exit_code, reason = end
    return Outcome(
        name=about.name,
        version=version("penstock"),
        command_line=about.command_line,
        target=about.target,
        started_ns=about.started_ns if found is not None else measured.started_ns or about.started_ns,
        ended_ns=wall_ns() if found is not None else measured.ended_ns or wall_ns(),
        measured_from_ns=measured.measured_from_ns,
        measured_seconds=measured.measured_seconds,
        status=status,
        reason=reason,
        exit_code=exit_code,
        verdict=limit.text if limit is not None else "",
        limit=limit.kind if limit is not None else "",
        totals=measured.totals,
        warmup_operations=measured.totals.warmup,
        intervals=measured.intervals(),
        workers=[worker.outcome() for worker in measured.workers],
        errors=measured.errors,
        phases=found.phases if found is not None else [],
        environment=environment(about.path),
        op_log=op_log,
        notes=[*(found.notes if found is not None else []), *measured.notes],
        endpoints=measured.endpoints(),
        balance=measured.balance(),
        planned=planned,
        verification=measured.verification(),
        steady=measured.steady.found if measured.steady is not None else None,
    )


def leg_end(on_error: OnError, measured: Measured) -> End:
    """How one leg ended, by itself."""
    limit = on_error.max_total_errors
    if measured.interrupted:
        return "interrupted", EXIT_INTERRUPTED, "; ".join(filter(None, ("interrupted by its user", measured.failure)))
    if measured.failure:
        return "failed", EXIT_FAILED, measured.failure
    if measured.stopped or (limit is not None and measured.totals.errors > limit):
        return "errors", EXIT_ERRORS, measured.stopped or f"more than {limit} operations failed"
    if gone := _gone(measured.workers):
        return "degraded", EXIT_FAILED, gone
    return "done", 0, ""


def _gone(workers: Sequence[Watched]) -> str:
    """Who was lost, whole hosts or processes of them; empty: nobody."""
    lost = [worker for worker in workers if worker.lost is not None or worker.failed]
    if lost:
        return f"{len(lost)} of {len(workers)} workers were lost"
    hurt = {worker.called: count for worker in workers if (count := len(_lost_processes(worker)))}
    if not hurt:
        return ""
    count = sum(hurt.values())
    return f"{count} {'process' if count == 1 else 'processes'} of {', '.join(hurt)} lost"


def _lost_processes(worker: Watched) -> Mapping[int, str]:
    """Of a host, in the leg that the worker stands for, or in the whole run."""
    if worker.seen is not None:
        return worker.seen.lost
    return worker.remote.lost if worker.remote is not None else {}


def status_of(on_error: OnError, found: Found) -> End:
    """How the whole job ended: as the leg that ended worst, unless something else stopped it."""
    ends = [(measured.leg.label, leg_end(on_error, measured)) for measured in found.legs]
    failure = next(filter(None, (found.failure, *(measured.failure for measured in found.legs))), "")
    if found.interrupted:
        return "interrupted", EXIT_INTERRUPTED, "; ".join(filter(None, ("interrupted by its user", failure)))
    if found.failure:
        return "failed", EXIT_FAILED, found.failure
    label, (status, exit_code, reason) = max(
        ends, key=lambda each: _WORST.index(each[1][0]), default=("", ("done", 0, ""))
    )
    if status != "done":
        return status, exit_code, f"{label}: {reason}" if label else reason
    if gone := _gone(found.workers):
        return "degraded", EXIT_FAILED, gone
    left = sum(phase.failed for phase in found.phases if phase.name == "cleanup")
    if left:
        return "done", EXIT_FAILED, f"the cleanup left {left} objects behind"
    return "done", 0, ""
