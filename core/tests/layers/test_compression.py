"""Compressed objects: the kit over them, what the zstd command makes of them, ranges, and damaged ones."""

from __future__ import annotations

import gc
import shutil
import subprocess
import tracemalloc

import attrs
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from layers_support import LayerContract, Spy, keys, memory, read

from penstock.errors import (
    ChecksumMismatchError,
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreConnectionError,
)
from penstock.layers.compression import Compressed, Compression
from penstock.layers.compression.frames import GUARD, Compressor, read_table, table_length
from penstock.layers.faults import Corrupt, Fail, Faults, Faulty, Rule, Truncate
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.memory import MemoryOptions, MemoryStore
from penstock.sinks import Collect, Discard, Into
from penstock.testing.tools import noise
from penstock.writers import GuardedWriter

#: Compressible, and no part of it twice.
DATA = b"".join(b"line %d of some text that repeats\n" % number for number in range(3_000))
SMALL = Compression(frame_size=10_000, level=1)


def open_compressed(name):
    return Compressed(MemoryStore(MemoryOptions(name=name)), SMALL, base_uri=f"mem://{name}/")


class TestCompressed(LayerContract):
    opens = staticmethod(open_compressed)


def compressed(inner=None, config=SMALL):
    return Compressed(inner if inner is not None else memory(), config, base_uri="mem://x/")


def stream(store, data, step, key="k"):
    with GuardedWriter(store.open_writer(key, part_size=5_000), key) as writer:
        for begin in range(0, len(data), step):
            writer.write(data[begin : begin + step])
    return writer.info


def unzstd(data):
    """By the command, or where there is none by another reader of the format."""
    if shutil.which("zstd"):
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True, timeout=60).stdout
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()


@pytest.mark.parametrize("size", [0, 1, 9_999, 10_000, 10_001, 20_000, len(DATA)])
@pytest.mark.parametrize("step", [0, 7_777, 10_000, 35_000])
def test_the_zstd_command_reads_what_is_stored(size, step):
    inner = memory()
    store = compressed(inner)
    info = stream(store, DATA[:size], step) if step else store.put("k", DATA[:size])
    assert (info.key, info.size) == ("k", size)
    assert keys(inner) == ["k.zst"]
    stored = read(inner, "k.zst")
    assert unzstd(stored) == DATA[:size]
    assert size < 9_999 or len(stored) < size / 3
    assert read(store, "k") == DATA[:size]
    assert store.stat("k").size == size


def test_every_block_of_a_stream_arrives():
    """The tools of today keep the last block alone: 1.5 MB in, 35 bytes out."""
    store = compressed(config=Compression())
    data = noise(1_500_000)
    stream(store, data, 65_536)
    assert read(store, "k") == data
    assert store.stat("k").size == 1_500_000


@pytest.mark.parametrize(
    "options", [(), ("--no-content-size",), ("--stream-size=0",), ("-19", "--check"), ("--no-check",)]
)
@pytest.mark.parametrize("frames", [1, 3])
def test_what_the_zstd_command_writes_is_read(options, frames):
    if not shutil.which("zstd"):
        options = ()
    piece = DATA[:30_000]
    if options == ("--stream-size=0",):
        made = zstandard.ZstdCompressor(write_content_size=False).compress(piece)
    elif shutil.which("zstd"):
        done = subprocess.run(["zstd", "-c", *options], input=piece, capture_output=True, check=True, timeout=60)
        made = done.stdout
    else:
        made = zstandard.ZstdCompressor().compress(piece)
    inner = memory()
    inner.put("k.zst", made * frames)
    store = compressed(inner)
    assert read(store, "k") == piece * frames
    assert store.stat("k").size == 30_000 * frames
    assert [info.size for page in store.list_pages() for info in page.objects] == [30_000 * frames]
    assert read(store, "k", start=29_990, length=20) == (piece * frames)[29_990:30_010]
    assert read(store, "k", start=10**6) == b""


@given(
    size=st.integers(0, 60_000),
    start=st.integers(0, 61_000),
    length=st.none() | st.integers(0, 61_000),
    frame=st.integers(1_024, 30_000),
    streamed=st.booleans(),
)
def test_every_range_is_delivered(size, start, length, frame, streamed):
    store = compressed(config=Compression(frame_size=frame, level=1))
    stream(store, DATA[:size], 4_321) if streamed else store.put("k", DATA[:size])
    expected = DATA[:size][start : None if length is None else start + length]
    buffer = bytearray(len(expected))
    into = Into(buffer)
    info = store.get("k", into, start=start, length=length)
    assert (info.size, into.nbytes, bytes(buffer)) == (size, len(expected), expected)


def test_what_calls_cost():
    spy = Spy()
    store = compressed(spy)
    store.put("k", DATA)
    read(store, "k")
    assert spy.names() == ["put", "get"]
    store.stat("k")
    assert spy.names()[2:] == ["stat", "get"]
    size = spy.inner.stat("k.zst").size
    read(store, "k", start=50_000, length=10)
    assert spy.names()[4:] == ["stat", "get", "get"]
    assert spy.calls[-1][3] < size / 5, "only the frame that holds the range"
    assert spy.calls[-1][4] == spy.inner.stat("k.zst").etag
    spy.calls.clear()
    keys(store)
    assert spy.names() == ["list_pages", "get"]
    spy.calls.clear()
    (page,) = compressed(spy, Compression(list_sizes="stored")).list_pages()
    assert (page.objects[0].size, spy.names()) == (size, ["list_pages"])


