"""What the workers of a run on several hosts show, in sentences computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, pstdev
from typing import Final

import attrs

from penstock.quantities import format_count, format_duration, format_rate
from penstock.report.findings import Finding
from penstock.report.hosts import seconds_of, skews_of
from penstock.report.outcome import Outcome, WorkerOutcome
from penstock.report.text import round_rate
from penstock.report.words import figure, many
from penstock.stats.tally import ALL

__all__ = [
    "SLOW_RATE",
    "SLOW_TAIL",
    "Reading",
    "clock_finding",
    "lost_sentences",
    "rate_finding",
    "read_workers",
    "skew_finding",
    "speed_words",
    "spread_words",
    "tail_finding",
]

#: Below this share of the median rate, or above this multiple of the median p99, a worker is odd.
SLOW_RATE: Final = 0.8
SLOW_TAIL: Final = 1.3
_FEWEST: Final = 100  # calls, for a p99 to be compared
_MOST_NAMED: Final = 3
_TOGETHER_NS: Final = 2_000_000
_UNSURE_NS: Final = 1_000_000


@attrs.frozen(kw_only=True)
class Reading:
    """A worker's figures over the stretch in which it measured: operations and bytes per second, nanoseconds."""

    worker: WorkerOutcome
    seconds: float
    rate: float
    speed: float
    p50: int | None
    p99: int | None

    @property
    def name(self) -> str:
        return f"{self.worker.rank} on {self.worker.host}"


def read_workers(outcome: Outcome) -> list[Reading]:
    """Of all workers, by rank."""
    found = []
    for worker in outcome.workers:
        seconds, cell = seconds_of(worker, outcome), worker.tally.roll_up(ALL)
        p50, p99 = cell.service.percentiles((50, 99)) if cell.service.count else (None, None)
        found.append(
            Reading(
                worker=worker,
                seconds=seconds,
                rate=cell.count / seconds if seconds > 0 else 0.0,
                speed=cell.nbytes / seconds if seconds > 0 else 0.0,
                p50=p50,
                p99=p99 if cell.service.count >= _FEWEST else None,
            )
        )
    return found


def spread_words(readings: Sequence[Reading]) -> str:
    """From the slowest to the fastest of those that were not lost; empty for fewer than two."""
    rates = _rates(readings)
    if len(rates) < 2:
        return ""
    slow, fast = min(rates, key=lambda each: each.rate), max(rates, key=lambda each: each.rate)
    mean = fmean(each.rate for each in rates)
    share = (
        f", standard deviation {figure(100 * pstdev(each.rate for each in rates) / mean)} % of the mean" if mean else ""
    )
    return f"{_ops(slow.rate)} (worker {slow.name}) to {_ops(fast.rate)} (worker {fast.name}){share}"


def _rates(readings: Sequence[Reading]) -> list[Reading]:
    return [each for each in readings if each.worker.lost is None]


def _ops(rate: float) -> str:
    return f"{format_count(round_rate(rate))} ops/s"


def rate_finding(readings: Sequence[Reading]) -> Finding | None:
    """Whether all workers did alike."""
    rates = _rates(readings)
    if len(rates) < 2:
        return (
            Finding("plain", f"worker {rates[0].name} did {_ops(rates[0].rate)}, and there is no other to compare.")
            if rates
            else None
        )
    middle = median(each.rate for each in rates)
    odd = sorted((each for each in rates if each.rate < SLOW_RATE * middle), key=lambda each: each.rate)
    words = f"{many(len(rates), 'worker')} did {spread_words(readings)}"
    if not odd:
        return Finding("good", f"{words}: alike.")
    named = "; ".join(
        f"worker {each.name} did {_ops(each.rate)}, {100 * each.rate / middle:.0f} % of the median"
        for each in odd[:_MOST_NAMED]
    )
    stand = "stands" if len(odd) == 1 else "stand"
    hint = "look at what differs there (host, link, endpoint)"
    return Finding("warn", f"{words}. {len(odd)} {stand} out: {named}{_more(odd)}: {hint}.")


def _more(those: Sequence[object]) -> str:
    return f"; and {len(those) - _MOST_NAMED} more" if len(those) > _MOST_NAMED else ""


