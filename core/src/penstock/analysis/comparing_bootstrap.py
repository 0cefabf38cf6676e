"""How far a figure can be trusted: resampling of what was measured, stretch by stretch.

A figure of a run comes from stretches of time that differ; how much it would differ in another run of the same kind
is read from them. Stretches are drawn with replacement and the figure is computed from those drawn, thousands of
times; the spread of the results is its standard error. Two things make the plain bootstrap of Efron too sure of
itself, and both are mended here.

- What happens in one second goes on in the next. So neighbours are drawn together, in blocks of √n of n stretches, of
  a series that is closed to a circle: the circular block bootstrap (Politis and Romano, 1992), with the length that
  Flegal and Jones (2010) give for batch means.
- There are few stretches. So the variance is multiplied by m/(m-1) and the interval is made by Student's t instead of
  the normal law, as Hesterberg (2015, "What teachers should know about the bootstrap") explains, where m is how many
  blocks there are. Two sides are combined with the degrees of freedom of Welch and Satterthwaite.

Of several runs each is one stretch and nothing is drawn together. For a mean that gives Welch's interval.

Ratios are treated on the scale of logarithms: an interval from half to twice is then as wide as it looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from penstock.stats.histogram import Histogram
from penstock.stats.tally import Cell

__all__ = ["PERCENTS", "Interval", "Sample", "draw", "estimate", "gap", "ratio", "sample"]

#: The percentiles that are estimated, by their names.
PERCENTS: Final[Mapping[str, float]] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99.9": 99.9}

_Floats = npt.NDArray[np.float64]
_COARSE: Final = 64
# Replicates in which the operation did not occur have no value; with more of them than this no spread is known.
_MOST_EMPTY: Final = 0.05


@attrs.frozen(kw_only=True, eq=False)
class Sample:
    """One row of a comparison in each of n stretches: what can be added up.

    ``cumulative`` has for each stretch how many latencies do not exceed each of ``values``, which ascend (ns).
    """

    seconds: _Floats
    counts: _Floats
    errors: _Floats
    nbytes: _Floats
    total_ns: _Floats
    cumulative: _Floats
    values: _Floats


@attrs.frozen
class Interval:
    """A change, its interval, and how probable one this large is if there is none."""

    low: float
    high: float
    p_value: float


def sample(seconds: Sequence[float], cells: Sequence[Cell]) -> Sample:
    """One row's cells, in the order of time, as arrays."""
    whole = Histogram()
    for cell in cells:
        whole.merge(cell.service)
    index, _ = whole.cells()
    counts = np.zeros((len(cells), len(index)))
    for row, cell in zip(counts, cells, strict=True):
        some, numbers = cell.service.cells()
        row[np.searchsorted(index, some)] = numbers
    return Sample(
        seconds=np.array(seconds, dtype=np.float64),
        counts=np.array([cell.count for cell in cells], dtype=np.float64),
        errors=np.array([cell.errors for cell in cells], dtype=np.float64),
        nbytes=np.array([cell.nbytes for cell in cells], dtype=np.float64),
        total_ns=np.array([cell.service.total for cell in cells], dtype=np.float64),
        cumulative=counts.cumsum(axis=1),
        values=whole.distribution()[1].astype(np.float64),
    )


def draw(generator: np.random.Generator, stretches: int, block: int, replicates: int) -> _Floats:
    """How often each stretch is drawn, a row for each replicate: circular blocks, cut to as many as there are."""
    starts = generator.integers(0, stretches, (replicates, math.ceil(stretches / block), 1))
    drawn = (starts + np.arange(block)).reshape(replicates, -1)[:, :stretches] % stretches
    drawn += np.arange(replicates)[:, None] * stretches
    times = np.bincount(drawn.ravel(), minlength=replicates * stretches)
    return times.reshape(replicates, stretches).astype(np.float64)


