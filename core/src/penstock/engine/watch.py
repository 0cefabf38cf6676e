"""What the coordinator keeps of each worker while the run goes on, and how snapshots become intervals."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.collector import COOLING
from penstock.engine.remote import Remote, Seen
from penstock.launchers import WorkerHandle
from penstock.report.crew import WorkerClock
from penstock.report.outcome import EndpointUse, Interval, WorkerOutcome
from penstock.report.series import Series
from penstock.stats.errors import ErrorTable
from penstock.stats.system import CpuMeter, CpuUsage
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

__all__ = ["ErrorWindow", "Pending", "Watched", "merge_intervals"]


@attrs.frozen
class Pending:
    """An interval of one worker that others have not got past yet. ``used`` is the processor time in nanoseconds of
    its processes, ``cpu`` the use of its whole host, None where it is no host of its own.
    """

    tally: Tally
    start_s: float
    end_s: float
    used: int
    cpu: CpuUsage | None


@attrs.define(eq=False)
class Watched:
    """One worker: what it has reported so far, when it was last heard of and when a call of it last ended, and whether
    it still works. ``snapshot_ns`` is when it last told of its calls, ``last`` its last interval. ``started_ns`` is the
    instant at which it was to begin. ``failed`` says why a host takes no part in what is measured any more, though it
    is there; empty: it does. ``busy`` says that it is at something that is not measured, ``silent_s`` for how long it
    has said nothing. ``remote``, ``seen`` and ``series`` are of a host with processes of its own.
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
    failed: str = ""
    reason: str = ""
    missed: int = 0
    generating_ns: int = 0
    starved_ns: int | None = None
    log: Mapping[str, int] | None = None
    balance: Sequence[EndpointUse] = ()
    progressed_ns: int = attrs.field(factory=monotonic_ns)
    verified: Verification | None = None
    first_verified: Verification = attrs.field(factory=Verification)
    pending: dict[int, Pending] = attrs.field(factory=dict)
    reached: int = -1
    snapshot_ns: int = attrs.field(factory=monotonic_ns)
    started_ns: int = 0
    silent_s: float = 0.0
    busy: bool = False
    last: Pending | None = None
    remote: Remote | None = None
    seen: Seen | None = None
    series: Series | None = None

    @property
    def called(self) -> str:
        """What messages for people call it."""
        return f"worker {self.handle.rank} on {self.handle.host}"

    def take(self, snapshot: Mapping[str, Any]) -> Tally:
        """Note a snapshot and return what is new in it."""
        tally, number = Tally.from_message(snapshot["tally"]), int(snapshot["number"])
        cpu = self.seen.take(snapshot, counts=number >= 0) if self.seen is not None else None
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
            start = float(snapshot["start_s"])
            self.pending[number] = self.last = Pending(tally, start, self.end_s, used, cpu)
            if self.series is not None:
                busy = None if cpu is None else {name: getattr(cpu, name) for name in ("user", "system", "iowait")}
                self.series.add(start, self.end_s - start, tally, used, busy)
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
        self.starved_ns = report.get("starved_ns")
        self.balance = [EndpointUse.from_message(each) for each in report.get("endpoints", ())]
        if self.seen is not None:
            self.seen.end(report)

    def outcome(self) -> WorkerOutcome:
        """What the result says of this worker."""
        handle = self.handle
        used = self.cpu_ns - (self.first_cpu_ns or 0)
        own = WorkerOutcome(
            rank=handle.rank,
            host=handle.host,
            pid=handle.pid,
            lanes=self.lanes,
            tally=self.tally,
            lost=self.lost,
            cpu_seconds=used / 1e9 if self.cpu_ns else None,
        )
        remote, seen = self.remote, self.seen
        if remote is None or seen is None:
            return own
        return attrs.evolve(
            own,
            processes=remote.processes,
            processes_lost=[f"process {rank}: {cause}" for rank, cause in sorted(seen.lost.items())],
            address=remote.address,
            cpus=remote.cpus,
            facts=remote.facts(seen),
            seconds=self.end_s,
            clock=WorkerClock(readings=remote.readings, start_skew_ns=self.start_skew_ns),
            series=self.series,
            errors=self.errors,
            op_log=remote.op_log,
        )

    @property
    def start_skew_ns(self) -> int | None:
        """How long after it was to begin its first operation did, by the clock of the coordinator."""
        if self.remote is None or self.seen is None or self.seen.began_ns is None or not self.started_ns:
            return None
        return self.remote.ours(self.seen.began_ns) - self.started_ns


def merge_intervals(workers: Sequence[Watched], meter: CpuMeter) -> list[Interval]:
    """The pending intervals that every working worker has got past, merged over all of them and no longer pending.

    ``meter`` measures this host; where workers are hosts of their own, the figures are the mean of theirs.
    """
    live = [worker.reached for worker in workers if worker.running]
    reached = min(live) if live else max((worker.reached for worker in workers), default=-1)
    intervals: list[Interval] = []
    # Several at once share one reading of the host's processors: there is no later one for each.
    numbers = sorted({number for worker in workers for number in worker.pending if number <= reached})
    cpu = meter.read(monotonic_ns()) if numbers else CpuUsage()
    for number in numbers:
        parts = [worker.pending.pop(number) for worker in workers if number in worker.pending]
        tally = Tally()
        for part in parts:
            tally.merge(part.tally)
        start, end = min(part.start_s for part in parts), max(part.end_s for part in parts)
        seconds = max(end - start, 1e-9)
        if own := [part.cpu for part in parts if part.cpu is not None]:
            cpu = _mean(own)
        intervals.append(
            Interval(
                start_s=start,
                seconds=seconds,
                tally=tally,
                cpu_user_pct=cpu.user,
                cpu_system_pct=cpu.system,
                cpu_iowait_pct=cpu.iowait,
                client_cpu_pct=100 * sum(part.used for part in parts) / 1e9 / seconds,
                active_workers=len(parts),
            )
        )
    return intervals


def _mean(hosts: Sequence[CpuUsage]) -> CpuUsage:
    user, system, iowait = (
        sum(getattr(host, name) for host in hosts) / len(hosts) for name in ("user", "system", "iowait")
    )
    return CpuUsage(user=user, system=system, iowait=iowait)


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
