"""What a run knows of the bytes in objects: those that it prepared, and those that its puts wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from penstock.engine.build import NewNames, name_new, put_size
from penstock.engine.contents import Recipe, put_number, put_recipe
from penstock.engine.legs import Leg
from penstock.engine.places import Places
from penstock.engine.sets import PreparedSet
from penstock.payload import Payload
from penstock.payloads.comparing import Version
from penstock.workload.config import Config
from penstock.workload.names import count_numbers
from penstock.workload.operations import Copy, Put

__all__ = [
    "Knowledge",
    "Known",
    "NamedContent",
    "PreparedContent",
    "PutContent",
    "copy_names",
    "count_versions",
    "knowledge_of",
    "put_contents",
]

#: Names whose answer is kept: an object is read again and again.
_KEPT = 65_536


@attrs.frozen
class Known:
    """A version of an object, its size in bytes, and its bit on the board: 0 was there before the run, or has a name
    that is given once.

    ``sure`` says that the object has no version of unknown content: it was prepared, or has a name that nobody else
    gives.
    """

    version: Version
    size: int
    bit: int
    sure: bool


class NamedContent(Protocol):
    """A family of objects whose content follows from their names."""

    @property
    def store(self) -> int:
        """The number of their store."""

    def find(self, key: str) -> Known | None:
        """What an object of that key holds; None for a key that is not of this family."""


@attrs.frozen
class PreparedContent:
    """The objects of a prepared set."""

    prepared: PreparedSet

    @property
    def store(self) -> int:
        return self.prepared.store

    def find(self, key: str) -> Known | None:
        prepared, names = self.prepared, self.prepared.objects.names
        if prepared.payload is None or not key.startswith(names.base):
            return None
        index = names.index(key[len(names.base) :])
        if index is None:
            return None
        version = Version(prepared.payload, prepared.number(index), "as prepared")
        return Known(version, prepared.objects.size(index), 0, sure=True)


@attrs.frozen
class PutContent:
    """What a put of the workload writes; ``index`` gives the running number in a name, None for other names.

    It is operation ``operation`` of the leg with that ``run_id``. ``bit`` is from 1 on, 0 for names of its own. ``own``
    says that no other run or operation makes objects of these names.
    """

    run_id: str
    operation: int
    store: int
    bit: int
    own: bool
    name: str
    payload: Payload
    index: Callable[[str], int | None]
    number: Callable[[int], int]
    size: Callable[[int], int]

    def find(self, key: str) -> Known | None:
        index = self.index(key)
        if index is None:
            return None
        version = Version(self.payload, self.number(index), self.name)
        return Known(version, self.size(index), self.bit, sure=self.own)


class Knowledge:
    """Finds what an object may hold. Any thread may ask."""

    def __init__(self, families: Sequence[NamedContent], copies: Sequence[NewNames] = ()) -> None:
        """``copies`` are the names that copies give: what an object of such a name holds is not known."""
        self._families = families
        self._copies = copies
        self._kept: dict[tuple[int, str], tuple[Known, ...]] = {}

    def of(self, store: int, key: str) -> tuple[Known, ...]:
        """Every version that the object can have, those of this run's puts last. Empty: its content is not known."""
        found = self._kept.get((store, key))
        if found is None:
            found = () if self._is_copy(store, key) else self._find(store, key)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[store, key] = found
        return found

    def bit_of(self, run_id: str, operation: int) -> int:
        """The bit of what that operation of a leg puts; 0 where no two versions of it are to be told apart."""
        puts = (family for family in self._families if isinstance(family, PutContent))
        return next((put.bit for put in puts if (put.run_id, put.operation) == (run_id, operation)), 0)

    def _is_copy(self, store: int, key: str) -> bool:
        return any(names.store == store and names.index(key) is not None for names in self._copies)

    def _find(self, store: int, key: str) -> tuple[Known, ...]:
        families = (family for family in self._families if family.store == store)
        return tuple(known for family in families if (known := family.find(key)) is not None)


def put_contents(
    config: Config,
    places: Places,
    payload: Callable[[Recipe], Payload],
    run_id: str,
    *,
    before: int = 0,
    label: str = "",
) -> list[PutContent]:
    """What each put of a workload writes; ``payload`` opens a recipe.

    ``before`` are the versions of masks that are known already, of other workloads; ``label`` says which this is.
    """
    contents, bit = [], before
    for number, item in enumerate(config.workload):
        if not isinstance(item, Put):
            continue
        names = name_new(places, item.path, run_id, number, put=item)
        # Names of its own are given once, so there are no versions to tell apart.
        bit += not names.own
        contents.append(
            PutContent(
                run_id=run_id,
                operation=number,
                store=names.store,
                bit=0 if names.own else bit,
                own=names.own,
                name=f"as put by workload[{number}]{f' of {label}' if label else ''}",
                payload=payload(put_recipe(item, run_id, number)),
                index=names.index,
                number=put_number(item, run_id, number),
                size=put_size(config, item, number),
            )
        )
    return contents


def count_versions(config: Config) -> int:
    """How many versions an object of the workload may have beside the prepared one: its puts with a mask."""
    return sum(isinstance(item, Put) and count_numbers(item.path) > 0 for item in config.workload)


def knowledge_of(
    legs: Sequence[Leg],
    places: Places,
    sets: Sequence[PreparedSet],
    payload: Callable[[Recipe], Payload],
    run_id: str,
) -> tuple[Knowledge, bool]:
    """What all legs of a run know of objects, and whether any of their puts may replace one."""
    puts: list[PutContent] = []
    copies: list[NewNames] = []
    for leg in legs:
        before = max((each.bit for each in puts), default=0)
        puts += put_contents(leg.config, places, payload, leg.run_id(run_id), before=before, label=leg.label)
        copies += copy_names(leg.config, places, leg.run_id(run_id))
    return Knowledge([*map(PreparedContent, sets), *puts], copies), any(not each.own for each in puts)


def copy_names(config: Config, places: Places, run_id: str) -> list[NewNames]:
    """The names that each copy of the workload gives."""
    copies = [(number, item) for number, item in enumerate(config.workload) if isinstance(item, Copy)]
    return [name_new(places, item.to, run_id, number) for number, item in copies]
