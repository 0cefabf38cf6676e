"""One stream of what the processes of a host say of a leg, exact as theirs.

A snapshot of an interval is made when every process at work has got past it. Tallies, errors and calls by endpoint add
up; what a process counts from the beginning (processor time, what it verified) is that of its newest snapshot in it.
What is of one kind of jobs alone is passed on, each with the rank of its process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from penstock.engine.balance import merge_uses
from penstock.engine.collector import COOLING
from penstock.engine.threads import sum_known
from penstock.report.outcome import EndpointUse
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

__all__ = ["LegMerge", "LegTotals", "sum_reports"]

#: Before the first snapshot, and after every number.
_NEVER: Final = -2.0
_LAST: Final = float("inf")
_MERGED: Final = frozenset(
    (
        *("number", "start", "end", "start_s", "end_s", "tally", "errors", "cpu_ns", "endpoints", "endpoint"),
        *("verification", "done", "reason", "missed", "generating_ns", "starved_ns", "began_ns", "log"),
    )
)


@attrs.define
class LegTotals:
    """All that a leg's processes said so far, what was past its end included, as its snapshots were merged."""

    tally: Tally = attrs.field(factory=Tally)
    errors: ErrorTable = attrs.field(factory=ErrorTable)
    endpoints: dict[str, Tally] = attrs.field(factory=dict)
    verification: Verification | None = None
    end_s: float = 0.0

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "end_s": self.end_s,
            "tally": self.tally.to_message(),
            "errors": self.errors.to_message(),
            "endpoints": {name: tally.to_message() for name, tally in self.endpoints.items()},
            "verification": None if self.verification is None else self.verification.to_message(),
        }


@attrs.define
class _Process:
    """What one process has said and is not merged yet, and the newest of what is."""

    rank: int
    pid: int
    queue: deque[Mapping[str, Any]] = attrs.field(factory=deque)
    reached: float = _NEVER
    interval: float = 0.0
    running: bool = True
    lost: str | None = None
    cpu_ns: int = 0
    verified: Verification | None = None

    def blocks(self, place: float) -> bool:
        """Whether it may still have something to say that belongs to a snapshot."""
        return self.running and not self.queue and self.reached <= place


