"""All layers on one store: the kit over the whole stack, its order, and how users ask for it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import uuid
from contextlib import closing

import pytest
from layers_support import LayerContract, Spy, Time, keys, memory, read

import penstock
from penstock.errors import (
    ChecksumMismatchError,
    ObjectNotFoundError,
    StoreConnectionError,
    UnknownSchemeError,
    UsageError,
)
from penstock.layers.checksums import Checksums
from penstock.layers.compression import Compression
from penstock.layers.endpoints import Endpoints
from penstock.layers.faults import Corrupt, Delay, Fail, Faults, Rule
from penstock.layers.ranges import Ranges
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.layers.sizes import Sizes
from penstock.layers.stack import Layers, apply
from penstock.layers.verify import VerifyWrites
from penstock.memory import MemoryOptions, MemoryStore
from penstock.opening import open_store
from penstock.testing.tools import noise

#: Every third request of those that can be repeated in any case fails, on both endpoints. Who lost the answer to a
#: conditional write can't know what became of it.
SAFE = ("get", "stat", "list_pages", "open_writer", "write", "delete", "copy")
FLAKY = Faults(rules=[Rule(effect=Fail(error="StoreTimeoutError"), operations=SAFE, every=3)], seed=5)
ALL = Layers(
    faults=FLAKY,
    endpoints=Endpoints(eject_after=1000),
    sizes=Sizes(),
    ranges=Ranges(threshold=5_000, part_size=20_000, concurrency=3),
    verify=VerifyWrites(attempts=2),
    compression=Compression(frame_size=15_000, level=1),
    checksums=Checksums(algorithm="crc32"),
)


def patient(store):
    return Retrying(store, RetryPolicy(attempts=10_000, base_delay=0.0, deadline=None))


def open_all(name):
    stores = [(f"mem://{place}/", MemoryStore(MemoryOptions(name=name))) for place in range(2)]
    return apply(stores, ALL, wrap=patient).store


class TestAllLayers(LayerContract):
    opens = staticmethod(open_all)


def test_layers_travel():
    assert pickle.loads(pickle.dumps(ALL)) == ALL


def test_no_layers_are_no_store_around_it():
    store = memory()
    stack = apply([("mem://x/", store)], Layers())
    assert stack.store is store
    assert (stack.faulty, stack.balanced, stack.sized) == ((), None, None)


def test_the_order():
    stack = apply([("a", memory()), ("b", memory())], ALL, wrap=patient)
    names, store = [], stack.store
    while store is not None:
        names.append(type(store).__name__)
        store = getattr(store, "_store", None)
    assert names == ["Checksummed", "Compressed", "Verified", "Ranged", "Sized", "Retrying", "Balanced"]
    assert [type(layer).__name__ for layer in stack.faulty] == ["Faulty", "Faulty"]
    assert [layer.faults.seed for layer in stack.faulty] == [5, 6]
    for name in ("sized", "ranged", "verified", "compressed", "checksummed", "balanced"):
        assert type(getattr(stack, name)).__name__ == name.capitalize()


def test_a_range_that_fails_is_repeated_alone():
    rules = [Rule(effect=Fail(), operations=["get"], nth=3)]
    layers = Layers(faults=Faults(rules=rules), ranges=Ranges(threshold=1_000, part_size=1_000, concurrency=2))
    spy = Spy()
    spy.inner.put("k", noise(10_000))
    stack = apply([("mem://x/", spy)], layers, wrap=patient)
    assert read(stack.store, "k") == noise(10_000)
    assert len(spy.calls) == 10
    assert stack.faulty[0].counts()[0].covered == 11


def test_faults_wait_by_the_time_that_is_given():
    time = Time()
    stack = apply([("a", memory())], Layers(faults=Faults(rules=[Rule(effect=Delay(seconds=9.0))])), timing=time.timing)
    stack.store.put("k", b"")
    assert time.sleeps == [9.0]


def test_stores_are_one_or_more():
    with pytest.raises(UsageError, match="at least one"):
        apply([], Layers())


def test_a_store_is_opened_with_layers():
    name = uuid.uuid4().hex
    layers = Layers(compression=Compression(), faults=Faults(rules=[Rule(effect=Fail(), keys="bad*")]))
    with closing(open_store(f"mem://{name}/some/place", layers=layers)) as store:
        store.put("k", noise(100))
        assert read(store, "k") == noise(100)
        with pytest.raises(StoreConnectionError) as caught:
            store.put("bad", b"")
    assert caught.value.uri == f"mem://{name}/some/place/bad"
    assert keys(open_store(f"mem://{name}")) == ["some/place/k.zst"]


def test_several_uris_are_endpoints():
    name = uuid.uuid4().hex
    penstock.put(f"mem://{name}/a/k", b"1")
    penstock.put(f"mem://{name}/b/k", b"2")
    with closing(open_store([f"mem://{name}/a", f"mem://{name}/b/"])) as store:
        assert {read(store, "k") for _ in range(2)} == {b"1", b"2"}


def test_endpoints_have_one_scheme(tmp_path):
    for uris in ([], ["mem://x", str(tmp_path)]):
        with pytest.raises(UsageError, match="one scheme"):
            open_store(uris)
    with pytest.raises(UsageError, match="a URI of its own"):
        open_store(["mem://x/", "mem://x"])
    with pytest.raises(UnknownSchemeError):
        open_store(["mem://x/", "nosuch://y"])


def test_what_was_opened_is_closed_when_a_layer_fails(monkeypatch):
    closed = []
    monkeypatch.setattr(MemoryStore, "close", lambda self: closed.append(self._base))
    with pytest.raises(UsageError):
        open_store(["mem://x/", "mem://x"])
    assert closed == ["mem://x/", "mem://x/"]


def test_connecting_with_layers():
    name = uuid.uuid4().hex
    uris = [f"mem://{name}/a/", f"mem://{name}/a/./"]
    layers = Layers(
        faults=Faults(rules=[Rule(effect=Fail(), operations=["stat"], nth=1)]),
        endpoints=Endpoints(policy="sticky_key"),
        sizes=Sizes(),
        checksums=Checksums(algorithm="sha256"),
    )
    with penstock.connect(uris[:1], layers=layers) as store:
        store.put("k", b"data")
        assert (store.uri, bytes(store.get("k")), store.stat("k").size) == (uris[0], b"data", 4)
        assert [layer.counts()[0].injected for layer in store.stack.faulty] == [1]
        (one,) = store.stack.balanced.statistics()
        assert (one.uri, one.requests, one.errors) == (uris[0], 4, 1)
        assert store.stack.sized.counts().misses == 1
        assert store.stack.checksummed.checked == 1
        assert (
            store.stat("k").checksum == "sha256:" + "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
        )
    assert penstock.connect(f"mem://{name}").stack is None


def test_connecting_without_retries():
    rules = [Rule(effect=Fail(), nth=1)]
    with (
        penstock.connect("mem://x", retries=None, layers=Layers(faults=Faults(rules=rules))) as store,
        pytest.raises(StoreConnectionError),
    ):
        store.stat("k")


def test_a_copy_between_layered_stores_is_whole():
    layers = Layers(compression=Compression(frame_size=2048), ranges=Ranges(threshold=1000, part_size=1000))
    with penstock.connect(f"mem://{uuid.uuid4()}", layers=layers) as store:
        with store.open_writer("a", part_size=1000) as writer:
            writer.write(noise(30_000))
        store.copy("a", "b")
        with store.open_file("b") as file:
            file.seek(12_345)
            assert file.read(5_000) == noise(30_000)[12_345:17_345]
        with store.open_read("b") as stream:
            assert b"".join(map(bytes, stream)) == noise(30_000)


@pytest.mark.parametrize("seed", range(5))
def test_damage_on_the_way_never_passes_all_layers(seed):
    name = uuid.uuid4().hex
    rules = [Rule(effect=Corrupt(), operations=["get"], probability=0.5)]
    layers = Layers(faults=Faults(rules=rules, seed=seed), checksums=Checksums(algorithm="crc32"))
    found = 0
    with penstock.connect(f"mem://{name}", layers=layers) as store:
        for number in range(20):
            store.put(f"k{number}", noise(1_000, number))
            try:
                assert store.get(f"k{number}") == noise(1_000, number)
            except ChecksumMismatchError:
                found += 1
        assert found == store.stack.faulty[0].counts()[0].injected > 0


def test_missing_objects_are_missing_through_all_layers():
    with closing(open_all(uuid.uuid4().hex)) as store, pytest.raises(ObjectNotFoundError) as caught:
        store.stat("absent")
    assert (caught.value.uri.endswith("/absent"), caught.value.operation) == (True, "stat")


def test_layers_cost_nothing_to_who_has_none():
    script = "import sys, penstock; penstock.put('mem://x/k', b'1'); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "penstock.layers.retry" in loaded
    assert not loaded & {"penstock.layers.stack", "penstock.layers.faults", "statistics", "numpy", "zstandard"}
