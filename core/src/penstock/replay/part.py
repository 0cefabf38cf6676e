"""Each worker's part of a replay, and how many workers there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import attrs

from penstock.engine.grid import share
from penstock.engine.plan import Host, part_path
from penstock.errors import UsageError
from penstock.replay.planning import Planner, Task
from penstock.replay.roots import Roots
from penstock.replay.settings import Settings

__all__ = ["Outlook", "ReplayPart", "look_ahead", "make_parts"]

#: Rows at the head of the log from which the load is estimated.
_HEAD: Final = 20_000
#: What one process is trusted with: operations and bytes each second.
_OPERATIONS: Final = 4000
_BYTES: Final = 2 << 30


@attrs.frozen(kw_only=True)
class ReplayPart:
    """One worker's part: its share of the lanes, and what it needs to plan its share of the log by itself.

    ``lanes`` is the most that it may have. ``first_ns`` is when the log begins. ``op_log`` is the part of the log that
    it writes. ``rank`` counts through the ``workers`` of all hosts, of which its own is the ``host``-th. ``inputs``
    has the path of the log to replay, by the name ``log``, where that is another than the settings name.
    """

    rank: int
    workers: int
    first_lane: int
    lanes: int
    cpu: int | None
    run_id: str
    first_ns: int
    op_log: str | None
    client_id: str
    settings: Mapping[str, Any]
    host: int = 0
    inputs: Mapping[str, str] = attrs.field(factory=dict)

    def lanes_of(self, share: int) -> int:
        """Threads that drive operations, at most."""
        return self.lanes

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self, recurse=False)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> ReplayPart:
        """What :meth:`to_message` was called on. Raises TypeError for a message of another version."""
        return cls(**message)

    def logging_to(self, path: str) -> ReplayPart:
        """This part, with its part of the log at ``path``."""
        return attrs.evolve(self, op_log=part_path(path, self.rank))


@attrs.frozen(kw_only=True)
class Outlook:
    """What the head of the log promises: operations and bytes in its busiest second of the replay, and threads.

    ``private`` names schemes whose objects live in one process, ``secrets`` options that nobody may see. ``empty``:
    nothing was selected. ``partial``: there is more of the log than what was looked at.
    """

    operations: float
    nbytes: float
    threads: int
    private: list[str]
    secrets: set[str]
    empty: bool
    partial: bool


def look_ahead(settings: Settings, first_ns: int) -> Outlook:
    """Plan the first rows, which finds most of what is wrong with a log or the rules before anything is started.

    Raises what :class:`penstock.replay.planning.Planner` does.
    """
    roots = Roots(settings.options, 1)
    planner = Planner(settings=settings, roots=roots, first_ns=first_ns)
    tasks = list(islice(planner.tasks(), _HEAD))
    roots.check_options()
    seconds, moved = Counter(map(_second, tasks)), Counter[int]()
    for task in tasks:
        moved[_second(task)] += task.entry.nbytes
    return Outlook(
        operations=max(seconds.values(), default=0),
        nbytes=max(moved.values(), default=0),
        threads=len({task.entry.thread for task in tasks}),
        private=roots.private,
        secrets=roots.secrets(),
        empty=not planner.chosen,
        partial=len(tasks) == _HEAD,
    )


def _second(task: Task) -> int:
    return task.due // 10**9


def make_parts(
    settings: Settings, outlook: Outlook, *, first_ns: int, run_id: str, hosts: Sequence[Host] | None = None
) -> list[ReplayPart]:
    """Split a replay over the processes of all ``hosts``, without hosts over those of this one. ``max_in_flight`` is of
    all of them together, ``processes`` of each host.

    Raises UsageError for several on a store that lives in one process, and for more of them than operations may be
    under way.
    """
    if hosts is not None and len(hosts) > 1 and outlook.private:
        raise UsageError(
            f"objects of {outlook.private[0]}:// live in one process, so several hosts can't share them; replay to "
            "storage that all of them reach"
        )
    cpus = [host.cpus for host in ([Host()] if hosts is None else hosts)]
    counts = [_processes(settings, outlook, usable, len(cpus)) for usable in cpus]
    workers, most = sum(counts), settings.backpressure.max_in_flight
    if workers > most:
        raise UsageError(f"{workers} processes on {len(cpus)} hosts; with --concurrency {most} there can be {most}")
    message = settings.to_message()
    parts: list[ReplayPart] = []
    for host, (count, usable) in enumerate(zip(counts, cpus, strict=True)):
        for place in range(count):
            rank = len(parts)
            low, high = share(most, rank, workers)
            parts.append(
                ReplayPart(
                    rank=rank,
                    workers=workers,
                    first_lane=low + rank,
                    lanes=high - low,
                    cpu=place if count >= usable else None,
                    run_id=run_id,
                    first_ns=first_ns,
                    op_log=None,
                    client_id=f"worker-{rank}" if workers > 1 else "",
                    settings=message,
                    host=host,
                )
            )
    return parts


def _processes(settings: Settings, outlook: Outlook, cpus: int, hosts: int) -> int:
    """How many of one of so many hosts."""
    most = settings.backpressure.max_in_flight
    if settings.processes is not None:
        if outlook.private and settings.processes > 1:
            raise UsageError(
                f"--processes {settings.processes}: objects of {outlook.private[0]}:// live in one process; write 1"
            )
        if settings.processes > most:
            raise UsageError(f"--processes {settings.processes}: with --concurrency {most} write {most} or fewer")
        return settings.processes
    if outlook.private:
        return 1
    most = max(1, most // hosts)
    if settings.speed is None:
        return max(1, min(cpus, -(-outlook.threads // hosts), most))
    wanted = max(-(-outlook.operations // (_OPERATIONS * hosts)), -(-outlook.nbytes // (_BYTES * hosts)))
    return max(1, min(cpus, int(wanted), most))
