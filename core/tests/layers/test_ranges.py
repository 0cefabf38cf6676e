"""The range engine: the kit over it with ranges of some hundred bytes, and what it asks of the store."""

from __future__ import annotations

import threading
import uuid

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layers_support import LayerContract, Spy, memory, read

from penstock.errors import (
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreConnectionError,
    UnsupportedOperationError,
)
from penstock.layers import ranges
from penstock.layers.faults import Corrupt, Fail, Faults, Faulty, Rule, Stale, Truncate
from penstock.layers.ranges import Ranged, Ranges
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect, Discard, Into
from penstock.testing.sinks import CheckedSink, Room
from penstock.testing.tools import noise

DATA = noise(10_000)
SMALL = Ranges(threshold=1_000, part_size=700, concurrency=4, memory=2**20)


def open_ranged(name):
    # Every other read of the kit is one of several ranges.
    ranges = Ranges(threshold=999, part_size=30_011, concurrency=3, memory=2**20)
    return Ranged(MemoryStore(MemoryOptions(name=name)), ranges, base_uri=f"mem://{name}/")


class TestRanged(LayerContract):
    opens = staticmethod(open_ranged)


def ranged(spy, split=SMALL, **how):
    return Ranged(spy, split, base_uri="mem://x/", **how)


def spying(data=DATA, **how):
    spy = Spy(**how)
    spy.inner.put("k", data)
    return spy


@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_a_small_object_is_one_request(size):
    spy = spying(DATA[:size])
    assert read(ranged(spy), "k") == DATA[:size]
    assert spy.calls == [("get", "k", 0, 1000, None)]


def test_a_large_object_is_ranges_of_one_etag():
    spy = spying()
    etag = spy.inner.stat("k").etag
    assert read(ranged(spy), "k") == DATA
    assert spy.calls[0] == ("get", "k", 0, 1000, None)
    # 9000 bytes in parts of at most 700: 13 of 692 and 693.
    assert len(spy.calls) == 14
    rest = sorted(spy.calls[1:], key=lambda call: call[2])
    assert {call[3] for call in rest} == {692, 693}
    assert {call[4] for call in rest} == {etag}
    assert [call[2] for call in rest] == [1000 + sum(call[3] for call in rest[:at]) for at in range(13)]
    assert rest[-1][2] + rest[-1][3] == len(DATA)


@pytest.mark.parametrize(
    ("start", "length", "requests"),
    [
        (0, 1000, 1),
        (5000, 1000, 1),
        (5000, 1001, 2),
        (9000, None, 1),
        (9500, 10**9, 1),
        (0, 10**12, 14),
        (2500, 2000, 3),
    ],
)
def test_ranges_of_a_range(start, length, requests):
    spy = spying()
    expected = DATA[start:] if length is None else DATA[start : start + length]
    assert read(ranged(spy), "k", start=start, length=length) == expected
    assert len(spy.calls) == requests


@given(
    size=st.integers(0, 3000),
    start=st.integers(0, 3100),
    length=st.none() | st.integers(0, 3100),
    threshold=st.integers(1, 1200),
    part=st.integers(1, 900),
    concurrency=st.integers(1, 5),
    limit=st.sampled_from([2**20, 2**28]),
    room=st.sampled_from(["collect", "into", "discard", *Room]),
)
def test_every_cut_delivers_the_range(size, start, length, threshold, part, concurrency, limit, room):
    spy = spying(DATA[:size])
    store = ranged(spy, Ranges(threshold=threshold, part_size=part, concurrency=concurrency, memory=limit))
    expected = DATA[:size][start : None if length is None else start + length]
    buffer = bytearray(len(expected))
    if room == "discard":
        sink = Discard(room=100)
    elif room == "collect":
        sink = Collect()
    elif room == "into":
        sink = Into(buffer)
    else:
        sink = CheckedSink(room)
    info = store.get("k", sink, start=start, length=length)
    assert (info.size, sink.nbytes) == (size, len(expected))
    if room == "into":
        assert buffer == expected
    elif room != "discard":
        assert bytes(sink.view()) == expected


def test_ranges_are_read_at_the_same_time():
    meeting = threading.Barrier(4, timeout=60)

    def meet(spy, number, *call):
        if number > 1:
            meeting.wait()

    spy = spying(DATA[: 1000 + 8 * 700], before=meet)
    # Eight parts pass the barrier four at a time, or never.
    assert read(ranged(spy), "k") == DATA[: 1000 + 8 * 700]


