"""Whether a run's figures show the storage or the client that took them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from penstock.engine.found import Measured
from penstock.engine.threads import sum_known
from penstock.engine.watch import Watched
from penstock.report.outcome import Interval, Planned
from penstock.stats.limits import Signals, Verdict, find_limit
from penstock.stats.machine import device_of
from penstock.stats.tally import ALL

__all__ = ["judge_limit"]


def judge_limit(
    found: Measured, *, lanes: int, planned: Planned | None, path: str | None, private: str = ""
) -> Verdict | None:
    """The verdict on what was measured with so many lanes; None when nothing was.

    ``path`` lies in the file system that the run works on, None where that is no directory. ``private`` is the scheme
    whose objects live in one process, so that there can't be more processes; empty: there can. Of several hosts each
    is judged by its own processors, disks and links, and the one that is the limit is named.
    """
    seconds, cell = found.measured_seconds, found.totals.roll_up(ALL)
    if seconds <= 0 or not cell.count:
        return None
    whole = _whole(found, lanes, planned, path, private)
    if any(worker.seen is not None for worker in found.workers):
        return _judge_hosts(found, whole, planned, path)
    return find_limit(whole)


def _whole(found: Measured, lanes: int, planned: Planned | None, path: str | None, private: str) -> Signals:
    """Of all workers together, as if they were processes of this host."""
    seconds, cell = found.measured_seconds, found.totals.roll_up(ALL)
    disk = device_of(path) if path is not None else None
    missed = planned.missed if planned is not None else 0
    return Signals(
        seconds=seconds,
        lanes=lanes,
        busy_s=cell.service.total / 1e9,
        workers=[(worker.outcome().cpu_seconds or 0.0) for worker in found.workers],
        usable=len(os.sched_getaffinity(0)),
        host_share=_host_share(found.intervals()),
        generating_s=sum(worker.generating_ns for worker in found.workers) / 1e9,
        verifying_s=_verifying(found),
        starved_s=_seconds(sum_known([worker.starved_ns for worker in found.workers])),
        offered=planned.operations / seconds if planned is not None else None,
        done=(planned.operations - missed) / seconds if planned is not None else cell.count / seconds,
        missed=missed,
        disk=found.disks.get(disk) if disk is not None else None,
        private=private,
        link=max(found.links.values(), key=lambda use: use.share, default=None),
    )


def _judge_hosts(found: Measured, whole: Signals, planned: Planned | None, path: str | None) -> Verdict | None:
    """The first host that is itself the limit; else what holds for all of them together."""
    own = [(worker, _of_host(worker, whole, planned, path)) for worker in found.workers if worker.seen is not None]
    verdicts = [(worker, verdict) for worker, signals in own if (verdict := find_limit(signals)) is not None]
    limited = [(worker, verdict) for worker, verdict in verdicts if verdict.is_client]
    together = find_limit(
        attrs.evolve(
            whole,
            lanes=sum(worker.lanes for worker, _ in own),
            workers=[each for _, signals in own for each in signals.workers],
            usable=sum(signals.usable for _, signals in own),
            # Whether processors, disks and links are busy shows on each host by itself.
            host_share=None,
            disk=None,
            link=None,
        )
    )
    kept = together is not None and together.kind == "none"
    if limited and not kept:
        worker, verdict = limited[0]
        return Verdict(verdict.kind, f"{worker.called}{_as_others(len(limited) - 1, len(own) - 1)}: {verdict.text}")
    disks = [(worker, verdict) for worker, verdict in verdicts if verdict.kind == "disk"]
    if disks and not kept:
        worker, verdict = disks[0]
        return Verdict("disk", f"{worker.called}: {verdict.text}")
    return together


def _as_others(alike: int, others: int) -> str:
    if not alike:
        return ""
    return ", as does the other host" if others == 1 else f", as do {alike} of the other {others} hosts"


def _of_host(worker: Watched, whole: Signals, planned: Planned | None, path: str | None) -> Signals:
    seen, remote, cell = worker.seen, worker.remote, worker.tally.roll_up(ALL)
    assert seen is not None
    assert remote is not None
    # One that was lost is judged by the time in which it was there.
    seconds = min(worker.end_s, whole.seconds) if worker.lost is not None else whole.seconds
    share = worker.lanes / max(whole.lanes, 1)
    offered = planned.operations * share / whole.seconds if planned is not None else None
    checked = worker.verified.since(worker.first_verified) if worker.verified is not None else None
    return Signals(
        seconds=seconds,
        lanes=worker.lanes,
        busy_s=cell.service.total / 1e9,
        workers=seen.cpu_seconds,
        usable=remote.cpus,
        host_share=seen.host_share,
        generating_s=worker.generating_ns / 1e9,
        verifying_s=checked.cpu_ns / 1e9 if checked is not None else 0.0,
        starved_s=_seconds(worker.starved_ns),
        offered=offered,
        done=offered - worker.missed / whole.seconds if offered is not None else cell.count / max(seconds, 1e-9),
        missed=worker.missed,
        disk=max(seen.disks.values(), key=lambda use: use.share, default=None) if path is not None else None,
        link=max(seen.links.values(), key=lambda use: use.share, default=None),
        private=whole.private,
    )


def _verifying(found: Measured) -> float:
    counts = found.verification()
    return counts.cpu_ns / 1e9 if counts is not None else 0.0


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _host_share(intervals: Sequence[Interval]) -> float | None:
    known = [
        (interval.cpu_user_pct + interval.cpu_system_pct, interval.seconds)
        for interval in intervals
        if interval.cpu_user_pct is not None and interval.cpu_system_pct is not None
    ]
    seconds = sum(length for _, length in known)
    return sum(percent * length for percent, length in known) / seconds / 100 if seconds else None
