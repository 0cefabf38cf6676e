"""When a run may end because its figures no longer change.

The rule is that of the Solid State Storage Performance Test Specification of SNIA (steady state, version 2.0.1): over
a window of measurements, the largest and the smallest may differ by so much of their average, and the straight line
of least squares through them may rise or fall by half of that from one end of the window to the other. The
specification says 20 % and 10 % over five rounds; here the tolerance is that of the line, and the window is time.
"""

from __future__ import annotations

import attrs

from penstock.workload.fields import Record, key
from penstock.workload.shapes import Either, InvalidFieldError, ListOf, Optional, Quantity, Shape, Word

__all__ = ["FEWEST", "STABLE", "STABLE_METRICS", "STABLE_STAGE", "StopWhenStable"]

_SOME_TIME = Quantity("duration", above=True)
#: What may have to be stable; latencies are those of service, all operations together.
STABLE_METRICS = ("ops_per_second", "bytes_per_second", "mean", "p50", "p90", "p99")
#: Intervals that a window has at least.
FEWEST = 5


@attrs.frozen
class StopWhenStable:
    """End as soon as throughput and latency have been stable for a while, or at the end of the duration.

    Stable is what SNIA's Performance Test Specification calls steady state: over the window, a metric's largest and
    smallest value are no further apart than twice the tolerance times their average, and its trend (the line of least
    squares) changes by no more than the tolerance times the average from one end of the window to the other.
    """

    window: float = key(_SOME_TIME, 30.0, help="for how long every metric must have been stable; 5 intervals or more")
    tolerance: float = key(
        Quantity("number", above=True, below=1),
        0.1,
        help="how much a metric's trend may change over the window, as a share of its average: 0.1 is 10 %; single "
        "values may be apart by twice that",
    )
    metrics: tuple[str, ...] = key(
        ListOf(Word(STABLE_METRICS), minimum=1),
        ("ops_per_second", "p99"),
        help="what must be stable, of all operations together; each value is that of one live_interval",
    )
    at_most: float | None = key(
        Optional(_SOME_TIME),
        None,
        help="how long to measure where they do not become stable, instead of duration; none: duration",
    )

    def __attrs_post_init__(self) -> None:
        if self.at_most is not None and self.at_most < self.window:
            raise InvalidFieldError("at_most", f"{self.at_most:g} s is shorter than the window, {self.window:g} s")
        if len(set(self.metrics)) < len(self.metrics):
            raise InvalidFieldError("metrics", "a metric stands there twice")


def _is_one(value: object) -> bool:
    return isinstance(value, StopWhenStable)


def _never(value: object) -> bool:
    return False


#: How it stands in a file: ``on``, or how; ``off``.
STABLE: Shape = Either(
    (Word(("off", "on")), Record(StopWhenStable)), (_never, _is_one), means={"off": None, "on": StopWhenStable()}
)
#: The same in a stage, where ``as run`` is what the run says.
STABLE_STAGE: Shape = Either(
    (Word(("as run", "off", "on")), Record(StopWhenStable)),
    (lambda value: isinstance(value, str), _is_one),
    means={"on": StopWhenStable()},
)
