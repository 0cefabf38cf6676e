"""One run among many, and whether it met its goals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from penstock.report.outcome import Outcome
from penstock.stats.tally import ALL
from penstock.tuning.goals import Goal, latency

__all__ = ["Judged", "Trial", "judge", "make_trial"]

#: A rate counts as kept when at least this share of what was due in the window was begun in it.
KEPT = 0.98


@attrs.frozen(kw_only=True)
class Trial:
    """What one run measured, of all its operations together.

    ``offered`` is in operations per second, None for as fast as possible; ``settings`` are what was varied.
    Latencies are in nanoseconds, of response where arrivals were planned; None when nothing succeeded.
    """

    settings: dict[str, Any]
    offered: float | None
    achieved: float
    mib_per_second: float
    errors: int
    p50: float | None
    p99: float | None
    p999: float | None
    cpu_us: float | None
    status: str
    reason: str
    directory: Path

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold; latencies in microseconds."""
        micros = {
            f"{name}_us": None if value is None else value / 1e3
            for name, value in (("p50", self.p50), ("p99", self.p99), ("p99_9", self.p999))
        }
        return {
            "settings": self.settings,
            "offered_ops_per_sec": self.offered,
            "ops_per_sec": self.achieved,
            "mib_per_sec": self.mib_per_second,
            "errors": self.errors,
            **micros,
            "client_cpu_us_per_operation": self.cpu_us,
            "status": self.status,
            "reason": self.reason,
            "directory": str(self.directory),
        }


@attrs.frozen
class Judged:
    """A trial and why it failed; an empty ``why`` means that it passed."""

    trial: Trial
    why: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether every goal was met and the rate kept."""
        return not self.why


def make_trial(outcome: Outcome, directory: Path, *, settings: dict[str, Any], offered: float | None = None) -> Trial:
    """The trial that a finished run was."""
    cell = outcome.totals.roll_up(ALL)
    seconds, cpu = outcome.measured_seconds, outcome.client_cpu_seconds
    calls = cell.count + cell.errors
    return Trial(
        settings=settings,
        offered=offered,
        achieved=cell.count / seconds if seconds else 0.0,
        mib_per_second=cell.nbytes / seconds / 2**20 if seconds else 0.0,
        errors=cell.errors,
        p50=latency(cell, "p50"),
        p99=latency(cell, "p99"),
        p999=latency(cell, "p99.9"),
        cpu_us=cpu / calls * 1e6 if cpu is not None and calls else None,
        status=outcome.status,
        reason=outcome.reason,
        directory=directory,
    )


def judge(outcome: Outcome, trial: Trial, goals: Sequence[Goal]) -> Judged:
    """Hold a run against its goals, and what it began against what was due."""
    why = [f"{goal.show(outcome.totals)}; the goal is {goal.text}" for goal in goals if not goal.is_met(outcome.totals)]
    planned = outcome.planned
    if planned is not None and planned.missed > (1 - KEPT) * planned.operations:
        why.append(f"{planned.missed:,} of {planned.operations:,.0f} planned operations were never begun")
    if outcome.status not in ("done", "errors") or (outcome.status == "errors" and not goals):
        why.append(f"the run {outcome.status}: {outcome.reason}")
    return Judged(trial, why)
