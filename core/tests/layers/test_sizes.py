"""The size cache: the kit over it, what it saves, and that it never makes a wrong byte."""

from __future__ import annotations

import threading
import uuid

import pytest
from layers_support import LayerContract, Spy, Time, memory, read

from penstock.client.store import Store
from penstock.errors import AccessDeniedError, ObjectNotFoundError, PreconditionFailedError, StoreConnectionError
from penstock.layers.faults import Fail, Faults, Faulty, Rule
from penstock.layers.ranges import Ranged, Ranges
from penstock.layers.sizes import Sized, Sizes
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect
from penstock.testing.tools import noise
from penstock.writers import GuardedWriter

MIB = 2**20


def open_sized(name):
    return Sized(MemoryStore(MemoryOptions(name=name)), Sizes())


class TestSized(LayerContract):
    opens = staticmethod(open_sized)


def sized(time=None, **how):
    spy = Spy()
    spy.inner.put("k", b"first")
    return Sized(spy, Sizes(**how), timing=(time or Time()).timing), spy


def test_stat_is_asked_once():
    store, spy = sized()
    infos = [store.stat("k") for _ in range(5)]
    assert infos == [spy.inner.stat("k")] * 5
    assert spy.names() == ["stat"]
    assert (store.counts().hits, store.counts().misses, store.counts().entries) == (4, 1, 1)


def test_an_entry_grows_old():
    time = Time()
    store, spy = sized(time, ttl=10.0)
    store.stat("k")
    spy.inner.put("k", b"another's")
    time.pass_(9.999)
    assert store.stat("k").size == 5
    time.pass_(0.001)
    assert store.stat("k").size == 9


WRITES = {
    "put": lambda store: store.put("k", bytes(60)),
    "writer": lambda store: GuardedWriter(store.open_writer("k", part_size=1024), "k").__enter__(),
    "copy": lambda store: store.copy("sixty", "k"),
    "metadata": lambda store: store.copy("k", "k", metadata={"a": "b"}),
}


@pytest.mark.parametrize("write", WRITES)
def test_own_writes_are_seen_at_once(write):
    store, spy = sized()
    store.put("sixty", bytes(60))
    store.put("k", bytes(40))
    assert store.stat("k").size == 40
    done = WRITES[write](store)
    if write == "writer":
        assert store.stat("k").size == 40
        done.write(bytes(60))
        done.commit()
    assert store.stat("k") == spy.inner.stat("k")
    assert len(read(store, "k")) == (40 if write == "metadata" else 60)
    store.delete(["k"])
    with pytest.raises(ObjectNotFoundError):
        store.stat("k")


def test_a_larger_object_in_its_place_is_read_whole():
    """The tools of today answer with the first 41,943,040 bytes."""
    name = uuid.uuid4().hex
    other = MemoryStore(MemoryOptions(name=name))
    sizes = Sized(MemoryStore(MemoryOptions(name=name)), Sizes())
    store = Ranged(sizes, Ranges(), known=sizes.known)
    other.put("k", bytes(40 * MIB))
    assert (store.stat("k").size, len(read(store, "k"))) == (40 * MIB, 40 * MIB)
    other.put("k", bytes(60 * MIB))
    assert sizes.known("k").size == 40 * MIB, "the case is there"
    assert len(read(store, "k")) == 60 * MIB
    assert store.stat("k").size == 60 * MIB
    other.put("k", b"tiny")
    assert read(store, "k") == b"tiny"
    store.put("k", bytes(50 * MIB))
    assert (store.stat("k").size, len(read(store, "k"))) == (50 * MIB, 50 * MIB)


def test_an_opened_file_of_an_object_that_was_replaced_says_so():
    store, spy = sized()
    spy.inner.put("k", noise(1000, 1))
    face = Store(store, "mem://x/")
    assert face.stat("k").size == 1000
    spy.inner.put("k", noise(2000, 2))
    with pytest.raises(PreconditionFailedError):
        face.open_file("k").read()
    with face.open_file("k") as file:
        assert file.read() == noise(2000, 2)