@pytest.mark.parametrize("sink", [Collect, lambda: CheckedSink(Room.SHORT), lambda: Discard(room=100)])
def test_never_more_at_once_than_allowed(sink):
    active, most, lock = 0, 0, threading.Lock()

    class Counting(MemoryStore):
        def get(self, key, sink, /, **how):
            nonlocal active, most
            with lock:
                active += 1
                most = max(most, active)
            try:
                return super().get(key, sink, **how)
            finally:
                with lock:
                    active -= 1

    inner = Counting(MemoryOptions(name=uuid.uuid4().hex))
    inner.put("k", noise(400_000))
    store = ranged(inner, Ranges(threshold=1000, part_size=1000, concurrency=3, memory=2**20))
    target = sink()
    store.get("k", target)
    assert target.nbytes == 400_000
    assert 1 <= most <= 3


def test_memory_is_bounded_where_the_sink_has_no_room(monkeypatch):
    taken = []
    real = ranges.aligned_buffer
    monkeypatch.setattr(ranges, "aligned_buffer", lambda nbytes: taken.append(nbytes) or real(nbytes))
    spy = spying(noise(5_000_000))
    sink = Discard(room=999)
    store = ranged(spy, Ranges(threshold=1000, part_size=10**6, concurrency=32, memory=2_500_000))
    store.get("k", sink)
    assert sink.nbytes == 5_000_000
    assert sum(taken) <= 2_500_000
    assert len(taken) == 2, "as many parts as fit into the memory, of a MiB each"


def test_nothing_is_copied_where_the_sink_has_room(monkeypatch):
    monkeypatch.setattr(ranges, "aligned_buffer", lambda nbytes: pytest.fail("memory of its own"))
    spy = spying()
    buffer = bytearray(len(DATA))
    ranged(spy).get("k", Into(buffer))
    assert buffer == DATA


def overwriting(number, data=b"new" * 5000):
    def step(spy, count, *call):
        if count == number:
            spy.inner.put("k", data)

    return step


@pytest.mark.parametrize("number", range(2, 15))
@pytest.mark.parametrize("new", [noise(20_000, "new"), noise(10_000, "new"), b"short", b""])
def test_an_object_that_changes_is_read_as_it_is_now(number, new):
    spy = spying(before=overwriting(number, new))
    buffer = bytearray(20_000)
    into = Into(buffer)
    info = ranged(spy).get("k", into)
    assert info.size == into.nbytes == len(new)
    assert buffer[: len(new)] == new
    assert spy.calls[-1] == ("get", "k", 0, None, None)


def test_an_object_that_goes_is_missing():
    spy = spying(before=lambda spy, count, *call: spy.inner.delete(["k"]) if count == 3 else None)
    sink = Collect()
    with pytest.raises(ObjectNotFoundError):
        ranged(spy).get("k", sink)
    assert sink.nbytes == 0


@pytest.mark.parametrize("number", range(2, 15))
def test_what_was_delivered_is_never_followed_by_another_object(number):
    spy = spying(before=overwriting(number))
    sink = CheckedSink(Room.SHORT)
    sink._size = lambda asked: 100  # as short as a stream's chunk
    with pytest.raises(PreconditionFailedError):
        ranged(spy).get("k", sink)
    assert DATA.startswith(sink.view())
    assert sink.nbytes >= 1000


def test_a_condition_of_the_callers_own_is_kept():
    spy = spying(before=overwriting(3))
    etag = spy.inner.stat("k").etag
    with pytest.raises(PreconditionFailedError):
        ranged(spy).get("k", Collect(), if_match=etag)
    assert {call[4] for call in spy.calls} == {etag}


def test_a_stale_answer_is_never_mixed_in():
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Stale(), operations=["get"], nth=4)]))
    faulty.put("k", noise(10_000, "old"))
    faulty.put("k", DATA)
    assert read(ranged(faulty), "k") == DATA


def test_a_backend_without_conditions_is_found_out():
    class Careless(MemoryStore):
        def get(self, key, sink, /, *, start=0, length=None, if_match=None):
            return super().get(key, sink, start=start, length=length)

    spy = Spy(Careless(MemoryOptions(name=uuid.uuid4().hex)), before=overwriting(4, noise(10_000, "new")))
    spy.inner.put("k", DATA)
    assert read(ranged(spy), "k") == noise(10_000, "new")


class Etagless(MemoryStore):
    def get(self, key, sink, /, **how):
        return attrs.evolve(super().get(key, sink, **how), etag=None)


def test_without_etags_one_request_is_made():
    spy = Spy(Etagless(MemoryOptions(name=uuid.uuid4().hex)))
    spy.inner.put("k", DATA)
    assert read(ranged(spy), "k") == DATA
    assert spy.calls == [("get", "k", 0, 1000, None), ("get", "k", 0, None, None)]
    with pytest.raises(UnsupportedOperationError, match="read without ranges"):
        ranged(spy).get("k", Discard(room=100))


