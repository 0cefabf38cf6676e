"""What the tests of the layers share."""

from __future__ import annotations

import uuid

from penstock.layers.timing import Timing
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect


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