class LegMerge:
    """One leg of the processes that have a part in it, by rank: ``processes`` are their ids. Belongs to one thread."""

    def __init__(self, processes: Mapping[int, int]) -> None:
        self._processes = {rank: _Process(rank, pid) for rank, pid in processes.items()}
        self._ends: dict[int, Mapping[str, Any]] = {}
        self.totals = LegTotals()

    def take(self, rank: int, item: Mapping[str, Any]) -> None:
        """A snapshot, or the report of the end, of a process."""
        if "done" in item:
            self._ends[rank] = item
            return
        process = self._processes[rank]
        process.queue.append(item)
        process.reached = max(process.reached, _place(item))
        if item["number"] >= 0:
            process.interval = max(process.interval, float(item["end_s"]) - float(item["start_s"]))

    def leave(self, rank: int, lost: str | None = None) -> None:
        """A process says nothing more; ``lost`` is why, None: it has come to its end."""
        process = self._processes[rank]
        process.running, process.lost = False, lost if lost is not None else process.lost

    @property
    def interval(self) -> float:
        """Seconds from one snapshot to the next, as far as is known; 0 before the first intervals."""
        return max((process.interval for process in self._processes.values()), default=0.0)

    def ready(self) -> Iterator[dict[str, Any]]:
        """The snapshots that nothing more can be added to, in order."""
        while (place := self._next()) is not None:
            if any(process.blocks(place) for process in self._processes.values()):
                return
            yield self._merge(place)

    def end(self) -> dict[str, Any]:
        """The report of the end, when every process has left."""
        ends = [self._ends[rank] for rank in sorted(self._ends)]
        began = [end["began_ns"] for end in ends if end.get("began_ns") is not None]
        uses = merge_uses(EndpointUse.from_message(use) for end in ends for use in end.get("endpoints", ()))
        report: dict[str, Any] = {
            "done": True,
            "reason": next((end["reason"] for end in ends if end["reason"]), ""),
            "missed": sum(int(end.get("missed", 0)) for end in ends),
            "generating_ns": sum(int(end.get("generating_ns", 0)) for end in ends),
            "starved_ns": sum_known([end.get("starved_ns") for end in ends]),
            "endpoints": [use.to_message() for use in uses],
            "began_ns": min(began, default=None),
            "processes": self.processes(),
        }
        more = [_own(rank, self._ends[rank]) for rank in sorted(self._ends)]
        return report | _some(more)

    def processes(self) -> list[dict[str, Any]]:
        """Each with its processor time, and why it was lost where it was."""
        return [
            {"rank": each.rank, "pid": each.pid, "cpu_ns": each.cpu_ns, "lost": each.lost}
            for each in self._processes.values()
        ]

    def _next(self) -> float | None:
        return min((_place(each.queue[0]) for each in self._processes.values() if each.queue), default=None)

    def _merge(self, place: float) -> dict[str, Any]:
        parts: list[tuple[_Process, Mapping[str, Any]]] = []
        for process in self._processes.values():
            while process.queue and _place(process.queue[0]) == place:
                parts.append((process, process.queue.popleft()))
        snapshots = [part for _, part in parts]
        tally, errors = Tally(), ErrorTable()
        for process, part in parts:
            tally.merge(Tally.from_message(part["tally"]))
            errors.merge(ErrorTable.from_message(part["errors"]))
            process.cpu_ns = int(part["cpu_ns"])
            if "verification" in part:
                process.verified = Verification.from_message(part["verification"])
        merged: dict[str, Any] = {
            "number": snapshots[0]["number"],
            **{name: min(part[name] for part in snapshots) for name in ("start", "start_s")},
            **{name: max(part[name] for part in snapshots) for name in ("end", "end_s")},
            "tally": tally.to_message(),
            "errors": errors.to_message(),
            "cpu_ns": sum(process.cpu_ns for process in self._processes.values()),
            "processes": self.processes(),
        }
        endpoints = _by_endpoint(snapshots)
        merged |= _endpoints_message(endpoints, tally)
        verified = self._verified()
        if verified is not None:
            merged["verification"] = verified.to_message()
        self._count(merged, tally, errors, endpoints, verified)
        return merged | _some([_own(process.rank, part) for process, part in parts])

    def _count(
        self,
        merged: Mapping[str, Any],
        tally: Tally,
        errors: ErrorTable,
        endpoints: Mapping[str, Tally],
        verified: Verification | None,
    ) -> None:
        totals = self.totals
        totals.tally.merge(tally)
        if merged["number"] == COOLING:
            return
        totals.verification = verified
        totals.errors.merge(errors)
        for name, each in endpoints.items():
            totals.endpoints.setdefault(name, Tally()).merge(each)
        if merged["number"] >= 0:
            totals.end_s = max(totals.end_s, float(merged["end_s"]))

    def _verified(self) -> Verification | None:
        known = [process.verified for process in self._processes.values() if process.verified is not None]
        counts = Verification()
        for each in known:
            counts.merge(each)
        return counts if known else None


def sum_reports(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The progress of several processes as that of one: numbers added, of texts the first that says something."""
    merged: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                merged[name] = merged.get(name, 0) + value
            else:
                merged[name] = merged.get(name) or value
    return merged


def _place(snapshot: Mapping[str, Any]) -> float:
    """Where a snapshot stands in the order of all: what is past the end comes last."""
    number = int(snapshot["number"])
    return _LAST if number == COOLING else float(number)


def _own(rank: int, item: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in item.items() if name not in _MERGED}
    return {"rank": rank, **own} if own else {}


def _some(more: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = [each for each in more if each]
    return {"more": found} if found else {}


def _by_endpoint(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for part in snapshots:
        for name, message in part.get("endpoints", {}).items():
            found.setdefault(name, Tally()).merge(Tally.from_message(message))
        if name := part.get("endpoint", ""):
            found.setdefault(name, Tally()).merge(Tally.from_message(part["tally"]))
    return found


def _endpoints_message(endpoints: Mapping[str, Tally], tally: Tally) -> dict[str, Any]:
    if len(endpoints) == 1 and next(iter(endpoints.values())) == tally:
        return {"endpoint": next(iter(endpoints))}
    return {"endpoints": {name: each.to_message() for name, each in endpoints.items()}} if endpoints else {}
