"""Metered: one row for each call, also for those that fail, with times that make sense."""

from __future__ import annotations

import threading
import uuid
from itertools import pairwise

import pytest

from penstock import metering
from penstock.errors import AccessDeniedError, StoreConnectionError, StoreError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.metering import Metered, OneRecorder, ThreadRecorders, describe_error
from penstock.records import WARMUP, Op, RecordBuffer, Recorder
from penstock.sinks import Collect, Discard
from penstock.store import ObjectInfo, Page


class Clock:
    """Each reading is one later; ``skip`` lets time pass."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def skip(self, nanoseconds: int) -> None:
        self.now += nanoseconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(metering, "monotonic_ns", made)
    return made


@pytest.fixture
def buffer():
    return RecordBuffer(100)


@pytest.fixture
def store():
    made = MemoryStore(MemoryOptions(name=uuid.uuid4().hex))
    for key, size in (("a", 10), ("b/1", 5), ("b/2", 6), ("c", 7)):
        made.put(key, bytes(size))
    return made


@pytest.fixture
def metered(store, buffer):
    return Metered(store, OneRecorder(Recorder(0, lambda filled: buffer)), endpoint=3)


def row(buffer: RecordBuffer) -> dict[str, object]:
    assert buffer.count == 1, "one row per call"
    names = buffer.rows.dtype.names
    got = dict(zip(names, buffer.rows[0].tolist(), strict=True))
    error = buffer.errors[got["error"] - 1] if got["error"] else ""
    return got | {"op": Op(got["op"]), "error": error, "name": buffer.names[0]}


class TestGet:
    def test_a_whole_object(self, metered, buffer, clock):
        sink = Collect()
        assert metered.get("a", sink).size == 10
        got = row(buffer)
        assert (got["op"], got["name"], got["nbytes"], got["endpoint"], got["error"]) == (Op.GET, "a", 10, 3, "")
        assert got["start"] < got["first"] < got["end"]

    @pytest.mark.parametrize(("start", "length", "nbytes"), [(2, 3, 3), (0, 4, 4), (4, None, 6), (20, 5, 0)])
    def test_a_range_counts_what_was_delivered(self, metered, buffer, start, length, nbytes):
        metered.get("a", Discard(), start=start, length=length)
        assert (row(buffer)["op"], row(buffer)["nbytes"]) == (Op.GET_RANGE, nbytes)

    def test_an_empty_object_has_no_first_byte(self, metered, store, buffer):
        store.put("empty", b"")
        metered.get("empty", Discard())
        assert row(buffer)["first"] == 0

    def test_the_first_byte_is_when_the_first_piece_came(self, metered, store, buffer, clock):
        def get(key, sink, /, *, start=0, length=None, if_match=None):
            clock.skip(1000)
            sink.reserve(4)
            clock.skip(1000)
            sink.commit(4)
            clock.skip(5000)
            sink.write(b"rest")
            return ObjectInfo(key, 8)

        store.get = get
        metered.get("k", Discard())
        got = row(buffer)
        assert 2000 <= got["first"] - got["start"] < 3000
        assert got["end"] - got["first"] >= 5000
        assert got["nbytes"] == 8

    def test_a_failure_within_the_body_keeps_the_bytes_delivered(self, metered, store, buffer, clock):
        def get(key, sink, /, *, start=0, length=None, if_match=None):
            sink.write(b"part")
            raise StoreConnectionError("cut", uri="u")

        store.get = get
        with pytest.raises(StoreConnectionError):
            metered.get("k", Discard())
        got = row(buffer)
        assert (got["nbytes"], got["error"]) == (4, "StoreConnectionError: cut")
        assert got["start"] < got["first"] < got["end"]


CALLS = {
    Op.GET: lambda store: store.get("a", Discard()),
    Op.PUT: lambda store: store.put("a", b"123"),
    Op.MKDIR: lambda store: store.put("dir/", b""),
    Op.STAT: lambda store: store.stat("a"),
    Op.LIST: lambda store: list(store.list_pages("a")),
    Op.DELETE: lambda store: store.delete(["a"]),
    Op.RMDIR: lambda store: store.delete(["dir/"]),
    Op.DELETE_BATCH: lambda store: store.delete(["a", "c"]),
    Op.COPY: lambda store: store.copy("c", "a"),
}
KEYS = {Op.MKDIR: "dir/", Op.RMDIR: "dir/"}
BYTES = {Op.GET: 10, Op.PUT: 3}
every_call = pytest.mark.parametrize(("op", "call"), CALLS.items(), ids=[op.name for op in CALLS])


@every_call
def test_one_row_for_a_call(op, call, metered, buffer, clock):
    call(metered)
    got = row(buffer)
    assert (got["op"], got["name"], got["error"]) == (op, KEYS.get(op, "a"), "")
    assert got["nbytes"] == BYTES.get(op, 0)
    assert got["n_objects"] == (2 if op == Op.DELETE_BATCH else 1)
    assert got["start"] < got["end"]


@every_call
@pytest.mark.parametrize("error", [AccessDeniedError("no", uri="s3://b/k", status=403), ZeroDivisionError("bug")])
def test_one_row_for_a_call_that_fails(op, call, error, store, metered, buffer, clock):
    def fail(*_, **__):
        raise error

    def fail_later(*_, **__):
        raise error
        yield

    for name in ("get", "put", "stat", "delete", "copy"):
        setattr(store, name, fail)
    store.list_pages = fail_later
    with pytest.raises(type(error)) as caught:
        call(metered)
    assert caught.value is error
    got = row(buffer)
    assert (got["op"], got["error"]) == (op, describe_error(error))
    assert got["nbytes"] == 0
    assert got["start"] < got["end"]


@pytest.mark.parametrize(("key", "known"), [("k", True), ("k/", False)])
def test_a_put_tells_when_its_body_had_been_sent(store, metered, buffer, clock, monkeypatch, key, known):
    put, moments = store.put, []

    def sending(*args, **options):
        moments.append(clock())
        metering.sent.at = moments[-1]
        clock.skip(5)
        return put(*args, **options)

    monkeypatch.setattr(store, "put", sending)
    metered.put(key, b"")
    monkeypatch.setattr(store, "put", put)
    metered.put("other", b"x")
    assert buffer.rows["first"].tolist() == [moments[0] if known else 0, 0]


def test_due_and_flags_go_into_the_rows(metered, buffer):
    metered.due, metered.flags = 12345, WARMUP
    metered.stat("a")
    assert (row(buffer)["due"], row(buffer)["flags"]) == (12345, WARMUP)


def test_a_key_that_could_not_be_deleted_is_in_the_row(store, metered, buffer):
    failed = [StoreError("kept", uri="mem://x/a")]
    store.delete = lambda keys: failed
    assert metered.delete(["a", "c"]) is failed
    assert (row(buffer)["error"], row(buffer)["n_objects"]) == ("StoreError: kept", 2)


class TestListing:
    def test_the_consumers_time_does_not_count(self, metered, store, buffer, clock):
        def pages(*_, **__):
            for number in range(3):
                clock.skip(100)
                yield Page([ObjectInfo(str(number), 0)], ["p/"])

        store.list_pages = pages
        for _ in metered.list_pages():
            clock.skip(1_000_000)
        got = row(buffer)
        assert 300 <= got["end"] - got["start"] < 400
        assert got["n_objects"] == 6

    def test_what_failed_on_the_way_counts_what_was_found(self, metered, store, buffer, clock):
        def pages(*_, **__):
            yield Page([ObjectInfo("a", 0)])
            raise StoreConnectionError("cut")

        store.list_pages = pages
        with pytest.raises(StoreConnectionError):
            list(metered.list_pages("pre"))
        got = row(buffer)
        assert (got["n_objects"], got["error"], got["name"]) == (1, "StoreConnectionError: cut", "pre")

    def test_one_that_does_not_even_begin_has_its_row(self, metered, store, buffer):
        def refuse(*_, **__):
            raise AccessDeniedError("no")

        store.list_pages = refuse
        with pytest.raises(AccessDeniedError):
            list(metered.list_pages())
        assert row(buffer)["error"] == "AccessDeniedError: no"

    def test_a_listing_that_was_left_has_its_row(self, metered, buffer):
        pages = metered.list_pages("", page_size=1)
        next(pages)
        assert buffer.count == 0
        pages.close()
        assert (row(buffer)["n_objects"], row(buffer)["error"]) == (1, "")

    def test_an_empty_one_has_its_row(self, metered, buffer):
        assert list(metered.list_pages("nothing")) == []
        assert row(buffer)["n_objects"] == 0


class TestWriter:
    def test_one_row_from_opening_to_commit(self, metered, buffer, clock):
        writer = metered.open_writer("k", part_size=4)
        opened = clock.now
        writer.write(b"1234")
        clock.skip(500)
        writer.write(b"56")
        assert buffer.count == 0
        assert writer.commit().size == 6
        got = row(buffer)
        assert (got["op"], got["name"], got["nbytes"], got["error"]) == (Op.PUT, "k", 6, "")
        assert got["start"] <= opened
        assert got["end"] - got["start"] > 500

    def test_an_abort_is_a_failure(self, metered, buffer):
        writer = metered.open_writer("k", part_size=4)
        writer.write(b"12")
        writer.abort()
        writer.abort()
        assert row(buffer)["error"] == "StoreError: the writer was aborted"

    def test_an_abort_after_the_commit_adds_nothing(self, metered, buffer):
        writer = metered.open_writer("k", part_size=4)
        writer.commit()
        writer.abort()
        assert row(buffer)["error"] == ""

    @pytest.mark.parametrize("fails", ["open", "write", "commit"])
    def test_a_failure_is_one_row(self, metered, store, buffer, fails, clock):
        inner = store.open_writer("k", part_size=4)

        def fail(*_, **__):
            raise AccessDeniedError("no")

        if fails == "open":
            store.open_writer = fail
        else:
            setattr(inner, fails, fail)
            store.open_writer = lambda *_, **__: inner
        with pytest.raises(AccessDeniedError):
            metered.open_writer("k", part_size=4).write(b"1") if fails != "commit" else metered.open_writer(
                "k", part_size=4
            ).commit()
        got = row(buffer)
        assert (got["op"], got["error"]) == (Op.PUT, "AccessDeniedError: no")

    @pytest.mark.parametrize("end", ["commit", "abort"])
    def test_a_retryable_failure_leaves_it_open(self, metered, store, buffer, end):
        inner = store.open_writer("k", part_size=4)
        takes, commits = inner.write, inner.commit

        def cut(call, *data):
            call(*data)
            inner.write, inner.commit = takes, commits
            raise StoreConnectionError("cut")

        inner.write = lambda data: cut(takes, data)
        store.open_writer = lambda *_, **__: inner
        writer = metered.open_writer("k", part_size=4)
        with pytest.raises(StoreConnectionError):
            writer.write(b"123")
        writer.write(b"")
        inner.commit = lambda: cut(lambda: None)
        with pytest.raises(StoreConnectionError):
            writer.commit()
        assert buffer.count == 0
        getattr(writer, end)()
        got = row(buffer)
        assert (got["nbytes"], got["error"]) == (3, "" if end == "commit" else "StoreConnectionError: cut")


def test_times_of_one_thread_never_go_back(metered, buffer):
    for _ in range(5):
        metered.get("a", Discard())
        metered.put("x", b"1")
    rows = buffer.rows
    assert (rows["start"] <= rows["end"]).all()
    assert all(one["end"] <= two["start"] for one, two in pairwise(rows))
    gets = rows[rows["op"] == Op.GET]
    assert ((gets["start"] <= gets["first"]) & (gets["first"] <= gets["end"])).all()


def test_each_thread_has_its_own_recorder(store):
    buffers = {}

    def make(number: int) -> Recorder:
        buffers[number] = RecordBuffer(1000)
        return Recorder(number, lambda filled: buffers[number])

    source = ThreadRecorders(make)
    metered, barrier = Metered(store, source), threading.Barrier(4)

    def work(name: str) -> None:
        metered.put(name, b"x")
        barrier.wait(10)
        for _ in range(99):
            metered.put(name, b"x")

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [recorder.thread for recorder in source.all] == [0, 1, 2, 3]
    assert [one.count for one in buffers.values()] == [100] * 4
    assert sorted("".join(set(one.names)) for one in buffers.values()) == ["t0", "t1", "t2", "t3"]


def test_the_error_column():
    assert describe_error(AccessDeniedError("no", uri="s3://b/k", status=403)) == "AccessDeniedError: no"
    assert describe_error(KeyError("x")) == "KeyError: 'x'"


def test_capabilities_and_close_pass_through(store):
    closed = []
    store.close = lambda: closed.append(True)
    metered = Metered(store, OneRecorder(Recorder(0, lambda filled: RecordBuffer(1))))
    assert metered.capabilities is store.capabilities
    metered.close()
    assert closed == [True]
