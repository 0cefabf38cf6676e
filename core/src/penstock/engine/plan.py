"""The plan of a run, and each worker's part of it. Plans are data: they travel as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.engine.places import paths_of, resolve
from penstock.errors import UsageError
from penstock.workload.config import Config, dump, restore

__all__ = ["WorkerPlan", "describe", "make_plans", "part_path", "share"]


@attrs.frozen(kw_only=True)
class WorkerPlan:
    """One worker's part.

    Lanes are numbered through the whole run: this worker has ``first_lane`` to ``first_lane + lanes - 1`` of
    ``total_lanes``. ``cpu`` is which of its host's usable processors it is bound to, None: any. ``budget`` is its
    share of ``total_operations``. ``run_id`` is part of each name that the run makes, so that no two runs make the
    same. ``op_log`` is the part of the log that it writes.
    """

    rank: int
    workers: int
    first_lane: int
    lanes: int
    total_lanes: int
    cpu: int | None
    run_id: str
    budget: int | None
    op_log: str | None
    client_id: str
    config: Mapping[str, Any]

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> WorkerPlan:
        """What :meth:`to_message` was called on. Raises TypeError for a message of another version."""
        return cls(**message)

    def logging_to(self, path: str) -> WorkerPlan:
        """This plan, with its part of the log at ``path``."""
        return attrs.evolve(self, op_log=part_path(path, self.rank))

    def load_config(self) -> Config:
        """The configuration, checked again."""
        return restore(self.config)


def make_plans(config: Config, *, run_id: str) -> list[WorkerPlan]:
    """Split a configuration over worker processes, lanes and operations as evenly as whole numbers allow.

    Raises UsageError where the configuration asks for several processes on a store that lives in one, and for stages,
    of which each is planned by itself: ``config.of_stage``.
    """
    if config.stages:
        raise UsageError(
            f"stages: this version checks stages and does not carry them out; run them one by one, each in a file of "
            f"its own that includes what they share: {', '.join(stage.name for stage in config.stages)}"
        )
    workers = _processes(config)
    # With fewer workers than processors each may use several: large transfers leave Python's lock alone.
    bound = config.cpu_binding == "auto" and workers >= len(os.sched_getaffinity(0))
    data = dump(config)
    plans = []
    for rank in range(workers):
        first, last = share(config.concurrency, rank, workers)
        budget = None
        if config.total_operations is not None:
            low, high = share(config.total_operations, rank, workers)
            budget = high - low
        plans.append(
            WorkerPlan(
                rank=rank,
                workers=workers,
                first_lane=first,
                lanes=last - first,
                total_lanes=config.concurrency,
                cpu=rank if bound else None,
                run_id=run_id,
                budget=budget,
                op_log=None,
                client_id=f"worker-{rank}" if workers > 1 else "",
                config=data,
            )
        )
    return plans


def part_path(path: str, rank: int) -> str:
    """Where a worker writes its part of a log: beside it, with the same endings."""
    directory, name = os.path.split(path)
    stem, dot, endings = name.partition(".")
    return os.path.join(directory, f"{stem}.part-{rank}{dot}{endings}")


def describe(config: Config, plans: list[WorkerPlan]) -> dict[str, Any]:
    """What ``plan.json`` holds: the configuration with every default, secrets left out, and how it was split."""
    split = [
        {
            "rank": plan.rank,
            "cpu": plan.cpu,
            "first_lane": plan.first_lane,
            "lanes": plan.lanes,
            "budget": plan.budget,
        }
        for plan in plans
    ]
    plain = dump(config, secrets=False)
    return {"schema": "penstock.plan/1", "run_id": plans[0].run_id, "config": plain, "workers": split}


def _processes(config: Config) -> int:
    schemes = {}
    for path in paths_of(config):
        target = resolve(config, path)
        schemes[target.kind.schemes[0]] = target.kind.capabilities.shared
    private = sorted(scheme for scheme, shared in schemes.items() if not shared)
    if isinstance(config.processes, int):
        if private and config.processes > 1:
            raise UsageError(
                f"processes: {config.processes}: objects of {private[0]}:// live in one process; write processes: 1"
            )
        return config.processes
    return 1 if private else max(1, min(len(os.sched_getaffinity(0)), config.concurrency))


def share(total: int, rank: int, workers: int) -> tuple[int, int]:
    """Which of ``total`` things one of ``workers`` has: from the first number up to, not including, the second."""
    return total * rank // workers, total * (rank + 1) // workers