def test_a_long_table_is_read_whole():
    store = compressed(config=Compression(frame_size=1024, level=1))
    data = bytes(1024 * 9_000)
    store.put("k", data)
    assert store.stat("k").size == len(data)
    assert read(store, "k", start=len(data) - 5) == bytes(5)


def test_objects_that_are_not_compressed_are_not_seen():
    inner = memory()
    inner.put("plain", b"x")
    inner.put("dir/plain.txt", b"x")
    inner.put(".zst", b"x")
    store = compressed(inner)
    store.put("dir/mine", b"y")
    store.put("plain.zst", b"z")
    assert sorted(keys(store)) == ["dir/mine", "plain.zst"]
    assert sorted(keys(inner)) == [".zst", "dir/mine.zst", "dir/plain.txt", "plain", "plain.zst.zst"]
    with pytest.raises(ObjectNotFoundError) as caught:
        store.stat("plain")
    assert (caught.value.uri.endswith("/plain"), caught.value.operation) == (True, "stat")
    assert list(store.delete(["plain"])) == []
    assert read(inner, "plain") == b"x"


def test_listings_are_right_where_the_suffix_changes_the_order():
    store = compressed()
    names = ["a", "a-b", "a!", "a.zs", "a.zst", "a/b", "ab", "a0"]
    for name in names:
        store.put(name, b"x")
    assert not store.capabilities.ordered
    for after in ["", *names, "a.", "a.z", "a.zsu", "zz"]:
        expected = sorted(name for name in names if not after or name.encode() > after.encode())
        assert sorted(keys(store, start_after=after, page_size=2)) == expected
    for prefix in ["a.", "a.z", "a.zst", "a.zst.", "a-", "a/"]:
        assert sorted(keys(store, prefix)) == sorted(name for name in names if name.startswith(prefix))


def damaged(at):
    inner = memory()
    store = compressed(inner)
    store.put("k", noise(25_000))
    stored = bytearray(read(inner, "k.zst"))
    stored[at] ^= 0xFF
    inner.put("k.zst", stored)
    return store


@pytest.mark.parametrize("at", [0, 6, 30, 9_000, 24_000])
def test_damage_of_a_frame_is_noticed(at):
    with pytest.raises(ChecksumMismatchError) as caught:
        read(damaged(at), "k")
    assert (caught.value.uri, caught.value.operation) == ("mem://x/k", "get")


#: The heads of the two frames behind the object's own, by which a reader knows where they end.
HEADS = {*range(-57, -49), *range(-41, -33)}


@pytest.mark.parametrize("at", range(-57, 0))
def test_a_damaged_table_is_never_believed(at):
    store, data = damaged(at), noise(25_000)
    for look, right in (
        (lambda: store.stat("k").size, 25_000),
        (lambda: read(store, "k", start=19_000, length=2_000), data[19_000:21_000]),
        (lambda: read(store, "k"), data),
    ):
        try:
            assert look() == right
        except ChecksumMismatchError:
            assert at in HEADS


@pytest.mark.parametrize("where", ["get", "put"])
def test_corruption_anywhere_within_a_frame_is_noticed(where):
    found = 0
    for place in range(40, 20_000, 1_237):
        faulty = Faulty(memory(), Faults(rules=[Rule(effect=Corrupt(offset=place), operations=[where])]))
        store = compressed(faulty)
        store.put("k", noise(20_000))
        with pytest.raises(ChecksumMismatchError):
            read(store, "k")
        found += 1
    assert found == 17


@pytest.mark.parametrize("cut", [0, 1, 100, 9_000, 15_000])
def test_a_short_object_is_noticed(cut):
    inner = memory()
    compressed(inner).put("k", noise(20_000))
    inner.put("k.zst", read(inner, "k.zst")[:cut])
    with pytest.raises(ChecksumMismatchError, match="within a frame"):
        read(compressed(inner), "k")


def test_a_short_body_is_noticed_even_at_the_end_of_a_frame():
    inner = memory()
    compressed(inner).put("k", noise(20_000))
    first = Compressor(1).frame(noise(20_000)[:10_000])
    faulty = Faulty(inner, Faults(rules=[Rule(effect=Truncate(at=len(first)), operations=["get"])]))
    with pytest.raises(LengthMismatchError, match="stored bytes came"):
        read(compressed(faulty), "k")


