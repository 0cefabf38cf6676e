"""Two sides compared: what B does otherwise than A, how sure that is, and what it means.

A side is one run, or several of the same kind. Of one run the stretches of time that it was measured in are
resampled, of several runs the runs; :mod:`penstock.analysis.comparing_bootstrap` says how. The interval of one run
tells of that run alone: what differs from run to run, such as where the data came to lie, is not in it.

Every figure has its own interval, so at 95 % one of twenty figures without a difference will look like one. The
verdict on the whole accounts for that by Holm's method, over the figures of all operations together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from penstock.analysis.comparing_bootstrap import PERCENTS, Interval, draw, estimate, gap, ratio, sample
from penstock.analysis.comparing_values import METRICS, Change, Comparison, Run, Side, Stretch, Verdict, Whole
from penstock.analysis.comparing_words import differences, sentence
from penstock.stats.tally import ALL, FAMILIES, Cell, Tally

__all__ = ["FEWEST_BEYOND", "FEWEST_CALLS", "FEWEST_STRETCHES", "compare"]

#: What an interval needs: calls that succeeded on each side, stretches of a single run, and calls that took longer
#: than a percentile, so that it is not the one slow call of a run.
FEWEST_CALLS: Final = 30
FEWEST_STRETCHES: Final = 8
FEWEST_BEYOND: Final = 10

# Each percentile is known to one part in 1024; two of them may differ by twice that without meaning anything.
_RESOLUTION: Final = 2 / 1024
_RISING: Final = ("ops/s", "MiB/s")
_META: Final = "META"

_Floats = npt.NDArray[np.float64]


def compare(
    a: Side, b: Side, *, level: float = 0.95, replicates: int = 2000, seed: int = 0, notes: Sequence[str] = ()
) -> Comparison:
    """Compare B with the baseline A.

    The same ``seed`` gives the same intervals. Raises ValueError for a side without runs.
    """
    if not (a.runs and b.runs):
        raise ValueError("each side needs a run")
    streams = np.random.default_rng(seed).spawn(2)
    sides = [_Drawn.of(side, stream, replicates) for side, stream in zip((a, b), streams, strict=True)]
    changes = [change for row in _rows(a.tally, b.tally) for change in _changes(row, sides[0], sides[1], level)]
    verdict, shown, looked_at = _whole(a, b, changes, level)
    return Comparison(
        a=a,
        b=b,
        changes=changes,
        differences=tuple(differences(a, b)),
        notes=(*_how(a, b, level, replicates), *notes),
        verdict=verdict,
        sentence=sentence(verdict, shown, looked_at, level),
        level=level,
        replicates=replicates,
        seed=seed,
    )


@attrs.frozen
class _Row:
    """An operation or a roll-up; ``bucket`` None is all sizes."""

    operation: str
    bucket: int | None

    def cell(self, tally: Tally) -> Cell:
        if self.bucket is not None:
            return tally.cells.get((self.operation, self.bucket), Cell())
        return tally.roll_up(self.operation) if self.operation in (ALL, _META) else tally.operation(self.operation)


@attrs.frozen
class _Drawn:
    """A side and how often each of its stretches is drawn; ``lack`` says why nothing can be, if so."""

    side: Side
    stretches: Sequence[Stretch]
    weights: _Floats
    blocks: float
    lack: str

    @classmethod
    def of(cls, side: Side, stream: np.random.Generator, replicates: int) -> _Drawn:
        several = len(side.runs) > 1
        stretches = [Stretch(seconds=run.seconds, tally=run.tally) for run in side.runs]
        if not several:
            stretches = [one for one in side.runs[0].stretches if one.seconds > 0]
        count = len(stretches)
        if not several and count < FEWEST_STRETCHES:
            lack = f"{side.names} has {count} intervals, and at least {FEWEST_STRETCHES} are needed"
            return cls(side, stretches, np.zeros((0, count)), 0.0, lack)
        block = 1 if several else math.ceil(math.sqrt(count))
        return cls(side, stretches, draw(stream, count, block, replicates), count / block, "")

    def replicates(self, row: _Row) -> dict[str, _Floats]:
        seconds = [one.seconds for one in self.stretches]
        return estimate(sample(seconds, [row.cell(one.tally) for one in self.stretches]), self.weights)


def _rows(a: Tally, b: Tally) -> Iterator[_Row]:
    """Operations that both sides have, each over all sizes and then, if there are several, by size; roll-ups last."""
    theirs = set(b.operations())
    names = [name for name in a.operations() if name in theirs]
    for name in names:
        yield _Row(name, None)
        buckets = [{key[1] for key, cell in each.cells.items() if key[0] == name and cell.count} for each in (a, b)]
        if len(buckets[0] | buckets[1]) > 1:
            yield from (_Row(name, bucket) for bucket in sorted(buckets[0] & buckets[1]))
    if sum(name in FAMILIES[_META] for name in names) > 1:
        yield _Row(_META, None)
    if len(names) > 1:
        yield _Row(ALL, None)


def _changes(row: _Row, a: _Drawn, b: _Drawn, level: float) -> Iterator[Change]:
    """The figures of one row."""
    cells = row.cell(a.side.tally), row.cell(b.side.tally)
    figures = _figures(cells[0], a.side.seconds), _figures(cells[1], b.side.seconds)
    lack = a.lack or b.lack
    drawn = ({}, {}) if lack else (a.replicates(row), b.replicates(row))
    for metric in METRICS:
        if metric not in figures[0] or metric not in figures[1] or (metric == "errors" and row.bucket is not None):
            continue
        mine, theirs = figures[0][metric], figures[1][metric]
        if metric == "MiB/s" and mine == theirs == 0:
            continue
        reason = lack or _too_few(metric, *cells)
        if metric != "errors" and 0 in (mine, theirs):
            reason = f"it is 0 in {'B' if mine else 'A'}"
        interval: Interval | None = None
        if not reason:
            spread = (drawn[0][metric], drawn[1][metric])
            interval = _interval(metric, mine, theirs, spread, (a.blocks, b.blocks), level)
            reason = "" if interval else "it was called in too few intervals"
        yield _change(row, metric, (mine, theirs), cells, interval, reason)


def _figures(cell: Cell, seconds: float) -> dict[str, float]:
    """The exact figures of a cell, in the units of METRICS; those that it has."""
    figures: dict[str, float] = {}
    if seconds > 0:
        figures = {"ops/s": cell.count / seconds, "MiB/s": cell.nbytes / seconds / 2**20}
    if cell.count:
        values = cell.service.percentiles(tuple(PERCENTS.values()))
        figures["mean"] = cell.service.mean / 1000
        figures |= {name: value / 1000 for name, value in zip(PERCENTS, values, strict=True)}
    if cell.count or cell.errors:
        figures["errors"] = 100 * cell.errors / (cell.count + cell.errors)
    return figures


def _too_few(metric: str, a: Cell, b: Cell) -> str:
    if metric == "errors":
        calls = min(a.count + a.errors, b.count + b.errors)
        return "" if calls >= FEWEST_CALLS else f"fewer than {FEWEST_CALLS} calls"
    count, needed = min(a.count, b.count), FEWEST_CALLS
    if metric in PERCENTS:
        needed = max(needed, math.ceil(FEWEST_BEYOND / (1 - PERCENTS[metric] / 100) - 1e-6))
    return "" if count >= needed else f"fewer than {needed:,} calls that succeeded"


def _interval(
    metric: str, a: float, b: float, drawn: tuple[_Floats, _Floats], blocks: tuple[float, float], level: float
) -> Interval | None:
    """In percent, or percentage points."""
    if metric == "errors":
        return gap(a, b, (100 * drawn[0], 100 * drawn[1]), blocks, level)
    found = ratio(a, b, drawn, blocks, level, _RESOLUTION if metric in PERCENTS else 0.0)
    return None if found is None else Interval(100 * found.low, 100 * found.high, found.p_value)


def _change(
    row: _Row, metric: str, figures: tuple[float, float], cells: tuple[Cell, Cell], interval: Interval | None, why: str
) -> Change:
    a, b = figures
    change: float | None = b - a
    if metric != "errors":
        change = 100 * (b / a - 1) if a else None
    return Change(
        operation=row.operation,
        bucket=row.bucket,
        metric=metric,
        a=a,
        b=b,
        a_calls=cells[0].count,
        b_calls=cells[1].count,
        a_errors=cells[0].errors,
        b_errors=cells[1].errors,
        change=change,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p_value=interval.p_value if interval else None,
        verdict=_verdict(metric, interval),
        reason=why,
    )


def _verdict(metric: str, interval: Interval | None) -> Verdict:
    if interval is None:
        return "too few data"
    if interval.low <= 0 <= interval.high:
        return "no difference shown"
    return "better" if (interval.low > 0) == (metric in _RISING) else "worse"


def _whole(
    a: Side, b: Side, changes: Sequence[Change], level: float
) -> tuple[Whole, Sequence[Change], Sequence[Change]]:
    """The verdict on the whole, the changes on which it rests, and those that were looked at."""
    looked_at = [one for one in changes if one.bucket is None and one.operation not in (ALL, _META)]
    if len(a.runs) == len(b.runs) and all(_same(mine, theirs) for mine, theirs in zip(a.runs, b.runs, strict=True)):
        return "same", (), looked_at
    known = sorted((one for one in looked_at if one.p_value is not None), key=lambda one: one.p_value or 0.0)
    if not known:
        return "too few data", (), looked_at
    shown: list[Change] = []
    for place, one in enumerate(known):
        if (one.p_value or 0.0) > (1 - level) / (len(known) - place):
            break
        shown.append(one)
    kinds = {one.verdict for one in shown} & {"better", "worse"}
    if len(kinds) == 2:
        return "mixed", shown, looked_at
    return ("better" if "better" in kinds else "worse" if kinds else "no difference shown"), shown, looked_at


def _same(a: Run, b: Run) -> bool:
    return a.begin_ns == b.begin_ns and a.tally == b.tally


def _how(a: Side, b: Side, level: float, replicates: int) -> Iterator[str]:
    """How the intervals came about, and what is not in them."""
    yield f"intervals at {100 * level:g} %, from {replicates:,} resamples: {_resampled('A', a)}; {_resampled('B', b)}"
    single = [name for name, side in (("A", a), ("B", b)) if len(side.runs) == 1]
    if single:
        which = f"{' and '.join(single)} {'is one run' if len(single) == 1 else 'are one run each'}"
        yield f"{which}: what differs from run to run is not in the intervals; give several runs to see it"
    for mine in a.runs:
        for theirs in b.runs:
            if _same(mine, theirs):
                yield f"{mine.name} of A and {theirs.name} of B hold the very same calls"


def _resampled(name: str, side: Side) -> str:
    if len(side.runs) > 1:
        return f"{len(side.runs)} runs of {name}"
    count = len(side.runs[0].stretches)
    return f"{count} {'stretch' if count == 1 else 'stretches'} of time of {name}"
