"""Reading what the run itself has put: each lane chooses among its own puts, so that no lane needs to know of others.

A lane's own puts stand for those of all: they are chosen as often as every put of the run would be if the lanes shared
them. Memory is eight bytes for each put that a glob matches, and as much again where the workload deletes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np

from penstock.engine.choosing import Chooser, Owned
from penstock.engine.lanes import Exhausted, Idle
from penstock.engine.objects import Pool
from penstock.globs import Glob
from penstock.workload import hashing

__all__ = ["Growing", "GrownPool", "OwnPuts", "Source", "chances"]

_BATCH = 512
_INDEX_BITS = 48


@attrs.frozen
class Source:
    """A put of the workload: the names and sizes of what it has made, by running number."""

    name: Callable[[int], str]
    size: Callable[[int], int]


class OwnPuts:
    """What this lane has put and a glob matches, by serial number; ``live`` holds the serials not deleted."""

    def __init__(self, glob: Glob, sources: Sequence[Source], *, deletes: bool) -> None:
        self._glob = glob
        self._sources = sources
        self._made = array("q")
        self._live: array[int] | None = array("q") if deletes else None

    def add(self, source: int, index: int) -> None:
        """Note an object that a source has made."""
        if self._glob.matches(self._sources[source].name(index)):
            if self._live is not None:
                self._live.append(len(self._made))
            self._made.append(source << _INDEX_BITS | index)

    def __len__(self) -> int:
        return len(self._made) if self._live is None else len(self._live)

    def pick(self, chance: float) -> int:
        """One of the serials, by a random number in [0, 1)."""
        place = int(chance * len(self))
        return place if self._live is None else self._live[place]

    def drop(self, serial: int, chance: float) -> None:
        """Leave out what :meth:`pick` gave for ``chance``."""
        assert self._live is not None
        place = int(chance * len(self._live))
        assert self._live[place] == serial
        last = self._live.pop()
        if place < len(self._live):
            self._live[place] = last

    def key(self, serial: int) -> str:
        """The key of a serial."""
        source, index = divmod(self._made[serial], 1 << _INDEX_BITS)
        return self._sources[source].name(index)

    def size(self, serial: int) -> int:
        """Its size in bytes."""
        source, index = divmod(self._made[serial], 1 << _INDEX_BITS)
        return self._sources[source].size(index)


class GrownPool(Pool):
    """A pool, and behind it what this lane has put."""

    def __init__(self, base: Pool, own: OwnPuts) -> None:
        super().__init__([])
        first = self.count = base.count
        self.key = lambda position: base.key(position) if position < first else own.key(position - first)
        self.size = lambda position: base.size(position) if position < first else own.size(position - first)


@attrs.define
class Growing:
    """Chooses in a :class:`GrownPool`. ``base`` is None where there was nothing before the run.

    ``among`` is how many lanes share the base: one where the lane's part is its own.
    """

    base: Chooser | Owned | None
    pool: GrownPool
    own: OwnPuts
    among: int
    gone: set[str]
    chances: Iterator[float]

    def next(self) -> int:
        """The next position. Raises Idle when there is none yet."""
        return self._draw(lambda base: base.next())[0]

    def take(self) -> int:
        """Remove a position for good and return it. Raises Idle when there is none yet."""
        position, chance = self._draw(lambda base: base.take())  # type: ignore[union-attr]
        if position >= self.pool.count:
            self.own.drop(position - self.pool.count, chance)
            self.gone.add(self.pool.key(position))
        return position

    def _draw(self, among_base: Callable[[Chooser | Owned], int]) -> tuple[int, float]:
        """A position; of an own put also the random number that it was picked by."""
        while True:
            put, left = len(self.own) * self.among, self._left()
            if self.base is not None and left and next(self.chances) * (put + left) >= put:
                try:
                    return among_base(self.base), 0.0
                except Exhausted:
                    self.base = None
                    continue
            if not put:
                raise Idle
            chance = next(self.chances)
            serial = self.own.pick(chance)
            position = self.pool.count + serial
            if not self.gone or self.pool.key(position) not in self.gone:
                return position, chance
            # Deleted under another glob; it need not be met again.
            self.own.drop(serial, chance)

    def _left(self) -> int:
        if self.base is None:
            return 0
        return self.base.live.count if isinstance(self.base, Owned) else self.pool.count


def chances(seed: int, operation: int, lane: int) -> Iterator[float]:
    """Random numbers in [0, 1) without end."""
    key, first = hashing.derive(seed, "reuse", operation, lane), 0
    while True:
        yield from hashing.uniform(key, np.arange(first, first + _BATCH, dtype=np.int64)).tolist()
        first += _BATCH
