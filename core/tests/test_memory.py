"""The kit over ``mem://`` and over the layers on it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.layers.prefix import Prefixed
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.memory import MemoryOptions, MemoryStore
from penstock.metering import Metered, ThreadRecorders
from penstock.opening import open_store
from penstock.records import RecordBuffer, Recorder
from penstock.store import ObjectStore
from penstock.testing import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def uri(self) -> str:
        return f"mem://{uuid.uuid4()}"


class TestPrefixed(StoreContract):
    # The store itself has all of them.
    histories = 40

    @pytest.fixture
    def uri(self) -> str:
        return f"mem://{uuid.uuid4()}/some/place"


class TestPrefixedTwice(StoreContract):
    # The store itself has all of them.
    histories = 40

    @pytest.fixture
    def uri(self) -> str:
        return f"mem://{uuid.uuid4()}/deep/er ü/"

    @pytest.fixture
    def store(self, uri: str) -> Iterator[ObjectStore]:
        memory = MemoryStore(MemoryOptions(name=uri.split("/")[2]))
        memory.put("deep/beside", b"not ours")
        memory.put("deepest", b"not ours")
        with closing(Prefixed(Prefixed(memory, "deep/"), "er ü/")) as store:
            yield store


class TestMetered(StoreContract):
    # The store itself has all of them.
    histories = 40

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        source = ThreadRecorders(lambda number: Recorder(number, lambda filled: RecordBuffer(64)))
        with closing(Metered(open_store(f"mem://{uuid.uuid4()}"), source)) as store:
            yield store


class TestRetrying(StoreContract):
    # The store itself has all of them.
    histories = 40

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        with closing(Retrying(open_store(f"mem://{uuid.uuid4()}"), RetryPolicy())) as store:
            yield store