@pytest.mark.parametrize("sink", [Collect, lambda: CheckedSink(Room.SHORT)])
@pytest.mark.parametrize("nth", [1, 2, 7])
def test_a_short_success_is_no_success(nth, sink):
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Truncate(at=5), operations=["get"], nth=nth)]))
    faulty.put("k", DATA)
    target = sink()
    with pytest.raises(LengthMismatchError, match="5 of"):
        ranged(faulty).get("k", target)
    assert DATA.startswith(bytes(target.view()))


@pytest.mark.parametrize("nth", [1, 2, 7, 14])
def test_what_arrived_is_delivered_before_a_failure(nth):
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Fail(when="within", at=3), operations=["get"], nth=nth)]))
    faulty.put("k", DATA)
    sink = Collect()
    with pytest.raises(StoreConnectionError):
        ranged(faulty).get("k", sink)
    assert DATA.startswith(bytes(sink.view()))


@pytest.mark.parametrize("at", [0, 3, 10**6])
def test_parts_that_break_off_go_on_where_they_stopped(at):
    rules = [Rule(effect=Fail(when="within", at=at), operations=["get"], every=3)]
    faulty = Faulty(memory(), Faults(rules=rules))
    faulty.put("k", DATA)
    spy = Spy(faulty)
    # Threads may take turns so that one of them meets every third call.
    policy = RetryPolicy(attempts=10_000, base_delay=0.0, deadline=None)
    store = ranged(Retrying(spy, policy), attrs.evolve(SMALL, resumes=10_000))
    assert read(store, "k") == DATA
    assert (len(spy.calls) > 14) == (at < 10**6), "a part of which all has come is not asked for again"
    resumed = [call for call in spy.calls if call[2] >= 1000 and call[3] < 692]
    assert all(call[4] is not None for call in resumed)
    assert bool(resumed) == (at == 3)


def test_a_first_range_that_breaks_off_is_asked_for_again():
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Fail(when="within", at=3), operations=["get"], limit=2)]))
    faulty.put("k", DATA)
    assert read(ranged(faulty, attrs.evolve(SMALL, resumes=2)), "k") == DATA


def test_a_corruption_is_not_hidden():
    faulty = Faulty(memory(), Faults(rules=[Rule(effect=Corrupt(offset=5000), operations=["get"])]))
    faulty.put("k", DATA)
    got = read(ranged(faulty), "k")
    assert [at for at in range(len(DATA)) if got[at] != DATA[at]] == [5000]


def test_a_buffer_too_small_is_refused_before_its_end():
    spy = spying()
    memory_ = bytearray(b"\xee" * 10_000)
    with pytest.raises(LengthMismatchError):
        ranged(spy).get("k", Into(memoryview(memory_)[:9_999]))
    assert memory_[9_999:] == b"\xee"


def test_what_is_known_saves_the_wait_for_the_first_range():
    spy = spying()
    info = spy.inner.stat("k")
    meeting = threading.Barrier(4, timeout=60)
    spy.before = lambda spy, number, *call: meeting.wait() if number <= 4 else None
    assert read(ranged(spy, known=lambda key: info), "k") == DATA
    assert {call[4] for call in spy.calls} == {info.etag}


@pytest.mark.parametrize("new", [noise(60_000), b"tiny", b""])
def test_what_is_known_wrongly_never_cuts_a_read(new):
    spy = spying()
    old = spy.inner.stat("k")
    spy.inner.put("k", new)
    store = ranged(spy, known=lambda key: old)
    assert read(store, "k") == new
    with pytest.raises(PreconditionFailedError):
        read(store, "k", if_match=old.etag)
    spy.inner.delete(["k"])
    with pytest.raises(ObjectNotFoundError):
        read(store, "k")


@pytest.mark.parametrize("known", [attrs.evolve, lambda info: attrs.evolve(info, etag=None)])
def test_small_things_that_are_known_are_one_request(known):
    spy = spying(DATA[:500])
    info = known(spy.inner.stat("k"))
    assert read(ranged(spy, known=lambda key: info), "k") == DATA[:500]
    assert spy.calls == [("get", "k", 0, 1000, None)]


def test_threads_end_with_the_read():
    before = set(threading.enumerate())
    read(ranged(spying()), "k")
    assert set(threading.enumerate()) == before


def test_the_concurrency_is_that_of_the_kind_of_store():
    store = memory()
    assert Ranged(store, Ranges()).concurrency == 32
    store.capabilities = attrs.evolve(store.capabilities, directories=True)
    assert Ranged(store, Ranges()).concurrency == 16
    assert Ranged(store, Ranges(concurrency=5)).concurrency == 5


@pytest.mark.parametrize("field", ["threshold", "part_size", "concurrency", "memory"])
def test_sizes_are_at_least_one(field):
    with pytest.raises(ValueError, match=f"{field} can't be 0; write 1"):
        Ranges(**{field: 0})
