"""How the lanes of a stage lie on hosts, and which of them choose from the same objects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import attrs

from penstock.workload.distributed import Distributed

__all__ = ["ALONE", "Grid", "Turn", "runs_of", "share", "shares_of"]


@attrs.frozen
class Turn:
    """A lane's number among those that take turns over the same objects; there are ``among``."""

    number: int
    among: int


def runs_of(lanes: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """How many lanes each host has, as ``(hosts, lanes)``: neighbours with as many are told together."""
    return tuple((len(list(same)), count) for count, same in itertools.groupby(lanes))


@attrs.frozen
class Grid:
    """The place of one host among all: its number, and the lanes of each as :func:`runs_of` gives them; empty: there
    is one host, and whatever lanes there are are its own.
    """

    host: int = 0
    runs: Sequence[tuple[int, int]] = ()

    @property
    def hosts(self) -> int:
        return sum(count for count, _ in self.runs) or 1

    def _before(self, most: int | None) -> tuple[int, int, int]:
        """Lanes on the hosts before, on this one, and on all, of each host ``most`` at most."""
        before, own, total, number = 0, 0, 0, 0
        for hosts, lanes in self.runs:
            each = lanes if most is None else min(lanes, most)
            before += each * min(max(self.host - number, 0), hosts)
            if number <= self.host < number + hosts:
                own = each
            total += each * hosts
            number += hosts
        return before, own, total

    def own(self, lane: int, lanes: int) -> Turn:
        """A lane's number among its host's own; ``lane`` and ``lanes`` count through all."""
        if not self.runs:
            return Turn(lane, lanes)
        first, own, _ = self._before(None)
        return Turn(lane - first, own)

    def turn(self, lane: int, lanes: int, most: int | None, *, apart: bool) -> Turn:
        """A lane's number among those that run an operation, of which each host runs ``most`` at a time.

        With ``apart`` only its host's own count: others choose from other objects. Lanes that don't run it get any.
        """
        own = self.own(lane, lanes)
        running = own.among if most is None else min(own.among, most)
        if apart or not self.runs:
            return Turn(own.number % running, running)
        before, _, total = self._before(most)
        return Turn((before + own.number) % total, total)


#: One host.
ALONE = Grid()


def shares_of(distributed: Distributed, grid: Grid) -> int:
    """Among how many hosts objects are shared out for choosing; 1: a host's own share is everything that it sees."""
    apart = distributed.path_selection != "random" and not distributed.own_namespaces
    return grid.hosts if apart else 1


def share(total: int, rank: int, workers: int) -> tuple[int, int]:
    """Which of ``total`` things one of ``workers`` has: from the first number up to, not including, the second."""
    return total * rank // workers, total * (rank + 1) // workers
