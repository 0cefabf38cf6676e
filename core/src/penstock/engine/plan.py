"""The plan of a run, and each worker's part of it. Plans are data: they travel as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from penstock.engine.board import MOST_VERSIONS
from penstock.engine.grid import runs_of, share
from penstock.engine.knowing import count_versions
from penstock.engine.places import paths_of, resolve
from penstock.engine.turns import shared_turns
from penstock.errors import UsageError
from penstock.workload.config import Config, Distributed, dump, restore

__all__ = [
    "Host",
    "Preparing",
    "Share",
    "WorkerPlan",
    "describe",
    "make_plans",
    "part_path",
    "private_schemes",
]

#: What is told of a share.
_DESCRIBED: Final = ("first_lane", "lanes", "budget")


@attrs.frozen(kw_only=True)
class Host:
    """One of several hosts: by which names it is known, and how many processors it may use."""

    names: tuple[str, ...] = ()
    cpus: int = attrs.field(factory=lambda: len(os.sched_getaffinity(0)))


@attrs.frozen(kw_only=True)
class Share:
    """A worker's share of a stage. Lanes are numbered through all workers: it has ``first_lane`` to
    ``first_lane + lanes - 1`` of ``total_lanes``, none where there are fewer lanes than workers. ``budget`` is its
    share of ``total_operations``. ``turns``, one for each lane, say which planned arrivals are its own: those whose
    number, counted from 0, leaves one of them when it is divided by ``total_lanes``. ``runs`` are the lanes of each of
    several hosts, as :func:`penstock.engine.grid.runs_of` gives them.
    """

    first_lane: int
    lanes: int
    total_lanes: int
    budget: int | None
    turns: tuple[int, ...] = ()
    runs: tuple[tuple[int, int], ...] = ()


@attrs.frozen(kw_only=True)
class Preparing:
    """A worker's share of the preparation: it is the ``rank``-th of ``workers``, and has none where its rank is not
    below that. It uses so many ``threads``. With ``trees`` None it has the same share of directories; else all of
    them (True), or none.
    """

    rank: int
    workers: int
    threads: int
    trees: bool | None = None


@attrs.frozen(kw_only=True)
class WorkerPlan:
    """One worker's part.

    ``shares`` has one for each stage, and one where there are no stages. ``cpu`` is which of its host's usable
    processors it is bound to, None: any. ``run_id`` is part of each name that the run makes, so that no two runs make
    the same. ``op_log`` is the part of the log that it writes. ``rank`` counts through all ``workers`` of all hosts;
    on its own, the ``host``-th of ``hosts``, it is the ``place``-th of ``places``.
    """

    rank: int
    workers: int
    shares: tuple[Share, ...]
    preparing: Preparing
    cpu: int | None
    run_id: str
    op_log: str | None
    client_id: str
    config: Mapping[str, Any]
    host: int = 0
    hosts: int = 1
    place: int = 0
    places: int = 1

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
        shares = tuple(_share_of(each) for each in message["shares"])
        return cls(**{**message, "shares": shares, "preparing": Preparing(**message["preparing"])})

    def logging_to(self, path: str) -> WorkerPlan:
        """This plan, with its part of the log at ``path``."""
        return attrs.evolve(self, op_log=part_path(path, self.rank))

    def load_config(self) -> Config:
        """The configuration, checked again."""
        return restore(self.config)


def _share_of(message: Mapping[str, Any]) -> Share:
    runs = tuple((int(hosts), int(lanes)) for hosts, lanes in message["runs"])
    return Share(**{**message, "turns": tuple(message["turns"]), "runs": runs})


def make_plans(config: Config, *, run_id: str, hosts: Sequence[Host] | None = None) -> list[WorkerPlan]:
    """Split a configuration over the worker processes of all ``hosts``, and each of its stages over them by lanes and
    operations, as evenly as whole numbers allow; without hosts over the processes of this one.

    ``concurrency`` and ``processes`` are of each host, which may have its own; operations and arrivals are of all, and
    shared by lanes. Raises UsageError where the configuration asks for several processes or hosts on a store that
    lives in one process, where reads could not tell apart what the puts of all stages and repeats write, and where
    agents don't go with the hosts.
    """
    _check_versions(config)
    several = hosts is not None
    hosts = [Host()] if hosts is None else hosts
    agents = config.distributed.agents_of([host.names for host in hosts]) if several else (None,)
    configs = [config.for_host(rank, agent) if several else config for rank, agent in enumerate(agents)]
    if len(hosts) > 1:
        _check_private(configs[0])
    processes = [_processes(own, host.cpus) for own, host in zip(configs, hosts, strict=True)]
    crews = [
        _Crew(rank, len(hosts), own, host.cpus, count)
        for rank, (own, host, count) in enumerate(zip(configs, hosts, processes, strict=True))
    ]
    return _split(config, crews, run_id)


@attrs.frozen
class _Crew:
    """The processes of one host."""

    host: int
    hosts: int
    config: Config
    cpus: int
    processes: int

    def lanes(self, stage: int) -> list[int]:
        """How many lanes each of them has in a stage. Of fewer than processes the first have one each."""
        total = self.config.parts()[stage].concurrency
        working = min(self.processes, total)
        counts = [share(total, place, working) for place in range(working)]
        return [last - first for first, last in counts] + [0] * (self.processes - working)

    def threads(self) -> list[int]:
        """How many threads each of them prepares with; 0: it has no part in it."""
        total = self.config.prepare.concurrency or self.config.concurrency
        counts = [share(total, place, self.processes) for place in range(self.processes)]
        return [max(last - first, 1) if place < total else 0 for place, (first, last) in enumerate(counts)]


def _split(config: Config, crews: Sequence[_Crew], run_id: str) -> list[WorkerPlan]:
    stages = [_shares(part, [crew.lanes(number) for crew in crews]) for number, part in enumerate(config.parts())]
    preparing = _preparing(config.distributed, [crew.threads() for crew in crews])
    workers = sum(crew.processes for crew in crews)
    plans: list[WorkerPlan] = []
    for crew in crews:
        # With fewer workers than processors each may use several: large transfers leave Python's lock alone.
        bound = crew.config.cpu_binding == "auto" and crew.processes >= crew.cpus
        data = dump(crew.config)
        for place in range(crew.processes):
            rank = len(plans)
            plans.append(
                WorkerPlan(
                    rank=rank,
                    workers=workers,
                    shares=tuple(shares[rank] for shares in stages),
                    preparing=preparing[rank],
                    cpu=place if bound else None,
                    run_id=run_id,
                    op_log=None,
                    client_id=f"worker-{rank}" if workers > 1 else "",
                    config=data,
                    host=crew.host,
                    hosts=crew.hosts,
                    place=place,
                    places=crew.processes,
                )
            )
    return plans


def _shares(part: Config, crews: Sequence[Sequence[int]]) -> list[Share]:
    """Those of one stage, by rank; ``crews`` has the lanes of each host's processes."""
    lanes = [count for crew in crews for count in crew]
    total, turns = sum(lanes), shared_turns(lanes)
    runs = runs_of(sum(crew) for crew in crews) if len(crews) > 1 else ()
    shares, first = [], 0
    for rank, count in enumerate(lanes):
        budget = None
        if part.total_operations is not None:
            budget = part.total_operations * (first + count) // total - part.total_operations * first // total
        shares.append(
            Share(
                first_lane=first,
                lanes=count,
                total_lanes=total,
                budget=budget,
                turns=turns[rank] if part.rate is not None else (),
                runs=runs,
            )
        )
        first += count
    return shares


