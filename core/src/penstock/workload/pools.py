"""Pools that shrink: what a delete took is never handed out again.

A pool belongs to one lane and is not locked. Lanes that delete from one set of objects split it between them, so
that no lane reads what another has deleted.
"""

from __future__ import annotations

import attrs
import numpy as np

from penstock.workload import hashing
from penstock.workload.selection import EachOnce, HotSet, Permutation, Selection, Sequential, Uniform, Zipf, selector

__all__ = ["LiveSet", "Pool"]

_BATCH = 512


class LiveSet:
    """The numbers [0, n) without those that were removed; memory grows with the removals alone.

    A shuffle in the manner of Fisher and Yates, of which only what differs from the identity is stored:
    positions [0, count) hold the numbers that are left. To remove one, swap it to the last of these positions and
    take 1 off ``count``.
    """

    __slots__ = ("_item", "_position", "count")

    def __init__(self, n: int) -> None:
        self.count = n
        self._item: dict[int, int] = {}
        self._position: dict[int, int] = {}

    def at(self, position: int) -> int:
        """The number at a position in [0, count)."""
        return self._item.get(position, position)

    def position(self, item: int) -> int:
        """Where a number stands; at or beyond ``count`` when it was removed."""
        return self._position.get(item, item)

    def swap(self, first: int, second: int) -> None:
        """Exchange what stands at two positions."""
        one, other = self.at(first), self.at(second)
        self._put(first, other)
        self._put(second, one)

    def _put(self, position: int, item: int) -> None:
        if position == item:
            self._item.pop(position, None)
            self._position.pop(item, None)
        else:
            self._item[position] = item
            self._position[item] = position


class Pool:
    """The objects [0, n) of one lane, handed out by a policy, with removals.

    With zipf and hot_set, the object of the last rank takes the rank of one that is removed.
    """

    def __init__(self, n: int, policy: Selection, rng_key: int) -> None:
        self._ranks = LiveSet(n)
        self._key = rng_key
        self._once = isinstance(policy, EachOnce)
        self._in_turn = isinstance(policy, Sequential | EachOnce)
        # Positions below it have been handed out in this round; for policies that go in turn.
        self._cursor = 0
        self._spread: Permutation | None = None
        if isinstance(policy, Zipf | HotSet) and policy.scatter and n:
            # One permutation for the pool's whole life: what is hot stays hot while the pool shrinks.
            self._spread = Permutation(n, hashing.derive(rng_key, "scatter"))
            policy = attrs.evolve(policy, scatter=False)
        key = hashing.derive(rng_key, "next")
        self._reads = (
            _HotDraws(policy, key, self._spread) if isinstance(policy, HotSet) else _Draws(policy, key, self._spread)
        )
        self._takes = _Draws(Uniform(), hashing.derive(rng_key, "take"), self._spread)

    @property
    def count(self) -> int:
        """How many are left."""
        return self._ranks.count

    def next(self) -> int | None:
        """The object to use now; None when the pool is empty or the policy has come to its end."""
        if not self._ranks.count:
            return None
        if self._in_turn:
            return self._next_in_turn()
        return self._item(*self._reads.next(self._ranks.count))

    def take(self) -> int | None:
        """Remove an object, every one that is left being equally likely, and return it; None when none is left."""
        if not self._ranks.count:
            return None
        position, item = self._takes.next(self._ranks.count)
        item = self._item(position, item)
        self._remove_at(position)
        return item

    def remove(self, item: int) -> bool:
        """Remove this object, which another pool over the same objects gave away; whether it was still here."""
        rank = item if self._spread is None else int(self._spread.inverse(np.array([item]))[0])
        position = self._ranks.position(rank)
        if position >= self._ranks.count:
            return False
        self._remove_at(position)
        return True

    def _next_in_turn(self) -> int | None:
        if self._cursor >= self._ranks.count:
            if self._once:
                return None
            self._cursor = 0
        self._cursor += 1
        return self._ranks.at(self._cursor - 1)

    def _item(self, position: int, item: int) -> int:
        rank = self._ranks.at(position)
        if rank == position:
            return item
        return rank if self._spread is None else int(self._spread(np.array([rank]))[0])

    def _remove_at(self, position: int) -> None:
        if position < self._cursor:
            # Keep [0, cursor) what has been handed out, or the object that moves here would be skipped.
            self._cursor -= 1
            self._ranks.swap(position, self._cursor)
            position = self._cursor
        self._ranks.swap(position, self._ranks.count - 1)
        self._ranks.count -= 1


class _Draws:
    """Random positions of a pool that shrinks, each with the object that stood there at the start."""

    def __init__(self, policy: Selection, rng_key: int, spread: Permutation | None) -> None:
        self._policy = policy
        self._key = rng_key
        self._spread = spread
        self._ready: list[tuple[int, int]] = []
        self._made_for = 0
        self._batches = 0

    def next(self, count: int) -> tuple[int, int]:
        # Draws were made for the pool as it was. Leaving out those beyond its present end keeps the distribution:
        # what remains of a uniform or a zipf draw is one over the smaller pool.
        while True:
            if not self._ready or self._made_for > 2 * count:
                self._fill(count)
            drawn = self._ready.pop()
            if drawn[0] < count:
                return drawn

    def _fill(self, count: int) -> None:
        self._batches += 1
        rng_key = hashing.derive(self._key, "batch", self._batches)
        positions = selector(self._policy, count, rng_key=rng_key).indices(_BATCH)
        items = positions if self._spread is None else self._spread(positions)
        self._ready = list(zip(positions.tolist(), items.tolist(), strict=True))
        self._made_for = count


class _HotDraws:
    """The same of a hot set: a toss decides between the hot positions and the others, whose draws are kept apart.

    So what is left out of one part changes nothing in how often the other is taken.
    """

    def __init__(self, policy: HotSet, rng_key: int, spread: Permutation | None) -> None:
        self._policy = policy
        self._key = rng_key
        self._spread = spread
        self._hot = 0
        self._tosses: list[bool] = []
        self._ready: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        self._made_for = 0
        self._batches = 0

    def next(self, count: int) -> tuple[int, int]:
        if not self._made_for or self._made_for > 2 * count:
            self._hot, self._made_for = self._policy.size(count), count
            self._ready = {True: [], False: []}
        if not self._tosses:
            coins = hashing.uniform(self._new_key("tosses"), np.arange(_BATCH, dtype=np.int64))
            self._tosses = (coins < self._policy.probability).tolist()
        hot = self._tosses.pop() or self._hot >= count
        while True:
            if not self._ready[hot]:
                self._fill(hot, count)
            drawn = self._ready[hot].pop()
            if drawn[0] < count:
                return drawn

    def _fill(self, hot: bool, count: int) -> None:
        low, high = (0, self._hot) if hot else (self._hot, count)
        bits = hashing.words(self._new_key("hot" if hot else "cold"), np.arange(_BATCH, dtype=np.int64))
        positions = low + hashing.below(bits, high - low)
        items = positions if self._spread is None else self._spread(positions)
        self._ready[hot] = list(zip(positions.tolist(), items.tolist(), strict=True))

    def _new_key(self, purpose: str) -> int:
        self._batches += 1
        return hashing.derive(self._key, purpose, self._batches)
