"""Verified writes: the kit over both kinds, and every way in which a write can be wrong."""

from __future__ import annotations

import uuid

import attrs
import pytest
from layers_support import LayerContract, Spy, memory, read

from penstock.errors import ChecksumMismatchError, LengthMismatchError, StoreError
from penstock.layers.digests import ALGORITHMS, Digesting, matches, new_digest
from penstock.layers.faults import Corrupt, Faults, Faulty, Lose, Rule, Torn, Truncate
from penstock.layers.verify import Verified, VerifyWrites
from penstock.memory import MemoryOptions, MemoryStore
from penstock.testing.tools import noise
from penstock.writers import GuardedWriter

DATA = noise(5_000)


def open_verified(name):
    # Both kinds, one over the other.
    inner = Verified(MemoryStore(MemoryOptions(name=name)), VerifyWrites(by="read", attempts=3))
    return Verified(inner, VerifyWrites(by="stat"))


class TestVerified(LayerContract):
    opens = staticmethod(open_verified)


def verified(effect, by="stat", attempts=1, store=None, **how):
    rule = Rule(effect=effect, **how)
    faulty = Faulty(store or memory(), Faults(rules=[rule]), base_uri="mem://x/")
    return Verified(faulty, VerifyWrites(by=by, attempts=attempts), base_uri="mem://x/")


def by_put(store, data=DATA):
    return store.put("k", data)


def by_writer(store, data=DATA):
    with GuardedWriter(store.open_writer("k", part_size=1_000), "k") as writer:
        writer.write(data[:3_000])
        writer.write(data[3_000:])
    return writer.info


writes = pytest.mark.parametrize("write", [by_put, by_writer])
kinds = pytest.mark.parametrize("by", ["stat", "read"])


@writes
@kinds
def test_a_lost_write_is_noticed(write, by):
    store = verified(Lose(), by)
    store._store._store.put("k", DATA)
    with pytest.raises(ChecksumMismatchError, match="another object") as caught:
        write(store)
    assert caught.value.uri == "mem://x/k"
    assert caught.value.operation == ("put" if write is by_put else "commit")
    assert store.verified == 0


@writes
@kinds
def test_an_object_that_never_came_is_noticed(write, by):
    store = verified(Lose(), by)
    with pytest.raises(ChecksumMismatchError, match="not there"):
        write(store)


@kinds
def test_a_short_object_is_noticed(by):
    with pytest.raises(LengthMismatchError, match="5000 bytes were sent and 17 are there"):
        by_put(verified(Truncate(at=17), by, operations=["put"]))


@writes
def test_a_corrupted_write_is_noticed_by_reading(write):
    store = verified(Corrupt(offset=4_321), "read", operations=["put", "write"])
    with pytest.raises(ChecksumMismatchError, match="not those sent"):
        write(store)


def test_a_torn_write_is_noticed_by_reading():
    store = verified(Torn(at=100), "read", operations=["put"], after=1)
    store.put("k", noise(5_000, "old"))
    with pytest.raises(ChecksumMismatchError):
        store.put("k", DATA)


class Summing(MemoryStore):
    """A store that keeps a checksum of what it holds, as services do."""

    algorithm = "crc32c"

    def _store(self, key, body, facts, operation):
        digest = new_digest(self.algorithm)
        digest.update(body)
        info = attrs.evolve(super()._store(key, body, facts, operation), checksum=digest.text())
        self._space.objects[key] = attrs.evolve(self._space.objects[key], info=info)
        return info


@writes
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_corrupted_write_is_noticed_by_the_services_checksum(write, algorithm):
    if write is by_writer and algorithm != "crc32c":
        # A writer has computed the quick one alone.
        return
    service = Summing(MemoryOptions(name=uuid.uuid4().hex))
    service.algorithm = algorithm
    write(Verified(service, VerifyWrites()))
    store = verified(Corrupt(offset=4_321), store=service, operations=["put", "write"])
    with pytest.raises(ChecksumMismatchError, match="not those sent"):
        write(store)


@kinds
def test_a_put_is_attempted_again(by):
    store = verified(Truncate(at=17), by, attempts=3, operations=["put"], limit=2)
    assert by_put(store).size == 5_000
    assert read(store, "k") == DATA
    assert (store.verified, store.repeated) == (1, 2)


def test_attempts_end():
    store = verified(Truncate(at=17), attempts=3, operations=["put"])
    with pytest.raises(LengthMismatchError):
        by_put(store)
    assert store._store.counts()[0].injected == 3
    assert read(store, "k") == DATA[:17], "what is there is left to be looked at"


@pytest.mark.parametrize("how", [{"create": True}, {"if_match": "etag"}])
def test_a_put_with_a_condition_is_not_repeated(how):
    store = verified(Truncate(at=17), attempts=3, operations=["put"], nth=2 if "if_match" in how else 1)
    if "if_match" in how:
        how = {"if_match": store.put("k", b"old").etag}
    with pytest.raises(LengthMismatchError):
        store.put("k", DATA, **how)
    assert store.repeated == 0


@writes
@kinds
def test_another_writer_is_no_failure(write, by):
    def replace(spy, number, name, *call):
        if name in ("stat", "get"):
            spy.before = None
            spy.inner.put("k", b"somebody else's")

    spy = Spy(before=replace)
    store = Verified(spy, VerifyWrites(by=by))
    assert write(store).size == 5_000
    assert store.verified == 0


@pytest.mark.parametrize(("by", "asked"), [("stat", "stat"), ("read", "get")])
def test_it_costs_one_request(by, asked):
    spy = Spy()
    Verified(spy, VerifyWrites(by=by)).put("k", DATA)
    assert spy.names() == ["put", asked]


@pytest.mark.parametrize("data", [b"", memoryview(noise(800)).cast("d"), bytearray(b"abc")])
@kinds
def test_any_buffer_is_verified(data, by):
    store = Verified(Summing(MemoryOptions(name=uuid.uuid4().hex)), VerifyWrites(by=by))
    store.put("k", data)
    assert read(store, "k") == bytes(data)
    assert store.verified == 1


def test_a_failure_to_look_is_raised():
    from penstock.layers.faults import Fail

    with pytest.raises(StoreError, match="injected"):
        by_put(verified(Fail(), operations=["stat"]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksums_are_those_of_the_standards(algorithm):
    digesting = Digesting((algorithm,))
    for piece in (b"1234", b"", b"56789"):
        digesting.update(piece)
    known = {
        "crc32c": "e3069283",
        "crc32": "cbf43926",
        "md5": "25f9e794323b453885f5181f1b624d0b",
        "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
        "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    }
    assert digesting.text(algorithm) == f"{algorithm}:{known[algorithm]}"
    assert matches(f"{algorithm}:{known[algorithm]}", digesting) is True
    assert matches(f"{algorithm}:00", digesting) is False


@pytest.mark.parametrize("stored", [None, "", "crc64nvme:00", "crc32c:e3069283-2", "crc32c", "CRC32C:e3069283"])
def test_what_can_not_be_compared_is_not(stored):
    assert matches(stored, Digesting(("crc32c",))) is None
