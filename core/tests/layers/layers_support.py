"""What the tests of the layers share."""

from __future__ import annotations

import functools
import uuid
from contextlib import closing

import pytest

from penstock.layers.timing import Timing
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect
from penstock.testing import StoreContract


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 1_000_000_000
        self.sleeps = []
        self.timing = Timing(clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += round(seconds * 1e9)

    def pass_(self, seconds):
        self.now += round(seconds * 1e9)


def memory():
    """An empty store that nobody else has."""
    return MemoryStore(MemoryOptions(name=uuid.uuid4().hex))


def read(store, key, **how):
    sink = Collect()
    store.get(key, sink, **how)
    return bytes(sink.view())


def keys(store, prefix="", **how):
    return [info.key for page in store.list_pages(prefix, **how) for info in page.objects]


class Spy:
    """A store that notes each call as (name, key, start, length, if_match), and lets a test step in before it."""

    def __init__(self, inner=None, before=None):
        self.inner = inner if inner is not None else memory()
        self.capabilities = self.inner.capabilities
        self.before = before
        self.calls = []
        self.closed = 0

    def note(self, name, key, *more):
        self.calls.append((name, key, *more))
        if self.before is not None:
            self.before(self, len(self.calls), name, key, *more)

    def names(self):
        return [call[0] for call in self.calls]

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        self.note("get", key, start, length, if_match)
        return self.inner.get(key, sink, start=start, length=length, if_match=if_match)

    def put(self, key, data, /, **how):
        self.note("put", key)
        return self.inner.put(key, data, **how)

    def open_writer(self, key, /, **how):
        self.note("open_writer", key)
        return self.inner.open_writer(key, **how)

    def stat(self, key, /):
        self.note("stat", key)
        return self.inner.stat(key)

    def list_pages(self, prefix="", /, **how):
        self.note("list_pages", prefix)
        return self.inner.list_pages(prefix, **how)

    def delete(self, keys, /):
        self.note("delete", *keys)
        return self.inner.delete(keys)

    def copy(self, source, target, /, *, metadata=None):
        self.note("copy", target)
        return self.inner.copy(source, target, metadata=metadata)

    def close(self):
        self.closed += 1
        self.inner.close()


class LayerContract(StoreContract):
    """The kit over what ``opens`` makes, a function of a module that gets the name of a store in memory."""

    # The store itself has all of them.
    histories = 25
    opens = None

    @pytest.fixture
    def opener(self):
        return functools.partial(self.opens, uuid.uuid4().hex)

    @pytest.fixture
    def store(self, opener):
        with closing(opener()) as store:
            yield store
