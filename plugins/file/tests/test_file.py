"""What only the file backend has: reads in place, exact ranges, and what it tells the page cache."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import errors
from penstock.opening import open_store, resolve_object, resolve_store
from penstock.sinks import Collect, Discard, Into
from penstock_file import cache

KIB = 1024
MIB = 1024 * KIB
PAGE = 4096


@pytest.fixture
def store(tmp_path):
    with closing(open_store(f"file://{tmp_path}")) as store:
        yield store


def cached_pages(path):
    """The numbers of the pages of a file that are in the page cache."""
    size = path.stat().st_size
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapping:
        vector = (ctypes.c_ubyte * -(-size // PAGE))()
        anchor = ctypes.c_char.from_buffer(mapping)
        done = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), vector
        )
        del anchor
        assert done == 0
    return [number for number, bits in enumerate(vector) if bits & 1]


def make_cold(path, size):
    """A file of that size that is on the disk and not in the page cache."""
    path.write_bytes(os.urandom(size))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert cached_pages(path) == []


def read_first_page(tmp_path, mode):
    make_cold(tmp_path / "cold", 4 * MIB)
    store = open_store(f"file://{tmp_path}?page_cache={mode}")
    store.get("cold", Discard(), length=PAGE)
    return cached_pages(tmp_path / "cold")


def test_a_get_lands_in_the_callers_buffer_and_nowhere_beyond(store):
    store.put("key", b"x" * 5000)
    buffer = bytearray(b"-" * 8000)
    info = store.get("key", Into(memoryview(buffer)[1000:6500]))
    assert info.size == 5000
    assert bytes(buffer) == b"-" * 1000 + b"x" * 5000 + b"-" * 2000


def test_a_buffer_too_small_is_filled_and_refused(store):
    store.put("key", b"x" * 5000)
    buffer = bytearray(b"-" * 5000)
    with pytest.raises(errors.LengthMismatchError):
        store.get("key", Into(memoryview(buffer)[:4999]))
    assert bytes(buffer[4999:]) == b"-"


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1])
def test_sizes(store, tmp_path, size):
    data = os.urandom(size)
    assert store.put("key", data).size == size
    assert (tmp_path / "key").stat().st_size == size
    sink = Collect()
    store.get("key", sink)
    assert sink.view() == data


@settings(max_examples=200, deadline=None)
@given(start=st.integers(0, 21_000), length=st.one_of(st.none(), st.integers(0, 21_000)), room=st.integers(1, 9000))
def test_ranges_are_slices(tmp_path_factory, start, length, room):
    root = tmp_path_factory.getbasetemp() / "ranges"
    data = bytes(number % 251 for number in range(20_000))
    store = open_store(f"file://{root}")
    if not root.exists():
        store.put("key", data)
    sink = Collect()
    assert store.get("key", sink, start=start, length=length).size == len(data)
    expected = data[start:] if length is None else data[start : start + length]
    assert sink.view() == expected
    small = Discard(room=room)
    store.get("key", small, start=start, length=length)
    assert small.nbytes == len(expected)


def test_any_memory_can_be_put(store, tmp_path):
    import array

    for data in (bytearray(b"abcd"), memoryview(b"abcd"), array.array("i", [1]), memoryview(array.array("i", [1]))):
        assert store.put("key", data).size == 4
        assert (tmp_path / "key").read_bytes() == bytes(data)


def test_small_writes_and_large_ones_keep_their_order(store, tmp_path):
    writer = store.open_writer("key", part_size=8 * MIB)
    expected = b""
    for number in range(60):
        data = bytes([number]) * (number**3 % 90_000)
        writer.write(data)
        expected += data
    assert writer.commit().size == len(expected)
    assert (tmp_path / "key").read_bytes() == expected


def test_a_reused_buffer_does_not_change_what_was_written(store, tmp_path):
    writer = store.open_writer("key", part_size=MIB)
    buffer = bytearray(b"a" * 100)
    writer.write(buffer)
    buffer[:] = b"b" * 100
    writer.write(buffer)
    writer.commit()
    assert (tmp_path / "key").read_bytes() == b"a" * 100 + b"b" * 100


def test_random_reads_fetch_what_was_asked_and_no_more(tmp_path):
    assert read_first_page(tmp_path, "random") == [0]
    assert read_first_page(tmp_path, "auto") == [0]


def test_normal_reads_fetch_ahead_and_sequential_ones_further(tmp_path):
    ahead = {}
    for mode in ("random", "normal", "sequential"):
        path = tmp_path / mode
        with path.open("wb") as file:
            file.truncate(96 * MIB)
        store = open_store(f"file://{tmp_path}?page_cache={mode}")
        store.get(mode, Discard(room=64 * KIB), length=24 * MIB)
        ahead[mode] = len(cached_pages(path)) - 24 * MIB // PAGE
    assert ahead["random"] == 0 < ahead["normal"] < ahead["sequential"]


def test_auto_is_sequential_from_64_mib_and_says_nothing_for_small_objects(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, count, advice: told.append((start, count, advice)))
    store = open_store(f"file://{tmp_path}")
    for size in (64 * MIB, 64 * MIB - 1, 4096):
        with (tmp_path / "key").open("wb") as file:
            file.truncate(size)
        store.get("key", Discard())
    assert told == [(0, 64 * MIB, os.POSIX_FADV_SEQUENTIAL)]
    store.get("key", Discard(), length=10)
    assert len(told) == 1


def test_dontneed_leaves_no_page_after_a_get_a_put_and_a_writer(tmp_path):
    path = tmp_path / "key"
    store = open_store(f"file://{tmp_path}?page_cache=dontneed")
    make_cold(path, MIB)
    store.get("key", Discard())
    assert cached_pages(path) == []
    store.put("key", os.urandom(MIB))
    assert cached_pages(path) == []
    writer = store.open_writer("key", part_size=MIB)
    writer.write(os.urandom(MIB))
    writer.commit()
    assert cached_pages(path) == []
    open_store(f"file://{tmp_path}").get("key", Discard())
    assert len(cached_pages(path)) == 256


def test_modes_without_a_hint_call_nothing():
    assert (cache.before_read("normal"), cache.after_read("normal"), cache.after_write("auto")) == (None, None, None)


def test_an_unknown_mode_names_the_known_ones(tmp_path):
    with pytest.raises(errors.UsageError, match="auto, sequential, random, dontneed, normal"):
        open_store(f"file://{tmp_path}?page_cache=fast")


def test_a_read_error_is_the_stores_and_a_sinks_error_is_its_own(store, monkeypatch):
    store.put("key", b"x")

    class Broken(Discard):
        def commit(self, nbytes, /):
            raise OSError(errno.ENOSPC, "the sink's disk")

    with pytest.raises(OSError, match="the sink's disk") as caught:
        store.get("key", Broken())
    assert not isinstance(caught.value, errors.StoreError)

    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(errors.StoreError) as failed:
        store.get("key", Discard())
    assert (failed.value.status, failed.value.operation) == (errno.EIO, "get")


def test_a_get_leaves_no_descriptor_open(store):
    store.put("key", b"x" * 10)
    before = len(os.listdir("/proc/self/fd"))
    for call in (lambda: store.get("key", Into(bytearray(1))), lambda: store.get("", Discard())):
        with pytest.raises(errors.PenstockError):
            call()
    with pytest.raises(errors.NotAnObjectError):
        open_store("file:///").get("proc", Discard())
    assert len(os.listdir("/proc/self/fd")) == before


def test_addresses():
    assert resolve_object("file:///a/b?c#d").address.key == "a/b?c#d"
    place = resolve_store("/a/b?fsync=yes")
    assert (place.address.base, place.address.key, place.resolved.options.root) == ("file:///a/b/", "", "/a/b")
    assert place.resolved.options.fsync is True


class TestFillMany:
    """Small files in bulk."""

    CONTENTS = (b"first", b"second, and longer", b"3")

    @pytest.fixture
    def keys(self, store):
        keys = [f"d/{number}.bin" for number in range(3)]
        for key, content in zip(keys, self.CONTENTS, strict=True):
            store.put(key, content)
        return keys

    @staticmethod
    def rooms(*sizes):
        return [memoryview(bytearray(b"." * size)) for size in sizes]

    def test_rooms_hold_what_the_files_do(self, store, keys):
        rooms = self.rooms(*map(len, self.CONTENTS))
        assert store.fill_many(keys, rooms) == 3
        assert tuple(map(bytes, rooms)) == self.CONTENTS

    @pytest.mark.parametrize("size", [17, 19])
    def test_it_stops_at_a_file_of_another_size(self, store, keys, size):
        rooms = self.rooms(5, size, 1)
        assert store.fill_many(keys, rooms) == 1
        assert (bytes(rooms[0]), bytes(rooms[2])) == (b"first", b".")

    @pytest.mark.parametrize("name", ["missing", "d", "d/", "../x", "/x", "", ".hidden", "é", "pipe"])
    def test_it_leaves_to_get_what_is_not_plainly_a_file(self, store, keys, name, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / ".hidden").write_bytes(b"first")
        (tmp_path / "é").write_bytes(b"first")
        assert store.fill_many([keys[0], name, keys[0]], self.rooms(5, 5, 5)) == 1

    def test_nothing_is_left_open(self, store, keys):
        before = os.listdir("/proc/self/fd")
        store.fill_many([*keys, "d"], self.rooms(5, 18, 1, 5))
        assert os.listdir("/proc/self/fd") == before

    @pytest.mark.parametrize("mode", ["sequential", "random", "dontneed"])
    def test_hints_for_the_page_cache_are_for_get_to_give(self, tmp_path, mode):
        with closing(open_store(f"file://{tmp_path}", options={"page_cache": mode})) as store:
            store.put("a", b"first")
            assert store.fill_many(["a"], self.rooms(5)) == 0
