"""Parts: any split of any bytes gives the same parts; failures surface; memory and threads are bounded."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import parts as module
from penstock.errors import AccessDeniedError, StoreConnectionError, StoreError, ThrottledError, UsageError
from penstock.parts import Parts

PATIENCE_S = 20.0


class Wire:
    """Where parts go: keeps the bytes, fails as told, and can hold senders back until a gate opens."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.failures: dict[int, list[Exception]] = {}
        self.got: dict[int, bytes] = {}
        self.calls: list[int] = []
        self.running = 0
        self.most = 0
        self.lock = threading.Lock()
        self.entered = threading.Semaphore(0)

    def __call__(self, number, data):
        with self.lock:
            self.calls.append(number)
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        try:
            assert self.gate.wait(PATIENCE_S)
            body = bytes(data)
            with self.lock:
                failures = self.failures.get(number)
                if failures:
                    raise failures.pop(0)
                self.got[number] = body
            return f"etag-{number}"
        finally:
            with self.lock:
                self.running -= 1

    def body(self):
        return b"".join(self.got[number] for number in sorted(self.got))


def senders():
    return [thread for thread in threading.enumerate() if thread.name == "penstock-part"]


def settle():
    for thread in senders():
        thread.join(PATIENCE_S)


@given(
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    size=st.integers(1, 64),
    in_flight=st.integers(1, 4),
)
def test_any_split_of_any_bytes_gives_the_same_parts(data, cuts, size, in_flight):
    wire = Wire()
    parts = Parts(size, wire, in_flight=in_flight)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        parts.write(data[begin:end])
    assert parts.nbytes == len(data)
    assert parts.started == (len(data) >= size)
    if not parts.started:
        assert bytes(parts.rest()) == data
    results = parts.finish()
    expected = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    assert [wire.got[number] for number in range(1, len(expected) + 1)] == expected
    assert sorted(wire.calls) == list(range(1, len(expected) + 1))
    assert results == [f"etag-{number}" for number in range(1, len(expected) + 1)]
    assert wire.most <= in_flight
    assert parts.finish() == results
    assert len(wire.calls) == len(expected)


@given(
    pieces=st.lists(st.binary(max_size=90), max_size=8),
    failing=st.dictionaries(st.integers(1, 12), st.integers(1, 3), max_size=6),
    size=st.integers(1, 40),
    in_flight=st.integers(1, 4),
)
def test_what_failed_is_sent_again_by_the_next_call(pieces, failing, size, in_flight):
    wire = Wire()
    wire.failures = {
        number: [ThrottledError(f"slow {number}") for _ in range(count)] for number, count in failing.items()
    }
    parts = Parts(size, wire, in_flight=in_flight)
    for piece in pieces:
        repeat(lambda piece=piece: parts.write(piece), lambda: parts.write(b""))
    results = repeat(parts.finish, parts.finish)
    assert wire.body() == b"".join(pieces)
    assert parts.nbytes == len(wire.body())
    assert results == [f"etag-{number}" for number in sorted(wire.got)]
    for number in wire.got:
        assert wire.calls.count(number) == 1 + failing.get(number, 0)


def repeat(first, then):
    """Call until it succeeds, as the retrying layer does."""
    for call in itertools.chain([first], itertools.repeat(then, 60)):
        try:
            return call()
        except ThrottledError:
            continue
    raise AssertionError("it never succeeded")


def test_a_failure_surfaces_at_the_next_write_before_it_is_sent_again():
    wire = Wire()
    wire.failures = {1: [StoreConnectionError("lost")]}
    parts = Parts(10, wire)
    try:
        parts.write(bytes(10))
        settle()
        with pytest.raises(StoreConnectionError, match="lost"):
            parts.write(b"abc")
    except StoreConnectionError:
        # The first write may be late enough to see it.
        parts.write(b"abc")
    settle()
    assert parts.nbytes == 13
    parts.finish()
    assert wire.body() == bytes(10) + b"abc"


def test_a_failure_nobody_wrote_after_surfaces_at_finish():
    wire = Wire()
    wire.gate.clear()
    wire.failures = {1: [StoreConnectionError("lost")]}
    parts = Parts(10, wire)
    parts.write(bytes(10))
    wire.gate.set()
    with pytest.raises(StoreConnectionError, match="lost"):
        parts.finish()
    assert parts.finish() == ["etag-1"]
    assert wire.calls == [1, 1]


def test_other_failures_leave_only_cancel():
    wire = Wire()
    wire.failures = {2: [AccessDeniedError("no")]}
    parts = Parts(4, wire, in_flight=1)
    with pytest.raises(AccessDeniedError):
        parts.write(bytes(40))
    for call in (lambda: parts.write(b"x"), parts.finish):
        with pytest.raises(AccessDeniedError):
            call()
    parts.cancel()
    assert wire.calls == [1, 2]


def test_an_error_that_is_no_store_error_is_not_lost():
    def send(number, data):
        raise ZeroDivisionError

    parts = Parts(8, send)
    parts.write(bytes(4))
    with pytest.raises(ZeroDivisionError):
        parts.finish()