def tail_finding(readings: Sequence[Reading]) -> Finding | None:
    """Whether the slow calls are those of certain workers."""
    known = {each.name: each.p99 for each in readings if each.p99 is not None}
    if len(known) < 2:
        return None
    middle = median(known.values())
    slow, fast = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    span = f"the p99 is from {_time(known[fast])} (worker {fast}) to {_time(known[slow])} (worker {slow})"
    odd = sorted((name for name, value in known.items() if value > SLOW_TAIL * middle), key=lambda name: -known[name])
    if not odd:
        return Finding("good", f"{span}, with a median of {_time(middle)}: alike.")
    named = "; ".join(f"worker {name} {figure(known[name] / max(middle, 1))} times" for name in odd[:_MOST_NAMED])
    return Finding("warn", f"{span}, with a median of {_time(middle)}. Above it: {named}{_more(odd)}.")


def _time(nanoseconds: float) -> str:
    return format_duration(nanoseconds / 1e9)


def _signed(nanoseconds: float) -> str:
    sign = "" if nanoseconds == 0 else "+" if nanoseconds > 0 else "\N{MINUS SIGN}"
    return sign + format_duration(abs(nanoseconds) / 1e9)


def skew_finding(workers: Sequence[WorkerOutcome]) -> Finding | None:
    """Whether all began together, as far as their clocks tell; None where fewer than two are known to have begun."""
    skews = skews_of(workers)
    if len(skews) < 2:
        return None
    unsure = _unsure(workers)
    known = any(each.clock is not None and each.clock.readings for each in workers)
    middle = median(abs(value) for value in skews.values())
    first, last = min(skews, key=lambda rank: skews[rank]), max(skews, key=lambda rank: skews[rank])
    words = (
        f"first operations began from {_signed(skews[first])} (worker {first}) to {_signed(skews[last])} (worker "
        f"{last}) off the agreed instant, {_time(middle)} in the median"
    )
    if not known:
        return Finding("plain", f"{words}, each by its own clock: how far these were off is not known.")
    words += f", as told by clocks to \N{PLUS-MINUS SIGN}{_time(unsure)}"
    if unsure > _UNSURE_NS:
        return Finding("warn", f"{words}: clocks are told too roughly to speak of a common start.")
    if middle > _TOGETHER_NS:
        return Finding(
            "warn", f"{words}: more than {_time(_TOGETHER_NS)}, so the first seconds are not those of all together."
        )
    return Finding("good", f"{words}: together.")


def _unsure(workers: Sequence[WorkerOutcome]) -> int:
    return max((each.clock.uncertainty_ns or 0 for each in workers if each.clock is not None), default=0)


def clock_finding(workers: Sequence[WorkerOutcome]) -> Finding | None:
    """How far the clocks are apart, and whether they drift."""
    known = {each.rank: each.clock for each in workers if each.clock is not None and each.clock.readings}
    if not known:
        return None
    offsets = {rank: clock.readings[-1].offset_ns for rank, clock in known.items()}
    behind, ahead = min(offsets, key=lambda rank: offsets[rank]), max(offsets, key=lambda rank: offsets[rank])
    drift = max((clock.drift_ns for clock in known.values()), key=abs)
    unsure = _unsure(workers)
    words = (
        f"clocks were from {_signed(offsets[behind])} (worker {behind}) to {_signed(offsets[ahead])} (worker {ahead}) "
        f"off the controller's, \N{PLUS-MINUS SIGN}{_time(unsure)}; they moved by {_time(abs(drift))} at most. "
        "Starts and op-log stamps are corrected by it"
    )
    if unsure > _UNSURE_NS:
        return Finding(
            "warn", f"{words}, as exactly as that is: order on different hosts within {_time(2 * unsure)} is not known."
        )
    return Finding("plain", f"{words}.")


def lost_sentences(outcome: Outcome, most: int = 20) -> list[str]:
    """Of each worker that was lost how and when, and which processes of others were."""
    told = []
    for worker in outcome.workers:
        if worker.lost is not None:
            when = "" if worker.seconds is None else f" after {format_duration(worker.seconds)} of the window"
            told.append(f"worker {worker.rank} on {worker.host} was lost{when}: {worker.lost}")
        told += [f"worker {worker.rank} on {worker.host} lost {each}" for each in worker.processes_lost]
    if len(told) > most:
        return [*told[:most], f"and {len(told) - most} more, in workers.tsv"]
    return told


def speed_words(readings: Sequence[Reading]) -> str:
    """The same of throughput; empty where nothing was moved."""
    rates = [each for each in _rates(readings) if each.speed]
    if len(rates) < 2:
        return ""
    slow, fast = min(rates, key=lambda each: each.speed), max(rates, key=lambda each: each.speed)
    return f"{format_rate(slow.speed)} (worker {slow.name}) to {format_rate(fast.speed)} (worker {fast.name})"
