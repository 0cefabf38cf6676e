"""What limited a run: the storage, or the client that measured it.

A client measures storage only as long as it has something left itself. The rules are looked through from the
narrowest cause to the widest, and the first that holds is the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from penstock.quantities import format_bytes, format_count
from penstock.stats.machine import DeviceUse

__all__ = ["KINDS", "Signals", "Verdict", "find_limit"]

#: What can limit; ``none`` where the offered rate was kept, so that nothing did.
KINDS: Final = ("network", "client", "interpreter", "generator", "verification", "disk", "rate", "storage", "none")

_FULL: Final = 0.9
_MUCH: Final = 0.3
_STARVED: Final = 0.05
_KEPT: Final = 0.98


@attrs.frozen(kw_only=True)
class Signals:
    """What was measured over the window, of ``seconds``.

    ``lanes`` could work at once; ``busy_s`` is the time that they spent within calls of the storage, all together,
    ``generating_s`` and ``verifying_s`` what they spent on making and checking data, and ``starved_s`` what they waited
    for a processor, ready to run; None: not known. ``workers`` holds the processor
    seconds of each worker process, ``host_share`` the busy share (0 to 1) of all processors, by whatever program, of
    which the client may use ``usable``. ``offered`` and ``done`` are operations per second, ``offered`` None where
    nothing was planned; ``missed`` planned operations were not begun in the window. ``disk`` is the one that the
    target lies on, ``link`` the busiest network interface. ``private`` is the scheme whose objects live in one process,
    so that more processes can't be had; empty where they can.
    """

    seconds: float
    lanes: int
    busy_s: float
    workers: Sequence[float]
    usable: int
    host_share: float | None = None
    generating_s: float = 0.0
    verifying_s: float = 0.0
    starved_s: float | None = None
    offered: float | None = None
    done: float = 0.0
    missed: int = 0
    disk: DeviceUse | None = None
    link: DeviceUse | None = None
    private: str = ""

    @property
    def alone(self) -> str:
        """Why there can't be more processes, to be said where they would help; empty where they can be had."""
        return f"objects of {self.private}:// live in one process, so no more can be had" if self.private else ""


@attrs.frozen
class Verdict:
    """What limited, one of :data:`KINDS`, and a line for a person, with what to change."""

    kind: str
    text: str

    @property
    def is_client(self) -> bool:
        """Whether the figures show the client, or its network, rather than the storage."""
        return self.kind in ("network", "client", "interpreter", "generator", "verification")


def find_limit(signals: Signals) -> Verdict | None:
    """The verdict; None when nothing was measured."""
    if signals.seconds <= 0 or not signals.lanes:
        return None
    return next(_rules(signals))


def _rules(signals: Signals) -> Iterator[Verdict]:
    yield from _of_the_link(signals)
    kept = signals.offered is not None and signals.done >= _KEPT * signals.offered
    if kept:
        yield Verdict(
            "none",
            f"The offered rate of {format_count(signals.offered or 0)} operations/s was kept: latencies are those of "
            f"the storage at this rate, not its limit; penstock find searches that.",
        )
    yield from _of_the_client(signals)
    yield from _of_the_lanes(signals)
    if signals.disk is not None and signals.disk.share >= _FULL:
        yield Verdict(
            "disk",
            f"The storage limits: {signals.disk.name} was busy {signals.disk.share:.0%} of the time, moving "
            f"{format_bytes(signals.disk.bytes_per_second)}/s; use a faster disk, or spread the data over more.",
        )
    yield _of_the_storage(signals)


def _of_the_link(signals: Signals) -> Iterator[Verdict]:
    link = signals.link
    if link is not None and link.share >= _FULL:
        yield Verdict(
            "network",
            f"The network limits: {link.name} carried {link.share:.0%} of what its link can, "
            f"{format_bytes(link.bytes_per_second)}/s; use a faster link or more hosts.",
        )


def _of_the_client(signals: Signals) -> Iterator[Verdict]:
    cores = [cpu / signals.seconds for cpu in signals.workers]
    used = sum(cores)
    if signals.generating_s >= _MUCH * signals.lanes * signals.seconds:
        share = signals.generating_s / (signals.lanes * signals.seconds)
        yield Verdict(
            "generator",
            f"The client limits: making data took {share:.0%} of its lanes' time; write fill: zero, a cheaper method"
            f"{_or_processes(signals)}.",
        )
    if signals.verifying_s >= _MUCH * signals.lanes * signals.seconds:
        share = signals.verifying_s / (signals.lanes * signals.seconds)
        yield Verdict(
            "verification",
            f"The client limits: checking what was read took {share:.0%} of its lanes' time; write verify: size"
            f"{_or_processes(signals)}.",
        )
    if used >= _FULL * signals.usable:
        yield Verdict(
            "client",
            f"The client limits: it used {used:.1f} of {signals.usable} processors; use more hosts, or larger objects.",
        )
    if cores and max(cores) >= _FULL and len(cores) < signals.usable:
        yield Verdict(
            "interpreter",
            f"The client limits: a worker process used {max(cores):.1f} processors, and one process runs Python on "
            f"one at a time; {signals.alone or f'write processes: {signals.usable}'}.",
        )
    # Processors that others keep busy limit only those who wait for one.
    if signals.host_share is not None and signals.host_share >= _FULL + 0.05 and _is_starved(signals):
        yield Verdict(
            "client",
            f"This host limits: its processors were busy {signals.host_share:.0%} of the time, {used:.1f} of them with "
            f"the client; run the client on a host of its own.",
        )


def _is_starved(signals: Signals) -> bool:
    """Whether lanes waited for processors for a time that matters: of their own; or because one at a time runs Python,
    and whose turn it was waited.
    """
    waited = signals.starved_s
    if waited is None or waited >= _STARVED * signals.lanes * signals.seconds:
        return True
    return waited + sum(signals.workers) >= _FULL * len(signals.workers) * signals.seconds


def _or_processes(signals: Signals) -> str:
    return "" if signals.private else ", or use more processes"


def _of_the_lanes(signals: Signals) -> Iterator[Verdict]:
    """Lanes that are rarely in a call are held up by something else in the client."""
    share = signals.busy_s / (signals.lanes * signals.seconds)
    if signals.offered is None and share < 0.5:
        yield Verdict(
            "client",
            f"The client limits: its {signals.lanes} lanes were within calls of the storage only {share:.0%} of the "
            f"time; {'use larger objects' if signals.private else 'use more processes, or larger objects'}.",
        )


def _of_the_storage(signals: Signals) -> Verdict:
    share = min(1.0, signals.busy_s / (signals.lanes * signals.seconds))
    used = sum(signals.workers) / signals.seconds
    facts = (
        f"its {signals.lanes} lanes waited for it {share:.0%} of the time, while the client used {used:.1f} of "
        f"{signals.usable} processors"
    )
    if signals.offered is None:
        return Verdict("storage", f"The storage limits: {facts}; a higher concurrency shows whether it can do more.")
    if share >= _FULL:
        missed = f" ({format_count(signals.missed)} operations were never begun)" if signals.missed else ""
        return Verdict("storage", f"The storage limits: the offered rate was not kept{missed}; {facts}.")
    return Verdict(
        "rate",
        f"The offered rate of {format_count(signals.offered)} operations/s was not kept, and neither storage nor "
        f"processors were busy: arrivals came in bursts, or the run was too short to tell.",
    )
