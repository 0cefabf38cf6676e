"""What the coordinator of a run knows, of the whole run and of each of its legs; it grows while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.balance import merge_uses
from penstock.engine.course import LegCourse
from penstock.engine.steady import SteadyWatch
from penstock.engine.watch import ErrorWindow, Watched
from penstock.report.outcome import EndpointUse, Interval, PhaseOutcome, Timeline, join
from penstock.stats.errors import ErrorTable
from penstock.stats.machine import DeviceUse, MachineMeter
from penstock.stats.system import CpuMeter
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

__all__ = ["Found", "Measured"]


@attrs.define(eq=False)
class Measured:
    """One leg. ``begun`` is False for the one of a run that never came to it; ``ended`` says that it is over.

    ``started_ns`` is the agreed instant by the wall clock, ``began_ns`` by the monotonic one of this process.
    ``meter`` and ``machine`` measure the host while it goes on, the latter from the end of the warm-up. ``emitted`` is
    the number of the last interval that all had got past when it was shown, ``behind`` the ranks of those that have
    not got past another one since.
    """

    leg: LegCourse
    begun: bool = False
    ended: bool = False
    totals: Tally = attrs.field(factory=Tally)
    errors: ErrorTable = attrs.field(factory=ErrorTable)
    timeline: Timeline = attrs.field(factory=Timeline)
    workers: list[Watched] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    started_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    measured_from_ns: int = 0
    interrupted: bool = False
    failure: str = ""
    stopped: str = ""
    disks: Mapping[str, DeviceUse] = attrs.field(factory=dict)
    links: Mapping[str, DeviceUse] = attrs.field(factory=dict)
    steady: SteadyWatch | None = None
    window: ErrorWindow | None = None
    meter: CpuMeter | None = None
    machine: MachineMeter | None = None
    measuring: bool = False
    emitted: int = -1
    behind: set[int] = attrs.field(factory=set)

    def past(self, worker: Watched) -> bool:
        """Whether all workers at work are past what was shown last, now that this one has told of something: looking
        for intervals that are complete takes long where there are many workers.
        """
        if worker.reached > self.emitted:
            self.behind.discard(worker.handle.rank)
        return not self.behind

    def await_next(self) -> None:
        """What all have got past was shown: wait until they have got past more."""
        self.emitted = min((worker.reached for worker in self.running), default=self.emitted)
        self.behind = {worker.handle.rank for worker in self.running if worker.reached <= self.emitted}

    def intervals(self) -> list[Interval]:
        """The time series. What came after the last full interval, while calls ended, belongs to that one."""
        intervals = self.timeline.intervals()
        if len(intervals) > 1 and intervals[-1].seconds < intervals[0].seconds / 2:
            intervals[-2:] = [join(intervals[-2:])]
        return intervals

    def endpoints(self) -> dict[str, Tally]:
        """The calls of all workers by endpoint."""
        endpoints: dict[str, Tally] = {}
        for worker in self.workers:
            for name, tally in worker.endpoints.items():
                endpoints.setdefault(name, Tally()).merge(tally)
        return endpoints

    def balance(self) -> list[EndpointUse]:
        """What went through each of several endpoints, by all workers."""
        return merge_uses(use for worker in self.workers for use in worker.balance)

    def verification(self) -> Verification | None:
        """What all workers checked in the measured window; None if nothing was to be checked."""
        known = [worker.verified.since(worker.first_verified) for worker in self.workers if worker.verified is not None]
        counts = Verification()
        for each in known:
            counts.merge(each)
        return counts if known else None

    @property
    def measured_seconds(self) -> float:
        """From the end of the warm-up until the last lane ended what is counted."""
        return max((worker.end_s for worker in self.workers), default=0.0)

    @property
    def running(self) -> list[Watched]:
        """The workers that are at it."""
        return [worker for worker in self.workers if worker.running]

    def close(self) -> None:
        """It is over: take what its workers and the host say last."""
        now = monotonic_ns()
        if self.machine is not None:
            self.disks, self.links = self.machine.disks(now), self.machine.links(now)
        for worker in self.workers:
            self.failure = self.failure or worker.failure
            self.stopped = self.stopped or worker.reason
            self.errors.merge(worker.errors)
            worker.tally.compact()
        if self.workers and all(worker.lost for worker in self.workers):
            self.failure = self.failure or f"every worker was lost; the last: {self.workers[-1].lost}"
        self.ended = True


@attrs.define
class Found:
    """What the coordinator knows when it is done, however that came about.

    ``legs`` are those that were begun. ``workers`` tells whether each is still there, what of its log was written.
    """

    phases: list[PhaseOutcome] = attrs.field(factory=list)
    workers: list[Watched] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    legs: list[Measured] = attrs.field(factory=list)
    interrupted: bool = False
    failure: str = ""

    def only(self, leg: LegCourse) -> Measured:
        """The leg of a run that has one, also where it was never begun."""
        return self.legs[0] if self.legs else Measured(leg, workers=self.workers)
