"""How the operations of one lane choose objects.

Lanes share a pool and split it only where that matters: a policy that goes in turn interleaves them, and in a
workload that deletes each object belongs to one lane, so that none reads what another has deleted.
"""

from __future__ import annotations

from typing import Protocol

import attrs
import numpy as np

from penstock.engine.grid import Turn
from penstock.engine.lanes import Exhausted
from penstock.engine.objects import Pool
from penstock.workload import hashing
from penstock.workload.pools import Pool as LivePool
from penstock.workload.selection import Selection, Selector, selector

__all__ = ["Chooser", "LaneObjects", "Lent", "Owned", "Shared", "Taker"]

_BATCH = 1024
#: Draws that may hit objects deleted under another glob before the operation gives up.
_TRIES = 1000


class Chooser(Protocol):
    """Gives positions in a pool."""

    def next(self) -> int:
        """The next position. Raises Exhausted when there is none any more."""


class Taker(Protocol):
    """Gives positions in a pool for good."""

    def take(self) -> int:
        """Remove a position and return it. Raises Exhausted when there is none any more."""


class Shared:
    """Positions of a pool that only grows; the policy's selector does the work, in batches."""

    __slots__ = ("_batch", "_selector")

    def __init__(self, chosen: Selector) -> None:
        self._selector = chosen
        self._batch: list[int] = []

    def next(self) -> int:
        if not self._batch:
            # Reversed, so that taking one is a pop from the end.
            self._batch = self._selector.indices(_BATCH)[::-1].tolist()
            if not self._batch:
                raise Exhausted
        return self._batch.pop()


class Lent:
    """Positions of the host's own objects, and with a probability those of other hosts, which come after them."""

    __slots__ = ("_key", "_lent", "_others", "_own", "_probability", "_rounds", "_tosses")

    def __init__(self, own: Shared, others: Shared, first: int, probability: float, rng_key: int) -> None:
        """``first`` is the position of the first of the others."""
        self._own = own
        self._others = others
        self._lent = first
        self._probability = probability
        self._key = rng_key
        self._rounds = 0
        self._tosses: list[bool] = []

    def next(self) -> int:
        if not self._tosses:
            counters = np.arange(self._rounds * _BATCH, (self._rounds + 1) * _BATCH, dtype=np.int64)
            self._rounds += 1
            self._tosses = (hashing.uniform(self._key, counters) < self._probability).tolist()
        return self._lent + self._others.next() if self._tosses.pop() else self._own.next()


@attrs.define
class Owned:
    """Positions in the lane's own part of a pool, without those it has deleted under any glob."""

    pool: Pool
    live: LivePool
    gone: set[str]

    def next(self) -> int:
        for _ in range(_TRIES):
            item = self.live.next()
            if item is None:
                break
            if self.pool.key(item) not in self.gone:
                return item
            self.live.remove(item)
        raise Exhausted

    def take(self) -> int:
        """Remove a position for good and return it."""
        while (item := self.live.take()) is not None:
            key = self.pool.key(item)
            if key not in self.gone:
                self.gone.add(key)
                return item
        raise Exhausted


@attrs.define
class LaneObjects:
    """Makes the choosers of one lane. ``deletes`` says whether any operation of the workload deletes.

    ``lane`` is its number among the ``lanes`` that share the objects. ``host`` is that of a host that shares none
    with others, which draws its own numbers; None: all share. Of what is lent, ``overlap`` is the part.
    """

    lane: int
    lanes: int
    seed: int
    deletes: bool
    host: int | None = None
    overlap: float = 0.0
    _gone: dict[int, set[str]] = attrs.field(factory=dict, init=False)
    _parts: dict[int, tuple[Pool, Pool]] = attrs.field(factory=dict, init=False)

    def part(self, pool: Pool) -> Pool:
        """What this lane chooses from: its own part where the workload deletes, else the whole pool."""
        if not self.deletes:
            return pool
        # The whole is kept beside its part so that its id stays its own.
        if id(pool) not in self._parts:
            self._parts[id(pool)] = pool, pool.part(self.lane, self.lanes)
        return self._parts[id(pool)][1]

    def chooser(self, pool: Pool, policy: Selection, operation: int, store: int, turn: Turn) -> Chooser:
        """A chooser of objects for one operation of the workload, by its number, on one store.

        ``pool`` is what :meth:`part` gives. ``turn`` is the lane's among those that run it.
        """
        if self.deletes:
            return self.owned(pool, policy, operation, store)
        return self.shared(pool, policy, operation, turn)

    def gone(self, store: int) -> set[str]:
        """The keys that this lane has deleted on a store."""
        return self._gone.setdefault(store, set())

    def shared(self, pool: Pool, policy: Selection, operation: int, turn: Turn) -> Chooser:
        """A chooser over the whole pool, of which nothing is ever deleted."""
        if pool.own is None or pool.own == pool.count:
            return self._drawing(pool.count, policy, turn, "choose", operation)
        others = self._drawing(pool.count - pool.own, policy, turn, "lent", operation)
        if not pool.own:
            return others
        own = self._drawing(pool.own, policy, turn, "choose", operation)
        toss = self._key("toss", operation, self.lane)
        return Lent(own, others, pool.own, self.overlap, toss)

    def _drawing(self, count: int, policy: Selection, turn: Turn, purpose: str, operation: int) -> Shared:
        key = self._key(purpose, operation)
        return Shared(selector(policy, count, rng_key=key, lane=turn.number, lanes=turn.among))

    def _key(self, *purpose: str | int) -> int:
        host = () if self.host is None else ("host", self.host)
        return hashing.derive(self.seed, *purpose, *host)

    def owned(self, pool: Pool, policy: Selection, operation: int, store: int) -> Owned:
        """A chooser over this lane's part of a pool."""
        key = self._key("choose", operation, self.lane)
        return Owned(pool, LivePool(pool.count, policy, key), self.gone(store))
