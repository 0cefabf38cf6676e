"""Whether a run's figures show the storage or the client that took them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from penstock.engine.found import Measured
from penstock.report.outcome import Interval, Planned
from penstock.stats.limits import Signals, Verdict, find_limit
from penstock.stats.machine import device_of
from penstock.stats.tally import ALL

__all__ = ["judge_limit"]


def judge_limit(
    found: Measured, *, lanes: int, planned: Planned | None, path: str | None, private: str = ""
) -> Verdict | None:
    """The verdict on what was measured with so many lanes; None when nothing was.

    ``path`` lies in the file system that the run works on, None where that is not this host's. ``private`` is the
    scheme whose objects live in one process, so that there can't be more processes; empty: there can.
    """
    seconds, cell = found.measured_seconds, found.totals.roll_up(ALL)
    if seconds <= 0 or not cell.count:
        return None
    disk = device_of(path) if path is not None else None
    missed = planned.missed if planned is not None else 0
    signals = Signals(
        seconds=seconds,
        lanes=lanes,
        busy_s=cell.service.total / 1e9,
        workers=[(worker.outcome().cpu_seconds or 0.0) for worker in found.workers],
        usable=len(os.sched_getaffinity(0)),
        host_share=_host_share(found.intervals()),
        generating_s=sum(worker.generating_ns for worker in found.workers) / 1e9,
        verifying_s=_verifying(found),
        offered=planned.operations / seconds if planned is not None else None,
        done=(planned.operations - missed) / seconds if planned is not None else cell.count / seconds,
        missed=missed,
        disk=found.disks.get(disk) if disk is not None else None,
        private=private,
        link=max(found.links.values(), key=lambda use: use.share, default=None),
    )
    return find_limit(signals)


def _verifying(found: Measured) -> float:
    counts = found.verification()
    return counts.cpu_ns / 1e9 if counts is not None else 0.0


def _host_share(intervals: Sequence[Interval]) -> float | None:
    known = [
        (interval.cpu_user_pct + interval.cpu_system_pct, interval.seconds)
        for interval in intervals
        if interval.cpu_user_pct is not None and interval.cpu_system_pct is not None
    ]
    seconds = sum(length for _, length in known)
    return sum(percent * length for percent, length in known) / seconds / 100 if seconds else None
