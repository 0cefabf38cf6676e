"""The switch by which a capture reaches every store that a program opened, before or after it began.

Stores that programs open pass through :func:`switched`. While a :class:`Capture` is installed they are recorded by it;
while none is, a call on them costs what it costs on the store itself.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol

from penstock.errors import StoreError, UsageError
from penstock.layers.behalf import note
from penstock.metering import Metered
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Page

__all__ = [
    "Capture",
    "Switched",
    "arrange",
    "begin_arranged",
    "install",
    "note_retry",
    "switched",
    "uninstall",
]


class Capture(Protocol):
    """What records the calls of a process while it is installed."""

    def meter(self, store: ObjectStore, base_uri: str, endpoint_name: str, /) -> ObjectStore:
        """The same store, recorded; see :meth:`penstock.oplog.OpLog.meter`."""

    def retried(self) -> None:
        """The call that this thread is in has to be repeated."""


_METHODS: Final = ("get", "put", "open_writer", "stat", "list_pages", "delete", "copy")


class Switched:
    """A store that a capture can reach at any time. It satisfies ``ObjectStore`` and owns the store.

    Its methods are the store's own, or those of what meters it; a switch replaces them in place. So nothing is added
    to a call while nothing is recorded, and whoever holds the store need not open it again.
    """

    __slots__ = ("__weakref__", "_base", "_name", "_store", "capabilities", "close", "fill_many", *_METHODS)

    get: Callable[..., ObjectInfo]
    put: Callable[..., ObjectInfo]
    open_writer: Callable[..., ObjectWriter]
    stat: Callable[..., ObjectInfo]
    list_pages: Callable[..., Iterator[Page]]
    delete: Callable[..., Sequence[StoreError]]
    copy: Callable[..., ObjectInfo]
    #: That of :class:`penstock.store.FillsMany`, while the store has it and nothing is recorded.
    fill_many: Callable[..., int] | None

    def __init__(self, store: ObjectStore, base_uri: str, endpoint_name: str) -> None:
        self._store = store
        self._base = base_uri
        self._name = endpoint_name
        self.capabilities: Capabilities = store.capabilities
        self.close = store.close

    def _direct(self) -> None:
        self._route(self._store)

    def _record(self, capture: Capture) -> None:
        self._route(capture.meter(self._store, self._base, self._name))

    def _wait(self) -> None:
        """The next call begins the capture that was arranged, then goes where that has routed it."""
        self.fill_many = None
        for name in _METHODS:
            setattr(self, name, partial(self._begin, name))

    def _route(self, store: ObjectStore) -> None:
        # What meters a store has none: each read is to be seen.
        self.fill_many = getattr(store, "fill_many", None)
        for name in _METHODS:
            setattr(self, name, getattr(store, name))

    def _begin(self, name: str, /, *args: Any, **options: Any) -> Any:
        begin_arranged()
        return getattr(self, name)(*args, **options)


class _Switchboard:
    """All switched stores of this process, and where they are routed."""

    def __init__(self) -> None:
        self.capture: Capture | None = None
        self.begin: Callable[[], None] | None = None
        self.pending = False
        self.stores: weakref.WeakSet[Switched] = weakref.WeakSet()
        self.lock = threading.Lock()
        self.beginning = threading.Lock()

    def route(self) -> None:
        for store in self.stores:
            self.route_one(store)

    def route_one(self, store: Switched) -> None:
        if self.capture is not None:
            store._record(self.capture)
        elif self.pending:
            store._wait()
        else:
            store._direct()

    def forget(self) -> None:
        """In a forked child: the capture is the parent's, and so are the threads that may hold the locks."""
        self.lock, self.beginning = threading.Lock(), threading.Lock()
        self.capture = None
        self.pending = self.begin is not None
        self.route()


_board = _Switchboard()
os.register_at_fork(after_in_child=_board.forget)


def switched(store: ObjectStore, base_uri: str, endpoint_name: str) -> ObjectStore:
    """Let captures reach a store; one that is metered, or switched already, is given back as it is.

    ``base_uri`` plus a key is the URI of an object, ``endpoint_name`` its scheme and authority. Begins the capture that
    was arranged, and raises what that raises.
    """
    if isinstance(store, Metered | Switched):
        return store
    if _board.pending:
        begin_arranged()
    made = Switched(store, base_uri, endpoint_name)
    with _board.lock:
        _board.route_one(made)
        _board.stores.add(made)
    return made


def install(capture: Capture) -> None:
    """Record every call that begins from now on, by any thread. Raises UsageError while another one is installed."""
    with _board.lock:
        if _board.capture is not None:
            raise UsageError("the calls of this process are being recorded already; stop that first")
        _board.capture = capture
        _board.pending = False
        _board.route()


def uninstall(capture: Capture) -> None:
    """Record no more calls; those under way still are when they end. Harmless if this one is not installed."""
    with _board.lock:
        if _board.capture is capture:
            _board.capture = None
            _board.route()


def arrange(begin: Callable[[], None] | None) -> None:
    """Have ``begin`` install a capture before the next call on a store of this process, or the opening of one, and
    likewise in each process forked from it. Whoever installs one before that is left alone. None takes it back.
    """
    with _board.lock:
        _board.begin = begin
        _board.pending = begin is not None and _board.capture is None
        _board.route()


def begin_arranged() -> None:
    """Begin the capture that was arranged, if it has not begun yet. Raises what it raises, and so does the next try."""
    with _board.beginning:
        if _board.pending and _board.begin is not None:
            _board.begin()
            with _board.lock:
                _board.pending = False
                _board.route()


def note_retry() -> None:
    """Tell the capture, if there is one, that the call which this thread is in has to be repeated."""
    capture = _board.capture
    if capture is not None:
        note(capture.retried)
