"""Four devices on one processor, and data to read."""

from __future__ import annotations

import itertools
import os

# Before JAX is imported, which makes its devices once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np
import pytest

import penstock

_numbers = itertools.count()


@pytest.fixture(params=["mem", "file"])
def place(request, tmp_path):
    """An empty place in a store, as a URI that ends in a slash."""
    if request.param == "file":
        return f"file://{tmp_path}/store/"
    return f"mem://test-jax-{next(_numbers)}/dir/"


@pytest.fixture
def data(place):
    """Twenty files of four bytes, each its own number."""
    for number in range(20):
        penstock.put(f"{place}{number:02}.bin", np.full(4, number, np.uint8))
    return place


@pytest.fixture
def requests(monkeypatch):
    """What stores in memory were asked for: ``(method, key, start, length)`` each."""
    from penstock.memory import MemoryStore

    seen = []
    get, stat = MemoryStore.get, MemoryStore.stat

    def counted_get(self, key, sink, /, *, start=0, length=None, if_match=None):
        seen.append(("get", key, start, length))
        return get(self, key, sink, start=start, length=length, if_match=if_match)

    def counted_stat(self, key, /):
        seen.append(("stat", key, 0, None))
        return stat(self, key)

    monkeypatch.setattr(MemoryStore, "get", counted_get)
    monkeypatch.setattr(MemoryStore, "stat", counted_stat)
    return seen
