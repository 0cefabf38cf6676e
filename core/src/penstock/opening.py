"""From a URI to an opened store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from penstock.errors import InvalidURIError, UsageError
from penstock.layers.prefix import Prefixed
from penstock.options import Resolved, resolve
from penstock.plugins import PluginHost, default_host
from penstock.store import Address, ObjectStore, StoreType
from penstock.urls import StoreURL, parse_object, parse_store

if TYPE_CHECKING:
    from penstock.layers.stack import Layers, Stack

__all__ = [
    "Target",
    "open_stack",
    "open_store",
    "require_bucket",
    "resolve_endpoints",
    "resolve_object",
    "resolve_place",
    "resolve_store",
]


@attrs.frozen(slots=True)
class Target:
    """A URI that was understood: the backend, the resolved options of the store, and where in it the URI points.

    ``address.base`` plus a key is the URI of an object.
    """

    kind: StoreType
    address: Address
    resolved: Resolved

    def open(self, threads: int = 1) -> ObjectStore:
        """Open the store itself, at ``address.base``. Raises InvalidURIError where the URI names only a service."""
        self.need_bucket()
        return self.kind.open(self.resolved.options, threads)

    def need_bucket(self) -> None:
        """Raise InvalidURIError where the URI names only a service, not a bucket in it."""
        require_bucket(self.kind, self.address)

    def endpoint(self) -> str:
        """Scheme and authority, as an op-log names them: what stands before the bucket."""
        scheme, mark, rest = self.address.base.partition("://")
        bucket = self.address.bucket
        authority = rest.removesuffix("/").removesuffix(bucket).rstrip("/") if bucket else ""
        return f"{scheme}{mark}{authority}"


def require_bucket(kind: StoreType, address: Address) -> None:
    """Raise InvalidURIError where an address names only a service, not a bucket in it."""
    if address.bucket == "":
        write = f"; write {kind.form}" if kind.form else ""
        raise InvalidURIError(f"{address.base} names no bucket{write}, or list the buckets: penstock ls {address.base}")


def resolve_object(uri: str, *, options: Mapping[str, Any] | None = None, host: PluginHost | None = None) -> Target:
    """Understand the URI of an object or a prefix; ``?`` belongs to the key.

    Raises InvalidURIError, UnknownSchemeError, PluginError, UnknownOptionError or UsageError.
    """
    return _resolve(parse_object(uri), options, host)


def resolve_place(uri: str, *, options: Mapping[str, Any] | None = None, host: PluginHost | None = None) -> Target:
    """Understand the URI of a place within a store, with options after its ``?``.

    As with :func:`resolve_object` the address's key leads to the place from the store's own root, so that places
    of one store share it. Raises as that does.
    """
    return _resolve(parse_store(uri), options, host)


def resolve_store(uri: str, *, options: Mapping[str, Any] | None = None, host: PluginHost | None = None) -> Target:
    """Understand the URI of a place that is to be the root of a store; text after ``?`` holds options.

    The address's key is empty where the backend can put a root there, and a prefix ending in ``/`` where core has
    to. Raises as :func:`resolve_object` does.
    """
    return _resolve(parse_store(uri), options, host, root=True)


def open_store(
    uri: str | Sequence[str],
    *,
    options: Mapping[str, Any] | None = None,
    threads: int = 1,
    layers: Layers | None = None,
    host: PluginHost | None = None,
) -> ObjectStore:
    """Open a store rooted at ``uri``: keys are relative to it. ``threads`` is how many will call it at once.

    Several URIs are endpoints of one namespace, as in :mod:`penstock.layers.endpoints`. ``layers`` are put on the
    store as :mod:`penstock.layers` says. Raises as :func:`resolve_object` does, and what the backend raises when it
    opens.
    """
    if isinstance(uri, str) and layers is None:
        return _rooted(resolve_store(uri, options=options, host=host), threads)
    uris = [uri] if isinstance(uri, str) else uri
    return open_stack(resolve_endpoints(uris, options=options, host=host), layers, threads=threads).store


def resolve_endpoints(
    uris: Sequence[str], *, options: Mapping[str, Any] | None = None, host: PluginHost | None = None
) -> list[Target]:
    """Understand the URIs of endpoints, which have one scheme. Raises as :func:`resolve_store` does."""
    targets = [resolve_store(uri, options=options, host=host) for uri in uris]
    kinds = {target.kind.schemes[0] for target in targets}
    if len(kinds) != 1:
        raise UsageError(f"endpoints are one or more URIs of one scheme, not of {', '.join(sorted(kinds)) or 'none'}")
    return targets


def open_stack(
    targets: Sequence[Target],
    layers: Layers | None,
    *,
    threads: int = 1,
    wrap: Callable[[ObjectStore], ObjectStore] | None = None,
) -> Stack:
    """Open stores that are endpoints of one namespace, or a single one, and put layers on them.

    The stack gives access to what the layers count; ``wrap`` is that of :func:`penstock.layers.stack.apply`. A store
    that was opened is closed again if another, or a layer, fails.
    """
    # Only who asks for layers pays for importing them.
    from penstock.layers.stack import Layers, apply

    members: list[tuple[str, ObjectStore]] = []
    try:
        for target in targets:
            members.append((target.address.base + target.address.key, _rooted(target, threads)))
        return apply(members, layers or Layers(), wrap=wrap)
    except BaseException:
        for _, store in members:
            store.close()
        raise


def _rooted(target: Target, threads: int) -> ObjectStore:
    store = target.open(threads)
    return Prefixed(store, target.address.key) if target.address.key else store


def _resolve(url: StoreURL, options: Mapping[str, Any] | None, host: PluginHost | None, root: bool = False) -> Target:
    kind = (host or default_host()).store_type(url.scheme, url.authority)
    address = kind.parse(url)
    if root and address.key:
        if not address.key.endswith("/"):
            address = attrs.evolve(address, key=f"{address.key}/")
        if kind.descend is not None:
            address = kind.descend(address)
    resolved = resolve(
        kind.options,
        explicit=options,
        uri=address.options,
        query=url.query,
        environ=os.environ,
        scheme=url.scheme,
    )
    return Target(kind, address, resolved)
