"""The fault layer: the kit over it while it does nothing, and everything that it can do wrong."""

from __future__ import annotations

import pickle
import threading

import pytest
from layers_support import LayerContract, Time, keys, memory, read

from penstock import errors
from penstock.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreConnectionError,
    StoreError,
    ThrottledError,
)
from penstock.layers.faults import (
    OPERATIONS,
    Corrupt,
    Delay,
    Fail,
    Faults,
    Faulty,
    Lose,
    Rule,
    Service,
    Stale,
    Stall,
    Torn,
    Truncate,
)
from penstock.layers.faults.rules import wait_until
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect, Discard, Into
from penstock.writers import GuardedWriter

DATA = bytes(range(256)) * 40
#: Rules that cover every call and change none.
HARMLESS = Faults(
    rules=[
        Rule(effect=Delay(seconds=0.0)),
        Rule(effect=Fail(), probability=0.0),
        Rule(effect=Corrupt(offset=10**9)),
        Rule(effect=Truncate(at=10**9), operations=["get", "put"]),
        Rule(effect=Stale(), keys="somewhere/else"),
        Rule(effect=Torn(at=10**9)),
        Rule(effect=Lose(), nth=10**9),
        Rule(effect=Service(concurrency=1000, seconds=1e-9)),
    ]
)


def open_faulty(name):
    return Faulty(MemoryStore(MemoryOptions(name=name)), HARMLESS, base_uri=f"mem://{name}/")


class TestFaulty(LayerContract):
    opens = staticmethod(open_faulty)


def faulty(*rules, seed=0, time=None, history=64 * 2**20):
    time = time or Time()
    return Faulty(memory(), Faults(rules=rules, seed=seed, history=history), base_uri="mem://x/", timing=time.timing)


def rule(effect, *operations, **how):
    return Rule(effect=effect, operations=operations, **how)


CALLS = {
    "get": lambda store: store.get("k", Collect()),
    "put": lambda store: store.put("k", b"new"),
    "open_writer": lambda store: store.open_writer("k", part_size=1024),
    "write": lambda store: store.open_writer("k", part_size=1024).write(b"x"),
    "commit": lambda store: store.open_writer("k", part_size=1024).commit(),
    "stat": lambda store: store.stat("k"),
    "list_pages": lambda store: list(store.list_pages("k")),
    "delete": lambda store: store.delete(["k"]),
    "copy": lambda store: store.copy("k", "k"),
}
STORE_ERRORS = [
    name
    for name in errors.__all__
    if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), StoreError)
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_call_fails_alone(operation, when):
    store = faulty(
        rule(Fail(error="ThrottledError", when=when, retry_after=2.5, status=503, code="SlowDown"), operation)
    )
    store._store.put("k", b"old")
    for name, call in CALLS.items():
        store._store.put("k", b"old")
        opens = operation == "open_writer" and name in ("write", "commit")
        if name != operation and not opens:
            call(store)
    store._store.put("k", b"old")
    with pytest.raises(ThrottledError) as caught:
        CALLS[operation](store)
    error = caught.value
    assert (error.uri, error.operation, error.retry_after) == ("mem://x/k", operation, 2.5)
    assert (error.status, error.code, error.retryable) == (503, "SlowDown", True)
    assert pickle.loads(pickle.dumps(error)).retry_after == 2.5
    done = when == "after" and operation in ("put", "commit", "delete")
    assert (keys(store._store) != ["k"] or read(store._store, "k") != b"old") == done
    (count,) = store.counts()
    assert (count.covered >= 1, count.injected) == (True, 1)


def test_the_calls_are_all_operations():
    assert set(CALLS) == set(OPERATIONS)


@pytest.mark.parametrize("name", STORE_ERRORS)
@pytest.mark.parametrize("retryable", [None, False, True])
def test_every_error_can_be_injected(name, retryable):
    kind = getattr(errors, name)
    store = faulty(rule(Fail(error=kind, retryable=retryable), "stat"))
    with pytest.raises(kind) as caught:
        store.stat("k")
    assert type(caught.value) is kind
    assert caught.value.retryable == (kind.retryable if retryable is None else retryable)


def test_the_tree_has_a_dozen_store_errors():
    assert len(STORE_ERRORS) >= 12


def outcomes(store, count=200):
    seen = []
    for _ in range(count):
        try:
            store.stat("k")
            seen.append(True)
        except StoreError:
            seen.append(False)
    return seen


