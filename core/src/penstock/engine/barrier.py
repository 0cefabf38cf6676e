"""Who must have come to the end of a stage before the next one begins, and how long those that have wait for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.found import Measured
from penstock.engine.watch import Watched
from penstock.stats.tally import ALL

__all__ = ["BARRIER", "END", "Patience", "has_majority", "patience", "stuck", "why_not"]


@attrs.frozen
class Patience:
    """A worker is given up that made no progress for so many times the longest call that was seen, so many intervals,
    and so many seconds.
    """

    calls: int
    intervals: int
    seconds: float


#: With those that others wait for at a barrier, and at the end of all, where a last call may well be the longest.
BARRIER: Final = Patience(10, 10, 0.0)
END: Final = Patience(10, 10, 120.0)


def patience(measured: Measured, interval: float, policy: Patience = BARRIER) -> float:
    """For how many seconds a worker may do nothing while others wait for it, by what calls of this stage took."""
    longest = max((cell.service.maximum for cell in [measured.totals.roll_up(ALL)]), default=0)
    return max(policy.calls * longest / 1e9, policy.intervals * interval, policy.seconds)


def stuck(measured: Measured, interval: float, policy: Patience = BARRIER) -> list[Watched]:
    """The workers that still run and have made no progress for longer than patience lasts."""
    limit = patience(measured, interval, policy)
    now = monotonic_ns()
    return [worker for worker in measured.running if (now - worker.progressed_ns) / 1e9 > limit]


def has_majority(arrived: int, begun: int) -> bool:
    """Whether so many of those that the run began with are more than half."""
    return 2 * arrived > begun


def why_not(policy: str | None, workers: Sequence[Watched], begun: int) -> str:
    """Why a stage with that barrier can't begin with the workers that are left; empty if it can."""
    left = sum(worker.lost is None and not worker.failed for worker in workers)
    gone = f"{begun - left} of {begun} workers were lost"
    if not left:
        return gone
    if policy == "all" and left < begun:
        return f"its barrier waits for all workers, and {gone}"
    if policy == "majority" and not has_majority(left, begun):
        return f"its barrier waits for more than half of the workers, and {gone}"
    return ""
