"""What the coordinator has to know of a job, whichever kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from penstock.engine.sets import count_prepared
from penstock.engine.watch import Watched
from penstock.workload.config import Config, OnError

__all__ = ["Course", "Observer", "WorkerPart", "course_of"]


@attrs.frozen(kw_only=True)
class Course:
    """The phases of a job and their limits; seconds throughout.

    ``total`` is how many operations there will be at most, ``prepared`` how many objects the preparation is about;
    None: not known. ``prepares`` says whether there is a preparation.
    """

    on_error: OnError
    live_interval: float
    warmup: float = 0.0
    duration: float | None = None
    total: int | None = None
    prepares: bool = False
    prepared: int | None = None
    post_prepare_delay: float = 0.0
    cleanup: bool = False


class WorkerPart(Protocol):
    """One worker's part of a plan."""

    @property
    def lanes(self) -> int:
        """Threads that drive operations."""

    @property
    def op_log(self) -> str | None:
        """Its part of the log."""

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
    prepare = config.prepare
    prepares = not prepare.skip_verification and bool(prepare.ensure_objects or prepare.directory_structure)
    return Course(
        on_error=config.on_error,
        live_interval=config.live_interval,
        warmup=config.warmup,
        duration=config.duration,
        total=config.total_operations,
        prepares=prepares,
        prepared=count_prepared(config) if prepares else None,
        post_prepare_delay=prepare.post_prepare_delay,
        cleanup=config.cleanup,
    )
