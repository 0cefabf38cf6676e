"""Stages: parts of a run that follow each other, each with its own operations and its own end."""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

import attrs

from penstock.workload.fields import Record, key
from penstock.workload.operations import OPERATION, Operation
from penstock.workload.rates import RATE, Rate
from penstock.workload.shapes import ListOf, Optional, Quantity, Text, Word
from penstock.workload.stable import STABLE_STAGE, StopWhenStable

__all__ = ["STAGE", "Stage"]

_SOME_TIME = Quantity("duration", above=True)


@attrs.frozen
class Stage:
    """One stage. What it does not say is as the run says.

    With neither ``duration`` nor ``total_operations`` both are the run's; with one of them the other has no limit.
    """

    name: str = key(Text("a name without /"), help="name of the stage in the results; each has its own")
    workload: tuple[Operation, ...] = key(
        ListOf(OPERATION, partial=True), (), help="its operations, each with its weight; empty: those of the run"
    )
    duration: float | None = key(Optional(_SOME_TIME), None, help="how long to measure")
    total_operations: int | None = key(Optional(Quantity("count", minimum=1)), None, help="how many to measure")
    warmup: float = key(Quantity("duration"), 0.0, help="run this long first and keep it out of the results")
    cooldown: float = key(Quantity("duration"), 0.0, help="go on this long at the end and keep it out of the results")
    stop_when_stable: StopWhenStable | str = key(
        STABLE_STAGE, "as run", help="end when figures are stable: on, or how; off; as run: as the run says"
    )
    concurrency: int | None = key(
        Optional(Quantity("count", minimum=1, maximum=100_000)), None, help="operations in flight; none: as the run"
    )
    rate: Rate | None = key(Optional(RATE), None, help="planned arrivals; none: as the run")
    barrier: str | None = key(
        Optional(Word(("all", "majority", "best_effort"))),
        None,
        help="which workers must have come to the end of the stage before for this one to begin. all: every one that "
        "the run began with; majority: more than half of them, and then the others are told to come; best_effort: "
        "those that are left. A worker that makes no progress for as long as its calls have shown that it can't be "
        "waiting for one is given up. none: each worker goes on by itself",
    )


#: How a stage stands in a file.
STAGE = Record(
    Stage,
    {
        **dict.fromkeys(("order", "completion", "type"), "unknown key; stages run in the order of the list"),
        **dict.fromkeys(("max_duration", "timeout_secs"), "unknown key; write duration"),
        "expected_tasks": "unknown key; write total_operations",
    },
)
