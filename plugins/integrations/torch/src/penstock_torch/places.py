"""A directory in a store, opened when it is first needed, in each process by itself."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable
from typing import Any

import penstock
from penstock.errors import UsageError

__all__ = ["Connect", "Place", "uri_of"]

#: Opens the store whose root is a URI, as :func:`penstock.connect` does.
Connect = Callable[[str], penstock.Store]

#: What pathlib makes of a URI: it drops one of the two slashes.
_SWALLOWED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")


def uri_of(place: str | os.PathLike[str]) -> str:
    """The URI, or local path, that a checkpoint's id or a dataset's place is."""
    text = os.fspath(place)
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is not text; write a URI or a path")
    if not isinstance(place, str) and _SWALLOWED.match(text):
        raise UsageError(f"pathlib took a slash out of the URI {text}; pass URIs as text")
    if not text:
        raise UsageError("an empty text names no place; write a URI or a path")
    return text


class Place:
    """A root in a store. It pickles and survives a fork: each process opens the store for itself, at the first use.

    Threads share it.
    """

    _lock: threading.Lock
    _opened: penstock.Store | None
    _process: int

    def __init__(self, uri: str, connect: Connect | None = None, *, threads: int = 16) -> None:
        """``connect`` opens the store; without it :func:`penstock.connect` does, with ``threads`` as its hint."""
        self.uri = uri
        self._connect = connect or functools.partial(penstock.connect, threads=threads)
        self._forget()

    @property
    def store(self) -> penstock.Store:
        """The opened store, whose keys are relative to the root."""
        if self._process != os.getpid():
            # A fork: the parent's store is the parent's, and its lock may be held for ever.
            self._forget()
        opened = self._opened
        if opened is None:
            with self._lock:
                opened = self._opened = self._opened or self._connect(self.uri)
        return opened

    def close(self) -> None:
        """Close the store if this process opened it; the next use opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None and self._process == os.getpid():
            opened.close()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._opened = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "_connect": self._connect}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
