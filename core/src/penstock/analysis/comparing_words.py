"""A comparison in words: what makes the sides differ, and the verdict as a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from penstock.analysis.comparing_values import Change, Run, Side, Whole
from penstock.quantities import format_bytes, format_duration
from penstock.stats.buckets import LABELS

__all__ = ["change_text", "differences", "figure_text", "interval_text", "rate_text", "sentence"]

_SIZE_TOLERANCE: Final = 0.05
# A size that so few calls of an operation have may be missing on the other side by chance.
_RARE: Final = 0.001
_LENGTH_TOLERANCE: Final = 2.0
_MOST: Final = 3


def differences(a: Side, b: Side) -> Iterator[str]:
    """What the sides have not in common, beside the figures; one line each."""
    mine, theirs = a.tally.operations(), b.tally.operations()
    yield from _only("A", [name for name in mine if name not in theirs])
    yield from _only("B", [name for name in theirs if name not in mine])
    for name in mine:
        if name in theirs:
            yield from _of_operation(a, b, name)
    if min(a.seconds, b.seconds) * _LENGTH_TOLERANCE < max(a.seconds, b.seconds):
        yield f"A was measured for {format_duration(a.seconds)}, B for {format_duration(b.seconds)}"
    yield from _of_facts(a.runs, b.runs)


def _only(side: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"only {side} has {', '.join(names)}"


def _of_operation(a: Side, b: Side, name: str) -> Iterator[str]:
    mine, theirs = a.tally.operation(name), b.tally.operation(name)
    for label, one in (("A", mine), ("B", theirs)):
        if one.errors and not one.count:
            yield f"every {name} of {label} failed"
    if not (mine.count and theirs.count):
        return
    if abs(mine.mean_bytes - theirs.mean_bytes) > _SIZE_TOLERANCE * max(mine.mean_bytes, theirs.mean_bytes):
        yield (
            f"a {name} moves {format_bytes(mine.mean_bytes)} on average in A, {format_bytes(theirs.mean_bytes)} in B"
        )
    sizes = [
        {key[1]: cell.count for key, cell in side.tally.cells.items() if key[0] == name and cell.count}
        for side in (a, b)
    ]
    for label, own, other in (("A", sizes[0], sizes[1]), ("B", sizes[1], sizes[0])):
        least = _RARE * sum(own.values())
        only = [bucket for bucket, count in sorted(own.items()) if bucket not in other and count > least]
        if only:
            yield f"only {label} has {name} of {', '.join(LABELS[bucket] for bucket in only)}"
    counts = a.threads(name), b.threads(name)
    if all(counts) and counts[0] != counts[1]:
        yield f"{name} is called by {_numbers(counts[0])} in A, by {_numbers(counts[1])} in B"


def _numbers(counts: Sequence[int]) -> str:
    words = " or ".join(map(str, counts))
    return f"{words} thread" if counts == (1,) else f"{words} threads"


def _of_facts(a: Sequence[Run], b: Sequence[Run]) -> Iterator[str]:
    """Facts that the runs of A agree on, and those of B, but not with one another."""
    names = dict.fromkeys(name for run in (*a, *b) for name in run.facts)
    for name in names:
        mine, theirs = ({run.facts.get(name, "not set") for run in runs if run.facts} for runs in (a, b))
        if mine and theirs and mine != theirs:
            yield f"{name}: {' or '.join(sorted(mine))} in A, {' or '.join(sorted(theirs))} in B"


def sentence(verdict: Whole, shown: Sequence[Change], changes: Sequence[Change], level: float) -> str:
    """The verdict on the whole. ``shown`` are the changes on which it rests, ``changes`` those that were looked at."""
    if verdict == "same":
        return "A and B hold the very same calls: this compares a run with itself, or with a copy of it."
    if verdict == "too few data":
        reasons = dict.fromkeys(one.reason for one in changes if one.reason)
        return f"There are too few data to compare A and B: {next(iter(reasons), 'they have no operation in common')}."
    worse = [one for one in shown if one.verdict == "worse"]
    better = [one for one in shown if one.verdict == "better"]
    if verdict == "worse":
        return f"B is worse than A: {_listed(worse, level)}."
    if verdict == "better":
        return f"B is better than A: {_listed(better, level)}."
    if verdict == "mixed":
        return f"B is worse than A in {_listed(worse, level)}; but better in {_listed(better, level)}."
    singly = sum(one.verdict in ("better", "worse") for one in changes)
    found = "No difference between A and B is shown"
    if singly:
        known = sum(one.verdict != "too few data" for one in changes)
        return f"{found}: {singly} of {known} figures differ by themselves, which may well be chance."
    return f"{found}."


def _listed(changes: Sequence[Change], level: float) -> str:
    """The figures that changed most, the surest first."""
    ordered = sorted(changes, key=lambda one: (one.p_value or 0.0, -abs(one.change or 0.0)))
    texts = [
        f"{one.label} {change_text(one.change)} {one.change_unit}{interval_text(one, level if place == 0 else None)}"
        for place, one in enumerate(ordered[:_MOST])
    ]
    more = len(ordered) - len(texts)
    return ", ".join(texts) + (f", and {more} more" if more else "")


def interval_text(change: Change, level: float | None = None) -> str:
    """`` (+8.3 to +16.0)``, with the ``level`` in front where it is given; nothing where there is no interval."""
    if change.low is None:
        return ""
    words = "" if level is None else f"{100 * level:g} % interval "
    return f" ({words}{change_text(change.low)} to {change_text(change.high)})"


def figure_text(metric: str, value: float) -> str:
    """A figure with its unit, three digits of it."""
    if metric == "errors":
        return f"{value:.3g} %"
    if metric in ("ops/s", "MiB/s"):
        return f"{rate_text(value)} {metric}"
    return format_duration(value / 1e6)


def rate_text(value: float) -> str:
    """Three digits that matter, or all before the point."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def change_text(value: float | None) -> str:
    """``+12.1``, ``-0.4``, ``+250``, ``+31.7k``; a dash for None."""
    if value is None:
        return "-"
    size = abs(value)
    for scale, letter in ((1e6, "M"), (1e3, "k")):
        if size >= 9.9995 * scale:
            return f"{value / scale:+.3g}{letter}" if size < 999.5 * scale else f"{value / scale:+.0f}{letter}"
    text = f"{value:+.0f}" if size >= 99.95 else f"{value:+.2f}" if size < 0.995 else f"{value:+.1f}"
    return "0" if float(text) == 0 else text
