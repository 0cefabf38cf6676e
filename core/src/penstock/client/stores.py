"""Opened stores by URI: the cache behind ``penstock.get(uri)`` and its like, and the storage commands."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from penstock.client.store import Store
from penstock.errors import StoreError
from penstock.layers.prefix import Prefixed
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.layers.switch import note_retry, switched
from penstock.opening import Target, open_stack, resolve_endpoints, resolve_object, resolve_store
from penstock.store import ObjectStore

if TYPE_CHECKING:
    from penstock.layers.stack import Layers

__all__ = ["Found", "StoreCache", "close_stores", "connect", "default_cache"]

#: Gets the error, the number of the attempt that met it, and the wait in seconds.
OnRetry = Callable[[StoreError, int, float], None]

_RETRIES = RetryPolicy()


@attrs.frozen(slots=True)
class Found:
    """A store and the key, or prefix, in it that a URI names."""

    store: Store
    key: str

    @property
    def uri(self) -> str:
        """The whole URI, in the form that listings print."""
        return self.store.uri + self.key


class StoreCache:
    """Keeps the last ``limit`` stores open, by all that distinguishes them: backend, place and every option.

    A store that falls out is closed when its last user lets go of it. Threads share the cache.
    """

    def __init__(
        self,
        *,
        limit: int = 32,
        threads: int = 16,
        retries: RetryPolicy | None = _RETRIES,
        on_retry: OnRetry | None = None,
    ) -> None:
        """``retries=None``: a failed call is not repeated. ``on_retry`` is that of
        :class:`~penstock.layers.retry.Retrying`.
        """
        self._limit = limit
        self._threads = threads
        self._retries = retries
        self._on_retry = on_retry
        self._lock = threading.Lock()
        self._stores: OrderedDict[object, Store] = OrderedDict()

    def find(self, uri: str, options: Mapping[str, Any] | None = None) -> Found:
        """Understand the URI of an object or a prefix and open its store, unless it is open."""
        target = resolve_object(uri, options=options)
        identity = (target.kind.schemes, target.address.base, _frozen(target.resolved.options), _directory())
        with self._lock:
            store = self._stores.get(identity)
            if store is None:
                store = self._stores[identity] = self._open(target)
            self._stores.move_to_end(identity)
            if len(self._stores) > self._limit:
                self._stores.popitem(last=False)
        return Found(store, target.address.key)

    def _open(self, target: Target) -> Store:
        return _opened(target, self._threads, self._retries, self._on_retry)

    def close(self) -> None:
        """Close every store that is open."""
        with self._lock:
            stores, self._stores = self._stores, OrderedDict()
        for store in stores.values():
            store.close()


def connect(
    uri: str | Sequence[str],
    *,
    options: Mapping[str, Any] | None = None,
    threads: int = 16,
    retries: RetryPolicy | None = _RETRIES,
    layers: Layers | None = None,
) -> Store:
    """Open a store rooted at ``uri``: keys are relative to it. The caller closes it, or uses it in ``with``.

    ``threads`` is how many work at once on trees and batches. Failed calls that are safe to repeat are repeated as
    ``retries`` says; None: never. Several URIs are endpoints of one namespace; ``layers`` are put on the store as
    :mod:`penstock.layers` says, and what they count is in :attr:`Store.stack`. Raises InvalidURIError,
    UnknownSchemeError, UnknownOptionError, PluginError, UsageError.
    """
    if layers is not None or not isinstance(uri, str):
        return _layered([uri] if isinstance(uri, str) else uri, options, threads, retries, layers)
    target = resolve_store(uri, options=options)
    store = _opened(target, threads, retries)
    if not target.address.key:
        return store
    return Store(Prefixed(store.detach(), target.address.key), store.uri + target.address.key, threads=threads)


def _layered(
    uris: Sequence[str],
    options: Mapping[str, Any] | None,
    threads: int,
    retries: RetryPolicy | None,
    layers: Layers | None,
) -> Store:
    targets = resolve_endpoints(uris, options=options)

    def repeat(store: ObjectStore) -> ObjectStore:
        return store if retries is None else Retrying(store, retries, on_retry=_noting(None))

    stack = open_stack(targets, layers, threads=threads, wrap=repeat)
    base = targets[0].address.base + targets[0].address.key
    store = Store(switched(stack.store, base, targets[0].endpoint()), base, threads=threads)
    store.stack = stack
    return store


def default_cache() -> StoreCache:
    """The cache of this process."""
    return _default


def close_stores() -> None:
    """Close the stores that the module's functions have opened in this process; later calls open them anew."""
    _default.close()


_default = StoreCache()


def _forget() -> None:
    # A forked child must neither use nor close its parent's connections, and the lock may be held.
    global _default
    _abandoned.append(_default)
    _default = StoreCache()


_abandoned: list[StoreCache] = []
os.register_at_fork(after_in_child=_forget)


def _opened(
    target: Target,
    threads: int,
    retries: RetryPolicy | None,
    on_retry: OnRetry | None = None,
) -> Store:
    store = target.open(threads)
    if retries is not None:
        store = Retrying(store, retries, on_retry=_noting(on_retry))
    store = switched(store, target.address.base, target.endpoint())
    return Store(store, target.address.base, threads=threads)


def _noting(on_retry: OnRetry | None) -> OnRetry:
    def note(error: StoreError, attempt: int, wait: float) -> None:
        note_retry()
        if on_retry is not None:
            on_retry(error, attempt, wait)

    return note


def _directory() -> str:
    # A relative URI means another place after chdir.
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _frozen(value: Any) -> object:
    """Something hashable that is equal only for equal options."""
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return type(value), tuple(_frozen(getattr(value, field.name)) for field in fields)
    if isinstance(value, Mapping):
        return tuple(sorted((name, _frozen(item)) for name, item in value.items()))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value), tuple(map(_frozen, value))
    return type(value), value
