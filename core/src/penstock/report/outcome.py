"""What a run found: the values that the engine fills and the report writes.

Times of the wall clock are nanoseconds since 1970 in UTC. Seconds called ``start_s`` count from the beginning of the
measured window, which warm-up, preparation and cleanup are not part of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from penstock.report.crew import WorkerClock
from penstock.report.series import Series
from penstock.stats.errors import ErrorTable
from penstock.stats.histogram import Histogram
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

__all__ = [
    "STATUSES",
    "EndpointUse",
    "Interval",
    "Outcome",
    "PhaseOutcome",
    "Planned",
    "Replayed",
    "Status",
    "Steady",
    "Timeline",
    "WorkerOutcome",
    "join",
]

#: ``done``; ``errors``: finished, with more errors than allowed; ``degraded``: finished without some of its workers;
#: ``interrupted``: ended early by its user; ``failed``: could not be carried out.
Status = Literal["done", "errors", "degraded", "interrupted", "failed"]
STATUSES: Final[tuple[Status, ...]] = ("done", "errors", "degraded", "interrupted", "failed")


@attrs.frozen(kw_only=True)
class Interval:
    """What was measured in one stretch of the run, by all workers together.

    The CPU figures are percent: user, system and iowait of the coordinator's whole host, ``client_cpu_pct`` of the
    run's own processes together, where 100 is one processor. None: not measured.
    """

    start_s: float
    seconds: float
    tally: Tally
    cpu_user_pct: float | None = None
    cpu_system_pct: float | None = None
    cpu_iowait_pct: float | None = None
    client_cpu_pct: float | None = None
    active_workers: int | None = None


def _as_tuple(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(items)


@attrs.frozen(kw_only=True)
class WorkerOutcome:
    """One worker: a process, or a host with processes of its own.

    ``lost`` says how it was lost, None that it finished; ``cpu_seconds`` is the processor time that it used in the
    measured window, None if that is not known.

    The other fields are of hosts. ``processes`` is how many it drives; 0: it is no host but a process.
    ``processes_lost`` says for each of those that were lost which it was and how. ``cpus`` is how many processors it
    may use, ``facts`` are further ones to show, such as versions and plugins, as what JSON can hold. ``seconds`` is
    how much of the measured window it was measuring, which is less than all where it was lost; None: not known.
    ``address`` is where its launcher reached it, empty where that is no address. ``op_log`` tells of its part of the
    op-log: its path, on which host it lies, and its counts.
    """

    rank: int
    host: str
    pid: int
    lanes: int
    tally: Tally
    lost: str | None = None
    cpu_seconds: float | None = None
    processes: int = 0
    processes_lost: Sequence[str] = attrs.field(factory=tuple, converter=_as_tuple)
    address: str = ""
    cpus: int | None = None
    facts: Mapping[str, Any] = attrs.Factory(dict)
    seconds: float | None = None
    clock: WorkerClock | None = None
    series: Series | None = None
    errors: ErrorTable = attrs.Factory(ErrorTable)
    op_log: Mapping[str, Any] | None = None

    @property
    def is_host(self) -> bool:
        """Whether it drives processes of its own."""
        return self.processes > 0


@attrs.frozen(kw_only=True)
class PhaseOutcome:
    """A phase outside the measured window, such as ``prepare`` or ``cleanup``.

    ``objects_made`` are those made, or deleted in a cleanup; ``objects_found`` were there already.
    """

    name: str
    seconds: float
    objects_made: int = 0
    objects_found: int = 0
    nbytes: int = 0
    failed: int = 0


@attrs.frozen(kw_only=True)
class Replayed:
    """What a replay adds to an outcome: what the log says of the very calls that were replayed.

    ``recorded`` has their recorded latencies, errors and bytes, by the operation and size bucket of the log;
    ``recorded_seconds`` is how long they took when they were recorded, from the first start to the last end.
    ``speed`` is what offsets were divided by, None for as fast as possible. ``counts`` are whole numbers of rows by a
    word that says what became of them, such as ``replayed``, ``skipped`` or ``dropped``; ``settings`` are further
    facts to show, such as the rules and the backpressure, as what JSON can hold.

    How late calls started is in the outcome itself: the ``lag`` of each cell of its totals and intervals.
    """

    log: str
    speed: float | None
    recorded: Tally
    recorded_seconds: float
    counts: Mapping[str, int] = attrs.Factory(dict)
    settings: Mapping[str, Any] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class EndpointUse:
    """What went through one of the endpoints that calls are spread over, in the window and its warm-up.

    ``requests`` are calls that were begun, failed ones too; of a writer its opening, each write and its end.
    ``ejections`` are how often it was left out because it failed, ``healthy`` whether it was in use at the end, by
    every worker. ``latency`` is in nanoseconds, of those that succeeded.
    """

    uri: str
    requests: int
    errors: int
    bytes_read: int
    bytes_written: int
    ejections: int
    healthy: bool
    latency: Histogram

    def since(self, earlier: EndpointUse) -> EndpointUse:
        """What came after ``earlier``."""
        counts = {name: getattr(self, name) - getattr(earlier, name) for name in _USE}
        return attrs.evolve(self, **counts, latency=self.latency.since(earlier.latency))

    def plus(self, other: EndpointUse) -> EndpointUse:
        """Of two workers together."""
        latency = Histogram()
        latency.merge(self.latency)
        latency.merge(other.latency)
        counts = {name: getattr(self, name) + getattr(other, name) for name in _USE}
        return attrs.evolve(self, **counts, healthy=self.healthy and other.healthy, latency=latency)

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self, recurse=False) | {"latency": self.latency.to_message()}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> EndpointUse:
        """What :meth:`to_message` was called on."""
        return cls(**{**message, "latency": Histogram.from_message(message["latency"])})


_USE: Final = ("requests", "errors", "bytes_read", "bytes_written", "ejections")


@attrs.frozen(kw_only=True)
class Steady:
    """Whether a run came to a steady state, by the rule of :mod:`penstock.workload.stable`.

    ``reached`` says so; ``from_s`` and ``to_s`` are the window that showed it, None where it was not reached, and
    ``totals`` what was measured in it. ``metrics`` and ``tolerance`` are what was asked for, ``window`` in seconds.
    """

    reached: bool
    metrics: Sequence[str] = attrs.field(converter=_as_tuple)
    window: float
    tolerance: float
    from_s: float | None = None
    to_s: float | None = None
    totals: Tally = attrs.Factory(Tally)


@attrs.frozen(kw_only=True)
class Planned:
    """What an open-loop run offered in its measured window: ``operations`` were due, by the plan, and ``missed`` of
    them were never begun, because no lane was free before the window ended.
    """

    operations: float
    missed: int = 0


@attrs.frozen(kw_only=True)
class Outcome:
    """A whole run.

    ``started_ns`` and ``ended_ns`` bound the run with all its phases; ``measured_from_ns`` is when the measured window
    began and ``measured_seconds`` how long it was, by which every rate is divided; 0: nothing was measured.
    ``reason`` says why the status is not ``done``, ``verdict`` in one line whether the figures show the storage or the
    client, and ``limit`` in one word, of :data:`penstock.stats.limits.KINDS`; both are empty where it is not known.
    ``op_log`` holds its path and the counts accepted, written and dropped. ``endpoints`` are the totals of each
    endpoint by its name, scheme and authority; empty if that is not known. ``replay`` is None but for a replay,
    ``planned`` where arrivals were not planned, ``verification`` where reads were not to be checked, ``steady`` where
    nothing was to become stable. ``balance`` tells of the endpoints that ``multi_endpoint`` names; empty without it.
    """

    name: str
    version: str
    command_line: str
    target: str
    started_ns: int
    ended_ns: int
    measured_from_ns: int = 0
    measured_seconds: float = 0.0
    status: Status = attrs.field(validator=attrs.validators.in_(STATUSES))
    reason: str = ""
    exit_code: int = 0
    verdict: str = ""
    limit: str = ""
    totals: Tally = attrs.Factory(Tally)
    warmup_operations: int = 0
    intervals: Sequence[Interval] = ()
    workers: Sequence[WorkerOutcome] = ()
    errors: ErrorTable = attrs.Factory(ErrorTable)
    phases: Sequence[PhaseOutcome] = ()
    environment: Mapping[str, Any] = attrs.Factory(dict)
    op_log: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    endpoints: Mapping[str, Tally] = attrs.Factory(dict)
    replay: Replayed | None = None
    planned: Planned | None = None
    verification: Verification | None = None
    balance: Sequence[EndpointUse] = attrs.field(factory=tuple, converter=_as_tuple)
    steady: Steady | None = None

    @property
    def lost_workers(self) -> Sequence[WorkerOutcome]:
        """The workers that did not finish."""
        return [worker for worker in self.workers if worker.lost is not None]

    @property
    def hosts(self) -> Sequence[WorkerOutcome]:
        """The workers, if they are hosts with processes of their own; else none."""
        return self.workers if any(worker.is_host for worker in self.workers) else ()

    @property
    def did_nothing(self) -> bool:
        """Whether it failed before any operation ended or any object was made: there is only the reason to report."""
        made = any(phase.objects_made or phase.objects_found for phase in self.phases)
        happened = self.totals.cells or self.warmup_operations or self.lost_workers or made
        return self.status == "failed" and not happened

    @property
    def client_cpu_seconds(self) -> float | None:
        """Processor seconds of the workers together; None when no worker reported any."""
        known = [worker.cpu_seconds for worker in self.workers if worker.cpu_seconds is not None]
        return sum(known) if known else None


_FEW: Final = 12


class Timeline:
    """The intervals of a run of any length in bounded memory.

    Once there are ``limit`` of them, or they take ``memory`` bytes, neighbours are joined in pairs, and so are those
    that come from then on. Those of the warm-up, before second 0, are left out.
    """

    def __init__(self, limit: int = 7200, memory: int = 28 * 2**20) -> None:
        self._limit = limit
        self._memory = memory
        self._used = 0
        self._factor = 1
        self._pending: list[Interval] = []
        self._done: list[Interval] = []

    def add(self, interval: Interval) -> None:
        """Append an interval; its tally belongs to the timeline from here on."""
        if interval.start_s + interval.seconds / 2 < 0:
            return
        interval.tally.compact()
        self._pending.append(interval)
        if len(self._pending) < self._factor:
            return
        self._done.append(join(self._pending))
        self._used += self._done[-1].tally.memory
        self._pending = []
        # Of a dozen the memory is what it is: a line of fewer points shows nothing.
        if len(self._done) >= self._limit or (self._used > self._memory and len(self._done) > _FEW):
            pairs = [self._done[place : place + 2] for place in range(0, len(self._done), 2)]
            self._done = [join(pair) for pair in pairs]
            self._used = sum(interval.tally.memory for interval in self._done)
            self._factor *= 2

    def intervals(self) -> list[Interval]:
        """All so far, in order of time."""
        return [*self._done, join(self._pending)] if self._pending else list(self._done)


def join(intervals: Sequence[Interval]) -> Interval:
    """One interval for several that follow each other: tallies merged, CPU figures averaged by their seconds."""
    if len(intervals) == 1:
        return intervals[0]
    first, last = intervals[0], intervals[-1]
    tally = Tally()
    for interval in intervals:
        tally.merge(interval.tally)
    tally.compact()
    active = [interval.active_workers for interval in intervals if interval.active_workers is not None]
    return Interval(
        start_s=first.start_s,
        seconds=last.start_s + last.seconds - first.start_s,
        tally=tally,
        cpu_user_pct=_average(intervals, "cpu_user_pct"),
        cpu_system_pct=_average(intervals, "cpu_system_pct"),
        cpu_iowait_pct=_average(intervals, "cpu_iowait_pct"),
        client_cpu_pct=_average(intervals, "client_cpu_pct"),
        active_workers=min(active, default=None),
    )


def _average(intervals: Sequence[Interval], name: str) -> float | None:
    known = [
        (getattr(interval, name), interval.seconds) for interval in intervals if getattr(interval, name) is not None
    ]
    seconds = sum(length for _, length in known)
    return sum(value * length for value, length in known) / seconds if seconds else None
