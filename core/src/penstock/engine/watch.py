"""What the coordinator keeps of each worker while the run goes on, and how snapshots become intervals."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.collector import COOLING
from penstock.launchers import WorkerHandle
from penstock.report.outcome import EndpointUse, Interval, WorkerOutcome
from penstock.stats.errors import ErrorTable
from penstock.stats.system import CpuMeter, CpuUsage
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

__all__ = ["ErrorWindow", "Watched", "merge_intervals"]


@attrs.define(eq=False)
class Watched:
    """One worker: what it has reported so far, when it was last heard of and when a call of it last ended, and whether
    it still works.
    """

    handle: WorkerHandle
    lanes: int
    tally: Tally = attrs.field(factory=Tally)
    errors: ErrorTable = attrs.field(factory=ErrorTable)
    endpoints: dict[str, Tally] = attrs.field(factory=dict)
    heard_ns: int = attrs.field(factory=monotonic_ns)
    cpu_ns: int = 0
    first_cpu_ns: int | None = None
    end_s: float = 0.0
    running: bool = False
    arrived: bool = False
    lost: str | None = None
    failure: str = ""
    reason: str = ""
    missed: int = 0
    generating_ns: int = 0
    log: Mapping[str, int] | None = None
    balance: Sequence[EndpointUse] = ()
    progressed_ns: int = attrs.field(factory=monotonic_ns)
    verified: Verification | None = None
    first_verified: Verification = attrs.field(factory=Verification)
    pending: dict[int, tuple[Tally, float, float, int]] = attrs.field(factory=dict)
    reached: int = -1

    def take(self, snapshot: Mapping[str, Any]) -> Tally:
        """Note a snapshot and return what is new in it."""
        tally, number = Tally.from_message(snapshot["tally"]), int(snapshot["number"])
        if tally.cells or tally.warmup:
            self.progressed_ns = monotonic_ns()
        if number == COOLING:
            # Nothing of it counts, but how much there was.
            self.tally.merge(tally)
            return tally
        errors = ErrorTable.from_message(snapshot["errors"])
        self.tally.merge(tally)
        self.errors.merge(errors)
        for name, message in snapshot.get("endpoints", {}).items():
            self.endpoints.setdefault(name, Tally()).merge(Tally.from_message(message))
        if name := str(snapshot.get("endpoint", "")):
            self.endpoints.setdefault(name, Tally()).merge(tally)
        used = int(snapshot["cpu_ns"]) - self.cpu_ns if self.cpu_ns else 0
        self.cpu_ns = int(snapshot["cpu_ns"])
        if "verification" in snapshot:
            self.verified = Verification.from_message(snapshot["verification"])
        if number >= 0:
            self.reached = number
            self.end_s = float(snapshot["end_s"])
            self.pending[number] = (tally, float(snapshot["start_s"]), self.end_s, used)
        else:
            # What was used before the measured window does not count.
            self.first_cpu_ns = self.cpu_ns
            self.first_verified = self.verified or self.first_verified
        return tally

    def end(self, report: Mapping[str, Any]) -> None:
        """Note its report of the end."""
        self.arrived = True
        self.reason = str(report["reason"])
        self.log = report.get("log", self.log)
        self.missed = int(report.get("missed", 0))
        self.generating_ns = int(report.get("generating_ns", 0))
        self.balance = [EndpointUse.from_message(each) for each in report.get("endpoints", ())]

    def outcome(self) -> WorkerOutcome:
        """What the result says of this worker."""
        handle = self.handle
        used = self.cpu_ns - (self.first_cpu_ns or 0)
        return WorkerOutcome(
            rank=handle.rank,
            host=handle.host,
            pid=handle.pid,
            lanes=self.lanes,
            tally=self.tally,
            lost=self.lost,
            cpu_seconds=used / 1e9 if self.cpu_ns else None,
        )


def merge_intervals(workers: Sequence[Watched], meter: CpuMeter) -> list[Interval]:
    """The pending intervals that every working worker has got past, merged over all of them and no longer pending."""
    live = [worker.reached for worker in workers if worker.running]
    reached = min(live) if live else max((worker.reached for worker in workers), default=-1)
    intervals: list[Interval] = []
    # Several at once share one reading of the host's processors: there is no later one for each.
    numbers = sorted({number for worker in workers for number in worker.pending if number <= reached})
    cpu = meter.read(monotonic_ns()) if numbers else CpuUsage()
    for number in numbers:
        parts = [worker.pending.pop(number) for worker in workers if number in worker.pending]
        tally = Tally()
        for part, *_ in parts:
            tally.merge(part)
        start, end = min(part[1] for part in parts), max(part[2] for part in parts)
        seconds = max(end - start, 1e-9)
        intervals.append(
            Interval(
                start_s=start,
                seconds=seconds,
                tally=tally,
                cpu_user_pct=cpu.user,
                cpu_system_pct=cpu.system,
                cpu_iowait_pct=cpu.iowait,
                client_cpu_pct=100 * sum(part[3] for part in parts) / 1e9 / seconds,
                active_workers=len(parts),
            )
        )
    return intervals


@attrs.define
class ErrorWindow:
    """Errors per second over the last ``window`` seconds."""

    window: float
    _seen: deque[tuple[float, int]] = attrs.field(factory=deque, init=False)

    def add(self, interval: Interval) -> float:
        """Take an interval in and return the rate."""
        self._seen.append((interval.seconds, interval.tally.errors))
        while len(self._seen) > 1 and sum(seconds for seconds, _ in self._seen) - self._seen[0][0] >= self.window:
            self._seen.popleft()
        seconds = sum(seconds for seconds, _ in self._seen)
        return sum(count for _, count in self._seen) / max(seconds, self.window)
