"""From a URI to an opened store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.errors import InvalidURIError
from penstock.layers.prefix import Prefixed
from penstock.options import Resolved, resolve
from penstock.plugins import PluginHost, default_host
from penstock.store import Address, ObjectStore, StoreType
from penstock.urls import StoreURL, parse_object, parse_store

__all__ = ["Target", "open_store", "require_bucket", "resolve_object", "resolve_place", "resolve_store"]


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
        """Scheme and authority, as an op-log names them."""
        scheme, mark, _ = self.address.base.partition("://")
        return f"{scheme}{mark}"


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
    uri: str, *, options: Mapping[str, Any] | None = None, threads: int = 1, host: PluginHost | None = None
) -> ObjectStore:
    """Open a store rooted at ``uri``: keys are relative to it. ``threads`` is how many will call it at once.

    Raises as :func:`resolve_object` does, and what the backend raises when it opens.
    """
    target = resolve_store(uri, options=options, host=host)
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
