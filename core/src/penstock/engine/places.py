"""The stores of a run: each place that the configuration names, resolved, and each store opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from penstock.layers.stack import Stack
from penstock.opening import Target, open_stack, resolve_object, resolve_place, resolve_store
from penstock.records import Endpoint
from penstock.store import ObjectStore
from penstock.urls import join
from penstock.workload.config import Config
from penstock.workload.layering import layers_of
from penstock.workload.operations import Copy

__all__ = ["Place", "Places", "paths_of", "resolve"]


@attrs.frozen
class Place:
    """A path of the configuration: the number of its store, and its key, prefix or glob there."""

    store: int
    key: str


def paths_of(config: Config) -> Iterator[str]:
    """Every path that the configuration names, as written; those of its stages too."""
    for part in config.parts():
        for operation in part.workload:
            yield operation.path
            if isinstance(operation, Copy):
                yield operation.to
    for objects in config.prepare.ensure_objects:
        yield objects.path
    if config.prepare.directory_structure is not None:
        yield config.prepare.directory_structure.path


def resolve(config: Config, path: str, parts: int | None = None) -> Target:
    """Where a path points; its store sends ``parts`` parts of an object at once, None: as the options say.

    Raises what :func:`penstock.opening.resolve_object` raises.
    """
    if "://" in path or config.target is None:
        return _with_options(config, lambda options: resolve_object(path, options=options), path, parts)
    base = config.target
    if config.multi_endpoint is not None:
        # Each endpoint has a root of its own, from which keys are told.
        root = _with_options(config, lambda options: resolve_store(base, options=options), base, parts)
        return attrs.evolve(root, address=attrs.evolve(root.address, base=_root(root), key=path))
    target = _with_options(config, lambda options: resolve_place(base, options=options), base, parts)
    key = join(target.address.key, path) if target.address.key else path
    return attrs.evolve(target, address=attrs.evolve(target.address, key=key))


def _with_options(
    config: Config, look: Callable[[dict[str, str | None]], Target], uri: str, parts: int | None
) -> Target:
    scheme = uri.partition("://")[0] if "://" in uri else "file"
    options = config.options(scheme)
    return look(options if parts is None else options | {"part_concurrency": str(parts)})


def _root(target: Target) -> str:
    return target.address.base + target.address.key


def _endpoints(config: Config, parts: int | None) -> list[Target]:
    """Of the target, and of the others that show the same."""

    def locate(uri: str) -> Target:
        return _with_options(config, lambda options: resolve_store(uri, options=options), uri, parts)

    if config.multi_endpoint is None or config.target is None:
        return []
    return [locate(uri) for uri in (config.target, *config.multi_endpoint.uris())]


class Places:
    """Resolves paths and opens their stores; one store for all paths with the same root and options.

    ``wrap`` is put on what makes requests, below what splits and checks calls; that of
    :func:`penstock.layers.stack.apply`.
    """

    def __init__(self, config: Config, *, wrap: Callable[[ObjectStore], ObjectStore] | None = None) -> None:
        self._config = config
        self._wrap = wrap
        self._targets: list[Target] = []
        self._endpoints: dict[int, list[Target]] = {}
        self._known: dict[tuple[str, int | None], Place] = {}
        self.stores: list[ObjectStore] = []
        #: The layers of each store, with what they have counted.
        self.stacks: list[Stack] = []

    def locate(self, path: str, parts: int | None = None) -> Place:
        """The place of a path; its store is known from then on, and opened by :meth:`open`. See :func:`resolve`."""
        if (path, parts) not in self._known:
            self._known[path, parts] = self._resolve(path, parts)
        return self._known[path, parts]

    def base(self, store: int) -> str:
        """The URI of a store's root, to which a key is appended."""
        return self._targets[store].address.base

    def targets(self, store: int) -> list[Target]:
        """What is opened as a store: its endpoints, or the one root of it."""
        several = self._endpoints.get(store)
        if several:
            return several
        target = self._targets[store]
        # The key is that of a path; the store is opened at its own root.
        return [attrs.evolve(target, address=attrs.evolve(target.address, key=""))]

    def _resolve(self, path: str, parts: int | None) -> Place:
        target = resolve(self._config, path, parts)
        for number, known in enumerate(self._targets):
            same_root = known.address.base == target.address.base
            if same_root and known.resolved.options == target.resolved.options:
                return Place(number, target.address.key)
        self._targets.append(target)
        several = _endpoints(self._config, parts)
        # A whole URI may be the target's as well.
        if several and target.address.base == _root(several[0]):
            self._endpoints[len(self._targets) - 1] = several
        return Place(len(self._targets) - 1, target.address.key)

    def open(self, threads: int) -> None:
        """Open every store that was located. Raises what a backend raises; stores opened before are closed."""
        try:
            for number in range(len(self.stores), len(self._targets)):
                stack = self._open(number, threads)
                self.stores.append(stack.store)
                self.stacks.append(stack)
        except BaseException:
            self.close()
            raise

    def _open(self, number: int, threads: int) -> Stack:
        config, layers = self._config, layers_of(self._config)
        if number in self._endpoints:
            assert config.multi_endpoint is not None
            layers = attrs.evolve(layers, endpoints=config.multi_endpoint.layer(config.seed))
        return open_stack(self.targets(number), layers, threads=threads, wrap=self._wrap)

    def uri(self, place: Place) -> str:
        """The place as a URI, for people."""
        return self._targets[place.store].address.base + place.key

    def endpoints(self) -> list[Endpoint]:
        """How records name the stores, by number."""
        return [Endpoint(target.address.base, target.endpoint()) for target in self._targets]

    def close(self) -> None:
        """Close the stores."""
        self.stacks.clear()
        while self.stores:
            self.stores.pop().close()
