"""Stored checksums: the kit over them, what is stored where, and what a read finds out."""

from __future__ import annotations

import sys
import uuid

import attrs
import pytest
from layers_support import LayerContract, keys, memory, read

from penstock.errors import ChecksumMismatchError, LengthMismatchError, UsageError
from penstock.layers.checksums import Checksummed, Checksums
from penstock.layers.digests import new_digest
from penstock.layers.faults import Corrupt, Faults, Faulty, Rule, Stale, Torn, Truncate
from penstock.memory import MemoryOptions, MemoryStore
from penstock.payloads import checksums
from penstock.testing.tools import noise
from penstock.writers import GuardedWriter

DATA = noise(5_000)


def open_checksummed(name):
    return Checksummed(MemoryStore(MemoryOptions(name=name)), Checksums())


class TestChecksummed(LayerContract):
    opens = staticmethod(open_checksummed)


def checksummed(*rules, algorithm="crc32c", inner=None):
    faulty = Faulty(inner or memory(), Faults(rules=rules))
    return Checksummed(faulty, Checksums(algorithm=algorithm), base_uri="mem://x/")


def test_the_checksum_is_stored_with_the_object_and_shown_where_it_belongs():
    store = checksummed()
    info = store.put("k", b"123456789", metadata={"a": "b"})
    assert (info.checksum, info.metadata) == ("crc32c:e3069283", {"a": "b"})
    assert store._store.stat("k").metadata == {"a": "b", "penstockcrc32c": "e3069283"}
    assert store.stat("k") == info
    assert [found for page in store.list_pages() for found in page.objects] == [info]
    assert read(store, "k") == b"123456789"
    assert (store.checked, store.unchecked) == (1, 0)


@pytest.mark.parametrize("effect", [Corrupt(offset=4_999), Corrupt(), Corrupt(offset=0, bits=8)])
@pytest.mark.parametrize("operation", ["get", "put"])
def test_other_bytes_are_noticed_on_read(effect, operation):
    store = checksummed(Rule(effect=effect, operations=[operation]))
    store.put("k", DATA)
    with pytest.raises(ChecksumMismatchError) as caught:
        read(store, "k")
    assert (caught.value.uri, caught.value.operation) == ("mem://x/k", "get")
    assert store.checked == 0


def test_a_torn_read_is_noticed_and_a_stale_one_is_whole():
    store = checksummed(Rule(effect=Torn(at=100), keys="torn"), Rule(effect=Stale(), keys="stale"))
    for key in ("torn", "stale"):
        store.put(key, noise(5_000, "old"))
        store.put(key, DATA)
    with pytest.raises(ChecksumMismatchError):
        read(store, "torn")
    assert read(store, "stale") == noise(5_000, "old")


@pytest.mark.parametrize(("start", "length"), [(0, None), (100, None), (0, 4_000), (4_900, 500)])
def test_a_short_body_is_noticed(start, length):
    store = checksummed(Rule(effect=Truncate(at=17), operations=["get"]))
    store.put("k", DATA)
    with pytest.raises(LengthMismatchError, match="17 bytes came"):
        read(store, "k", start=start, length=length)


def test_ranges_come_unchecked():
    store = checksummed(Rule(effect=Corrupt(offset=50), operations=["get"]))
    store.put("k", DATA)
    assert read(store, "k", start=10, length=100) != DATA[10:110]
    assert (store.checked, store.unchecked) == (0, 0)


def test_objects_of_others_are_read_and_counted():
    store = checksummed()
    store._store.put("k", DATA)
    assert read(store, "k") == DATA
    assert (store.checked, store.unchecked) == (0, 1)


class Summing(MemoryStore):
    """A store that keeps a checksum of what it holds, as services do."""

    def _store(self, key, body, facts, operation):
        digest = new_digest("crc32c")
        digest.update(body)
        info = attrs.evolve(super()._store(key, body, facts, operation), checksum=digest.text())
        self._space.objects[key] = attrs.evolve(self._space.objects[key], info=info)
        return info


def summing():
    return Summing(MemoryOptions(name=uuid.uuid4().hex))


def stream(store, data=DATA):
    with GuardedWriter(store.open_writer("k", part_size=1_000), "k") as writer:
        writer.write(data[:1_234])
        writer.write(data[1_234:])


def test_a_writer_is_checked_against_the_services_checksum():
    store = checksummed(inner=summing())
    stream(store)
    assert store.checked == 1
    assert read(store, "k") == DATA
    assert store.checked == 2
    store = checksummed(Rule(effect=Corrupt(offset=4_000), operations=["write"]), inner=summing())
    with pytest.raises(ChecksumMismatchError):
        stream(store)


def test_a_put_is_checked_against_the_services_checksum_at_once():
    store = checksummed(Rule(effect=Corrupt(offset=4_000), operations=["put"]), inner=summing())
    with pytest.raises(ChecksumMismatchError) as caught:
        store.put("k", DATA)
    assert caught.value.operation == "put"


def test_a_writers_object_is_unchecked_where_nobody_keeps_a_checksum():
    store = checksummed()
    store.put("k", b"with a checksum")
    stream(store)
    assert read(store, "k") == DATA
    assert (store.checked, store.unchecked) == (0, 1), "the old object's checksum is not the new one's"


def test_copies_keep_the_checksum_unless_their_metadata_is_replaced():
    store = checksummed()
    checksum = store.put("k", DATA, metadata={"a": "b"}).checksum
    copied = store.copy("k", "same")
    assert (copied.checksum, copied.metadata) == (checksum, {"a": "b"})
    assert read(store, "same") == DATA
    assert store.checked == 1
    assert store.copy("k", "other", metadata={"c": "d"}).checksum is None
    assert read(store, "other") == DATA
    assert store.unchecked == 1


@pytest.mark.parametrize("algorithm", ["crc32", "md5", "sha1", "sha256"])
def test_other_algorithms(algorithm):
    store = checksummed(Rule(effect=Corrupt(), operations=["get"], nth=2), algorithm=algorithm)
    assert store.put("k", DATA).checksum.startswith(f"{algorithm}:")
    assert read(store, "k") == DATA
    with pytest.raises(ChecksumMismatchError):
        read(store, "k")


def test_without_metadata_nothing_is_stored():
    inner = memory()
    inner.capabilities = attrs.evolve(inner.capabilities, metadata=False)
    store = Checksummed(inner, Checksums())
    store.put("k", DATA)
    assert store._store.stat("k").metadata is None
    assert (read(store, "k"), store.unchecked, keys(store)) == (DATA, 1, ["k"])


def test_a_missing_package_is_named(monkeypatch):
    for package in ("awscrt.checksums", "crc32c", "google_crc32c"):
        monkeypatch.setitem(sys.modules, package, None)
    checksums._implementation.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'penstock\[checksum\]'"):
        Checksummed(memory(), Checksums())
    Checksummed(memory(), Checksums(algorithm="crc32"))
    checksums._implementation.cache_clear()


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match="algorithm"):
        Checksums(algorithm="crc7")