@pytest.mark.parametrize("kind", ["precondition", "missing"])
def test_a_failed_condition_forgets(kind):
    store, spy = sized()
    etag = store.stat("k").etag
    if kind == "precondition":
        spy.inner.put("k", b"another")
    else:
        spy.inner.delete(["k"])
    with pytest.raises((PreconditionFailedError, ObjectNotFoundError)):
        store.get("k", Collect(), if_match=etag)
    assert store.known("k") is None


def test_a_read_teaches_the_size_and_leaves_the_rest_to_stat():
    store, spy = sized()
    spy.inner.put("k", b"with facts", metadata={"a": "b"})
    read(store, "k", start=2, length=3)
    assert store.known("k").size == 10
    assert spy.names() == ["get"]
    assert store.stat("k").metadata == {"a": "b"}
    assert spy.names() == ["get", "stat"]
    read(store, "k")
    store.stat("k")
    assert spy.names() == ["get", "stat", "get"], "a read of the same object forgets nothing"


def test_a_read_of_another_object_corrects_the_size():
    store, spy = sized()
    store.stat("k")
    spy.inner.put("k", b"longer than before")
    read(store, "k")
    assert store.known("k").size == 18
    assert store.stat("k").size == 18


@pytest.mark.parametrize("call", ["stat", "get"])
@pytest.mark.parametrize("change", ["put", "delete", "copy"])
def test_an_answer_that_comes_after_a_change_is_not_believed(call, change):
    """A stat that was asked before a put, and is answered after it, tells of the old object."""
    store, spy = sized()
    spy.inner.put("other", bytes(60))

    def meanwhile(spy, number, name, key, *more):
        if name == call and key == "k":
            spy.before = None
            old = spy.inner.stat("k")
            {
                "put": lambda: store.put("k", bytes(60)),
                "delete": lambda: store.delete(["k"]),
                "copy": lambda: store.copy("other", "k"),
            }[change]()
            spy.inner = Late(spy.inner, old)

    spy.before = meanwhile
    store.stat("k") if call == "stat" else store.get("k", Collect())
    spy.inner = spy.inner.inner
    assert store.known("k") is None
    if change == "delete":
        with pytest.raises(ObjectNotFoundError):
            store.stat("k")
    else:
        assert store.stat("k").size == 60


class Late:
    """Answers of an object that is no more."""

    def __init__(self, inner, old):
        self.inner, self.old = inner, old

    def stat(self, key, /):
        return self.old

    def get(self, key, sink, /, **how):
        return self.old


def test_memory_is_bounded():
    store, spy = sized(limit=10)
    for number in range(100):
        spy.inner.put(f"n{number}", b"")
        store.stat(f"n{number}")
        store.stat("k")
    assert store.counts().entries == 10
    assert spy.names().count("stat") == 101, "what is used stays"


def test_prefetching_asks_for_what_is_not_known():
    meeting = threading.Barrier(4, timeout=60)
    store, spy = sized()
    for number in range(8):
        spy.inner.put(f"n{number}", bytes(number))
    spy.before = lambda *call: meeting.wait()
    assert store.prefetch((f"n{number}" for number in range(8)), concurrency=4) == 8
    spy.before = None
    assert store.prefetch(["n1", "n2", "absent"]) == 2
    assert sum(store.stat(f"n{number}").size for number in range(8)) == 28
    assert spy.names().count("stat") == 9


def test_prefetching_hides_no_failure():
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Fail(error=AccessDeniedError), keys="b")]))
    for key in "abc":
        faulty._store.put(key, b"")
    with pytest.raises(AccessDeniedError):
        Sized(faulty, Sizes()).prefetch("abc")


def test_a_change_that_failed_may_have_happened():
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Fail(when="after"), operations=["put"], nth=2)]))
    store = Sized(faulty, Sizes())
    store.put("k", bytes(40))
    store.stat("k")
    with pytest.raises(StoreConnectionError):
        store.put("k", bytes(60))
    assert store.stat("k").size == 60


@pytest.mark.parametrize("how", [{"limit": 0}, {"ttl": 0.0}, {"ttl": -1.0}])
def test_bounds_are_above_zero(how):
    with pytest.raises(ValueError, match="write more than 0"):
        Sizes(**how)
