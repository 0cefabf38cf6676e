"""Op-logs being written: from metered stores, from many threads, to disks that fill up, in parts that are joined."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import textwrap
import threading
import zlib
from collections import Counter

import pytest
import zstandard

from penstock.clocks import Anchor
from penstock.errors import ObjectNotFoundError, OpLogError, UsageError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.metering import ThreadRecorders
from penstock.oplog import COLUMNS, OpLog, OpLogWriter, join_parts, read
from penstock.oplog.columns import COLUMNS_15
from penstock.oplog.writer import OpLogWriter as Writer
from penstock.records import BufferPool, Endpoint, Op, RecordBuffer, Recorder
from penstock.sinks import Collect, Discard

ENDPOINTS = [Endpoint("mem://m/", "mem://m")]


@pytest.fixture
def store(request):
    return MemoryStore(MemoryOptions(name=request.node.name))


@pytest.fixture
def log_path(tmp_path):
    return tmp_path / "oplog.tsv.zst"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB. A machine that can't mount fails."""
    directory = tmp_path / "disk"
    directory.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory)
    try:
        yield directory
    finally:
        run("umount", directory)


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr} (these tests need the right to mount)"


def filled(count, prefix="k", error=""):
    """Rows that do not compress well."""
    buffer = RecordBuffer(count)
    recorder = Recorder(0, lambda filled: buffer)
    for number in range(count):
        noise = zlib.crc32(f"{prefix}{number}".encode())
        recorder.add(Op.GET, f"{prefix}{number}-{noise:x}", number, number + 1, number + 2 + noise, noise, 1, error)
    return buffer


