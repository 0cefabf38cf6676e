"""A run of several legs: stages that follow each other, repeats of them, or both; each has an outcome of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from penstock.report.outcome import STATUSES, Outcome, PhaseOutcome, Status

__all__ = ["Job", "LegOutcome"]


@attrs.frozen(kw_only=True)
class LegOutcome:
    """One leg: ``label`` tells it from the others, ``stage`` is empty where there are no stages, ``repeat`` counts from
    1. ``directory`` is where its results lie, relative to those of the whole; empty where it is the whole.
    """

    label: str
    stage: str
    repeat: int
    directory: str
    outcome: Outcome


@attrs.frozen(kw_only=True)
class Job:
    """The whole run. The fields are as those of :class:`penstock.report.outcome.Outcome`, ``phases`` and ``notes`` are
    those that belong to no leg. ``legs`` are those that were begun, in order, and ``missing`` the labels of the others.
    """

    name: str
    version: str
    command_line: str
    target: str
    started_ns: int
    ended_ns: int
    status: Status = attrs.field(validator=attrs.validators.in_(STATUSES))
    reason: str = ""
    exit_code: int = 0
    legs: Sequence[LegOutcome] = ()
    missing: Sequence[str] = ()
    phases: Sequence[PhaseOutcome] = ()
    environment: Mapping[str, Any] = attrs.Factory(dict)
    op_log: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> Job:
        """A run that is one leg."""
        leg = LegOutcome(label="", stage="", repeat=1, directory="", outcome=outcome)
        return cls(
            name=outcome.name,
            version=outcome.version,
            command_line=outcome.command_line,
            target=outcome.target,
            started_ns=outcome.started_ns,
            ended_ns=outcome.ended_ns,
            status=outcome.status,
            reason=outcome.reason,
            exit_code=outcome.exit_code,
            legs=[leg],
            phases=outcome.phases,
            environment=outcome.environment,
            op_log=outcome.op_log,
            notes=outcome.notes,
        )

    @property
    def did_nothing(self) -> bool:
        """Whether it failed before any operation ended or any object was made: there is only the reason to report."""
        made = any(phase.objects_made or phase.objects_found for phase in self.phases)
        return self.status == "failed" and not made and all(leg.outcome.did_nothing for leg in self.legs)

    @property
    def stages(self) -> list[str]:
        """The names of the stages in order; one that is empty where there are none."""
        return list(dict.fromkeys(leg.stage for leg in self.legs))

    def repeats_of(self, stage: str) -> list[LegOutcome]:
        """The repeats of a stage, in order."""
        return [leg for leg in self.legs if leg.stage == stage]
