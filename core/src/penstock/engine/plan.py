"""The plan of a run, and each worker's part of it. Plans are data: they travel as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.engine.board import MOST_VERSIONS
from penstock.engine.knowing import count_versions
from penstock.engine.places import paths_of, resolve
from penstock.errors import UsageError
from penstock.workload.config import Config, dump, restore

__all__ = ["Share", "WorkerPlan", "describe", "make_plans", "part_path", "private_schemes", "share"]


@attrs.frozen(kw_only=True)
class Share:
    """A worker's share of a stage. Lanes are numbered through all workers: it has ``first_lane`` to
    ``first_lane + lanes - 1`` of ``total_lanes``, none where there are fewer lanes than workers. ``budget`` is its
    share of ``total_operations``.
    """

    first_lane: int
    lanes: int
    total_lanes: int
    budget: int | None


@attrs.frozen(kw_only=True)
class WorkerPlan:
    """One worker's part.

    ``shares`` has one for each stage, and one where there are no stages. ``cpu`` is which of its host's usable
    processors it is bound to, None: any. ``run_id`` is part of each name that the run makes, so that no two runs make
    the same. ``op_log`` is the part of the log that it writes.
    """

    rank: int
    workers: int
    shares: tuple[Share, ...]
    cpu: int | None
    run_id: str
    op_log: str | None
    client_id: str
    config: Mapping[str, Any]

    @property
    def lanes(self) -> int:
        """The most lanes that it has at once."""
        return max(each.lanes for each in self.shares)

    def lanes_of(self, share: int) -> int:
        """Threads that drive operations in the stage of that number; 0: it has no part in it."""
        return self.shares[share].lanes

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> WorkerPlan:
        """What :meth:`to_message` was called on. Raises TypeError for a message of another version."""
        return cls(**{**message, "shares": tuple(Share(**each) for each in message["shares"])})

    def logging_to(self, path: str) -> WorkerPlan:
        """This plan, with its part of the log at ``path``."""
        return attrs.evolve(self, op_log=part_path(path, self.rank))

    def load_config(self) -> Config:
        """The configuration, checked again."""
        return restore(self.config)


def make_plans(config: Config, *, run_id: str) -> list[WorkerPlan]:
    """Split a configuration over worker processes, and each of its stages over them by lanes and operations, as evenly
    as whole numbers allow.

    Raises UsageError where the configuration asks for several processes on a store that lives in one, and where reads
    could not tell apart what the puts of all stages and repeats write.
    """
    _check_versions(config)
    workers = _processes(config)
    # With fewer workers than processors each may use several: large transfers leave Python's lock alone.
    bound = config.cpu_binding == "auto" and workers >= len(os.sched_getaffinity(0))
    data = dump(config)
    parts = config.parts()
    return [
        WorkerPlan(
            rank=rank,
            workers=workers,
            shares=tuple(_share(part, rank, workers) for part in parts),
            cpu=rank if bound else None,
            run_id=run_id,
            op_log=None,
            client_id=f"worker-{rank}" if workers > 1 else "",
            config=data,
        )
        for rank in range(workers)
    ]


def _check_versions(config: Config) -> None:
    count = config.repeat * sum(map(count_versions, config.parts()))
    if config.verify != "off" and count >= MOST_VERSIONS:
        several = ", of all stages and repeats together" if config.repeat > 1 or config.stages else ""
        raise UsageError(
            f"verify: {count} puts with a mask{several} are more than can be told apart; write at most "
            f"{MOST_VERSIONS - 1}, or a prefix instead of a mask"
        )


def _share(config: Config, rank: int, workers: int) -> Share:
    # Of fewer lanes than workers the first workers have one each, so that operations are shared among those.
    working = min(workers, config.concurrency)
    first, last = share(config.concurrency, rank, working) if rank < working else (config.concurrency,) * 2
    budget = None
    if config.total_operations is not None:
        low, high = share(config.total_operations, rank, working) if rank < working else (0, 0)
        budget = high - low
    return Share(first_lane=first, lanes=last - first, total_lanes=config.concurrency, budget=budget)


def part_path(path: str, rank: int) -> str:
    """Where a worker writes its part of a log: beside it, with the same endings."""
    directory, name = os.path.split(path)
    stem, dot, endings = name.partition(".")
    return os.path.join(directory, f"{stem}.part-{rank}{dot}{endings}")


def describe(config: Config, plans: list[WorkerPlan]) -> dict[str, Any]:
    """What ``plan.json`` holds: the configuration with every default, secrets left out, and how it was split."""
    split = [{"rank": plan.rank, "cpu": plan.cpu, **_described(config, plan)} for plan in plans]
    plain = dump(config, secrets=False)
    return {"schema": "penstock.plan/1", "run_id": plans[0].run_id, "config": plain, "workers": split}


def _described(config: Config, plan: WorkerPlan) -> dict[str, Any]:
    shares = [attrs.asdict(each, filter=lambda field, _: field.name != "total_lanes") for each in plan.shares]
    if not config.stages:
        return shares[0]
    return {"stages": {stage.name: each for stage, each in zip(config.stages, shares, strict=True)}}


def private_schemes(config: Config) -> list[str]:
    """The schemes of the configuration whose objects live in one process, so that several can't share them."""
    schemes = {}
    for path in paths_of(config):
        target = resolve(config, path)
        schemes[target.kind.schemes[0]] = target.kind.capabilities.shared
    return sorted(scheme for scheme, shared in schemes.items() if not shared)


def _processes(config: Config) -> int:
    private = private_schemes(config)
    if isinstance(config.processes, int):
        if private and config.processes > 1:
            raise UsageError(
                f"processes: {config.processes}: objects of {private[0]}:// live in one process; write processes: 1"
            )
        return config.processes
    most = max(part.concurrency for part in config.parts())
    return 1 if private else max(1, min(len(os.sched_getaffinity(0)), most))


def share(total: int, rank: int, workers: int) -> tuple[int, int]:
    """Which of ``total`` things one of ``workers`` has: from the first number up to, not including, the second."""
    return total * rank // workers, total * (rank + 1) // workers