def _preparing(distributed: Distributed, crews: Sequence[Sequence[int]]) -> list[Preparing]:
    """Each process's share by rank; ``crews`` has the threads of each host's. All hosts share the objects, unless each
    has its own.
    """
    if distributed.own_namespaces:
        shares = [each for crew in crews for each in _prepare_together(crew)]
    else:
        shares = _prepare_together([count for crew in crews for count in crew])
    if distributed.tree_creation_mode != "coordinator":
        return shares
    return [attrs.evolve(each, trees=each.rank == 0) for each in shares]


def _prepare_together(threads: Sequence[int]) -> list[Preparing]:
    """Those without a thread come after all others."""
    working = sum(count > 0 for count in threads)
    found, next_rank, idle = [], 0, working
    for count in threads:
        found.append(Preparing(rank=next_rank if count else idle, workers=working, threads=max(count, 1)))
        next_rank, idle = next_rank + (count > 0), idle + (count == 0)
    return found


def _check_versions(config: Config) -> None:
    count = config.repeat * sum(map(count_versions, config.parts()))
    if config.verify != "off" and count >= MOST_VERSIONS:
        several = ", of all stages and repeats together" if config.repeat > 1 or config.stages else ""
        raise UsageError(
            f"verify: {count} puts with a mask{several} are more than can be told apart; write at most "
            f"{MOST_VERSIONS - 1}, or a prefix instead of a mask"
        )


def part_path(path: str, rank: int) -> str:
    """Where a worker writes its part of a log: beside it, with the same endings."""
    directory, name = os.path.split(path)
    stem, dot, endings = name.partition(".")
    return os.path.join(directory, f"{stem}.part-{rank}{dot}{endings}")


def describe(config: Config, plans: list[WorkerPlan]) -> dict[str, Any]:
    """What ``plan.json`` holds: the configuration with every default, secrets left out, and how it was split."""
    split = [_where(plan) | {"cpu": plan.cpu, **_described(config, plan)} for plan in plans]
    plain = dump(config, secrets=False)
    return {"schema": "penstock.plan/1", "run_id": plans[0].run_id, "config": plain, "workers": split}


def _where(plan: WorkerPlan) -> dict[str, Any]:
    return {"rank": plan.rank} if plan.hosts == 1 else {"rank": plan.rank, "host": plan.host}


def _described(config: Config, plan: WorkerPlan) -> dict[str, Any]:
    shares = [attrs.asdict(each, filter=lambda field, _: field.name in _DESCRIBED) for each in plan.shares]
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


def _check_private(config: Config) -> None:
    """Several hosts can't share what lives in one process, unless each is to have a namespace of its own."""
    private = private_schemes(config)
    if private and not config.distributed.own_namespaces:
        raise UsageError(
            f"objects of {private[0]}:// live in one process, so several hosts can't share them; name storage that all "
            "of them reach, or write distributed: {shared_filesystem: false} where each is to have its own"
        )


def _processes(config: Config, cpus: int) -> int:
    private = private_schemes(config)
    if isinstance(config.processes, int):
        if private and config.processes > 1:
            raise UsageError(
                f"processes: {config.processes}: objects of {private[0]}:// live in one process; write processes: 1"
            )
        return config.processes
    most = max(part.concurrency for part in config.parts())
    return 1 if private else max(1, min(cpus, most))
