"""What only the direct backend has: any size and offset by O_DIRECT, and no silent way around it."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import subprocess
from contextlib import closing

import numpy
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import errors
from penstock.buffers import aligned_buffer
from penstock.opening import open_store
from penstock.sinks import Collect, Discard, Into
from penstock_direct import access
from penstock_direct.aligned import AlignedOutput
from penstock_direct.pool import BufferPool

MIB = 1024 * 1024
SIZES = [0, 1, 511, 512, 513, 4095, 4096, 4097, 128 * 1024 + 1, MIB - 1, MIB, MIB + 1, 9 * MIB + 5]
DATA = os.urandom(10 * MIB)


@pytest.fixture
def store(tmp_path):
    with closing(open_store(f"direct://{tmp_path}")) as store:
        yield store


@pytest.fixture
def calls(monkeypatch):
    """Every read and write: (name, bytes asked for, whether the file was open with O_DIRECT)."""
    made = []

    def spy(name, nbytes):
        real = getattr(os, name)

        def call(fd, data, *rest):
            direct = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
            made.append((name, nbytes(data), direct))
            return real(fd, data, *rest)

        monkeypatch.setattr(os, name, call)

    spy("write", len)
    spy("preadv", lambda buffers: sum(len(buffer) for buffer in buffers))
    return made


@pytest.fixture(params=["tmpfs", "ramfs"])
def memory_disk(request, tmp_path):
    directory = tmp_path / "memory"
    directory.mkdir()
    subprocess.run(["mount", "-t", request.param, "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def read(store, key, **options):
    sink = Collect()
    store.get(key, sink, **options)
    return bytes(sink.view())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("memory", ["bytes", "aligned", "unaligned"])
def test_every_size_from_any_memory(store, tmp_path, calls, size, memory):
    data = DATA[:size]
    if memory == "aligned":
        data = aligned_buffer(size + 1)[:size]
        data[:] = DATA[:size]
    elif memory == "unaligned":
        data = memoryview(bytearray(b"-" + data))[1:]
    assert store.put("key", data).size == size
    assert (tmp_path / "key").stat().st_size == size
    assert (tmp_path / "key").read_bytes() == DATA[:size]
    assert read(store, "key") == DATA[:size]
    assert calls or not size
    assert all(direct and not nbytes % 4096 for _, nbytes, direct in calls)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_through_a_writer(store, tmp_path, calls, size):
    writer = store.open_writer("key", part_size=MIB)
    position = 0
    for number in range(1000):
        step = min((number * 7919) % 150_000, size - position)
        writer.write(DATA[position : position + step])
        position += step
    assert position == size
    assert writer.commit().size == size
    assert (tmp_path / "key").read_bytes() == DATA[:size]
    assert all(direct and not nbytes % 4096 for _, nbytes, direct in calls)


def test_large_objects_move_in_large_system_calls(store, calls):
    room = aligned_buffer(8 * MIB)
    store.put("aligned", room)
    store.put("bytes", DATA[: 8 * MIB])
    store.get("aligned", Into(room))
    store.get("bytes", Into(memoryview(bytearray(8 * MIB + 1))[1:]))
    writer = store.open_writer("written", part_size=MIB)
    for begin in range(0, 8 * MIB, 1000):
        writer.write(DATA[begin : min(begin + 1000, 8 * MIB)])
    writer.commit()
    assert [(name, nbytes) for name, nbytes, _ in calls] == [
        ("write", 8 * MIB),
        *[("write", 4 * MIB)] * 2,
        ("preadv", 8 * MIB),
        ("preadv", 8 * MIB),  # refused for the memory's sake
        *[("preadv", 4 * MIB)] * 2,
        *[("write", 4 * MIB)] * 2,
    ]


def test_an_aligned_get_is_one_read_into_the_callers_memory(store, calls):
    store.put("key", DATA[: 64 * 1024])
    calls.clear()
    room = aligned_buffer(64 * 1024)
    store.get("key", Into(room))
    assert room == DATA[: 64 * 1024]
    assert calls == [("preadv", 64 * 1024, True)]


def test_an_unaligned_end_costs_one_read_where_there_is_room(store, calls):
    store.put("key", DATA[:1_000_000])
    calls.clear()
    store.get("key", Discard())
    assert calls == [("preadv", 1_003_520, True)]


@settings(max_examples=300, deadline=None)
@given(
    size=st.sampled_from([1, 4096, 4097, 20_000, 140_001]),
    start=st.one_of(st.integers(0, 150_000), st.sampled_from([0, 4096, 8192, 131_072])),
    length=st.one_of(st.none(), st.integers(0, 150_000), st.sampled_from([1, 4096, 131_073])),
    shift=st.sampled_from([0, 1, 512]),
    room=st.sampled_from([1, 511, 4096, 5000, MIB]),
)
def test_ranges_are_slices_and_nothing_beyond_is_touched(tmp_path_factory, size, start, length, shift, room):
    root = tmp_path_factory.getbasetemp() / "ranges"
    store = open_store(f"direct://{root}?buffer_size=64KiB")
    key = str(size)
    if not (root / key).exists():
        store.put(key, DATA[:size])
    expected = DATA[:size][start:] if length is None else DATA[:size][start : start + length]
    memory = aligned_buffer(160_000)
    memory[:] = b"-" * memory.nbytes
    end = shift + len(expected)
    assert store.get(key, Into(memory[shift:end]), start=start, length=length).size == size
    assert memory[shift:end] == expected
    assert bytes(memory[:shift]) == b"-" * shift
    assert bytes(memory[end:]) == b"-" * (memory.nbytes - end)
    sink = Discard(room=room)
    store.get(key, sink, start=start, length=length)
    assert sink.nbytes == len(expected)
    # Room to spare: only what lies behind the object's own end may be filled beyond the answer.
    memory[:] = b"-" * memory.nbytes
    store.get(key, Into(memory), start=start, length=length)
    assert memory[: len(expected)] == expected
    if start + len(expected) < size:
        assert bytes(memory[len(expected) :]) == b"-" * (memory.nbytes - len(expected))


def test_padding_never_holds_another_objects_bytes(store, tmp_path):
    store.put("secret", b"secret" * 10_000)
    store.put("key", b"x")
    os.truncate(tmp_path / "key", 4096)
    assert (tmp_path / "key").read_bytes() == b"x" + bytes(4095)
    pool = BufferPool(8192, 1)
    written = []
    buffer = pool.take()
    buffer[:] = b"s" * 8192
    pool.give(buffer)
    fd = os.memfd_create("padding")
    output = AlignedOutput(fd, pool)
    output.write(b"x")
    truncate, os.ftruncate = os.ftruncate, lambda fd, size: written.append(os.pread(fd, 8192, 0))
    try:
        output.finish()
    finally:
        os.ftruncate = truncate
        os.close(fd)
    assert written == [b"x" + bytes(4095)]


def test_memory_file_systems_are_refused_with_the_remedy(memory_disk):
    store = open_store(f"direct://{memory_disk}")
    (memory_disk / "there").write_bytes(b"x")
    remedy = f"use file://{memory_disk}/ or the option fallback=buffered"
    with pytest.raises(errors.UnsupportedOperationError) as caught:
        store.put("key", b"x" * 5000)
    assert str(caught.value).startswith(f"put direct://{memory_disk}/key: ")
    assert remedy in str(caught.value)
    with pytest.raises(errors.UnsupportedOperationError, match="fallback=buffered"):
        store.get("there", Discard())
    with pytest.raises(errors.UnsupportedOperationError, match="fallback=buffered"):
        store.open_writer("key", part_size=MIB)
    assert os.listdir(memory_disk) == ["there"]


def test_the_fallback_works_and_is_said_once(memory_disk, monkeypatch):
    monkeypatch.setattr(access, "_warned", set())
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            store = open_store(f"direct://{memory_disk}?fallback=buffered")
            for size in (0, 1, 4096, 5000, MIB + 1):
                assert store.put("key", DATA[:size]).size == size
                assert read(store, "key") == DATA[:size]
            writer = store.open_writer("key", part_size=MIB)
            writer.write(DATA[:70_000])
            assert writer.commit().size == 70_000
    assert [log["root"] for log in logs] == [f"direct://{memory_disk}/"]
    assert logs[0]["log_level"] == "warning"
    assert os.listdir(memory_disk) == ["key"]


def test_a_file_on_a_refused_file_system_below_a_good_root(tmp_path, memory_disk):
    store = open_store(f"direct://{tmp_path}")
    store.put("key", b"x")
    with pytest.raises(errors.UnsupportedOperationError):
        store.put(f"{memory_disk.name}/key", b"x")
    assert read(store, "key") == b"x"


def test_listings_and_errors_say_direct(store, tmp_path):
    with pytest.raises(errors.ObjectNotFoundError, match=f"get direct://{tmp_path}/none: "):
        read(store, "none")


def test_buffers_are_made_when_needed_bounded_and_used_again():
    pool = BufferPool(8192, keep=2)
    taken = [pool.take() for _ in range(3)]
    for buffer in taken:
        pool.give(buffer)
    again = [pool.take() for _ in range(3)]
    assert [any(buffer is old for old in taken[:2]) for buffer in again] == [True, True, False]


def test_calls_and_writers_give_their_buffers_back(store, tmp_path):
    pool = store._pool
    store.put("key", b"x" * 5000)
    (buffer,) = pool._idle
    with pytest.raises(errors.LengthMismatchError):
        store.get("key", Into(bytearray(100)), start=1)
    writer = store.open_writer("other", part_size=MIB)
    writer.write(b"x")
    assert pool._idle == []
    writer.abort()
    writer.abort()
    assert pool._idle == [buffer]


@pytest.mark.parametrize("query", ["buffer_size=1000", "buffer_size=0", "buffers=0", "fallback=maybe", "bufers=1"])
def test_options_that_can_not_be(tmp_path, query):
    with pytest.raises(errors.UsageError):
        open_store(f"direct://{tmp_path}?{query}")


def test_pages_stay_out_of_the_page_cache(store, tmp_path):
    store.put("key", aligned_buffer(MIB))
    store.get("key", Discard())
    with (tmp_path / "key").open("rb") as file, mmap.mmap(file.fileno(), MIB, prot=mmap.PROT_READ) as mapping:
        array = numpy.frombuffer(mapping, numpy.uint8)
        vector = numpy.ones(MIB // 4096, numpy.uint8)
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(MIB), vector.ctypes) == 0
        del array
    assert not (vector & 1).any()
