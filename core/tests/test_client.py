"""The rich operations on one store."""

import itertools
import threading

import attrs
import pytest

from penstock.client import CommonPrefix, Store
from penstock.client.transfer import WHOLE
from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreConnectionError,
    StoreError,
    UnsupportedOperationError,
    UsageError,
)
from penstock.memory import MemoryOptions, MemoryStore

_numbers = itertools.count()


class Odd:
    """A store in memory whose methods a test replaces by attributes of the same names."""

    def __init__(self, **changes):
        self.inner = MemoryStore(MemoryOptions(name=f"test-client-{next(_numbers)}"))
        self.capabilities = attrs.evolve(self.inner.capabilities, **changes)
        self.calls = []

    def __getattr__(self, name):
        method = getattr(self.inner, name)

        def call(*args, **kwargs):
            self.calls.append(name)
            return method(*args, **kwargs)

        return call


def fresh(**changes):
    raw = Odd(**changes)
    return Store(raw, "odd://x/")


@pytest.fixture
def store():
    return fresh()


def keys(entries):
    return [entry.key for entry in entries]


def fill(store, *names):
    for name in names:
        store.put(name, name.encode())


def test_get_gives_the_bytes(store):
    store.put("a", b"hello")
    assert store.get("a") == b"hello"
    assert store.raw.calls == ["put", "get"], "one request each"


def test_a_missing_object_is_a_file_not_found(store):
    with pytest.raises(FileNotFoundError):
        store.get("nope")


def test_get_into_never_writes_past_the_end(store):
    store.put("a", b"0123456789")
    room = bytearray(b"........xx")
    with pytest.raises(LengthMismatchError, match=r"odd://x/a"):
        store.get_into("a", memoryview(room)[:8])
    assert room[8:] == b"xx"
    assert store.get_into("a", room) == 10
    assert room == b"0123456789"


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, b"0123"), (1, 2, b"12"), (2, 99, b"23"), (4, 1, b""), (99, None, b""), (1, 0, b"")],
)
def test_ranges_are_cut_at_the_end(store, offset, length, expected):
    store.put("a", b"0123")
    assert store.get_range("a", offset, length) == expected
    room = bytearray(100)
    assert store.get_range_into("a", room, offset, length) == len(expected)
    assert room[: len(expected)] == expected


def test_a_range_that_cannot_be_is_refused(store):
    with pytest.raises(UsageError):
        store.get_range("a", -1)
    with pytest.raises(UsageError):
        store.get_range("a", 0, -1)
    with pytest.raises(LengthMismatchError):
        store.get_range_into("a", bytearray(2), 0, 3)


def test_conditions_of_put(store):
    first = store.put("a", b"1", if_absent=True)
    with pytest.raises(AlreadyExistsError):
        store.put("a", b"2", if_absent=True)
    store.put("a", b"2", if_match=first.etag)
    with pytest.raises(PreconditionFailedError):
        store.put("a", b"3", if_match=first.etag)
    assert store.get("a") == b"2"


def test_a_put_too_long_for_one_request_goes_in_parts():
    store = fresh(max_put=10)
    info = store.put("a", b"x" * 11)
    assert info.size == 11
    assert "open_writer" in store.raw.calls
    assert "put" not in store.raw.calls


def test_a_put_in_parts_loses_nothing():
    store = fresh(max_put=10)
    how = {"if_absent": True, "metadata": {"m": "1"}, "content_type": "text/plain"}
    store.put("a", b"x" * 11, **how)
    with pytest.raises(AlreadyExistsError):
        store.put("a", b"y" * 11, **how)
    assert store.get("a") == b"x" * 11
    assert (store.stat("a").metadata, store.stat("a").content_type) == ({"m": "1"}, "text/plain")
    assert "put" not in store.raw.calls


def test_a_writer_takes_what_a_put_takes(store):
    with store.open_writer("a", if_absent=True, metadata={"m": "1"}, content_type="text/plain") as writer:
        writer.write(b"1")
    assert (writer.info.metadata, writer.info.content_type) == ({"m": "1"}, "text/plain")
    late = store.open_writer("b", if_absent=True)
    store.put("b", b"first")
    with pytest.raises(AlreadyExistsError):
        late.commit()
    assert store.get("b") == b"first"


