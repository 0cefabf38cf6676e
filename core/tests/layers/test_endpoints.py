"""Several endpoints as one store: the kit over it, balance, ejection and recovery, and what moves where."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter

import attrs
import pytest
from layers_support import LayerContract, Spy, Time, keys, memory, read

from penstock.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    StoreConnectionError,
    StoreError,
    ThrottledError,
    UsageError,
)
from penstock.layers.endpoints import POLICIES, Balanced, Endpoints, expand, read_endpoints, split_endpoints
from penstock.layers.faults import Delay, Fail, Faults, Faulty, Rule
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect
from penstock.testing.sinks import CheckedSink, SinkError


def open_balanced(name):
    stores = [(f"mem://{number}/", MemoryStore(MemoryOptions(name=name))) for number in range(3)]
    return Balanced(stores, Endpoints())


class TestBalanced(LayerContract):
    opens = staticmethod(open_balanced)


class Gateways:
    """Some endpoints of one namespace, each with a fault layer whose rules can be changed, on one fake clock."""

    def __init__(self, count=3, **how):
        self.time = Time()
        name = uuid.uuid4().hex
        self.faulty = [
            Faulty(MemoryStore(MemoryOptions(name=name)), Faults(), timing=self.time.timing) for _ in range(count)
        ]
        self.spies = [Spy(faulty) for faulty in self.faulty]
        self.inner = MemoryStore(MemoryOptions(name=name))
        self.inner.put("k", b"value")
        stores = [(f"mem://{number}/", spy) for number, spy in enumerate(self.spies)]
        self.store = Balanced(stores, Endpoints(**how), timing=self.time.timing)

    def rule(self, number, *rules):
        faulty = self.faulty[number]
        self.faulty[number] = Faulty(
            faulty._store, Faults(rules=rules), base_uri=f"mem://{number}/", timing=self.time.timing
        )
        self.spies[number].inner = self.faulty[number]

    def shares(self):
        return [one.requests for one in self.store.statistics()]

    def healthy(self):
        return [one.healthy for one in self.store.statistics()]


BROKEN = Rule(effect=Fail(error="StoreConnectionError"))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_round_robin_is_even(count):
    gateways = Gateways(count)
    for _ in range(10 * count):
        read(gateways.store, "k")
    assert gateways.shares() == [10] * count


def test_round_robin_is_even_between_threads():
    gateways = Gateways(4)

    def work():
        for _ in range(500):
            gateways.store.stat("k")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gateways.shares() == [1000] * 4


def test_random_follows_the_seed():
    def shares(seed):
        gateways = Gateways(4, policy="random", seed=seed)
        for _ in range(1000):
            gateways.store.stat("k")
        return gateways.shares()

    assert shares(1) == shares(1) != shares(2)
    assert all(abs(share - 250) < 60 for share in shares(3))


def test_sticky_keys_stay_and_few_move():
    gateways = Gateways(4, policy="sticky_key", eject_after=1)
    names = [f"key/{number}" for number in range(200)]
    for name in names:
        gateways.inner.put(name, b"")

    def homes():
        found = {}
        for name in names:
            before = gateways.shares()
            gateways.store.stat(name)
            after = gateways.shares()
            found[name] = next(place for place in range(4) if after[place] > before[place])
        return found

    first = homes()
    assert homes() == first
    assert all(30 <= count <= 75 for count in Counter(first.values()).values())
    gateways.rule(2, BROKEN)
    homes()
    moved = {name: home for name, home in homes().items() if home != first[name]}
    assert set(moved) == {name for name in names if first[name] == 2}, "only the broken one's keys move"
    assert len(set(moved.values())) == 3


def overlapped(gateways, latencies, calls, concurrency):
    """Closed loop on a fake clock: so many callers, each begins its next call when its last has ended."""
    members, choose = gateways.store._members, gateways.store._spread._choose
    under_way = []
    for number in range(calls):
        if len(under_way) == concurrency:
            under_way.sort(key=lambda call: call[0])
            end, member, begun = under_way.pop(0)
            gateways.time.now = end
            members.end(member, begun, None)
        member = members.begin(lambda some: choose(some, "k"), set())
        now = gateways.time.now
        under_way.append((now + round(latencies(members.all.index(member), number) * 1e9), member, now))


@pytest.mark.parametrize(
    ("policy", "most"), [("least_connections", 0.10), ("latency_weighted", 0.10), ("round_robin", 0.3334)]
)
def test_a_slow_endpoint_gets_less(policy, most):
    gateways = Gateways(3, policy=policy)
    overlapped(gateways, lambda place, number: 0.1 if place == 1 else 0.01, 3000, 12)
    shares = gateways.shares()
    assert sum(shares) == 3000
    assert shares[1] / 3000 <= most
    if policy == "round_robin":
        assert shares == [1000] * 3
    else:
        # One that takes ten times as long should get a tenth of what each of the others gets: 1 of 21.
        assert shares[1] / 3000 == pytest.approx(1 / 21, rel=0.5)
        assert shares[0] == pytest.approx(shares[2], rel=0.15)


@pytest.mark.parametrize("policy", ["least_connections", "latency_weighted"])
def test_an_endpoint_that_becomes_quick_again_gets_its_share_back(policy):
    gateways = Gateways(3, policy=policy)
    overlapped(gateways, lambda place, number: 0.1 if place == 1 else 0.01, 2000, 12)
    before = gateways.shares()
    overlapped(gateways, lambda place, number: 0.01, 3000, 12)
    share = (gateways.shares()[1] - before[1]) / 3000
    assert share == pytest.approx(1 / 3, rel=0.15)


def test_a_slow_endpoint_is_noticed_through_the_whole_store():
    gateways = Gateways(2, policy="latency_weighted")
    gateways.rule(0, Rule(effect=Delay(seconds=0.09)))
    gateways.rule(1, Rule(effect=Delay(seconds=0.01)))
    for _ in range(500):
        read(gateways.store, "k")
    slow, quick = gateways.store.statistics()
    assert slow.requests / 500 == pytest.approx(0.1, abs=0.02)
    assert quick.latency.percentile(50) == pytest.approx(10_000_000, rel=0.002)
    assert slow.latency.percentile(99) == pytest.approx(90_000_000, rel=0.002)
    assert quick.latency.count == quick.requests


def test_serial_calls_reach_every_endpoint_by_least_connections():
    gateways = Gateways(4, policy="least_connections")
    for _ in range(40):
        gateways.store.stat("k")
    assert gateways.shares() == [10] * 4


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_broken_endpoint_is_ejected_and_nobody_notices(policy, broken):
    gateways = Gateways(3, policy=policy)
    gateways.rule(broken, BROKEN)
    for number in range(60):
        gateways.inner.put(f"k{number}", b"value")
        assert read(gateways.store, f"k{number}") == b"value"
        gateways.store.put(f"n{number}", b"new")
    one = gateways.store.statistics()[broken]
    assert (one.healthy, one.ejections) == (False, 1)
    assert one.requests == one.errors == 3, "three failures in a row, then nothing more"
    assert len(keys(gateways.inner, "n")) == 60


def test_an_endpoint_comes_back_when_a_probe_succeeds():
    gateways = Gateways(2, eject_after=2, base_delay=10.0, max_delay=25.0)
    gateways.rule(0, BROKEN)
    for _ in range(10):
        gateways.store.stat("k")
    assert gateways.healthy() == [False, True]
    before = gateways.shares()[0]
    gateways.time.pass_(9.9)
    gateways.store.stat("k")
    assert gateways.shares()[0] == before, "no probe before its time"
    for delay in (10.0, 20.0, 25.0, 25.0):
        gateways.time.pass_(delay)
        gateways.store.stat("k")
        gateways.store.stat("k")
        before += 1
        assert gateways.shares()[0] == before, f"one probe after {delay} s, which failed, and was moved"
        gateways.time.pass_(delay * 0.4)
        gateways.store.stat("k")
        assert gateways.shares()[0] == before
        gateways.time.pass_(-delay * 0.4)
    gateways.rule(0)
    gateways.time.pass_(25.0)
    for _ in range(10):
        gateways.store.stat("k")
    assert gateways.healthy() == [True, True]
    assert gateways.shares()[0] == before + 5
    assert gateways.store.statistics()[0].ejections == 5
    gateways.rule(0, BROKEN)
    for _ in range(10):
        gateways.store.stat("k")
    gateways.time.pass_(10.0)
    before = gateways.shares()[0]
    gateways.store.stat("k")
    assert gateways.shares()[0] == before + 1, "the back-off has begun anew"


def test_one_call_probes_at_a_time():
    gateways = Gateways(2, eject_after=1)
    gateways.rule(0, BROKEN)
    for _ in range(4):
        gateways.store.stat("k")
    gateways.time.pass_(1.0)
    members = gateways.store._members
    first = members.begin(lambda some: some[0], set())
    others = [members.begin(lambda some: some[0], set()) for _ in range(5)]
    assert members.all.index(first) == 0
    assert {members.all.index(other) for other in others} == {1}


def test_calls_from_before_an_ejection_neither_prolong_nor_end_it():
    gateways = Gateways(2, eject_after=1)
    members = gateways.store._members
    lost = StoreConnectionError("lost")
    flying = [members.begin(lambda some: some[0], set()) for _ in range(4)]
    assert {members.all.index(member) for member in flying} == {0}
    begun = gateways.time.now
    gateways.time.pass_(0.5)
    for member, error in zip(flying, [lost, lost, None, lost], strict=True):
        members.end(member, begun, error)
    one = gateways.store.statistics()[0]
    assert (one.healthy, one.ejections, one.errors, one.active) == (False, 1, 3, 0)
    gateways.time.pass_(1.0)
    gateways.store.stat("k")
    assert gateways.healthy() == [True, True]


def test_when_none_is_healthy_one_is_asked_all_the_same():
    gateways = Gateways(3, eject_after=1)
    for number in range(3):
        gateways.rule(number, BROKEN)
    with pytest.raises(StoreConnectionError) as caught:
        gateways.store.stat("k")
    assert gateways.healthy() == [False] * 3
    assert gateways.shares() == [1, 1, 1], "each was tried once"
    assert caught.value.uri.endswith("k")
    for number in range(3):
        gateways.rule(number)
    assert gateways.store.stat("k").size == 5
    assert sum(gateways.healthy()) == 1


def test_what_is_no_fault_of_an_endpoint_moves_nothing():
    gateways = Gateways(3, eject_after=1)
    for _ in range(9):
        with pytest.raises(ObjectNotFoundError):
            gateways.store.stat("absent")
    assert gateways.healthy() == [True] * 3
    assert gateways.shares() == [3, 3, 3]
    assert [one.errors for one in gateways.store.statistics()] == [3, 3, 3]


def test_throttling_moves_the_call_at_once_and_ejects_nobody():
    gateways = Gateways(2, eject_after=1)
    gateways.rule(0, Rule(effect=Fail(error=ThrottledError, retry_after=30.0)))
    for _ in range(10):
        gateways.store.stat("k")
    assert gateways.healthy() == [True, True]
    assert gateways.time.sleeps == []
    assert gateways.store.statistics()[0].errors == 10


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_call_moves(when):
    gateways = Gateways(2, eject_after=100)
    # A read whose answer is lost has delivered its bytes, so that it can't move.
    operations = ("put", "stat", "copy", "list_pages", "delete", "open_writer") if when == "after" else ()
    gateways.rule(0, Rule(effect=Fail(when=when), operations=operations))
    store = gateways.store
    for _ in range(4):
        assert read(store, "k") == b"value"
        store.put("k", b"value")
        store.stat("k")
        store.copy("k", "l")
        assert keys(store) == ["k", "l"]
        assert list(store.delete(["l", "absent"])) == []
        writer = store.open_writer("w", part_size=1024)
        writer.abort()
    assert gateways.store.statistics()[0].errors >= 10


def test_a_conditional_put_whose_answer_was_lost_says_so():
    gateways = Gateways(2)
    gateways.rule(0, Rule(effect=Fail(when="after"), operations=["put"]))
    with pytest.raises(StoreConnectionError, match="may have written the object") as caught:
        gateways.store.put("new", b"mine", create=True)
    assert not caught.value.retryable
    with pytest.raises(AlreadyExistsError):
        gateways.store.put("new", b"mine", create=True)


def test_a_read_does_not_move_once_bytes_were_delivered():
    gateways = Gateways(2)
    gateways.rule(0, Rule(effect=Fail(when="within", at=2), operations=["get"]))
    sink = Collect()
    with pytest.raises(StoreConnectionError):
        gateways.store.get("k", sink)
    assert bytes(sink.view()) == b"va"
    assert read(gateways.store, "k") == b"value"


def test_a_listing_stays_on_one_endpoint_and_moves_when_that_fails():
    gateways = Gateways(2)
    for number in range(8):
        gateways.inner.put(f"many/{number}", b"")
    assert len(keys(gateways.store, "many/", page_size=2)) == 8
    assert gateways.shares() == [5, 0]
    gateways.rule(1, Rule(effect=Fail(), operations=["list_pages"], nth=3))
    assert keys(gateways.store, "many/", page_size=2) == [f"many/{number}" for number in range(8)]
    assert gateways.shares() == [8, 3]


def test_a_writer_stays_where_it_was_opened():
    gateways = Gateways(3)
    with_one = gateways.store.open_writer("w", part_size=4)
    for _ in range(6):
        with_one.write(b"12345678")
    with_one.commit()
    assert gateways.shares() == [8, 0, 0]
    assert gateways.store.statistics()[0].bytes_written == 48
    assert [one.active for one in gateways.store.statistics()] == [0, 0, 0]


def test_a_writer_that_fails_counts_against_its_endpoint():
    gateways = Gateways(2, eject_after=1)
    gateways.rule(0, Rule(effect=Fail(), operations=["write"]))
    writer = gateways.store.open_writer("w", part_size=4)
    with pytest.raises(StoreConnectionError):
        writer.write(b"x")
    writer.abort()
    assert gateways.healthy() == [False, True]


def test_writes_can_go_to_the_first():
    gateways = Gateways(3, writes="first", eject_after=1)
    for number in range(6):
        gateways.store.put(f"w{number}", b"x")
        gateways.store.delete([f"w{number}"])
    gateways.store.copy("k", "l")
    assert gateways.shares() == [13, 0, 0]
    for _ in range(6):
        read(gateways.store, "k")
    assert gateways.shares()[0] < 16
    gateways.rule(0, BROKEN)
    gateways.store.put("w", b"x")
    assert gateways.spies[1].names()[-1] == "put", "the first healthy one"


def test_statistics_count_what_moved():
    gateways = Gateways(2)
    gateways.inner.put("ten", bytes(10))
    read(gateways.store, "ten")
    read(gateways.store, "ten", start=4)
    gateways.store.put("three", bytes(3))
    gateways.rule(1, Rule(effect=Fail(), operations=["put"]))
    gateways.store.put("four", bytes(4))
    first, second = gateways.store.statistics()
    assert (first.uri, first.bytes_read, first.bytes_written) == ("mem://0/", 10, 7)
    assert (second.uri, second.bytes_read, second.bytes_written, second.errors) == ("mem://1/", 6, 0, 1)
    assert (first.requests, second.requests) == (3, 2)


def test_a_sink_may_use_the_store_itself():
    gateways = Gateways(2, eject_after=100)
    gateways.rule(0, Rule(effect=Fail(), operations=["get", "stat"]))

    class Nested(Collect):
        def write(self, data, /):
            assert gateways.store.stat("k").size == 5
            super().write(data)

    for _ in range(4):
        gateways.store.get("k", Nested())


def test_a_sinks_failure_is_nobodys_fault():
    gateways = Gateways(2, eject_after=1)
    with pytest.raises(SinkError):
        gateways.store.get("k", CheckedSink(fail_at=0))
    assert gateways.healthy() == [True, True]


def test_closing_closes_every_endpoint():
    gateways = Gateways(3)
    gateways.store.close()
    assert [spy.closed for spy in gateways.spies] == [1, 1, 1]


def test_capabilities_are_those_that_all_have():
    one, two = memory(), memory()
    one.capabilities = attrs.evolve(one.capabilities, min_part=5, max_part=100, delete_batch=1000, max_put=None)
    two.capabilities = attrs.evolve(two.capabilities, min_part=8, ordered=False, delete_batch=3, max_put=50)
    claims = Balanced([("a", one), ("b", two)], Endpoints()).capabilities
    assert (claims.min_part, claims.max_part, claims.delete_batch, claims.max_put) == (8, 100, 3, 50)
    assert (claims.ordered, claims.create) == (False, True)
    two.capabilities = attrs.evolve(two.capabilities, min_part=101)
    with pytest.raises(UsageError, match="no part"):
        Balanced([("a", one), ("b", two)], Endpoints())
    two.capabilities = attrs.evolve(one.capabilities, directories=True)
    with pytest.raises(UsageError, match="directories"):
        Balanced([("a", one), ("b", two)], Endpoints())


@pytest.mark.parametrize("uris", [[], ["a", "b", "a"]])
def test_endpoints_are_some_and_differ(uris):
    with pytest.raises(UsageError, match="a URI of its own"):
        Balanced([(uri, memory()) for uri in uris], Endpoints())


@pytest.mark.parametrize(
    "how", [{"policy": "robin"}, {"writes": "none"}, {"eject_after": 0}, {"base_delay": 0.0}, {"max_delay": -1.0}]
)
def test_a_policy_that_can_not_be_is_refused(how):
    with pytest.raises(ValueError, match=next(iter(how))):
        Endpoints(**how)


def test_random_histories_lose_nothing():
    """Endpoints that fail now and then: what was put is there, and no call fails that one of them could serve."""
    draw = random.Random(7)
    gateways = Gateways(3, eject_after=2, base_delay=0.5)
    flaky = Rule(effect=Fail(when="after"), probability=0.3)
    gateways.rule(0, flaky)
    gateways.rule(1, flaky)
    expected = {}
    for number in range(300):
        key = f"r{draw.randrange(20)}"
        gateways.time.pass_(draw.random() * 0.2)
        if draw.random() < 0.5:
            gateways.store.put(key, str(number).encode())
            expected[key] = str(number).encode()
        else:
            gateways.store.delete([key])
            expected.pop(key, None)
    assert {key: read(gateways.inner, key) for key in keys(gateways.inner, "r")} == expected
    assert gateways.store.statistics()[0].ejections > 3


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("s3://b/", ["s3://b/"]),
        ("h{1...3}", ["h1", "h2", "h3"]),
        ("h{8...11}x", ["h8x", "h9x", "h10x", "h11x"]),
        ("h{08...11}", ["h08", "h09", "h10", "h11"]),
        ("h{000...1}", ["h000", "h001"]),
        ("h{5...5}", ["h5"]),
        ("r{1...2}-n{1...3}", ["r1-n1", "r1-n2", "r1-n3", "r2-n1", "r2-n2", "r2-n3"]),
        ("{0...1}{0...1}", ["00", "01", "10", "11"]),
    ],
)
def test_templates(template, expected):
    assert expand(template) == expected


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("h{3...1}", r"runs backwards; write \{1\.\.\.3\}"),
        ("h{}", "no range"),
        ("h{1..3}", "three dots"),
        ("h{1...}", "no range"),
        ("h{a...c}", "no range"),
        ("h{-1...3}", "no range"),
        ("h{1...3", "without its partner"),
        ("h1...3}", "without its partner"),
        ("h{1...2000}", "2000 numbers"),
        ("{1...100}{1...100}", "10000 endpoints"),
        ("h{\u0661...\u0663}", "no range"),
    ],
)
def test_templates_that_mean_nothing(template, text):
    with pytest.raises(UsageError, match=text):
        expand(template)


def test_lists_and_files_of_endpoints(tmp_path):
    assert split_endpoints(" a1, b{1...2} ,,c") == ["a1", "b1", "b2", "c"]
    path = tmp_path / "endpoints"
    path.write_text("# the gateways\n\nhttp{1...2}\n  other  \n")
    assert read_endpoints(str(path)) == ["http1", "http2", "other"]
    path.write_text("# nobody\n")
    with pytest.raises(UsageError, match="names no endpoint"):
        read_endpoints(str(path))
    with pytest.raises(UsageError, match="more than once"):
        split_endpoints("a1,a{1...2}")
    with pytest.raises(UsageError, match="can't be read"):
        read_endpoints(str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="names no endpoint"):
        split_endpoints(" , ")


def test_an_error_keeps_the_uri_of_the_endpoint_that_raised_it():
    gateways = Gateways(1)
    gateways.rule(0, BROKEN)
    with pytest.raises(StoreError) as caught:
        gateways.store.stat("k")
    assert caught.value.uri == "mem://0/k"
