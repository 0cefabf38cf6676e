"""Which of the endpoints that can be asked is asked next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal

import attrs

from penstock.layers.endpoints.members import Member

__all__ = ["POLICIES", "Endpoints", "chooser"]

#: A function that chooses one of the members for a key; it is called with the lock of all of them held.
Choose = Callable[[Sequence[Member], str], Member]

POLICIES: Final = ("round_robin", "random", "least_connections", "latency_weighted", "sticky_key")

_Policy = Literal["round_robin", "random", "least_connections", "latency_weighted", "sticky_key"]
_Writes = Literal["balanced", "first"]


def _positive(_: object, field: attrs.Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{field.name} can't be {value}; write seconds, more than 0")


@attrs.frozen(kw_only=True)
class Endpoints:
    """How calls are spread over endpoints.

    ``writes``: ``balanced`` as all other calls, or always the ``first`` healthy endpoint. An endpoint is ejected after
    ``eject_after`` failures in a row, for ``base_delay`` seconds the first time and twice as long each time after
    that, at most ``max_delay``. ``seed`` is that of ``random``.
    """

    policy: _Policy = attrs.field(default="round_robin", validator=attrs.validators.in_(POLICIES))
    writes: _Writes = attrs.field(default="balanced", validator=attrs.validators.in_(("balanced", "first")))
    eject_after: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    base_delay: float = attrs.field(default=1.0, validator=_positive)
    max_delay: float = attrs.field(default=60.0, validator=_positive)
    seed: int = attrs.field(default=0, validator=attrs.validators.ge(0))


def chooser(endpoints: Endpoints) -> Choose:
    """The policy, at its beginning."""
    if endpoints.policy == "random":
        draw = random.Random(endpoints.seed)  # noqa: S311  (no secret hangs on it)
        return lambda members, key: members[draw.randrange(len(members))]
    return {
        "round_robin": _longest_waiting,
        "least_connections": _least_busy,
        "latency_weighted": _quick_more_often,
        "sticky_key": _by_key,
    }[endpoints.policy]


def _longest_waiting(members: Sequence[Member], key: str) -> Member:
    return min(members, key=lambda member: member.chosen_at)


def _least_busy(members: Sequence[Member], key: str) -> Member:
    return min(members, key=lambda member: (member.active, member.chosen_at))


def _quick_more_often(members: Sequence[Member], key: str) -> Member:
    known = [member.mean_ns for member in members if member.mean_ns]
    if not known:
        return _longest_waiting(members, key)
    # One that has not answered yet counts as the quickest, so that it is tried soon.
    weights = [1.0 / (member.mean_ns or min(known)) for member in members]
    for member, weight in zip(members, weights, strict=True):
        member.credit += weight
    chosen = max(members, key=lambda member: member.credit)
    chosen.credit -= sum(weights)
    return chosen


def _by_key(members: Sequence[Member], key: str) -> Member:
    # Rendezvous: the member whose mark for this key is the highest, so that one that goes moves only its own keys.
    name = key.encode(errors="surrogatepass")
    return max(members, key=lambda member: blake2b(name, digest_size=8, key=member.mark).digest())