@pytest.mark.parametrize("error", [AccessDeniedError("no"), StoreConnectionError("gone")])
def test_exists_is_false_only_for_what_is_not_there(store, error):
    assert store.exists("a") is False
    store.put("a", b"")
    assert store.exists("a") is True

    def stat(key):
        raise error

    store.raw.stat = stat
    with pytest.raises(type(error)):
        store.exists("a")


def test_leaving_a_writer_by_an_exception_leaves_nothing(store):
    def fail():
        with store.open_writer("a") as writer:
            writer.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not store.exists("a")
    with store.open_writer("a") as writer:
        writer.write(b"whole")
    assert store.get("a") == b"whole"


def test_parts_are_brought_within_bounds():
    store = fresh(min_part=100, max_part=200)
    sizes = []
    inner = store.raw.inner.open_writer
    store.raw.open_writer = lambda key, *, part_size, **how: (
        sizes.append(part_size) or inner(key, part_size=part_size, **how)
    )
    for asked in (1, 150, 999):
        store.open_writer("a", part_size=asked).abort()
    assert sizes == [100, 150, 200]


def test_a_prefix_counts_to_the_letter(store):
    fill(store, "a/1", "a/2", "ab/1", "b")
    assert keys(store.list("a/")) == ["a/1", "a/2"]
    assert keys(store.list("a")) == ["a/1", "a/2", "ab/1"]


def test_common_prefixes_come_in_order_with_the_objects(store):
    fill(store, "b", "a/1", "c/1", "c/2")
    found = list(store.list(recursive=False))
    assert keys(found) == ["a/", "b", "c/"]
    assert [isinstance(entry, CommonPrefix) for entry in found] == [True, False, True]


def test_a_pattern_is_anchored_on_both_sides(store):
    fill(store, "logs/a.txt", "logs/a.txt.bak", "logs/xa.txt", "logs/d/a.txt", "other/logs/a.txt")
    assert keys(store.list("logs/", pattern="a.txt")) == ["logs/a.txt"]
    assert keys(store.list("logs/", pattern="*.txt")) == ["logs/a.txt", "logs/xa.txt"]
    assert keys(store.list("logs/", pattern="**/a.txt")) == ["logs/a.txt", "logs/d/a.txt"]
    assert keys(store.list("logs/", regex=r".?a\.txt")) == ["logs/a.txt", "logs/xa.txt"]


def test_two_ways_to_match_are_refused(store):
    with pytest.raises(UsageError):
        list(store.list(pattern="*", regex=".*"))
    with pytest.raises(UsageError):
        list(store.list(regex="("))


def test_listing_goes_beyond_a_page_and_starts_before_the_last(store):
    fill(store, *(f"k{number:05}" for number in range(2500)))
    pulled = []
    inner = store.raw.inner.list_pages

    def pages(*args, **kwargs):
        for page in inner(*args, **kwargs):
            pulled.append(len(page.objects))
            yield page

    store.raw.list_pages = pages
    found = store.list()
    next(found)
    assert pulled == [1000]
    assert 1 + sum(1 for _ in found) == 2500
    assert store.count() == store.count("k")
    assert store.count().objects == 2500


def test_delete_is_of_exactly_one_object(store):
    fill(store, "a", "ab", "a/b")
    store.delete("a")
    store.delete("a")
    assert keys(store.list()) == ["a/b", "ab"]


def test_deleting_a_directory_as_an_object_is_refused():
    store = fresh(directories=True)
    fill(store, "a/b")
    with pytest.raises(UsageError, match="remove_directory"):
        store.delete("a/")
    assert store.exists("a/b")


def test_delete_many_has_an_outcome_for_each_key_also_in_a_batch(store):
    fill(store, "x/a", "a", "b")
    inner = store.raw.inner.delete

    def delete(names):
        refused = [AccessDeniedError("no", uri=f"odd://x/{name}") for name in names if name == "a"]
        return [*inner([name for name in names if name != "a"]), *refused]

    store.raw.delete = delete
    outcomes = store.delete_many(["b", "a", "x/a", "missing", "b"])
    assert [(done.key, type(done.error)) for done in outcomes] == [
        ("b", type(None)),
        ("a", AccessDeniedError),
        ("x/a", type(None)),
        ("missing", type(None)),
    ]
    assert keys(store.list()) == ["a"]