def test_the_seed_decides():
    def run(seed):
        store = faulty(rule(Fail(), "stat", probability=0.3), rule(Fail(), "stat", probability=0.1), seed=seed)
        store._store.put("k", b"")
        return outcomes(store)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_the_probability_is_met():
    store = faulty(rule(Fail(), "stat", probability=0.25))
    store._store.put("k", b"")
    failed = outcomes(store, 4000).count(False)
    # Four standard deviations of a binomial draw.
    assert abs(failed - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5
    (count,) = store.counts()
    assert (count.covered, count.injected) == (4000, failed)


@pytest.mark.parametrize(
    ("how", "failing"),
    [
        ({"nth": 3}, [3]),
        ({"every": 4}, [4, 8, 12]),
        ({"after": 10}, [11, 12]),
        ({"after": 2, "every": 5}, [7, 12]),
        ({"limit": 2}, [1, 2]),
        ({"every": 3, "limit": 3}, [3, 6, 9]),
        ({"limit": 0}, []),
        ({"probability": 0.0}, []),
        ({"keys": "j"}, []),
        ({"keys": "*"}, list(range(1, 13))),
    ],
)
def test_which_calls_are_taken(how, failing):
    store = faulty(rule(Fail(), "stat", **how))
    store._store.put("k", b"")
    assert [number for number, fine in enumerate(outcomes(store, 12), 1) if not fine] == failing


def test_rules_count_for_themselves_and_by_key():
    store = faulty(rule(Fail(), "stat", keys="a/*", nth=2), rule(Fail(error="AccessDeniedError"), keys="b/**"))
    for key in ("a/1", "a/2", "b/x/y"):
        store._store.put(key, b"")
    store.stat("a/1")
    with pytest.raises(AccessDeniedError):
        store.get("b/x/y", Collect())
    with pytest.raises(StoreConnectionError):
        store.stat("a/2")
    assert [(count.covered, count.injected) for count in store.counts()] == [(2, 1), (1, 1)]


def test_numbers_are_not_lost_between_threads():
    store = faulty(rule(Fail(), "stat", every=10))
    store._store.put("k", b"")
    failed = []
    threads = [threading.Thread(target=lambda: failed.append(outcomes(store, 500).count(False))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(failed) == 400
    (count,) = store.counts()
    assert (count.covered, count.injected) == (4000, 400)


@pytest.mark.parametrize("sink", ["write", "room"])
@pytest.mark.parametrize("at", [0, 1, 5000, 10**6])
def test_a_read_breaks_off_within_its_body(at, sink):
    store = faulty(rule(Fail(when="within", at=at), "get"))
    store._store.put("k", DATA)
    if sink == "room":
        store._store = Roomy(store._store)
    target = Collect()
    with pytest.raises(StoreConnectionError) as caught:
        store.get("k", target)
    assert caught.value.operation == "get"
    assert bytes(target.view()) == DATA[:at]
    assert store.counts()[0].injected == 1


class Roomy:
    """A memory store that fills the room of sinks, as file and network stores do."""

    def __init__(self, inner, step=1000):
        self.inner, self.capabilities, self.step = inner, inner.capabilities, step
        self.put, self.stat, self.copy, self.delete = inner.put, inner.stat, inner.copy, inner.delete
        self.list_pages, self.open_writer, self.close = inner.list_pages, inner.open_writer, inner.close

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        whole = Collect()
        info = self.inner.get(key, whole, start=start, length=length, if_match=if_match)
        rest = whole.view()
        while rest.nbytes:
            room = sink.reserve(rest.nbytes)
            count = min(room.nbytes, rest.nbytes, self.step)
            room[:count] = rest[:count]
            sink.commit(count)
            rest = rest[count:]
        return info


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize("at", [0, 1, 999, 1000, 5000])
def test_a_truncated_read_says_nothing(at, roomy):
    store = faulty(rule(Truncate(at=at), "get"))
    store._store.put("k", DATA)
    if roomy:
        store._store = Roomy(store._store)
    buffer = bytearray(at)
    into = Into(buffer)
    info = store.get("k", into)
    assert (info.size, into.nbytes, bytes(buffer)) == (len(DATA), at, DATA[:at])
    assert store.counts()[0].injected == 1


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize(("start", "length"), [(0, None), (1500, None), (1000, 1001), (2001, None), (0, 2000)])
def test_a_corrupted_read(start, length, roomy):
    store = faulty(rule(Corrupt(offset=2000, bits=3), "get"))
    store._store.put("k", DATA)
    if roomy:
        store._store = Roomy(store._store)
    expected = bytearray(DATA)
    expected[2000] ^= 0b111
    end = None if length is None else start + length
    assert read(store, "k", start=start, length=length) == expected[start:end]
    inside = start <= 2000 and (end is None or end > 2000)
    assert store.counts()[0].injected == inside
    assert read(store._store, "k") == DATA, "the stored object stays as it is"


def test_a_corrupted_byte_is_drawn():
    def differing(seed):
        store = faulty(rule(Corrupt(), "get"), seed=seed)
        store._store.put("k", DATA)
        got = read(store, "k")
        return [at for at in range(len(DATA)) if got[at] != DATA[at]]

    places = [differing(seed) for seed in range(8)]
    assert all(len(place) == 1 for place in places)
    assert places == [differing(seed) for seed in range(8)]
    assert len({place[0] for place in places}) > 4


def test_a_corrupted_put_stores_other_bytes_and_leaves_the_buffer():
    store = faulty(rule(Corrupt(offset=7, bits=8), "put"))
    buffer = bytearray(DATA)
    assert store.put("k", buffer).size == len(DATA)
    assert buffer == DATA
    stored = read(store._store, "k")
    assert [at for at in range(len(DATA)) if stored[at] != DATA[at]] == [7]
    assert stored[7] == DATA[7] ^ 0xFF


def test_a_corrupted_write():
    store = faulty(rule(Corrupt(offset=1500), "write"))
    writer = store.open_writer("k", part_size=1024)
    buffer = bytearray(DATA[:1000])
    writer.write(buffer)
    assert buffer == DATA[:1000]
    writer.write(DATA[1000:2000])
    writer.commit()
    stored = read(store._store, "k")
    assert [at for at in range(2000) if stored[at] != DATA[at]] == [1500]


@pytest.mark.parametrize("at", [0, 10, len(DATA), 10**6])
def test_a_truncated_put_answers_as_if_whole(at):
    store = faulty(rule(Truncate(at=at), "put"))
    assert store.put("k", DATA).size == len(DATA)
    assert read(store._store, "k") == DATA[:at]
    assert store.counts()[0].injected == (at < len(DATA))


def test_stale_answers():
    store = faulty(rule(Stale(), "get", "stat", after=1))
    old = store.put("k", b"the old version")
    assert read(store, "k") == b"the old version"
    new = store.put("k", b"the new one")
    assert (store.stat("k").etag, read(store._store, "k")) == (old.etag, b"the new one")
    assert read(store, "k") == b"the old version"
    assert read(store, "k", start=4, length=3) == b"old"
    assert read(store, "k", if_match=old.etag) == b"the old version"
    sink = Discard()
    with pytest.raises(PreconditionFailedError):
        store.get("k", sink, if_match=new.etag)
    assert sink.nbytes == 0
    assert store.counts()[0].injected == 5


def test_stale_answers_after_every_kind_of_change():
    store = faulty(rule(Stale(), "get", after=0))
    store._store.put("other", b"copied")
    store.put("k", b"one")
    with GuardedWriter(store.open_writer("k", part_size=1024), "k") as writer:
        writer.write(b"two")
    assert read(store, "k") == b"one"
    store.copy("other", "k")
    assert read(store, "k") == b"two"
    store.delete(["k"])
    assert read(store, "k") == b"copied"
    with pytest.raises(ObjectNotFoundError):
        read(store, "absent")


def test_the_history_is_bounded():
    store = faulty(rule(Stale(), "get"), history=250)
    for key in "abc":
        store.put(key, bytes(100))
        store.put(key, b"new")
    assert [len(read(store, key)) for key in "abc"] == [3, 100, 100]
    store.put("large", bytes(300))
    store.put("large", b"new")
    assert len(read(store, "large")) == 3


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize(("old", "new", "at"), [(50, 50, 20), (30, 50, 20), (90, 50, 20), (10, 50, 20), (50, 50, 0)])
def test_a_torn_read_mixes_two_versions(old, new, at, roomy):
    store = faulty(rule(Torn(at=at), "get"))
    store.put("k", b"o" * old)
    store.put("k", b"n" * new)
    if roomy:
        store._store = Roomy(store._store, step=7)
    expected = bytes(b"o"[0] if at <= place < old else b"n"[0] for place in range(new))
    assert read(store, "k") == expected
    assert read(store, "k", start=15, length=20) == expected[15:35]
    assert store.counts()[0].injected == (2 if expected != b"n" * new else 0)


def test_a_torn_put_stores_a_mixture():
    store = faulty(rule(Torn(at=3), "put", after=1))
    store.put("k", b"oooooo")
    assert store.put("k", b"nnnnnnnn").size == 8
    assert read(store, "k") == b"nnnooonn"
    store.put("fresh", b"nnnn")
    assert read(store, "fresh") == b"nnnn", "without a previous version there is nothing to mix"
    assert store.counts()[0].injected == 1


def test_lost_writes():
    store = faulty(rule(Lose(), keys="lost/*"))
    store._store.put("lost/k", b"old")
    assert (store.put("lost/k", b"newer").size, read(store, "lost/k")) == (5, b"old")
    writer = store.open_writer("lost/k", part_size=1024)
    writer.write(b"newest")
    assert (writer.commit().size, read(store, "lost/k")) == (6, b"old")
    assert (store.delete(["lost/k", "not-there"]), keys(store)) == ([], ["lost/k"])
    assert store.counts()[0].injected == 3


def test_some_keys_of_a_batch_fail():
    store = faulty(rule(Fail(error="AccessDeniedError", when="within"), keys="b*"))
    for key in ("a", "b1", "b2", "c"):
        store._store.put(key, b"")
    failed = store.delete(["a", "b1", "b2", "c"])
    assert [(type(error), error.uri, error.operation) for error in failed] == [
        (AccessDeniedError, "mem://x/b1", "delete"),
        (AccessDeniedError, "mem://x/b2", "delete"),
    ]
    assert keys(store) == ["b1", "b2"]


def test_a_batch_waits_and_fails_once():
    time = Time()
    store = faulty(rule(Delay(seconds=2.0), "delete"), rule(Fail(), "delete", keys="b*"), time=time)
    for key in ("a", "b1", "b2"):
        store._store.put(key, b"")
    with pytest.raises(StoreConnectionError) as caught:
        store.delete(["a", "b1", "b2"])
    assert caught.value.uri == "mem://x/b1"
    assert (time.sleeps, keys(store)) == ([2.0], ["a", "b1", "b2"])


def test_a_listing_fails_or_ends_at_a_page():
    failing = faulty(rule(Fail(), "list_pages", nth=3))
    ending = faulty(rule(Truncate(), "list_pages", nth=3))
    for store in (failing, ending):
        for number in range(5):
            store._store.put(str(number), b"")
    seen = []
    with pytest.raises(StoreConnectionError):
        seen.extend(page.objects[0].key for page in failing.list_pages(page_size=1))
    assert seen == ["0", "1"]
    assert keys(ending, page_size=1) == ["0", "1"]
    assert keys(ending, page_size=1) == list("01234")


def test_a_write_that_fails_has_taken_its_bytes():
    store = faulty(rule(Fail(), "write", nth=2), rule(Fail(), "commit", nth=1))
    retrying = Retrying(store, RetryPolicy(base_delay=0.0))
    writer = retrying.open_writer("k", part_size=1024)
    for piece in (b"one,", b"two,", b"three"):
        writer.write(piece)
    writer.commit()
    assert read(store, "k") == b"one,two,three"
    assert [count.injected for count in store.counts()] == [1, 1]


def test_a_writer_that_failed_for_good_stays_so():
    store = faulty(rule(Fail(error="AccessDeniedError"), "write", nth=1))
    writer = store.open_writer("k", part_size=1024)
    with pytest.raises(AccessDeniedError):
        writer.write(b"x")
    with pytest.raises(AccessDeniedError):
        writer.commit()
    writer.abort()
    assert keys(store) == []


def test_delays_are_waited_for():
    time = Time()
    store = faulty(rule(Delay(seconds=0.5), "get"), rule(Delay(seconds=0.25), keys="k"), time=time)
    store._store.put("k", b"")
    store._store.put("other", b"")
    store.get("k", Collect())
    store.get("other", Collect())
    store.stat("k")
    assert time.sleeps == [0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("shape", "least", "most"),
    [("fixed", 0.01, 0.01), ("uniform", 0.0, 0.02), ("exponential", 0.0, 0.2), ("lognormal", 0.0, 1.0)],
)
def test_drawn_delays_have_their_mean(shape, least, most):
    time = Time()
    store = faulty(rule(Delay(seconds=0.01, distribution=shape), "stat"), time=time)
    store._store.put("k", b"")
    begin = time.now
    for _ in range(4000):
        store.stat("k")
    assert (time.now - begin) / 4000e9 == pytest.approx(0.01, rel=0.1)
    assert least <= min(time.sleeps)
    assert max(time.sleeps) <= most
    assert len(set(time.sleeps)) > (1 if shape == "fixed" else 3900) - 1


def test_a_stall_holds_what_comes_while_it_lasts():
    time = Time()
    store = faulty(rule(Stall(at=10.0, seconds=1.0), "stat"), time=time)
    store._store.put("k", b"")
    waits = []
    for _ in range(24):
        before = time.now
        store.stat("k")
        waits.append((time.now - before) / 1e9)
        time.pass_(0.5)
    assert [place for place, wait in enumerate(waits) if wait] == [20]
    assert waits[20] == 1.0
    assert store.counts()[0].injected == 1


def test_stalls_come_again():
    time = Time()
    store = faulty(rule(Stall(seconds=1.0, every=4.0), "stat"), time=time)
    store._store.put("k", b"")
    begun = []
    for _ in range(40):
        before = time.now
        store.stat("k")
        if time.now > before:
            begun.append(before / 1e9 - 1.0)
        time.pass_(0.25)
    assert begun == [0.0, 4.0, 8.0, 12.0]


def arrivals(store, time, count, gap):
    """Latencies of calls that come every ``gap`` seconds, whatever became of those before."""
    latencies = []
    for number in range(count):
        came = 1_000_000_000 + round(number * gap * 1e9)
        time.now = came
        store.stat("k")
        latencies.append((time.now - came) / 1e9)
    return latencies


@pytest.mark.parametrize(("gap", "last"), [(0.01, 0.02), (0.005, 0.02), (0.0025, 0.02 + 200 * 0.0025)])
def test_a_service_has_its_knee_where_it_was_put(gap, last):
    time = Time()
    store = faulty(rule(Service(concurrency=4, seconds=0.02), "stat"), time=time)
    store._store.put("k", b"")
    latencies = arrivals(store, time, 200, gap)
    # 4 / 0.02 s are 200 calls per second: below that nobody waits, at twice that each waits longer by half its gap.
    assert latencies[-1] == pytest.approx(last, abs=0.011)
    assert latencies[0] == 0.02


def test_services_are_shared_by_threads():
    time = Time()
    store = faulty(rule(Service(concurrency=2, seconds=1.0), "stat"), time=time)
    ends = [store._rules.meet("stat", "k") for _ in range(5)]
    assert [wait_until(hits, 0) / 1e9 for hits in ends] == [1.0, 1.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Fail(error="KeyError"), "known: AccessDenied"),
        (lambda: Fail(error="UsageError"), "error can't be 'UsageError'"),
        (lambda: Fail(when="later"), "when"),
        (lambda: Fail(at=-1), "at can't be -1"),
        (lambda: Delay(seconds=-1.0), "seconds can't be -1"),
        (lambda: Delay(seconds=float("nan")), "seconds can't be nan"),
        (lambda: Delay(seconds=1.0, distribution="normal"), "distribution"),
        (lambda: Stall(seconds=2.0, every=1.0), "never ends"),
        (lambda: Stall(seconds=0.0), "more than 0"),
        (lambda: Service(concurrency=0, seconds=1.0), "concurrency"),
        (lambda: Corrupt(bits=9), "bits"),
        (lambda: Rule(effect=Fail(), operations=["read"]), "known: get, put"),
        (lambda: Rule(effect=Stale(), operations=["put"]), "Stale does not act on put; it acts on get, stat"),
        (lambda: Rule(effect=Fail(when="within"), operations=["put"]), "it acts on get, delete"),
        (lambda: Rule(effect=Fail(), probability=1.5), "probability"),
        (lambda: Rule(effect=Fail(), every=0), "every"),
        (lambda: Rule(effect=Fail(), nth=0), "nth can't be 0"),
    ],
)
def test_what_can_not_be_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_faults_travel():
    again = pickle.loads(pickle.dumps(HARMLESS))
    assert again == HARMLESS
    assert hash(again) == hash(HARMLESS)
