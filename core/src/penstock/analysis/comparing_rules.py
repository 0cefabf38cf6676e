"""Conditions under which a comparison counts as a regression.

::

    [OPERATION[.SIZE].]METRIC (>|<) THRESHOLD

    p99 > +10%              the p99 of some operation has risen by more than 10 %
    ops/s < -5%             some operation is called more than 5 % less often per second
    GET.p50 > +2%           one operation; META and ALL are the roll-ups
    GET.4MiB-32MiB.p99 > +10%       one size bucket; GET.*.p99 each of them
    p99 > 20ms              B's own figure, with a unit: us, ms or s
    MiB/s < 500             B's own figure; also ops/s
    errors > +1%            the share of failed calls has risen by more than one percentage point
    errors > 0.5%           B's own share of failed calls
    errors > 0              B's failed calls, counted

A threshold with a sign is a change from A to B, in percent of A; one without is a figure of B. Without an operation
a condition is about each operation over all sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import attrs

from penstock.analysis.comparing_values import METRICS, Change, Comparison
from penstock.analysis.comparing_words import change_text, figure_text, interval_text
from penstock.errors import UsageError
from penstock.quantities import parse_duration
from penstock.stats.buckets import LABELS

__all__ = ["MODES", "Finding", "Mode", "Rule", "check", "parse_rule"]

#: When a change that is larger than its threshold counts: as it was estimated; if its interval shows that there is a
#: change at all; if its whole interval is beyond the threshold.
Mode = Literal["estimate", "shown", "certain"]
MODES: Final[tuple[Mode, ...]] = ("estimate", "shown", "certain")

_EACH: Final = -1
_RULE: Final = re.compile(
    rf"\s*(?:([A-Za-z_]+)\.(?:({'|'.join(map(re.escape, (*LABELS, '*')))})\.)?)?"
    rf"({'|'.join(sorted(map(re.escape, METRICS), reverse=True))})\s*([<>])(?!=)\s*(\S.*?)\s*",
    re.IGNORECASE,
)
_NUMBER: Final = r"([0-9][0-9_]*(?:\.[0-9]+)?)"
_RELATIVE: Final = re.compile(rf"([+-])\s*{_NUMBER}\s*%")
_METRICS: Final = {name.lower(): name for name in METRICS}
_BUCKETS: Final = {label.lower(): place for place, label in enumerate(LABELS)} | {"*": _EACH}


@attrs.frozen
class Rule:
    """A condition; ``text`` is how it was written.

    ``operation`` None is each. ``bucket`` is None for all sizes together and -1 for each size. ``kind`` says what the
    threshold is: a ``change`` in the metric's unit of changes, B's ``figure`` in the metric's unit, or a ``count``.
    """

    text: str
    operation: str | None
    bucket: int | None
    metric: str
    above: bool
    threshold: float
    kind: Literal["change", "figure", "count"]


@attrs.frozen
class Finding:
    """A condition that was met by a change; with ``undecided`` one that can't be told, for too few data."""

    rule: Rule
    change: Change
    undecided: bool

    @property
    def text(self) -> str:
        """Both, as a line."""
        change, rule = self.change, self.rule
        if self.undecided:
            return f"{rule.text}: {change.label} can't be judged: {change.reason}"
        if rule.kind == "change":
            sure = interval_text(change)
            both = f"{figure_text(change.metric, change.a)} in A, {figure_text(change.metric, change.b)} in B"
            return f"{rule.text}: {change.label} {change_text(change.change)} {change.change_unit}{sure}, {both}"
        value = f"{change.b_errors:,} calls" if rule.kind == "count" else figure_text(change.metric, change.b)
        return f"{rule.text}: {change.label} of B is {value}"