def estimate(sample: Sample, weights: _Floats) -> dict[str, _Floats]:
    """Each figure, by its metric, for each row of ``weights``; not a number where nothing was drawn.

    Rates are by seconds, bytes in MiB, latencies in microseconds, errors a share of all calls.
    """
    seconds, counts, errors = (weights @ column for column in (sample.seconds, sample.counts, sample.errors))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "ops/s": counts / seconds,
            "MiB/s": weights @ sample.nbytes / seconds / 2**20,
            "mean": weights @ sample.total_ns / counts / 1000,
            "errors": errors / (counts + errors),
        }
    for name, percent in PERCENTS.items():
        ranks = np.ceil(np.round(counts * percent / 100, 6))
        found[name] = _percentile(sample, weights, ranks) / 1000 if len(sample.values) else np.full(len(ranks), np.nan)
    return found


def _percentile(sample: Sample, weights: _Floats, ranks: _Floats) -> _Floats:
    """The least value that as many as ``ranks`` do not exceed. A coarse search first says where to look."""
    cumulative, values = sample.cumulative, sample.values
    below = (weights @ cumulative[:, _COARSE - 1 :: _COARSE] < ranks[:, None]).sum(axis=1)
    first, last = int(below.min()) * _COARSE, int(below.max() + 1) * _COARSE
    places = first + (weights @ cumulative[:, first:last] < ranks[:, None]).sum(axis=1)
    return np.where(ranks > 0, values[np.minimum(places, len(values) - 1)], np.nan)


def ratio(
    a: float,
    b: float,
    replicates: tuple[_Floats, _Floats],
    blocks: tuple[float, float],
    level: float,
    least: float = 0.0,
) -> Interval | None:
    """The interval of ``b / a - 1``; ``least`` is a change that is too small to be told from none.

    ``replicates`` are those of a and of b, ``blocks`` how many were independent. None when no spread is known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(each) for each in replicates]
    found = _interval(math.log(b / a), logs, blocks, level, math.log1p(least))
    if found is None:
        return None
    return Interval(math.expm1(found.low), math.expm1(found.high), found.p_value)


def gap(
    a: float, b: float, replicates: tuple[_Floats, _Floats], blocks: tuple[float, float], level: float
) -> Interval | None:
    """The interval of ``b - a``; the rest is as in :func:`ratio`."""
    return _interval(b - a, replicates, blocks, level, 0.0)


def _interval(
    change: float, replicates: Sequence[_Floats], blocks: Sequence[float], level: float, least: float
) -> Interval | None:
    variances = []
    for values, count in zip(replicates, blocks, strict=True):
        known = values[np.isfinite(values)]
        if count <= 1 or len(known) < (1 - _MOST_EMPTY) * len(values):
            return None
        variances.append(float(known.var()) * count / (count - 1))
    error = math.sqrt(sum(variances))
    freedom = _welch(variances, blocks)
    half = max(_quantile(freedom, level) * error, least)
    return Interval(change - half, change + half, _chance(change, error, freedom, least))


def _chance(change: float, error: float, freedom: float, least: float) -> float:
    if abs(change) <= least:
        return 1.0
    return 1 - _within(freedom, abs(change) / error) if error > 0 else 0.0


def _welch(variances: Sequence[float], blocks: Sequence[float]) -> float:
    """Degrees of freedom, rounded down to a quarter, so that tables are made for few."""
    below = sum(variance**2 / (count - 1) for variance, count in zip(variances, blocks, strict=True))
    freedom = sum(variances) ** 2 / below if below > 0 else min(blocks) - 1
    return max(1.0, math.floor(4 * freedom) / 4)


@lru_cache(maxsize=256)
def _student(freedom: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Student's law: angles θ from 0 to π/2, where t = √freedom · tan θ, and how probable it is to be within ±t.

    In θ the density is a power of the cosine, which the trapezoidal rule integrates well.
    """
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    within = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angles, within / within[-1]


def _quantile(freedom: float, level: float) -> float:
    angles, within = _student(freedom)
    return math.sqrt(freedom) * math.tan(float(np.interp(level, within, angles)))


def _within(freedom: float, t: float) -> float:
    angles, within = _student(freedom)
    return float(np.interp(math.atan(t / math.sqrt(freedom)), angles, within))