def write(path, count, *, prefix="k", header=True):
    with OpLogWriter(path, endpoints=ENDPOINTS, anchor=Anchor(0), header=header) as writer:
        buffer = filled(count, prefix)
        writer.write(buffer, 0, count // 2)
        writer.write(buffer, count // 2, count)
    return path


def names(path, **options):
    return [row.file.partition("-")[0].removeprefix("m/") for row in read(path, **options)]


def expected(prefix, count):
    return [f"{prefix}{number}" for number in range(count)]


def write_for_ever(writer, buffer):
    while True:
        writer.write(buffer, 0, 1)
        writer.write(buffer, 0, buffer.count)


def put_and_raise(store, log, count):
    with log:
        metered = log.meter(store, "mem://m/", "mem://m")
        for number in range(count):
            metered.put(f"k{number}", b"x")
        raise KeyError("body")


def occupy(directory, *, leave):
    """Leave so many bytes, a multiple of 4096, on a full disk."""
    path = directory / "occupied"
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        file.truncate(file.tell() - leave)


class TestWriter:
    def test_rows_are_numbered_over_all_calls_and_counted(self, log_path):
        buffer = filled(10_000)
        with OpLogWriter(log_path, endpoints=ENDPOINTS, anchor=Anchor(0)) as writer:
            writer.write(buffer, 0, 0)
            writer.write(buffer, 5, 7)
            writer.write(buffer, 0, 10_000)
            assert (writer.accepted, writer.written) == (10_002, 10_002)
        assert [row.idx for row in read(log_path, strict=True)] == list(range(10_002))
        assert names(log_path)[:3] == ["k5", "k6", "k0"]

    def test_the_file_is_one_frame_with_the_documented_header(self, log_path):
        write(log_path, 10)
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        text = decompressor.decompress(log_path.read_bytes()).decode()
        assert decompressor.eof
        assert decompressor.unused_data == b""
        assert text.splitlines()[0].split("\t") == list(COLUMNS)
        assert ",".join(COLUMNS) == (
            "idx,thread,op,client_id,n_objects,bytes,endpoint,file,error,start,first_byte,end,duration_ns"
        )

    def test_other_tools_read_it(self, log_path):
        write(log_path, 3)
        text = subprocess.run(["zstd", "-dc", log_path], capture_output=True, check=True).stdout
        assert len(text.splitlines()) == 4

    def test_without_a_header(self, tmp_path):
        path = write(tmp_path / "part.tsv", 2, header=False)
        assert path.read_text().startswith("0\t0\tGET\t")

    def test_what_was_there_is_replaced(self, tmp_path):
        path = tmp_path / "oplog.tsv"
        path.write_text("x" * 10_000)
        write(path, 1)
        assert names(path, strict=True) == ["k0"]

    @pytest.mark.parametrize("name", ["oplog.csv", "oplog", "oplog.zst", "oplog.tsv.gz"])
    def test_a_suffix_that_is_not_ours(self, tmp_path, name):
        with pytest.raises(OpLogError, match=r"name the log \*\.tsv\.zst"):
            write(tmp_path / name, 1)
        assert list(tmp_path.iterdir()) == []

    def test_paths_that_can_not_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        (tmp_path / "dir.tsv").mkdir()
        with pytest.raises(OpLogError, match=r"absent does not exist; make it"):
            write(tmp_path / "absent" / "oplog.tsv", 1)
        with pytest.raises(OpLogError, match="is a directory; name a file"):
            write(tmp_path / "dir.tsv", 1)
        with pytest.raises(OpLogError, match="Not a directory"):
            write(tmp_path / "file" / "oplog.tsv", 1)

    def test_a_file_system_that_is_read_only(self, small_disk):
        run("mount", "-o", "remount,ro", small_disk)
        with pytest.raises(OpLogError, match="Read-only file system"):
            write(small_disk / "oplog.tsv", 1)
        with pytest.raises(OpLogError, match="Read-only file system"):
            OpLog(small_disk / "oplog.tsv")

    @pytest.mark.parametrize("level", [0, 23])
    def test_a_level_that_zstd_does_not_have(self, log_path, level):
        with pytest.raises(OpLogError, match="use 1"):
            OpLogWriter(log_path, endpoints=ENDPOINTS, anchor=Anchor(0), level=level)

    def test_writing_after_the_end(self, log_path):
        writer = OpLogWriter(log_path, endpoints=ENDPOINTS, anchor=Anchor(0))
        writer.close()
        writer.close()
        with pytest.raises(OpLogError, match="is closed"):
            writer.write(filled(1), 0, 1)

    @pytest.mark.parametrize("name", ["oplog.tsv", "oplog.tsv.zst"])
    def test_a_full_disk_keeps_what_was_written(self, small_disk, name):
        path = small_disk / name
        buffer = filled(1000)
        writer = OpLogWriter(path, endpoints=ENDPOINTS, anchor=Anchor(0))
        with pytest.raises(OpLogError, match="No space left on device") as caught:
            write_for_ever(writer, buffer)
        assert 0 < writer.written < writer.accepted
        assert f"of {writer.accepted} rows accepted {writer.written} are in the file" in str(caught.value)
        accepted, written = writer.accepted, writer.written
        with pytest.raises(OpLogError, match="No space left"):
            writer.write(buffer, 0, 10)
        assert (writer.accepted, writer.written) == (accepted + 10, written)
        writer.close()
        # The file is whole, as one that was closed in time.
        assert [row.idx for row in read(path, strict=True)] == list(range(written))

    def test_a_disk_that_was_full_before(self, small_disk):
        occupy(small_disk, leave=0)
        with pytest.raises(OpLogError, match="No space left on device"):
            OpLog(small_disk / "oplog.tsv")


class TestOpLog:
    def test_every_operation_of_a_metered_store(self, store, log_path):
        with OpLog(log_path, client_id="me") as log:
            metered = log.meter(store, "mem://m/", "mem://m")
            calls(metered)
        assert (log.accepted, log.written, log.dropped) == (17, 17, 0)
        rows = list(read(log_path, strict=True))
        seen = [(row.op, row.file, row.nbytes, row.n_objects, row.error) for row in rows]
        missing = "ObjectNotFoundError: no such object"
        assert seen == [
            ("PUT", "m/a\tb\\n", 4, 1, ""),
            ("GET", "m/a\tb\\n", 4, 1, ""),
            ("GET_RANGE", "m/a\tb\\n", 2, 1, ""),
            ("STAT", "m/a\tb\\n", 0, 1, ""),
            ("LIST", "m/", 0, 1, ""),
            ("COPY", "m/c", 0, 1, ""),
            ("MKDIR", "m/d/", 0, 1, ""),
            ("RMDIR", "m/d/", 0, 1, ""),
            ("PUT", "m/w", 6, 1, ""),
            ("PUT", "m/v", 2, 1, "StoreError: the writer was aborted"),
            ("DELETE_BATCH", "m/c", 0, 2, ""),
            ("DELETE", "m/c", 0, 1, ""),
            ("GET", "m/absent", 0, 1, missing),
            ("STAT", "m/absent", 0, 1, missing),
            ("COPY", "m/x", 0, 1, missing),
            ("PUT", "m/a\tb\\n", 0, 1, "AlreadyExistsError: the key is taken"),
            ("PUT", "m/", 0, 1, rows[-1].error),
        ]
        assert rows[-1].error.startswith("InvalidKeyError: the key is empty")
        for row in rows:
            assert (row.client_id, row.thread, row.endpoint) == ("me", 0, "mem://m")
            assert row.end_ns - row.start_ns == row.duration_ns >= 0
            if row.op.startswith("GET") and not row.error:
                assert row.start_ns <= row.first_byte_ns < row.end_ns
        sent = [row.first_byte_ns for row in rows if row.file in ("m/w", "m/v")]
        assert all(sent)

    def test_several_stores_share_a_log(self, store, log_path):
        with OpLog(log_path) as log:
            one = log.meter(store, "mem://one/", "mem://one")
            one.put("k", b"")
            two = log.meter(store, "mem://two/", "mem://two")
            two.put("k", b"")
            log.meter(store, "mem://one/", "mem://one").put("k", b"")
        assert [(row.endpoint, row.file) for row in read(log_path)] == [
            ("mem://one", "one/k"),
            ("mem://two", "two/k"),
            ("mem://one", "one/k"),
        ]

    def test_a_clock_offset_is_applied(self, store, log_path):
        hour = 3600 * 10**9
        with OpLog(log_path, clock_offset_ns=-hour) as log:
            log.meter(store, "mem://m/", "mem://m").put("k", b"")
        (row,) = read(log_path)
        assert abs(row.start_ns - (store.stat("k").modified_ns - hour)) < 10**9

    def test_a_body_that_raises_leaves_a_complete_file(self, store, log_path):
        with pytest.raises(KeyError):
            put_and_raise(store, OpLog(log_path), 100)
        assert names(log_path, strict=True) == expected("k", 100)

    @pytest.mark.parametrize("buffer", [1, 2, 7, 1000])
    def test_many_threads_and_small_buffers_lose_nothing(self, store, log_path, buffer):
        threads, each = 24, 200
        with OpLog(log_path, buffer=buffer) as log:
            metered = log.meter(store, "mem://m/", "mem://m")
            barrier = threading.Barrier(threads)

            def work(number):
                barrier.wait(30)
                for count in range(each):
                    metered.put(f"{number}/{count}", b"x")

            run_threads(work, threads)
        total = threads * each
        assert (log.accepted, log.written, log.dropped) == (total, total, 0)
        rows = list(read(log_path, strict=True))
        assert [row.idx for row in rows] == list(range(total))
        assert {row.thread for row in rows} == set(range(threads))
        for thread in range(threads):
            mine = [row for row in rows if row.thread == thread]
            assert len({row.file.split("/")[1] for row in mine}) == 1
            assert [int(row.file.split("/")[2]) for row in mine] == list(range(each))

    def test_threads_that_come_and_go_share_buffers(self, store, log_path):
        with OpLog(log_path) as log:
            metered = log.meter(store, "mem://m/", "mem://m")
            for number in range(50):
                run_threads(lambda _, number=number: metered.put(f"k{number}", b""), 1)
            assert len(log._recorders.all) == 1
        assert names(log_path) == expected("k", 50)
        assert [row.thread for row in read(log_path)] == list(range(50))

    def test_best_effort_counts_what_it_drops(self, store, log_path, monkeypatch):
        go_on = threading.Event()
        original = Writer.write
        monkeypatch.setattr(Writer, "write", lambda *args: go_on.wait(60) and original(*args))
        with OpLog(log_path, buffer=10, lossless=False) as log:
            metered = log.meter(store, "mem://m/", "mem://m")
            for number in range(1003):
                metered.put(f"k{number}", b"")
            assert log.dropped > 0
            go_on.set()
        assert log.accepted == log.written
        assert log.accepted + log.dropped == 1003
        rows = names(log_path, strict=True)
        assert len(rows) == log.written
        assert rows[:10] == expected("k", 10)
        assert rows[-3:] == ["k1000", "k1001", "k1002"]

    @pytest.mark.parametrize("lossless", [True, False])
    def test_a_full_disk_stops_no_thread_and_is_told_at_the_end(self, store, small_disk, lossless):
        path = small_disk / "oplog.tsv"
        occupy(small_disk, leave=8192)
        threads, each = 6, 1000
        log = OpLog(path, buffer=16, lossless=lossless)
        metered = log.meter(store, "mem://m/", "mem://m")

        def work(number):
            for count in range(each):
                metered.put(f"{number}/{count}", b"")

        run_threads(work, threads)
        with pytest.raises(OpLogError, match="incomplete") as caught:
            log.close()
        assert log.accepted + log.dropped == threads * each
        assert 0 < log.written < log.accepted
        if lossless:
            assert log.dropped == 0
        text = str(caught.value)
        assert f"{log.accepted} rows accepted, {log.written} written, {log.dropped} dropped" in text
        assert "No space left on device" in text
        assert str(path) in text
        assert len(list(read(path, strict=True))) == log.written
        log.close()

    def test_a_full_disk_does_not_hide_what_the_body_raised(self, store, small_disk):
        with pytest.raises(KeyError) as caught:
            put_and_raise(store, OpLog(small_disk / "oplog.tsv", buffer=16), 2000)
        assert "incomplete" in caught.value.__notes__[0]

    def test_rows_are_readable_soon_though_buffers_are_not_full(self, store, log_path):
        with OpLog(log_path) as log:
            log.meter(store, "mem://m/", "mem://m").put("k", b"")
            deadline = threading.Event()
            for _ in range(200):
                if log.written:
                    break
                deadline.wait(0.1)
            assert names(log_path) == ["k"]

    def test_calls_after_the_end_work_and_count_as_dropped(self, store, log_path):
        with OpLog(log_path, buffer=2) as log:
            metered = log.meter(store, "mem://m/", "mem://m")
            metered.put("k", b"")
        for _ in range(101):
            metered.put("late", b"")
        assert (log.accepted, log.written, log.dropped) == (1, 1, 101)
        assert names(log_path, strict=True) == ["k"]

    def test_threads_still_at_work_when_the_log_is_closed(self, store, log_path):
        stop = threading.Event()
        done = []
        log = OpLog(log_path, buffer=3)
        metered = log.meter(store, "mem://m/", "mem://m")

        def work(number):
            count = 0
            while not stop.is_set() or count < 100:
                metered.put(f"{number}", b"")
                count += 1
            done.append(count)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while log.written < 100:
            pass
        log.close()
        stop.set()
        for thread in threads:
            thread.join(30)
        assert log.accepted + log.dropped == sum(done)
        assert len(list(read(log_path, strict=True))) == log.written == log.accepted

    def test_the_environment_sets_what_the_caller_does_not(self, store, tmp_path, monkeypatch):
        made = []
        original = BufferPool.__init__

        def spy(self, buffers, capacity, *, lossless=True):
            made.append((capacity, lossless))
            original(self, buffers, capacity, lossless=lossless)

        monkeypatch.setattr(BufferPool, "__init__", spy)
        monkeypatch.setenv("PENSTOCK_OPLOG_BUF", "17")
        monkeypatch.setenv("PENSTOCK_OPLOG_LOSSLESS", "0")
        for level in ("1", "19"):
            monkeypatch.setenv("PENSTOCK_OPLOG_LEVEL", level)
            with OpLog(tmp_path / f"{level}.tsv.zst") as log:
                metered = log.meter(store, "mem://m/", "mem://m")
                metered.put("k", b"")
        with OpLog(tmp_path / "x.tsv.zst", lossless=True, buffer=5):
            pass
        with OpLog(tmp_path / "x.tsv.zst", environ={}):
            pass
        assert made == [(17, False), (17, False), (5, True), (4096, True)]
        monkeypatch.setenv("PENSTOCK_OPLOG_LEVEL", "23")
        with pytest.raises(OpLogError, match="level 23"):
            OpLog(tmp_path / "x.tsv.zst")
        monkeypatch.setenv("PENSTOCK_OPLOG_LEVEL", "fast")
        with pytest.raises(UsageError, match="PENSTOCK_OPLOG_LEVEL"):
            OpLog(tmp_path / "x.tsv.zst")
        with pytest.raises(OpLogError, match="at least 1"):
            OpLog(tmp_path / "x.tsv.zst", level=1, buffer=0)

    @pytest.mark.parametrize(("ending", "kept"), [("", 1000), ("os.kill(os.getpid(), 9)", 900)])
    def test_a_program_that_forgets_to_close_or_is_killed(self, log_path, ending, kept):
        script = f"""
            import os, sys, time
            from penstock.memory import MemoryOptions, MemoryStore
            from penstock.oplog import OpLog
            log = OpLog(sys.argv[1], buffer=100)
            metered = log.meter(MemoryStore(MemoryOptions()), "mem://m/", "mem://m")
            for number in range(1000):
                metered.put(f"k{{number}}", b"")
            while log.written < {kept}:
                if not {kept == 900}:
                    break
                time.sleep(0.01)
            {ending}
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script), log_path], check=False, timeout=60)
        reader = read(log_path)
        found = [row.file for row in reader]
        assert found == [f"m/k{number}" for number in range(len(found))]
        assert len(found) >= kept
        assert reader.truncated == bool(ending)


def calls(store):
    """Every operation of the contract, and failing ones."""
    key = "a\tb\\n"
    store.put(key, b"1234")
    sink = Collect()
    store.get(key, sink)
    assert bytes(sink.view()) == b"1234"
    store.get(key, Discard(), start=1, length=2)
    store.stat(key)
    assert [info.key for page in store.list_pages() for info in page.objects] == [key]
    store.copy(key, "c")
    store.put("d/", b"")
    store.delete(["d/"])
    writer = store.open_writer("w", part_size=5)
    writer.write(b"abc")
    writer.write(b"def")
    writer.commit()
    writer = store.open_writer("v", part_size=5)
    writer.write(b"ab")
    writer.abort()
    store.delete(["c", "w"])
    store.delete(["c"])
    for failing in (
        lambda: store.get("absent", Discard()),
        lambda: store.stat("absent"),
        lambda: store.copy("absent", "x"),
    ):
        with pytest.raises(ObjectNotFoundError):
            failing()
    with pytest.raises(FileExistsError):
        store.put(key, b"", create=True)
    with pytest.raises(UsageError):
        store.put("", b"")


def run_threads(work, count):
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


class TestJoin:
    @pytest.mark.parametrize("suffix", [".tsv", ".tsv.zst"])
    def test_parts_become_one_file(self, tmp_path, suffix):
        counts = (9, 100, 0, 5000)
        parts = [write(tmp_path / f"p{n}{suffix}", count, prefix=f"p{n}/") for n, count in enumerate(counts)]
        parts.append(write(tmp_path / f"bare{suffix}", 3, prefix="b/", header=False))
        target = tmp_path / f"all{suffix}"
        joined = join_parts(parts, target)
        assert (joined.rows, joined.cut_off) == (5112, ())
        rows = list(read(target, strict=True))
        assert [row.idx for row in rows] == list(range(5112))
        assert Counter(row.file.split("/")[1] for row in rows) == {"p0": 9, "p1": 100, "p3": 5000, "b": 3}
        assert os.listdir(tmp_path) == [target.name]
        lines = subprocess.run(["zstd", "-dcf", target], capture_output=True, check=True).stdout.splitlines()
        assert [line for line in lines if line.startswith(b"idx\t")] == lines[:1]

    def test_nothing_but_the_number_changes(self, tmp_path):
        buffer = filled(50, prefix="ä\t\\n\r", error="E\n")
        for name in ("a", "b"):
            with OpLogWriter(tmp_path / f"{name}.tsv", endpoints=ENDPOINTS, anchor=Anchor(0)) as writer:
                writer.write(buffer, 0, 50)
        text = (tmp_path / "a.tsv").read_text()
        join_parts([tmp_path / "a.tsv", tmp_path / "b.tsv"], tmp_path / "all.tsv")
        lines = text.splitlines(keepends=True)
        again = [f"{int(line.split()[0]) + 50}\t{line.split(chr(9), 1)[1]}" for line in lines[1:]]
        assert (tmp_path / "all.tsv").read_text() == text + "".join(again)

    @pytest.mark.parametrize("suffix", [".tsv", ".tsv.zst"])
    def test_a_single_part(self, tmp_path, suffix):
        whole = write(tmp_path / f"p{suffix}", 10)
        assert join_parts([whole], tmp_path / f"all{suffix}").rows == 10
        assert names(tmp_path / f"all{suffix}", strict=True) == expected("k", 10)
        bare = write(tmp_path / f"p{suffix}", 10, header=False)
        assert join_parts([bare], tmp_path / f"all{suffix}").rows == 10
        other = write(tmp_path / "p.tsv", 10)
        assert join_parts([other], tmp_path / "all.tsv.zst").rows == 10
        assert names(tmp_path / "all.tsv.zst", strict=True) == expected("k", 10)
        assert not other.exists()

    def test_no_part_at_all(self, tmp_path):
        assert join_parts([], tmp_path / "all.tsv").rows == 0
        assert names(tmp_path / "all.tsv", strict=True) == []

    @pytest.mark.parametrize("suffix", [".tsv", ".tsv.zst"])
    def test_a_part_that_was_cut_off_gives_its_whole_rows(self, tmp_path, suffix):
        cut = write(tmp_path / f"a{suffix}", 5000, prefix="a")
        data = cut.read_bytes()
        cut.write_bytes(data[: len(data) * 3 // 4])
        empty = tmp_path / f"empty{suffix}"
        empty.touch()
        whole = write(tmp_path / f"b{suffix}", 10, prefix="b")
        kept = names(cut)
        assert 0 < len(kept) < 5000
        target = tmp_path / f"all{suffix}"
        joined = join_parts([cut, empty, whole], target)
        assert joined.cut_off == (str(cut),)
        assert names(target, strict=True) == kept + expected("b", 10)
        cut.write_bytes(data[: len(data) * 3 // 4])
        assert join_parts([cut], target).cut_off == (str(cut),)
        assert names(target, strict=True) == kept

    def test_a_failure_leaves_the_parts_and_no_target(self, tmp_path):
        good = write(tmp_path / "good.tsv", 3)
        bad = tmp_path / "bad.tsv"
        bad.write_text("what\tis this\n")
        for parts, problem in (
            ([good, bad], "bad.tsv is not a part"),
            ([good, tmp_path / "absent.tsv"], "absent.tsv can't be read"),
            ([tmp_path / "absent.tsv"], "absent.tsv can't be read"),
        ):
            with pytest.raises(OpLogError, match=problem):
                join_parts(parts, tmp_path / "all.tsv")
            assert sorted(os.listdir(tmp_path)) == ["bad.tsv", "good.tsv"]
        with pytest.raises(OpLogError, match="name the log"):
            join_parts([good], tmp_path / "all.csv")
        with pytest.raises(OpLogError, match="nowhere"):
            join_parts([good, good], tmp_path / "nowhere" / "all.tsv")
        with pytest.raises(OpLogError, match="nowhere"):
            join_parts([good], tmp_path / "nowhere" / "all.tsv")
        assert sorted(os.listdir(tmp_path)) == ["bad.tsv", "good.tsv"]

    def test_a_full_disk_leaves_the_parts(self, tmp_path, small_disk):
        parts = [write(tmp_path / f"{name}.tsv", 2000) for name in "ab"]
        with pytest.raises(OpLogError, match="No space left on device; the parts are left"):
            join_parts(parts, small_disk / "all.tsv")
        assert os.listdir(small_disk) == []
        assert all(part.exists() for part in parts)


class TestPool:
    def test_more_threads_than_buffers_do_not_wait_for_each_other(self):
        pool = BufferPool(2, 3)
        recorders = [Recorder(number, pool.handover) for number in range(10)]
        assert len({id(recorder.active) for recorder in recorders}) == 10
        for recorder in recorders:
            recorder.add(Op.GET, "a", 1, 2, 3, 4)
        assert pool.full.empty()

    def test_an_interrupted_wait_loses_no_row(self):
        def interrupted(buffer):
            if buffer is not None:
                pool.full.put(buffer)
                raise KeyboardInterrupt
            return RecordBuffer(3)

        pool = BufferPool(2, 3)
        recorder = Recorder(5, interrupted)
        for number in range(2):
            recorder.add(Op.GET, str(number), 1, 2, 3, 4)
        with pytest.raises(KeyboardInterrupt):
            recorder.add(Op.GET, "2", 1, 2, 3, 4)
        recorder.add(Op.GET, "3", 1, 2, 3, 4)
        assert pool.full.get_nowait().names == ["0", "1", "2"]
        assert (recorder.active.names, recorder.active.thread) == (["3"], 5)

    def test_take_claims_rows_once(self):
        pool = BufferPool(2, 3)
        recorder = Recorder(0, pool.handover)
        recorder.add(Op.GET, "a", 1, 2, 3, 4)
        assert [pool.take(recorder.active), pool.take(recorder.active)] == [(0, 1), (1, 1)]
        recorder.add(Op.GET, "b", 1, 2, 3, 4)
        assert pool.take(recorder.active) == (1, 2)

    def test_close_frees_a_thread_that_waits(self):
        pool = BufferPool(1, 1)
        waiting = threading.Event()

        def produce():
            recorder = Recorder(0, pool.handover)
            recorder.add(Op.GET, "a", 1, 2, 3, 4)
            waiting.set()
            recorder.add(Op.GET, "b", 1, 2, 3, 4)
            recorder.add(Op.GET, "c", 1, 2, 3, 4)

        thread = threading.Thread(target=produce, daemon=True)
        thread.start()
        assert waiting.wait(30)
        pool.close()
        thread.join(30)
        assert not thread.is_alive()

    def test_the_recorder_of_a_thread_that_ended_goes_to_the_next(self):
        source = ThreadRecorders(lambda number: Recorder(number, lambda filled: RecordBuffer(10)))
        found: queue.SimpleQueue[Recorder] = queue.SimpleQueue()
        for _ in range(3):
            run_threads(lambda _: found.put(source.current()), 1)
        assert len(source.all) == 1
        assert {id(found.get()) for _ in range(3)} == {id(source.all[0])}
        assert source.current() is source.all[0]
        run_threads(lambda _: found.put(source.current()), 1)
        assert [recorder.thread for recorder in source.all] == [3, 4]


def test_a_log_of_15_columns(log_path):
    buffer = RecordBuffer(4)
    recorder = Recorder(0, lambda filled: buffer)
    recorder.add(Op.PUT, "a", 1, 2, 3, 4)
    recorder.add(Op.GET, "b", 1, 2, 3, 4)
    with OpLogWriter(log_path, endpoints=ENDPOINTS, anchor=Anchor(0), columns=15) as writer:
        writer.write(buffer, 0, 2)
    with read(log_path, strict=True) as reader:
        assert reader.columns == COLUMNS_15
        assert [(row.first_byte_ns, row.last_byte_ns, row.category) for row in reader] == [(2, 2, "0"), (2, None, "0")]
    with pytest.raises(OpLogError, match="choose 13 or 15"):
        OpLogWriter(log_path, endpoints=ENDPOINTS, anchor=Anchor(0), columns=14)