def parse_rule(text: str) -> Rule:
    """Raises UsageError that says what to write."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is no condition; write [OPERATION[.SIZE].]METRIC > or < THRESHOLD, such as 'p99 > +10%', "
            f"'GET.ops/s < -5%' or 'p99 > 20ms', where METRIC is one of {', '.join(METRICS)}"
        )
    operation, bucket, name, sign, value = match.groups()
    metric = _METRICS[name.lower()]
    threshold, kind = _threshold(text, metric, value)
    return Rule(
        text=text.strip(),
        operation=None if operation is None else operation.upper(),
        bucket=None if bucket is None else _BUCKETS[bucket.lower()],
        metric=metric,
        above=sign == ">",
        threshold=threshold,
        kind=kind,
    )


def _threshold(text: str, metric: str, value: str) -> tuple[float, Literal["change", "figure", "count"]]:
    if match := _RELATIVE.fullmatch(value):
        size = float(match[2].replace("_", ""))
        return (size if match[1] == "+" else -size), "change"
    if metric == "errors":
        match = re.fullmatch(rf"{_NUMBER}\s*(%?)", value)
        if match is None:
            raise UsageError(f"{text!r}: write +1% for a change, 0.5% for a share of calls, or a number of calls")
        return float(match[1].replace("_", "")), "figure" if match[2] else "count"
    if "%" in value:
        raise UsageError(f"{text!r}: a change in percent has a sign, such as +10% or -5%")
    if metric in ("ops/s", "MiB/s"):
        match = re.fullmatch(rf"{_NUMBER}\s*(?:{re.escape(metric)})?", value)
        if match is None:
            raise UsageError(f"{text!r}: write a number of {metric}, or a change such as -5%")
        return float(match[1].replace("_", "")), "figure"
    return _latency(text, value), "figure"


def _latency(text: str, value: str) -> float:
    """Microseconds."""
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}, or a change such as +10%") from None
    if re.fullmatch(_NUMBER, value):
        raise UsageError(f"{text!r}: {value} of what? Write {value}us, {value}ms or {value}s, or a change such as +10%")
    return seconds * 1e6


def check(comparison: Comparison, rules: Sequence[Rule], mode: Mode = "shown") -> list[Finding]:
    """The conditions that are met, and those that can't be told.

    ``mode`` is about changes; B's own figures are taken as they were measured. Raises UsageError for a condition about
    what the sides do not both have.
    """
    return [finding for rule in rules for finding in _check(comparison, rule, mode)]


def _check(comparison: Comparison, rule: Rule, mode: Mode) -> Iterator[Finding]:
    changes = [change for change in comparison.changes if _is_about(rule, change)]
    if not changes:
        have = ", ".join(dict.fromkeys(change.operation for change in comparison.changes))
        raise UsageError(
            f"{rule.text!r} can't be told: A and B do not both have that figure; they both have {have or 'nothing'}"
        )
    for change in changes:
        met = _is_met(rule, change, mode)
        if met or met is None:
            yield Finding(rule, change, met is None)


def _is_about(rule: Rule, change: Change) -> bool:
    if rule.metric != change.metric:
        return False
    # Roll-ups are looked at when they are named; what they sum up is.
    named = change.operation == rule.operation or (rule.operation is None and change.operation not in ("META", "ALL"))
    sized = change.bucket is not None if rule.bucket == _EACH else change.bucket == rule.bucket
    return named and sized


def _is_met(rule: Rule, change: Change, mode: Mode) -> bool | None:
    """None: it can't be told."""
    if rule.kind == "count":
        return _beyond(rule, change.b_errors)
    if rule.kind == "figure":
        return _beyond(rule, change.b)
    if mode == "estimate":
        return None if change.change is None else _beyond(rule, change.change)
    if change.change is None or change.low is None or change.high is None:
        return None
    if mode == "certain":
        return _beyond(rule, change.low if rule.above else change.high)
    return _beyond(rule, change.change) and not change.low <= 0 <= change.high


def _beyond(rule: Rule, value: float) -> bool:
    return value > rule.threshold if rule.above else value < rule.threshold
