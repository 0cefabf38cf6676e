"""Which object an operation takes next."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from penstock.workload.fields import Record, Variants, key
from penstock.workload.shapes import Flag, Quantity

__all__ = ["SELECTION", "EachOnce", "Selection", "Sequential", "Uniform", "Zipf"]


@attrs.frozen
class Uniform:
    """Every object is equally likely, each time anew."""


@attrs.frozen
class Sequential:
    """One object after the other in the order of their indices, from the start again after the last.

    The lanes take turns: over all of them each object is taken once before any is taken twice.
    """


@attrs.frozen
class EachOnce:
    """Every object exactly once over all lanes, in the order of their indices; then the operation ends.

    The other operations go on; when none is left the run ends.
    """


@attrs.frozen
class Zipf:
    """Object of rank k, counted from 1, is taken in proportion to 1 / k**theta.

    ``theta`` 0.99 is what YCSB uses; larger means that fewer objects get most of the operations. With ``scatter``
    the ranks are spread over the objects by a permutation that depends on the seed; without it the first
    objects are the hot ones.
    """

    theta: float = key(Quantity("number", above=True, maximum=20), 0.99, help="skew, above 0")
    scatter: bool = key(Flag(), True, help="spread the hot objects over all names instead of taking the first ones")


Selection: TypeAlias = Uniform | Sequential | EachOnce | Zipf

#: How a selection stands in a file.
SELECTION = Variants(
    "policy",
    {"uniform": Record(Uniform), "sequential": Record(Sequential), "each_once": Record(EachOnce), "zipf": Record(Zipf)},
    short=True,
    later=("hot_set",),
)