@pytest.mark.parametrize("changes", [1, 2, 10])
@pytest.mark.parametrize("how", [{}, {"start": 15_000, "length": 10}])
def test_an_object_that_changes_meanwhile_is_read_whole(changes, how):
    left = [changes]
    new = {"data": b""}

    def change(spy, number, name, key, *more):
        if name == "get" and left[0]:
            left[0] -= 1
            new["data"] = noise(30_000 + left[0], left[0])
            compressed(spy.inner).put("k", new["data"])

    spy = Spy()
    store = compressed(spy)
    store.put("k", DATA)
    spy.before = change
    got = read(store, "k", **how)
    assert got == (new["data"][15_000:15_010] if how else new["data"])
    left[0] = changes
    assert store.stat("k").size == len(new["data"])


def test_conditions_hold_for_ranges():
    store = compressed()
    old = store.put("k", DATA).etag
    store.put("k", DATA[:100])
    for how in ({}, {"start": 50, "length": 10}, {"start": 10**6, "length": 1}):
        sink = Discard()
        with pytest.raises(PreconditionFailedError):
            store.get("k", sink, if_match=old, **how)
        assert sink.nbytes == 0


@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("operation", ["write", "commit"])
def test_a_write_that_fails_loses_nothing_and_doubles_nothing(operation, nth):
    rules = [Rule(effect=Fail(), operations=[operation], nth=nth if operation == "write" else 1)]
    inner = memory()
    store = Retrying(compressed(Faulty(inner, Faults(rules=rules))), RetryPolicy(base_delay=0.0))
    stream(store, DATA[:55_000], 23_000)
    assert unzstd(read(inner, "k.zst")) == DATA[:55_000]
    assert store.stat("k").size == 55_000


def test_a_failure_for_good_leaves_nothing():
    inner = memory()
    faulty = Faulty(inner, Faults(rules=[Rule(effect=Fail(retryable=False), operations=["write"], nth=2)]))
    with pytest.raises(StoreConnectionError) as caught:
        stream(compressed(faulty), DATA, 10_000)
    assert caught.value.operation == "write"
    gc.collect()
    assert keys(inner) == []


def test_a_writer_holds_one_frame():
    class Nothing:
        nbytes = 0

        def write(self, data):
            self.nbytes += len(data)

        def abort(self):
            pass

        def commit(self):
            raise AssertionError

    inner = memory()
    inner.open_writer = lambda key, **how: Nothing()
    store = compressed(inner, Compression(frame_size=2**20))
    writer = store.open_writer("k", part_size=1024)
    writer.write(bytes(2**20))
    tracemalloc.start()
    try:
        for number in range(300):
            writer.write(noise(100_000, number))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert writer._writer.nbytes > 25_000_000, "all but the last frame has been sent"
    assert peak < 6 * 2**20


def test_little_that_stands_for_much_is_decompressed_piece_by_piece():
    inner = memory()
    inner.put("k.zst", zstandard.ZstdCompressor().compress(bytes(200 * 2**20)))
    sink = Discard()
    tracemalloc.start()
    try:
        info = compressed(inner).get("k", sink)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert info.size == sink.nbytes == 200 * 2**20
    assert inner.stat("k.zst").size < 16_384 or peak < 200 * 2**20


def test_facts_pass_through():
    store = compressed()
    info = store.put("k", DATA, metadata={"a": "b"}, content_type="text/plain")
    assert (info.metadata, info.content_type, info.checksum) == ({"a": "b"}, "text/plain", None)
    assert store.stat("k") == info
    copied = store.copy("k", "l", metadata={"c": "d"})
    assert (copied.key, copied.size, copied.metadata) == ("l", len(DATA), {"c": "d"})
    assert store.get("l", Collect()) == copied


def test_directories_are_what_they_are():
    inner = memory()
    inner.capabilities = attrs.evolve(inner.capabilities, directories=True)
    store = compressed(inner)
    store.put("dir/", b"")
    assert keys(inner) == ["dir/"]
    assert (keys(store), store.stat("dir/").size) == (["dir/"], 0)
    store.delete(["dir/"])
    assert keys(inner) == []


def test_tables_of_the_format():
    compressor = Compressor(1)
    frames = compressor.frame(b"a" * 100) + compressor.frame(b"b" * 50)
    table = compressor.table()
    assert table[GUARD : GUARD + 4] == bytes.fromhex("5e2a4d18")
    assert table[-4:] == bytes.fromhex("b1ea928f")
    assert table_length(table) == 8 + 2 * 8 + 9 == len(table) - GUARD
    stored = len(frames) + len(table)
    assert read_table(frames + table, 33, stored).ends == (100, 150)
    assert read_table(frames + table, 33, stored + 1) is None, "of another object"
    assert read_table(frames + table[GUARD:], 33, stored - GUARD).ends == (100, 150), "by others, without a guard"
    with_checksums = bytearray(table)
    with_checksums[-5] = 0x80
    assert table_length(with_checksums) == 8 + 2 * 12 + 9
    for strange in (b"", b"short", bytes(9), table[:-5] + b"\x04" + table[-4:]):
        assert table_length(strange[-9:]) is None


@pytest.mark.parametrize("how", [{"level": 0}, {"level": 23}, {"frame_size": 10}, {"list_sizes": "none"}])
def test_what_can_not_be_is_refused(how):
    with pytest.raises(ValueError, match=next(iter(how))):
        Compression(**how)