def test_several_failures_at_once_are_told_together():
    wire = Wire()
    wire.gate.clear()
    wire.failures = {1: [ThrottledError("one")], 2: [ThrottledError("two")]}
    parts = Parts(4, wire)
    parts.write(bytes(8))
    wire.gate.set()
    with pytest.raises(ThrottledError) as caught:
        parts.finish()
    assert "1 more parts failed" in caught.value.__notes__[0]
    assert parts.finish() == ["etag-1", "etag-2"]


def test_a_long_write_into_failures_takes_every_byte_and_does_not_try_by_itself():
    wire = Wire()
    wire.failures = {number: [ThrottledError("down")] * 2 for number in range(1, 4)}
    parts = Parts(4, wire, in_flight=2)
    body = bytes(range(100))
    with pytest.raises(ThrottledError):
        parts.write(body)
    settle()
    assert len(wire.calls) <= 2, "a failed part waits for the next call"
    assert parts.nbytes == 100
    repeat(lambda: parts.write(b""), lambda: parts.write(b""))
    repeat(parts.finish, parts.finish)
    assert wire.body() == body


def test_memory_is_bounded_and_used_again(monkeypatch):
    made = []
    real = module.aligned_buffer
    monkeypatch.setattr(module, "aligned_buffer", lambda nbytes: made.append(nbytes) or real(nbytes))
    wire = Wire()
    parts = Parts(1000, wire, in_flight=3)
    for _ in range(50):
        parts.write(bytes(777))
    parts.finish()
    assert len(made) <= 4
    assert set(made) == {1000}
    assert wire.body() == bytes(777 * 50)


def test_writing_waits_while_all_are_in_flight():
    wire = Wire()
    wire.gate.clear()
    parts = Parts(10, wire, in_flight=2)
    parts.write(bytes(20))
    done = threading.Event()

    def more():
        parts.write(bytes(10))
        done.set()

    thread = threading.Thread(target=more)
    thread.start()
    for _ in range(2):
        assert wire.entered.acquire(timeout=PATIENCE_S)
    assert not done.is_set()
    assert wire.most == 2
    wire.gate.set()
    thread.join(PATIENCE_S)
    assert done.is_set()
    parts.finish()
    assert wire.most == 2


def test_cancel_waits_for_what_is_being_sent_and_sends_nothing_more():
    wire = Wire()
    wire.gate.clear()
    parts = Parts(10, wire, in_flight=2)
    parts.write(bytes(25))
    for _ in range(2):
        assert wire.entered.acquire(timeout=PATIENCE_S)
    cancelled = threading.Event()

    def cancel():
        parts.cancel()
        cancelled.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    assert not cancelled.is_set()
    wire.gate.set()
    thread.join(PATIENCE_S)
    assert cancelled.is_set()
    assert wire.running == 0
    assert sorted(wire.calls) == [1, 2]
    with pytest.raises(StoreError, match="aborted"):
        parts.write(b"x")
    with pytest.raises(StoreError, match="aborted"):
        parts.finish()
    parts.cancel()


def test_cancel_forgets_what_failed():
    wire = Wire()
    wire.gate.clear()
    wire.failures = {1: [ThrottledError("down")]}
    parts = Parts(10, wire)
    parts.write(bytes(10))
    wire.gate.set()
    settle()
    parts.cancel()
    assert wire.calls == [1]


def test_cancel_within_a_sender_does_not_wait_for_itself():
    def send(number, data):
        parts.cancel()
        done.set()

    done = threading.Event()
    parts = Parts(4, send)
    parts.write(bytes(4))
    assert done.wait(PATIENCE_S)


def test_threads_end_and_a_dropped_one_leaves_nothing():
    wire = Wire()
    parts = Parts(10, wire)
    parts.write(bytes(45))
    gone = weakref.ref(parts)
    del parts
    settle()
    gc.collect()
    assert senders() == []
    assert gone() is None


def test_buffers_are_free_on_return():
    wire = Wire()
    wire.gate.clear()
    parts = Parts(8, wire)
    data = bytearray(b"0123456789")
    parts.write(data)
    data[:] = bytes(10)
    data.extend(b"x")
    wire.gate.set()
    parts.finish()
    assert wire.body() == b"0123456789"


def test_any_contiguous_buffer_counts_its_bytes():
    wire = Wire()
    parts = Parts(8, wire)
    parts.write(memoryview(bytes(range(16))).cast("d"))
    with pytest.raises(TypeError):
        parts.write(memoryview(b"abcdef")[::2])
    parts.finish()
    assert wire.body() == bytes(range(16))


def test_no_thread_for_a_part_is_a_failure_that_can_be_repeated(monkeypatch):
    wire = Wire()
    parts = Parts(4, wire)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StoreError, match="no thread could be started") as caught:
            parts.write(b"abcdefgh")
    assert caught.value.retryable
    assert parts.finish() == ["etag-1", "etag-2"]
    assert wire.body() == b"abcdefgh"


@pytest.mark.parametrize(("size", "in_flight"), [(0, 1), (1, 0), (-1, 4)])
def test_senseless_bounds_are_refused(size, in_flight):
    with pytest.raises(UsageError, match="at least 1"):
        Parts(size, Wire(), in_flight=in_flight)
