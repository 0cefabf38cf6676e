"""What is compared, and what a comparison finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs

from penstock.analysis.values import Analysis
from penstock.stats.buckets import LABELS
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

__all__ = ["METRICS", "Change", "Comparison", "Run", "Side", "Stretch", "Verdict", "Whole", "run_of"]

#: The figures that are compared and their units. Of all but the first two less is better.
METRICS: Final[Mapping[str, str]] = {
    "ops/s": "1/s",
    "MiB/s": "MiB/s",
    "mean": "µs",
    "p50": "µs",
    "p90": "µs",
    "p95": "µs",
    "p99": "µs",
    "p99.9": "µs",
    "errors": "% of calls",
}

#: Of one figure. ``no difference shown`` is no proof that there is none: the interval says how large one may be.
Verdict = Literal["better", "worse", "no difference shown", "too few data"]
#: Of all figures together; ``mixed``: better in some, worse in others; ``same``: A and B hold the very same calls.
Whole = Literal["better", "worse", "mixed", "no difference shown", "too few data", "same"]


@attrs.frozen(kw_only=True)
class Stretch:
    """What was measured in some seconds."""

    seconds: float
    tally: Tally


@attrs.frozen(kw_only=True)
class Run:
    """One measured run, its warm-up left out.

    ``name`` says which, such as the path of its log. ``seconds`` is how long the measured window was, from
    ``begin_ns`` on; ``stretches`` follow one another in it. ``threads`` is how many called each operation, empty where
    that is not known. ``facts`` are what was asked of it, such as its configuration, by name.
    """

    name: str
    begin_ns: int
    seconds: float
    tally: Tally
    stretches: Sequence[Stretch]
    errors: ErrorTable = attrs.Factory(ErrorTable)
    threads: Mapping[str, int] = attrs.Factory(dict)
    facts: Mapping[str, str] = attrs.Factory(dict)


def run_of(analysis: Analysis, name: str) -> Run:
    """An analysis of a log, or of the logs of one job, as a run."""
    return Run(
        name=name,
        begin_ns=analysis.window.begin_ns,
        seconds=analysis.window.seconds,
        tally=analysis.tally,
        stretches=[Stretch(seconds=one.seconds, tally=one.tally) for one in analysis.series],
        errors=analysis.errors,
        threads=analysis.threads,
    )


@attrs.frozen(kw_only=True)
class Side:
    """One or several runs of the same kind, and what they add up to."""

    runs: Sequence[Run]
    seconds: float = attrs.field(init=False)
    tally: Tally = attrs.field(init=False)

    @seconds.default
    def _sum_seconds(self) -> float:
        return sum(run.seconds for run in self.runs)

    @tally.default
    def _merge(self) -> Tally:
        if len(self.runs) == 1:
            return self.runs[0].tally
        merged = Tally()
        for run in self.runs:
            merged.merge(run.tally)
        return merged

    @property
    def names(self) -> str:
        """The names of the runs."""
        return ", ".join(run.name for run in self.runs)

    def threads(self, operation: str) -> tuple[int, ...]:
        """How many threads called the operation, in each run in which that is known, without repetitions."""
        found = {run.threads[operation] for run in self.runs if operation in run.threads}
        return tuple(sorted(found))


@attrs.frozen(kw_only=True)
class Change:
    """One figure of A and of B.

    ``operation`` is one, or a roll-up: META, where there are several of its operations, or ALL. ``bucket`` is the
    number of a size bucket, None for all sizes. ``a`` and ``b`` are in the metric's unit (see METRICS), of several runs
    the figure of all their calls together; ``a_calls`` and ``b_calls`` are how many succeeded, ``a_errors`` and
    ``b_errors`` how many failed.

    ``change`` is what B has more than A, in percent of A; of ``errors`` in percentage points. ``low`` and ``high`` are
    its interval, and ``p_value`` how probable a change of this size is if there is none. They are None where there are
    too few data, as ``change`` is where A is zero; ``reason`` says why.
    """

    operation: str
    bucket: int | None
    metric: str
    a: float
    b: float
    a_calls: int
    b_calls: int
    a_errors: int
    b_errors: int
    change: float | None
    low: float | None
    high: float | None
    p_value: float | None
    verdict: Verdict
    reason: str = ""

    @property
    def unit(self) -> str:
        """That of ``a`` and ``b``."""
        return METRICS[self.metric]

    @property
    def change_unit(self) -> str:
        """That of ``change``, ``low`` and ``high``."""
        return "points" if self.metric == "errors" else "%"

    @property
    def size(self) -> str:
        """The name of the size bucket, ``all`` for all sizes."""
        return "all" if self.bucket is None else LABELS[self.bucket]

    @property
    def label(self) -> str:
        """``GET p99``, ``PUT 4MiB-32MiB ops/s``."""
        return " ".join([self.operation, *([] if self.bucket is None else [self.size]), self.metric])


@attrs.frozen(kw_only=True)
class Comparison:
    """A is the baseline, B what is judged.

    ``changes`` are by operation, size bucket and metric, roll-ups last; operations that only one side has are not among
    them. ``differences`` name what makes the sides hard to compare, ``notes`` how the figures were made. ``verdict``
    and ``sentence`` are on the whole, for operations over all sizes, and account for how many figures there are.
    ``level`` is that of the intervals, such as 0.95.
    """

    a: Side
    b: Side
    changes: Sequence[Change]
    differences: Sequence[str]
    notes: Sequence[str]
    verdict: Whole
    sentence: str
    level: float
    replicates: int
    seed: int

    def find(self, operation: str, bucket: int | None, metric: str) -> Change | None:
        """One figure; None if the sides do not both have it."""
        wanted = (operation, bucket, metric)
        return next((one for one in self.changes if (one.operation, one.bucket, one.metric) == wanted), None)