def test_a_batch_that_fails_as_a_whole_fails_each_of_its_keys():
    store = fresh(delete_batch=2)
    fill(store, "a", "b", "c")

    def delete(names):
        if "a" in names:
            raise StoreConnectionError("gone")
        return store.raw.inner.delete(names)

    store.raw.delete = delete
    failed = {done.key for done in store.delete_many(["a", "b", "c"]) if done.error}
    assert failed == {"a", "b"}
    assert not store.exists("c")


def test_no_batch_is_larger_than_the_store_takes():
    store = fresh(delete_batch=7)
    fill(store, *(f"k{number}" for number in range(100)))
    sizes = []
    store.raw.delete = lambda names: sizes.append(len(names)) or store.raw.inner.delete(names)
    assert store.delete_prefix("k").objects == 100
    assert max(sizes) == 7


def test_delete_prefix_spares_the_neighbours(store):
    fill(store, "logs/a1", "logs/b", "logs-old/a", "my-logs/a")
    assert store.delete_prefix("logs/", dry_run=True).objects == 2
    assert store.count().objects == 4
    removal = store.delete_prefix("logs/", pattern="a*")
    assert (removal.objects, removal.nbytes) == (1, 7)
    assert keys(store.list()) == ["logs-old/a", "logs/b", "my-logs/a"]


def test_deleting_overlaps_listing(store):
    fill(store, *(f"k{number:05}" for number in range(3000)))
    deleted = threading.Event()
    inner = store.raw.inner

    def pages(*args, **kwargs):
        for number, page in enumerate(inner.list_pages(*args, **kwargs)):
            if number == 2:
                assert deleted.wait(30), "nothing was deleted before the last page"
            yield page

    def delete(names):
        failed = inner.delete(names)
        deleted.set()
        return failed

    store.raw.list_pages, store.raw.delete = pages, delete
    assert store.delete_prefix("").objects == 3000


def test_copy_within_a_store_moves_no_byte(store):
    store.put("a", b"1", metadata={"m": "1"})
    store.copy("a", "b")
    assert store.raw.calls == ["put", "copy"]
    assert store.stat("b").metadata == {"m": "1"}


