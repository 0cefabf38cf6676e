"""What the coordinator has to know of a job, whichever kind it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from penstock.engine.legs import legs_of, prepares
from penstock.engine.sets import count_prepared
from penstock.engine.watch import Watched
from penstock.workload.config import Config, Distributed, OnError, StopWhenStable

__all__ = ["Course", "LegCourse", "Observer", "WorkerPart", "course_of"]


@attrs.frozen(kw_only=True)
class LegCourse:
    """What is measured by itself, with its limits; seconds throughout.

    ``total`` is how many operations there will be at most, None: not known. ``label`` tells legs apart, ``stage`` and
    ``repeat`` are what it is made of. ``barrier`` says who must have ended the leg before, None: each worker goes on
    by itself; ``gathers`` that all come together in any case, ``again`` that they prepare again then. ``share`` is the
    number of the workers' share that it is.
    """

    number: int = 0
    label: str = ""
    stage: str = ""
    repeat: int = 1
    share: int = 0
    warmup: float = 0.0
    duration: float | None = None
    total: int | None = None
    stable: StopWhenStable | None = None
    barrier: str | None = None
    gathers: bool = False
    again: bool = False


@attrs.frozen(kw_only=True)
class Course:
    """The phases of a job and their limits; seconds throughout.

    ``prepared`` is how many objects the preparation is about, None: not known. ``prepares`` says whether there is one.
    ``legs`` is what is measured, one after the other. ``distributed`` says what is to be done about hosts, and
    ``inputs`` which files of this host they need, by the names that they get there. ``about`` is what hosts keep of the
    job beside what they measure: its ``name``, ``target`` and ``command_line``, nothing secret.
    """

    on_error: OnError
    live_interval: float
    legs: Sequence[LegCourse]
    prepares: bool = False
    prepared: int | None = None
    post_prepare_delay: float = 0.0
    cleanup: bool = False
    distributed: Distributed = attrs.field(factory=Distributed)
    inputs: Mapping[str, str] = attrs.field(factory=dict)
    about: Mapping[str, Any] = attrs.field(factory=dict)


class WorkerPart(Protocol):
    """One worker's part of a plan."""

    @property
    def lanes(self) -> int:
        """Threads that drive operations, at most."""

    @property
    def op_log(self) -> str | None:
        """Its part of the log."""

    def lanes_of(self, share: int) -> int:
        """Threads that drive operations in the legs of that share; 0: it has no part in them."""

    def to_message(self) -> Mapping[str, Any]:
        """What JSON can hold."""


class Observer(Protocol):
    """Who reads what a job adds to its workers' reports."""

    def saw(self, worker: Watched, item: Mapping[str, Any]) -> str:
        """A snapshot, or the report of the end; returns why the run must be stopped, or nothing."""

    def finished(self, name: str, report: Mapping[str, Any]) -> None:
        """The last report of a worker on a phase of objects: ``prepare`` or ``cleanup``."""


def course_of(config: Config) -> Course:
    """The course of a workload's run."""
    prepare, made = config.prepare, prepares(config)
    barriers = [stage.barrier for stage in config.stages] or [None]
    legs = [
        LegCourse(
            number=leg.number,
            label=leg.label,
            stage=leg.stage,
            repeat=leg.repeat,
            share=leg.place,
            warmup=leg.config.warmup,
            duration=leg.config.duration,
            total=leg.config.total_operations,
            stable=leg.config.stop_when_stable,
            barrier=barriers[leg.place],
            gathers=leg.place == 0,
            again=leg.again,
        )
        for leg in legs_of(config)
    ]
    return Course(
        on_error=config.on_error,
        live_interval=config.live_interval,
        legs=legs,
        prepares=made,
        # Where each host makes all of it, how many that is depends on how many there are.
        prepared=count_prepared(config) if made and not config.distributed.own_namespaces else None,
        post_prepare_delay=prepare.post_prepare_delay,
        cleanup=config.cleanup,
        distributed=config.distributed,
    )
