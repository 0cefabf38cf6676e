"""Datasets to load, and stores that can be watched, held up and broken."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numpy as np
import pytest

import penstock
from penstock_training.loading import Dataset
from penstock_training.loading.stores import Stores

_NAMES = itertools.count()


class Watch:
    """Sees every get of every dataset. ``before`` is called with key, start and length, and may wait or raise;
    ``body`` may wrap the sink, and ``answer`` replace the answer.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.gets = []
        self.under_way = 0
        self.most = 0
        self.before = lambda key, start, length: None
        self.body = lambda key, sink: sink
        self.answer = lambda info: info

    def get(self, raw, key, sink, /, *, start=0, length=None, if_match=None):
        with self.lock:
            self.gets.append((key, start, length))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            self.before(key, start, length)
            return self.answer(raw.get(key, self.body(key, sink), start=start, length=length, if_match=if_match))
        finally:
            with self.lock:
                self.under_way -= 1


class _Watched:
    def __init__(self, store, watch):
        self.raw = self
        self.capabilities = store.capabilities
        self._store = store
        self._watch = watch

    def get(self, key, sink=None, /, **range):
        if sink is None:
            return self._store.get(key)
        return self._watch.get(self._store.raw, key, sink, **range)


@pytest.fixture
def watch(monkeypatch):
    """What stands between loaders and stores from now on."""
    watch = Watch()
    plain = Stores.of
    monkeypatch.setattr(Stores, "of", lambda self, file: _Watched(plain(self, file), watch))
    return watch


@pytest.fixture(scope="session")
def make_files():
    """Puts files of the given sizes, of different bytes, to a new place in memory; gives its URI and their bytes."""

    def make(sizes, base: str | None = None):
        base = base or f"mem://loading-{next(_NAMES)}/"
        contents = []
        for number, size in enumerate(sizes):
            data = np.random.default_rng([number, size]).bytes(size)
            penstock.put(f"{base}{number:05d}.bin", data)
            contents.append(data)
        return base, contents

    return make


@pytest.fixture(scope="session")
def small_set(make_files) -> Callable[[int], Dataset]:
    """Datasets of so many files, whose bytes are their number."""
    made: dict[int, Dataset] = {}

    def make(count: int) -> Dataset:
        if count not in made:
            base = f"mem://loading-{next(_NAMES)}/"
            for number in range(count):
                penstock.put(f"{base}{number:05d}.bin", number.to_bytes(4, "little"))
            made[count] = Dataset(base)
        return made[count]

    return make


@pytest.fixture
def no_threads_left():
    """Fails a test after which a thread of a loader is still there."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name == "penstock-loader"]
    for thread in left:
        thread.join(10)
    assert not [thread for thread in left if thread.is_alive()]
