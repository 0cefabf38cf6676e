"""What a result of a run on several hosts says of each worker, and of their clocks.

``workers.tsv`` has a row for each worker, tab-separated with a header line: its rates over the stretch of the measured
window in which it measured (``seconds``), latencies of all its operations together in microseconds as service times,
and of its clock the last offset (positive: ahead of the controller's), how uncertain that is to either side, and how
long after the agreed instant its first operation began. ``state`` is ``done`` or ``lost``, ``cause`` says how it was
lost, or which of its processes were. Empty fields are not known.

``workers/<rank>/`` holds of each worker ``facts.json``, and as for the whole ``results.tsv``, ``perf_log.tsv``,
``histograms.hlog`` (one line for each operation) and ``tallies.jsonl.zst``. Intervals in its ``perf_log.tsv`` may be
longer than those of the whole, and percentiles there are those of coarser buckets, up to 1/8 too high.

``facts.json``::

    schema              "penstock.worker/1"
    run                 name, target, command_line, started, ended and measured_from (RFC 3339, UTC) of the whole run,
                        and how many workers it had
    rank, host, pid, lanes, lost, cpu_seconds, processes, processes_lost, address, cpus, seconds, clock, op_log
                        as in ``workers`` of result.json
    facts               of host and software
    totals, operations, size_buckets
                        as in result.json, over its own seconds
    errors              list, the most frequent first, with operation, text, count, example_key
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

import attrs

from penstock.oplog.columns import escape
from penstock.report.crew import WorkerClock
from penstock.report.outcome import Outcome, WorkerOutcome
from penstock.stats.tally import ALL

__all__ = [
    "WORKER_COLUMNS",
    "host_fields",
    "seconds_of",
    "skews_of",
    "summarise_clocks",
    "worker_lines",
    "worker_outcome",
]

WORKER_COLUMNS: Final = (
    "rank", "host", "address", "processes", "lanes", "state", "seconds", "count", "errors", "bytes", "ops_per_sec",
    "bytes_per_sec", "mean_us", "p50_us", "p99_us", "max_us", "cpu_seconds", "clock_offset_us",
    "clock_uncertainty_us", "start_skew_us", "cause",
)  # fmt: skip


def seconds_of(worker: WorkerOutcome, outcome: Outcome) -> float:
    """How long it was measuring; the whole window where that is not known."""
    return outcome.measured_seconds if worker.seconds is None else worker.seconds


def worker_lines(outcome: Outcome) -> Iterator[str]:
    """``workers.tsv``, line by line."""
    yield "\t".join(WORKER_COLUMNS) + "\n"
    for worker in outcome.workers:
        yield "\t".join(_row(worker, seconds_of(worker, outcome))) + "\n"


def _row(worker: WorkerOutcome, seconds: float) -> Sequence[str]:
    cell = worker.tally.roll_up(ALL)
    service, clock = cell.service, worker.clock or WorkerClock()
    p50, p99 = service.percentiles((50, 99))
    latencies = (service.mean, p50, p99, service.maximum) if service.count else (None,) * 4
    return (
        str(worker.rank),
        escape(worker.host),
        escape(worker.address),
        str(worker.processes or 1),
        str(worker.lanes),
        "done" if worker.lost is None else "lost",
        _number(seconds),
        *(str(cell.count), str(cell.errors), str(cell.nbytes)),
        *(_number(value / seconds if seconds > 0 else 0.0) for value in (cell.count, cell.nbytes)),
        *(_micros(value) for value in latencies),
        _number(worker.cpu_seconds),
        *(_micros(value) for value in (clock.offset_ns, clock.uncertainty_ns, clock.start_skew_ns)),
        escape(worker.lost or "; ".join(worker.processes_lost)),
    )


def _micros(nanoseconds: float | None) -> str:
    return _number(None if nanoseconds is None else nanoseconds / 1000)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"


def host_fields(worker: WorkerOutcome) -> dict[str, Any]:
    """What ``workers`` of ``result.json`` says of a worker because it is a host."""
    return {
        "processes": worker.processes,
        "processes_lost": list(worker.processes_lost),
        "address": worker.address,
        "cpus": worker.cpus,
        "seconds": worker.seconds,
        "clock": None if worker.clock is None else _clock(worker.clock),
        "op_log": None if worker.op_log is None else dict(worker.op_log),
    }


def _clock(clock: WorkerClock) -> dict[str, Any]:
    return {
        "offset_us": _us(clock.offset_ns),
        "uncertainty_us": _us(clock.uncertainty_ns),
        "drift_us": _us(clock.drift_ns),
        "start_skew_us": _us(clock.start_skew_ns),
        "readings": [
            {
                "at_ns": each.at_ns,
                "offset_us": _us(each.offset_ns),
                "uncertainty_us": _us(each.uncertainty_ns),
                "probes": each.probes,
            }
            for each in clock.readings
        ],
    }


def _us(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1000


def skews_of(workers: Sequence[WorkerOutcome]) -> dict[int, int]:
    """By rank the start skew in nanoseconds of those of which it is known."""
    return {
        worker.rank: worker.clock.start_skew_ns
        for worker in workers
        if worker.clock is not None and worker.clock.start_skew_ns is not None
    }


def summarise_clocks(outcome: Outcome) -> Mapping[str, Any] | None:
    """``clock`` of ``result.json``; None where no clock was read."""
    clocks = [worker.clock for worker in outcome.workers if worker.clock is not None and worker.clock.readings]
    if not clocks:
        return None
    offsets = [clock.readings[-1].offset_ns for clock in clocks]
    skews = list(skews_of(outcome.workers).values())
    return {
        "workers": len(clocks),
        "offset_us": {"min": min(offsets) / 1000, "max": max(offsets) / 1000},
        "uncertainty_us": max(clock.uncertainty_ns or 0 for clock in clocks) / 1000,
        "drift_us": max((clock.drift_ns for clock in clocks), key=abs) / 1000,
        "start_skew_us": None if not skews else _skew(skews),
    }


def _skew(skews: Sequence[int]) -> dict[str, float]:
    return {
        "median": median(map(abs, skews)) / 1000,
        "min": min(skews) / 1000,
        "max": max(skews) / 1000,
        "spread": (max(skews) - min(skews)) / 1000,
    }


def worker_outcome(outcome: Outcome, worker: WorkerOutcome) -> Outcome:
    """What a worker did, as the outcome of a run of its own, without intervals."""
    return attrs.evolve(
        outcome,
        totals=worker.tally,
        measured_seconds=seconds_of(worker, outcome),
        intervals=(),
        workers=(worker,),
        errors=worker.errors,
        warmup_operations=worker.tally.warmup,
        endpoints={},
        balance=(),
        phases=(),
        replay=None,
        planned=None,
        steady=None,
        verification=None,
    )
