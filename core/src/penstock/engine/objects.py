"""Sets of objects that operations choose from.

A prepared set is a function of the index: a billion objects need no list. A listed one holds what a store's listing
gave. What a glob matches of one or more sets is a :class:`Pool`.
"""

from __future__ import annotations

import bisect
import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.engine.grid import share
from penstock.globs import Glob
from penstock.workload.names import Names, matching

__all__ = ["Indices", "ListedObjects", "Member", "NamedObjects", "ObjectSet", "Pool", "Sizes", "select"]

#: Numbers of objects in a set, ascending.
Indices = range | NDArray[np.int64]
#: Sizes in bytes of the objects of these indices.
Sizes = Callable[[NDArray[np.int64]], NDArray[np.int64]]


class ObjectSet(Protocol):
    """Objects by index, 0 to ``count`` exclusive."""

    @property
    def count(self) -> int: ...

    def key(self, index: int) -> str:
        """The key of one object in its store."""

    def size(self, index: int) -> int:
        """Its size in bytes, as prepared or as listed."""

    def part(self, chosen: Indices, lane: int, lanes: int) -> Indices:
        """Of these objects those that one of ``lanes`` owns: each has one owner, by whichever glob it is found."""

    def split(self, chosen: Indices, host: int, hosts: int) -> tuple[Indices, list[Indices]]:
        """Of these objects those that are in a host's share of the set, and the others; by whichever glob."""


@attrs.frozen
class NamedObjects:
    """Objects whose names and sizes follow from the index. ``suffix`` ends each key: a slash for directories."""

    names: Names
    sizes: Sizes
    suffix: str = ""

    @property
    def count(self) -> int:
        return self.names.count

    def key(self, index: int) -> str:
        return f"{self.names.base}{self.names.name(index)}{self.suffix}"

    def size(self, index: int) -> int:
        return int(self.sizes(np.array([index], dtype=np.int64))[0])

    def part(self, chosen: Indices, lane: int, lanes: int) -> Indices:
        if isinstance(chosen, range) and chosen.step == 1:
            return range(chosen.start + (lane - chosen.start) % lanes, chosen.stop, lanes)
        indices: NDArray[np.int64] = np.asarray(chosen, dtype=np.int64)
        owned: NDArray[np.int64] = indices[indices % lanes == lane]
        return owned

    def split(self, chosen: Indices, host: int, hosts: int) -> tuple[Indices, list[Indices]]:
        # What a host has prepared is its share, where all hosts have as many processes.
        low, high = share(self.count, host, hosts)
        if isinstance(chosen, range) and chosen.step == 1:
            first = min(max(chosen.start, low), chosen.stop)
            last = max(min(chosen.stop, high), first)
            return range(first, last), [range(chosen.start, first), range(last, chosen.stop)]
        indices: NDArray[np.int64] = np.asarray(chosen, dtype=np.int64)
        mine = (indices >= low) & (indices < high)
        return indices[mine], [indices[~mine]]


@attrs.frozen
class ListedObjects:
    """Objects that a listing found."""

    keys: Sequence[str]
    nbytes: Sequence[int]

    @property
    def count(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        return self.keys[index]

    def size(self, index: int) -> int:
        return self.nbytes[index]

    def part(self, chosen: Indices, lane: int, lanes: int) -> Indices:
        # Another listing may number the same objects otherwise, so the name decides.
        owned = [index for index in chosen if zlib.crc32(self.keys[index].encode()) % lanes == lane]
        return np.array(owned, dtype=np.int64)

    def split(self, chosen: Indices, host: int, hosts: int) -> tuple[Indices, list[Indices]]:
        mine = self.part(chosen, host, hosts)
        return mine, [np.setdiff1d(np.asarray(chosen, dtype=np.int64), mine)]


@attrs.frozen
class Member:
    """Part of a set: the objects at ``chosen``."""

    objects: ObjectSet
    chosen: Indices


class Pool:
    """Objects of one or more sets as one sequence, for an operation to choose from."""

    def __init__(self, members: Sequence[Member], own: int | None = None) -> None:
        """``own``: so many, the first, are the host's own, and the others are those of other hosts; None: all are of
        one kind.
        """
        self.own = own
        #: Those that have any object.
        self.members = tuple(member for member in members if len(member.chosen))
        self._bounds = tuple(itertools.accumulate(len(member.chosen) for member in self.members))
        self.count = self._bounds[-1] if self._bounds else 0
        #: The key of the object at a position, 0 to ``count`` exclusive.
        self.key: Callable[[int], str] = self._key
        #: Its size in bytes.
        self.size: Callable[[int], int] = self._size
        if len(self.members) == 1 and _is_whole(self.members[0]):
            # One whole set is the usual case and needs no search.
            self.key, self.size = self.members[0].objects.key, self.members[0].objects.size

    def part(self, lane: int, lanes: int) -> Pool:
        """The objects that one of ``lanes`` owns."""
        return Pool([attrs.evolve(each, chosen=each.objects.part(each.chosen, lane, lanes)) for each in self.members])

    def split(self, host: int, hosts: int) -> tuple[Pool, Pool]:
        """The objects of a host's share, and those of the others."""
        own, others = [], []
        for member in self.members:
            mine, rest = member.objects.split(member.chosen, host, hosts)
            own.append(attrs.evolve(member, chosen=mine))
            others += [attrs.evolve(member, chosen=each) for each in rest]
        return Pool(own), Pool(others)

    def _key(self, position: int) -> str:
        member, index = self._locate(position)
        return member.objects.key(index)

    def _size(self, position: int) -> int:
        member, index = self._locate(position)
        return member.objects.size(index)

    def _locate(self, position: int) -> tuple[Member, int]:
        number = bisect.bisect_right(self._bounds, position)
        before = self._bounds[number - 1] if number else 0
        member = self.members[number]
        return member, int(member.chosen[position - before])


def select(sets: Sequence[NamedObjects], glob: Glob) -> Pool:
    """The pool of what a glob matches, without the suffix that ends the keys of directories."""
    return Pool([Member(objects, matching(glob, objects.names)) for objects in sets])


def _is_whole(member: Member) -> bool:
    return isinstance(member.chosen, range) and member.chosen == range(member.objects.count)
