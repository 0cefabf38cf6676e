"""What a series of values over time looks like: level, with a step, drifting, with spikes or dips, or uneven.

Values are compared by their ratios, for a doubling means the same whether it is of microseconds or of seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Shape", "shape_of"]

_FEWEST: Final = 6  # values, to speak of a shape at all
_SPLITS: Final = 120
#: A step is at least so much, halves what remains unexplained, and stands out from the scatter on both sides.
_LEAST_STEP: Final = 1.25
_EXPLAINED: Final = 0.7
_OVER_SCATTER: Final = 2.5
_SPIKE: Final = 3.0
_DIP: Final = 0.5
_RARE: Final = 0.2  # more than this share of the values are no spikes
_LEVEL: Final = 1.5  # nine tenths of the values lie within so much of one another

_Floats = npt.NDArray[np.float64]


@attrs.frozen(kw_only=True)
class Shape:
    """``typical`` is the median; nine tenths of the values are from ``low`` to ``high``.

    A ``step`` or ``drift`` goes from ``before`` to ``after``, the step at ``at`` seconds. ``extreme`` is the highest
    spike or the lowest dip, ``count`` how many of the ``points`` are spikes or dips, the first of them at ``at``.
    """

    kind: Literal["few", "level", "step", "drift", "spikes", "dips", "uneven"]
    points: int
    typical: float
    low: float
    high: float
    before: float = 0.0
    after: float = 0.0
    at: float = 0.0
    extreme: float = 0.0
    count: int = 0

    @property
    def ratio(self) -> float:
        """What a step or drift multiplied the value by."""
        return self.after / self.before if self.before > 0 else float("inf")


def shape_of(times: Sequence[float], values: Sequence[float | None], *, dips: bool = False) -> Shape | None:
    """The shape of values at ascending ``times`` in seconds; None where there is no value.

    With ``dips`` single low values are looked for, else single high ones.
    """
    known = [(time, value) for time, value in zip(times, values, strict=True) if value is not None]
    if not known:
        return None
    x, y = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    typical = float(np.median(y))
    low, high = (float(value) for value in np.percentile(y, (5, 95)))
    plain = Shape(kind="few", points=len(y), typical=typical, low=low, high=high)
    if len(y) < _FEWEST:
        return plain
    logs = np.log(np.maximum(y, max(typical, float(y.max()) / 1000) / 1000)) if y.max() > 0 else y
    return _moved(plain, x, y, logs) or _single(plain, x, y, dips=dips) or _even(plain)


def _moved(plain: Shape, x: _Floats, y: _Floats, logs: _Floats) -> Shape | None:
    """A step or a drift, if there is one."""
    count = len(y)
    edge = max(3, count // 10)
    splits = np.unique(np.linspace(edge, count - edge, _SPLITS).astype(int))
    costs = [_cost(logs[:split]) + _cost(logs[split:]) for split in splits]
    best = int(np.argmin(costs))
    split, cost, whole = int(splits[best]), costs[best], _cost(logs)
    if whole <= 0 or cost > _EXPLAINED * whole:
        return None
    before, after = float(np.median(y[:split])), float(np.median(y[split:]))
    scatter = cost / count
    gap = abs(float(np.median(logs[split:]) - np.median(logs[:split])))
    if gap < np.log(_LEAST_STEP) or gap < _OVER_SCATTER * scatter:
        return None
    line = np.polyval(np.polyfit(x, logs, 1), x)
    if float(np.abs(logs - line).sum()) < 0.8 * cost:
        return attrs.evolve(plain, kind="drift", before=float(np.exp(line[0])), after=float(np.exp(line[-1])))
    middle = float((x[split - 1] + x[split]) / 2)
    return attrs.evolve(plain, kind="step", before=before, after=after, at=middle)


def _cost(logs: _Floats) -> float:
    return float(np.abs(logs - np.median(logs)).sum())


def _single(plain: Shape, x: _Floats, y: _Floats, *, dips: bool) -> Shape | None:
    """Values far from the median, if they are few."""
    places = np.flatnonzero(y < _DIP * plain.typical if dips else y > _SPIKE * plain.typical)
    if not len(places) or len(places) > _RARE * len(y) or plain.typical <= 0:
        return None
    extreme = float(y.min() if dips else y.max())
    kind: Literal["dips", "spikes"] = "dips" if dips else "spikes"
    return attrs.evolve(plain, kind=kind, extreme=extreme, count=len(places), at=float(x[places[0]]))


def _even(plain: Shape) -> Shape:
    level = plain.high <= _LEVEL * plain.low or plain.high <= 0
    return attrs.evolve(plain, kind="level" if level else "uneven")
