"""The kit over a store with the bounds of a cloud's, below a prefix of a bucket that others use too."""

from __future__ import annotations

import functools
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from penstock.errors import StoreError
from penstock.layers.prefix import Prefixed
from penstock.memory import MemoryOptions, MemoryStore
from penstock.store import Capabilities
from penstock.testing import StoreContract

# The kit's child processes import this module by its name below the root, and inherit the path.
sys.path.append(str(Path(__file__).parents[2]))

MIB = 1024 * 1024
#: The most that one test may send in parts, so that the kit stays quick where parts are large.
ECONOMICAL = 72 * MIB
#: One bucket for all tests; what they leave there is beside the next one's place.
NAME = "test-kit-over-a-bucket"


class Bucket:
    """A bucket in memory that wants large parts, and counts requests and the bytes sent to it in parts."""

    capabilities = attrs.evolve(
        MemoryStore.capabilities,
        delete_batch=1000,
        max_put=5 * 1024 * MIB,
        min_part=5 * MIB,
        max_part=5 * 1024 * MIB,
    )
    #: Seconds that each request takes.
    latency = 0.0

    def __init__(self, name):
        self.inner = MemoryStore(MemoryOptions(name=name))
        self.stat = self.counted(self.inner.stat)
        self.get = self.counted(self.inner.get)
        self.copy = self.counted(self.inner.copy)
        self.close = self.inner.close
        self.requests = 0
        self.in_parts = 0

    def request(self, part=0):
        self.requests += 1
        self.in_parts += part
        if self.latency:
            time.sleep(self.latency)

    def counted(self, call):
        def counting(*args, **how):
            self.request()
            return call(*args, **how)

        return counting

    def put(self, key, data, /, **how):
        self.request()
        return self.inner.put(key, data, **how)

    def open_writer(self, key, /, *, part_size, **how):
        if not self.capabilities.min_part <= part_size <= self.capabilities.max_part:
            raise StoreError(f"a part of {part_size} bytes", uri=key, operation="open_writer", code="EntityTooSmall")
        return Upload(self, self.inner.open_writer(key, part_size=part_size, **how), part_size)

    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000):
        self.request()
        size = min(page_size, 1000)
        for page in self.inner.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=size):
            yield page
            self.request()

    def delete(self, keys, /):
        for begin in range(0, len(keys), self.capabilities.delete_batch):
            self.request()
            self.inner.delete(keys[begin : begin + self.capabilities.delete_batch])
        return ()


class Upload:
    """A writer whose parts are requests."""

    def __init__(self, bucket, inner, part_size):
        self.bucket, self.inner, self.part_size = bucket, inner, part_size
        self.gathered = 0
        self.begun = False
        self.abort = inner.abort

    def write(self, data, /):
        self.inner.write(data)
        self.gathered += memoryview(data).nbytes
        while self.gathered >= self.part_size:
            if not self.begun:
                self.bucket.request()
                self.begun = True
            self.bucket.request(self.part_size)
            self.gathered -= self.part_size

    def commit(self):
        self.bucket.request()
        if self.begun:
            self.bucket.request(self.gathered)
        return self.inner.commit()


def open_below(name, prefix):
    return Prefixed(Bucket(name), prefix)


class TestBelowAPrefixOfABucket(StoreContract):
    histories = 40

    @pytest.fixture
    def opener(self):
        return functools.partial(open_below, NAME, f"runs of ü/{uuid.uuid4()}/")

    @pytest.fixture
    def store(self, opener):
        with closing(opener()) as store:
            yield store
            assert store._store.in_parts <= ECONOMICAL, "this test moves too much where parts are large"


def test_the_bucket_has_the_bounds_of_a_cloud():
    claimed = Bucket("bounds").capabilities
    assert type(claimed) is Capabilities
    assert (claimed.min_part, claimed.delete_batch) == (5 * MIB, 1000)
    with pytest.raises(StoreError, match="EntityTooSmall"):
        Bucket("bounds").open_writer("k", part_size=5 * MIB - 1)
