"""The stores of a replay: each opened once, when the first operation needs it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import attrs

from penstock.errors import UnknownOptionError, UsageError
from penstock.opening import Target, resolve_object, resolve_place
from penstock.options import nearest
from penstock.records import Endpoint
from penstock.service import StoreService
from penstock.store import ObjectStore

__all__ = ["Place", "Roots"]


@attrs.frozen(slots=True)
class Place:
    """Somewhere in a store: the store's number, and what keys there begin with, empty or ending in ``/``."""

    store: int
    prefix: str


class Roots:
    """The stores by number. ``options`` go to each store that has an option of the name."""

    def __init__(self, options: Mapping[str, str], threads: int) -> None:
        self._options = options
        self._threads = threads
        self._targets: list[Target] = []
        self._stores: dict[int, ObjectStore] = {}
        self._bases: dict[str, int] = {}
        self._lock = threading.Lock()
        #: What records' endpoint numbers stand for.
        self.endpoints: list[Endpoint] = []

    def place(self, uri: str) -> Place:
        """A place that somebody named; after its ``?`` may stand options. Raises what resolve_place raises."""
        target = resolve_place(uri, options=self._known(resolve_place(uri)))
        target.need_bucket()
        prefix = target.address.key
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        return Place(self._number(target), prefix)

    def base(self, uri: str) -> int:
        """The number of the store whose own URI this is. Raises what resolve_object raises."""
        number = self._bases.get(uri)
        if number is None:
            target = resolve_object(uri, options=self._known(resolve_object(uri)))
            target.need_bucket()
            number = self._bases[uri] = self._number(target)
        return number

    def store(self, number: int) -> ObjectStore:
        """An opened store. Raises what a backend raises when it opens."""
        store = self._stores.get(number)
        if store is None:
            with self._lock:
                store = self._stores.get(number)
                if store is None:
                    store = self._stores[number] = self._targets[number].open(self._threads)
        return store

    def has_service(self, number: int) -> bool:
        """Whether buckets can be made and removed around a store."""
        return self._targets[number].kind.service is not None and self._targets[number].address.bucket is not None

    def service(self, number: int) -> StoreService | None:
        """The service around a store, None where it has none. The caller closes it."""
        target = self._targets[number]
        return target.kind.service(target.resolved.options) if target.kind.service is not None else None

    def uri(self, number: int, key: str) -> str:
        """The URI of an object."""
        return self.endpoints[number].base + key

    @property
    def private(self) -> list[str]:
        """The schemes whose objects live in one process."""
        return [target.kind.schemes[0] for target in self._targets if not target.kind.capabilities.shared]

    def local(self, number: int) -> bool:
        """Whether the store has real directories of this host."""
        return self._targets[number].kind.capabilities.directories

    def secrets(self) -> set[str]:
        """Names of options whose values nobody may see."""
        fields = (field for target in self._targets for field in attrs.fields(target.kind.options))
        return {field.name for field in fields if not field.repr}

    def close(self) -> None:
        """Close what was opened."""
        while self._stores:
            self._stores.popitem()[1].close()

    def check_options(self) -> None:
        """Raise UnknownOptionError for an option that no store so far has."""
        known: set[str] = set()
        for target in self._targets:
            known |= _names(target)
        for name in self._options:
            if self._targets and name not in known:
                raise UnknownOptionError(f"-O {name}: no store here has this option; {nearest(name, known)}")

    def _known(self, target: Target) -> dict[str, str]:
        names = _names(target)
        return {name: value for name, value in self._options.items() if name in names}

    def _number(self, target: Target) -> int:
        for number, known in enumerate(self._targets):
            if known.address.base == target.address.base and known.resolved.options == target.resolved.options:
                return number
        if len(self._targets) > 0xFFFF:
            raise UsageError("more than 65,536 stores; map buckets to fewer places with --target or --remap")
        self._targets.append(target)
        self.endpoints.append(Endpoint(target.address.base, target.endpoint()))
        return len(self._targets) - 1


def _names(target: Target) -> set[str]:
    return {field.name for field in attrs.fields(target.kind.options)}