@pytest.mark.parametrize("size", [0, 1, WHOLE - 1, WHOLE, WHOLE + 1, 3 * WHOLE + 7])
def test_copy_across_stores_keeps_every_byte(size):
    source, target = fresh(), fresh()
    body = bytes(range(256)) * (size // 256 + 1)
    source.put("a", body[:size])
    assert source.copy("a", "b", to=target).size == size
    assert target.get("b") == body[:size]
    assert ("open_writer" in target.raw.calls) == (size > WHOLE)


@pytest.mark.parametrize(("size", "requests"), [(1, ["get"]), (WHOLE + 1, ["get", "stat"])])
def test_metadata_and_content_type_go_along(size, requests):
    source, target = fresh(), fresh()
    source.put("a", bytes(size), metadata={"m": "1"}, content_type="text/plain")
    del source.raw.calls[:]
    source.copy("a", "b", to=target)
    assert source.raw.calls == requests
    assert (target.stat("b").metadata, target.stat("b").content_type) == ({"m": "1"}, "text/plain")
    del source.raw.calls[:]
    source.copy("a", "bare", to=target, metadata=False)
    assert source.raw.calls == ["get"]
    assert (target.stat("bare").metadata, target.stat("bare").content_type) == (None, None)


def test_metadata_stays_behind_where_the_target_keeps_none():
    source, target = fresh(), fresh(metadata=False)
    source.put("a", bytes(WHOLE + 1), metadata={"m": "1"}, content_type="text/plain")
    source.copy("a", "b", to=target)
    assert (target.stat("b").metadata, target.stat("b").content_type) == (None, "text/plain")


@pytest.mark.parametrize("size", [1, WHOLE + 1])
def test_a_copy_only_if_absent(size):
    source, target = fresh(), fresh()
    source.put("a", bytes(size))
    source.copy("a", "b", to=target, if_absent=True)
    assert target.stat("b").size == size
    target.put("b", b"kept")
    with pytest.raises(AlreadyExistsError):
        source.copy("a", "b", to=target, if_absent=True)
    assert target.get("b") == b"kept"


def test_a_large_copy_of_an_object_that_changes_meanwhile_fails():
    source, target = fresh(), fresh()
    source.put("a", bytes(WHOLE + 1), metadata={"of": "the old"})

    def stat(key):
        info = source.raw.inner.put(key, bytes(WHOLE + 1), metadata={"of": "the new"})
        source.raw.stat = source.raw.inner.stat
        return info

    source.raw.stat = stat
    with pytest.raises(StoreError, match="changed while it was copied"):
        source.copy("a", "b", to=target)
    assert not target.exists("b")


def test_a_copy_that_fails_half_way_leaves_no_target():
    source, target = fresh(), fresh()
    fill(source, "a")

    def get(key, sink, **_):
        sink.write(bytes(WHOLE))
        sink.write(bytes(WHOLE))
        raise StoreConnectionError("cut off")

    source.raw.get = get
    with pytest.raises(StoreConnectionError):
        source.copy("a", "b", to=target)
    assert not target.exists("b")


def test_the_targets_error_is_not_dressed_up_as_the_sources():
    source, target = fresh(), fresh()
    source.put("a", bytes(2 * WHOLE))

    def get(key, sink, **_):
        try:
            sink.write(bytes(2 * WHOLE))
        except StoreError as error:
            raise StoreConnectionError("the body broke off") from error

    def open_writer(key, **_):
        raise AccessDeniedError("read only")

    source.raw.get, target.raw.open_writer = get, open_writer
    with pytest.raises(AccessDeniedError):
        source.copy("a", "b", to=target)


def test_an_object_is_not_copied_onto_itself(store):
    store.put("a", b"1")
    with pytest.raises(UsageError):
        store.copy("a", "a")
    with pytest.raises(UsageError):
        store.move("a", "a")
    assert store.get("a") == b"1"


def test_move_deletes_the_source_only_when_the_target_is_whole():
    source, target = fresh(), fresh()
    source.put("a", b"12")
    target.raw.put = lambda key, data, **options: target.raw.inner.put(key, b"1")
    with pytest.raises(LengthMismatchError):
        source.move("a", "b", to=target)
    assert source.get("a") == b"12"
    del target.raw.put
    source.move("a", "b", to=target)
    assert not source.exists("a")
    assert target.get("b") == b"12"


def test_move_keeps_an_object_that_changed_meanwhile():
    """One object with two URIs is such a case: its move would delete the only copy."""
    source = fresh()
    source.put("a", b"12")
    alias = Store(Odd(), "other://x/")
    alias.raw.inner = source.raw.inner
    with pytest.raises(StoreError, match="changed while it was moved"):
        source.move("a", "a", to=alias)
    assert source.get("a") == b"12"


def test_directories_on_a_store_of_keys_are_markers(store):
    store.make_directory("d")
    assert keys(store.list()) == ["d/"]
    fill(store, "d/a")
    with pytest.raises(StoreError, match="not empty"):
        store.remove_directory("d")
    assert store.remove_directory("d", recursive=True).objects == 2
    store.remove_directory("d")
    fill(store, "e/")
    with pytest.raises(AlreadyExistsError):
        store.make_directory("e", exist_ok=False)


def test_the_root_is_no_directory_to_remove(store):
    fill(store, "a")
    for name in ("", "/"):
        with pytest.raises(UsageError):
            store.remove_directory(name, recursive=True)
    assert store.exists("a")


def test_a_file_object_seeks_and_reads(store):
    body = bytes(range(256)) * 20
    store.put("a", body)
    with store.open_file("a", buffer_size=64) as file:
        assert file.read(3) == body[:3]
        file.seek(-5, 2)
        assert file.read() == body[-5:]
        file.seek(1000)
        assert file.read(300) == body[1000:1300]
        assert file.read1(0) == b""
    with pytest.raises(ObjectNotFoundError):
        store.open_file("nope")


def test_a_file_object_never_mixes_two_objects(store):
    store.put("a", bytes(1000))
    with store.open_file("a", buffer_size=10) as file:
        file.read(10)
        store.put("a", b"1" * 1000)
        with pytest.raises(PreconditionFailedError):
            file.read(10)


def test_a_file_object_asks_for_the_object_that_it_was_opened_on(store):
    asked, inner = [], store.raw.inner.get
    store.raw.get = lambda *args, **how: asked.append(how["if_match"]) or inner(*args, **how)
    etag = store.put("a", bytes(100)).etag
    with store.open_file("a", buffer_size=10) as file:
        assert file.read() == bytes(100)
    assert set(asked) == {etag}


def test_a_file_object_of_a_store_without_etags_notices_another_size(store):
    inner = store.raw.inner
    store.raw.stat = lambda key: attrs.evolve(inner.stat(key), etag=None)
    store.put("a", bytes(1000))
    with store.open_file("a", buffer_size=10) as file:
        assert file.read(10) == bytes(10)
        store.put("a", bytes(999))
        with pytest.raises(PreconditionFailedError):
            file.read(10)


def test_conditions_of_reads(store):
    old = store.put("a", b"old one").etag
    etag = store.put("a", b"0123456789").etag
    reads = {
        "get": lambda **how: bytes(store.get("a", **how)),
        "get_range": lambda **how: bytes(store.get_range("a", 2, 3, **how)),
        "get_into": lambda **how: store.get_into("a", bytearray(10), **how),
        "get_range_into": lambda **how: store.get_range_into("a", bytearray(4), 8, **how),
        "open_read": lambda **how: b"".join(store.open_read("a", chunk_size=3, **how)),
    }
    for name, read in reads.items():
        with pytest.raises(PreconditionFailedError):
            read(if_match=old)
        assert read(if_match=etag) == read(), name
    store.delete("a")
    for read in reads.values():
        with pytest.raises(ObjectNotFoundError):
            read(if_match=etag)


def test_metadata_in_place(store):
    store.put("a", b"bytes", metadata={"m": "1", "n": "2"}, content_type="text/plain")
    assert store.get_metadata("a") == {"m": "1", "n": "2"}
    info = store.set_metadata("a", {"o": "3"})
    assert (info.key, info.size, info.metadata) == ("a", 5, {"o": "3"})
    assert (store.get_metadata("a"), store.stat("a").content_type) == ({"o": "3"}, "text/plain")
    store.set_metadata("a", {})
    assert (store.get_metadata("a"), bytes(store.get("a"))) == ({}, b"bytes")
    for call in (lambda: store.get_metadata("b"), lambda: store.set_metadata("b", {"m": "1"})):
        with pytest.raises(ObjectNotFoundError):
            call()


def test_metadata_where_there_is_none_is_refused_at_once():
    store = fresh(metadata=False)
    for name, call in (("get", lambda: store.get_metadata("a")), ("set", lambda: store.set_metadata("a", {"m": "1"}))):
        with pytest.raises(UnsupportedOperationError, match=f"{name}_metadata odd://x/a"):
            call()
    assert store.raw.calls == []


@pytest.mark.parametrize("copies", [True, False])
def test_a_copy_within_a_store_can_leave_metadata_behind(copies):
    store = fresh(copy=copies)
    store.put("a", b"1", metadata={"m": "1"})
    store.copy("a", "bare", metadata=False)
    store.copy("a", "with")
    assert (store.get_metadata("bare"), store.get_metadata("with")) == ({}, {"m": "1"})


def test_a_store_stays_open_while_something_of_it_is_in_use():
    closed = []
    raw = Odd()
    raw.close = lambda: closed.append(True)
    store = Store(raw, "odd://x/")
    fill(store, "a", "b")
    writer, found, file = store.open_writer("c"), store.list(), store.open_file("a")
    del store
    assert not closed
    writer.write(b"1")
    writer.commit()
    assert keys(found) == ["a", "b", "c"]
    assert file.read() == b"a"
    del writer, found, file
    assert closed
