"""Open loop: how many operations are offered, and when."""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from penstock.workload.documents import Node
from penstock.workload.fields import Record, key
from penstock.workload.shapes import Either, ListOf, Optional, Quantity, Reader, Shape, Word, any_of

__all__ = ["RATE", "Ramp", "Rate", "RatePhase"]

_NUMBER = Quantity("number")


@attrs.frozen
class Ramp:
    """A rate that goes evenly from one value to another."""

    begin: float = key(_NUMBER, help="operations per second at the beginning; 0: none", aliases=("from",))
    end: float = key(_NUMBER, help="operations per second at the end; 0: none", aliases=("to",))


def _is_ramp(value: object) -> bool:
    return type(value) is Ramp


@attrs.frozen
class RatePhase:
    """A stretch of the run with its rate."""

    seconds: float | None = key(
        Optional(Quantity("duration", above=True)),
        None,
        help="how long; none, in the last phase: to the end of the run",
        aliases=("for",),
    )
    ops_per_second: float | Ramp = key(
        Either(
            (_NUMBER, Record(Ramp)), (lambda value: isinstance(value, float | int), lambda value: type(value) is Ramp)
        ),
        help="operations offered each second; {from: 0, to: 1000} for a ramp; 0: none",
    )

    @property
    def ramp(self) -> Ramp:
        """The rate at both ends."""
        rate = self.ops_per_second
        return rate if isinstance(rate, Ramp) else Ramp(begin=rate, end=rate)


@attrs.frozen
class Rate:
    """Open loop: operations are due at planned times, whether or not earlier ones have ended.

    An operation that starts late is measured from when it was due (response time) and from when it started
    (service time). Phases follow each other from the end of the warm-up on; before, the first one's beginning is
    offered, and after the last one its end, until the run ends.
    """

    ops_per_second: float | None = key(
        Optional(Quantity("number", above=True)),
        None,
        help="operations offered each second by the whole run, whatever the number of processes",
    )
    arrivals: str = key(
        Word(("poisson", "uniform")), "poisson", help="poisson: random gaps, as of many clients; uniform: equal gaps"
    )
    phases: tuple[RatePhase, ...] = key(
        ListOf(Record(RatePhase)), (), help="steps and ramps instead of one rate: [{for: 30s, ops_per_second: 1000}, …]"
    )

    def planned(self) -> Sequence[RatePhase]:
        """The phases; one without end where there is a single rate."""
        return self.phases or (RatePhase(ops_per_second=self.ops_per_second or 0.0),)

    @property
    def seconds(self) -> float | None:
        """How long all phases take; None when the last has no end."""
        lengths = [phase.seconds for phase in self.planned()]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    @property
    def text(self) -> str:
        """For a person."""
        return f"{', then '.join(_show(phase) for phase in self.planned())} ({self.arrivals})"


def _show(phase: RatePhase) -> str:
    ramp = phase.ramp
    rate = f"{ramp.begin:g}" if ramp.begin == ramp.end else f"{ramp.begin:g} to {ramp.end:g}"
    return f"{rate} operations per second" + ("" if phase.seconds is None else f" for {phase.seconds:g} s")


def _complete(rate: Rate) -> Rate:
    if (rate.ops_per_second is None) == (not rate.phases):
        raise ValueError("write either ops_per_second or phases")
    if any(phase.seconds is None for phase in rate.phases[:-1]):
        raise ValueError("only the last phase may be without for")
    if not any(phase.ramp.begin or phase.ramp.end for phase in rate.planned()):
        raise ValueError("no phase offers any operation; write an ops_per_second above 0")
    return rate


_RECORD = Record(Rate, finish=_complete)
_MAX = Word(("max",))
_LIST = ListOf(Record(RatePhase), minimum=1)


@attrs.frozen
class _RateShape:
    """``max``, a mapping, or the list of phases alone."""

    @property
    def expects(self) -> str:
        return "max, a mapping such as {ops_per_second: 1000}, or a list of phases"

    def accepts(self, node: Node) -> bool:
        return node.kind in ("mapping", "sequence") or _MAX.accepts(node)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if node.kind == "mapping":
            return _RECORD.read(node, path, reader)
        if _LIST.accepts(node):
            return _complete(Rate(phases=_LIST.read(node, path, reader)))
        if not _MAX.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        return None

    def dump(self, value: Any) -> Any:
        return "max" if value is None else _RECORD.dump(value)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return any_of(_MAX.schema(definitions), _RECORD.schema(definitions), _LIST.schema(definitions))


#: How a rate stands in a file; None is as fast as possible.
RATE: Shape = _RateShape()
