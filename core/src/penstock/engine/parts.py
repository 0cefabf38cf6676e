"""One host's part of a plan, and what a host's worker is asked.

A host's worker is one process that drives processes of its own: it speaks as they do, and makes one stream of what
they say. Beside the methods of :class:`penstock.engine.worker.Job` it answers others; all bodies are what JSON holds::

    open      HostPlan.to_message() -> {"lanes": n, "processes": [{"rank", "pid"}, …],
                "scratch": its directory}; starts its processes
    resolve   {"leg", "share"} -> {}                        the share is that of HostPart.lanes: 0 lanes, no part in it
    run       {"leg", "share", "start_ns", "origin_ns"}     wall clock of that host; items as of a process, with
                "processes"  at least in the last snapshot and the end: [{"rank", "pid", "cpu_ns", "lost"}, …]
                "host"       {"user", "system", "iowait"}, percent of all its processors since the snapshot before
                "more"       what is not merged, by process: [{"rank", …}, …] (a replay's own fields)
              and of the end beside "reason", "missed", "generating_ns", "starved_ns", "endpoints":
                "began_ns"   wall clock of that host when the first operation was begun, null: none was
                "disks", "links"   list of {"name", "share", "bytes_per_second"} of the measured window
    prepare, cleanup   reports as of a process, summed; "more" as above
    finish    {} -> {"log": counts or null}                 closes the log's parts
    beat      {"clock": […]} -> {"processes": […]}          keeps the lease, as every request does; the body tells the
                readings of its clock, which it keeps, and the answer the processes that were lost
    clock     {} -> {"wall_ns"}
    preflight {…} -> {"findings": […]}
    receive   {"name", "offset", "data", "end"} -> {}       a file that the job needs; data in base64
    files     {} -> {"files": [{"name", "bytes", "path"}]}  what it keeps: parts of the log, what workers printed
    fetch     {"name", "offset", "length"} -> {"data", "end"}
    release   {"keep": [name, …]} -> {}                     all was fetched: its directory goes, but for these

Names of files are plain names within its directory, never paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from penstock.engine.course import WorkerPart

__all__ = ["HostPart", "HostPlan", "PlacedPart", "host_plans"]


@attrs.frozen(kw_only=True)
class HostPart:
    """One process's part as its host's worker sees it.

    ``rank`` counts through the processes of all hosts. ``lanes`` has its threads in each share of the plan. ``body``
    is what the process is to open, whatever the kind of job. In it ``op_log`` and each value of ``inputs``, where there
    are any, are plain names of files in the directory of the host's worker, which makes them paths before it hands the
    body on: the one is written, the others were received.
    """

    rank: int
    lanes: tuple[int, ...]
    body: Mapping[str, Any]

    @property
    def op_log(self) -> str | None:
        """The name of its part of the log."""
        name = self.body.get("op_log")
        return None if name is None else str(name)


@attrs.frozen(kw_only=True)
class HostPlan:
    """One host's part: a :class:`~penstock.engine.course.WorkerPart`.

    ``rank`` is the host's among ``hosts``. ``worker`` is the module that its processes run, ``environment`` what to set
    for them, of the names that the host allows. ``about`` is what may be known of the job there, as in
    :attr:`penstock.engine.course.Course.about`.
    """

    rank: int
    hosts: int
    run_id: str
    worker: str
    parts: tuple[HostPart, ...]
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    about: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def lanes(self) -> int:
        """Threads that drive operations, at most."""
        return max((self.lanes_of(share) for share in range(self._shares)), default=0)

    @property
    def op_log(self) -> str | None:
        """None: its parts stay on the host until they are fetched."""
        return None

    @property
    def logs(self) -> Sequence[str]:
        """The names of its processes' parts of the log."""
        return [part.op_log for part in self.parts if part.op_log is not None]

    def lanes_of(self, share: int) -> int:
        """Threads of all its processes in the legs of that share."""
        return sum(part.lanes[share] for part in self.parts)

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> HostPlan:
        """What :meth:`to_message` was called on. Raises TypeError for a message of another version."""
        parts = tuple(HostPart(**{**each, "lanes": tuple(each["lanes"])}) for each in message["parts"])
        return cls(**{**message, "parts": parts})

    @classmethod
    def of(
        cls,
        parts: Sequence[WorkerPart],
        *,
        rank: int,
        hosts: int,
        run_id: str,
        worker: str,
        first: int,
        shares: int,
        environment: Mapping[str, str] | None = None,
    ) -> HostPlan:
        """Of the parts of its processes, whose ranks begin with ``first``; there are so many ``shares``."""
        return cls(
            rank=rank,
            hosts=hosts,
            run_id=run_id,
            worker=worker,
            parts=tuple(
                HostPart(
                    rank=first + number,
                    lanes=tuple(part.lanes_of(share) for share in range(shares)),
                    body=part.to_message(),
                )
                for number, part in enumerate(parts)
            ),
            environment=dict(environment or {}),
        )

    @property
    def _shares(self) -> int:
        return len(self.parts[0].lanes) if self.parts else 0


class PlacedPart(WorkerPart, Protocol):
    """The part of one process among those of all hosts."""

    @property
    def rank(self) -> int:
        """Its number among the processes of all hosts."""

    @property
    def host(self) -> int:
        """The rank of its host."""


def host_plans(
    parts: Sequence[PlacedPart], *, run_id: str, worker: str, shares: int, environments: Sequence[Mapping[str, str]]
) -> list[HostPlan]:
    """The parts of all processes by host, of which there are as many as ``environments``."""
    return [
        HostPlan.of(
            [part for part in parts if part.host == rank],
            rank=rank,
            hosts=len(environments),
            run_id=run_id,
            worker=worker,
            first=next(part.rank for part in parts if part.host == rank),
            shares=shares,
            environment=environment,
        )
        for rank, environment in enumerate(environments)
    ]
