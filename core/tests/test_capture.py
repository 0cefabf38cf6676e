"""Captures: what a program does on its stores, in one process or several, from one log's start to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import anyio
import pytest

import penstock
from penstock import aio, oplog
from penstock.client.stores import StoreCache, connect
from penstock.errors import ObjectNotFoundError, OpLogError, StoreConnectionError, UsageError
from penstock.layers import switch
from penstock.layers.retry import RetryPolicy
from penstock.memory import MemoryOptions, MemoryStore
from penstock.metering import Metered, OneRecorder
from penstock.oplog import Counts, read
from penstock.records import RecordBuffer, Recorder

VARIABLES = [name for name in os.environ if name.startswith("PENSTOCK_OPLOG")]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    yield
    log = oplog.capturing._running.log
    assert log is None or log.closed, "a test left its capture on"
    penstock.close_stores()


@pytest.fixture
def base(request):
    return f"mem://{abs(hash(request.node.nodeid))}/"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.tsv.zst"


def rows(path):
    return [(row.op, row.file.rpartition("/")[2]) for row in read(path)]


def run_program(tmp_path, code, *, environ=None, code_of_exit=0):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(code))
    env = {**os.environ, **(environ or {})}
    done = subprocess.run(
        [sys.executable, script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code_of_exit, done.stderr
    return done


class TestOneProcess:
    def test_stores_opened_before_and_after_are_recorded_until_the_end(self, log, base):
        with connect(base) as early:
            early.put("unseen", b"1")
            penstock.put(f"{base}also-unseen", b"")
            oplog.start(log)
            early.put("a", b"12345")
            with connect(base) as late:
                late.get("a")
            penstock.stat(f"{base}a")
            counts = oplog.stop()
            early.get("a")
            penstock.stat(f"{base}a")
        assert counts == Counts(accepted=3, written=3, dropped=0)
        assert rows(log) == [("PUT", "a"), ("GET", "a"), ("STAT", "a")]
        assert [row.nbytes for row in read(log)] == [5, 5, 0]
        assert {row.endpoint for row in read(log)} == {"mem://"}

    def test_from_a_root_within_a_store_names_are_whole(self, log, base):
        with connect(f"{base}deep/") as store, oplog.start(log, client_id="c7", clock_offset_ns=3600 * 10**9):
            store.put("x", b"")
        (row,) = read(log)
        assert f"{row.endpoint}{row.file}" == f"{base}deep/x"
        assert row.client_id == "c7"
        assert row.start_ns - time.time_ns() > 3000 * 10**9

    def test_every_thread_every_call_once(self, log, base):
        stores = [connect(base), connect(f"{base}b/")]
        with oplog.start(log, buffer=16) as capture:
            ready = threading.Barrier(8)

            def work(number):
                ready.wait(30)
                stores.append(connect(base))
                for turn in range(100):
                    stores[number % 2].put(f"{number}-{turn}", b"")
                    stores[-1].stat(f"{number}-{turn}" if number % 2 == 0 else f"b/{number}-{turn}")

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert (capture.accepted, capture.written, capture.dropped) == (1600, 1600, 0)
        assert set(Counter(rows(log)).values()) == {1}
        assert len({row.thread for row in read(log)}) == 8

    @pytest.mark.parametrize("scheme", ["mem", "file"])
    def test_operations_of_every_kind(self, log, base, scheme, tmp_path):
        place = base if scheme == "mem" else f"file://{tmp_path}/data/"
        with connect(place) as store, oplog.start(log):
            store.put("a", b"12345678")
            store.get("a")
            store.get_range("a", 2, 3)
            store.stat("a")
            store.copy("a", "b")
            with store.open_writer("w") as writer:
                writer.write(b"123")
            assert len(list(store.list())) == 3
            store.make_directory("d")
            store.remove_directory("d")
            store.delete("a")
            store.raw.delete(["b", "w"])
            with pytest.raises(ObjectNotFoundError):
                store.get("gone")
        found = Counter(row.op for row in read(log))
        once = ("GET_RANGE", "STAT", "COPY", "MKDIR", "RMDIR")
        # Where directories are only keys, one that is to be removed is looked into first.
        looks = 1 if scheme == "file" else 2
        assert found == {**dict.fromkeys(once, 1), "LIST": looks, "GET": 2, "PUT": 2, "DELETE": 1, "DELETE_BATCH": 1}
        assert {row.op: row.nbytes for row in read(log)}["GET_RANGE"] == 3
        (failed,) = [row for row in read(log) if row.error]
        assert (failed.op, failed.error.partition(":")[0]) == ("GET", "ObjectNotFoundError")

    def test_coroutines(self, log, base):
        async def work():
            await aio.put(f"{base}a", b"12")
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(aio.get, f"{base}a")

        with oplog.start(log):
            anyio.run(work)
        assert Counter(rows(log)) == {("PUT", "a"): 1, ("GET", "a"): 20}

    def test_a_listing_under_way_does_not_end_with_the_capture_that_it_began_in(self, log, base):
        with connect(base) as store:
            store.put("a", b"")
            oplog.start(log)
            listing = store.list()
            next(listing)
            assert oplog.stop() == Counts(0, 0, 0)
            assert list(listing) == []

    def test_sorted_at_the_end(self, log, base):
        with connect(base) as store, oplog.start(log, sort=True), store.open_writer("slow") as writer:
            store.put("quick", b"")
            writer.write(b"")
        found = list(read(log))
        assert [(row.idx, row.file.rpartition("/")[2]) for row in found] == [(0, "slow"), (1, "quick")]
        assert os.listdir(log.parent) == [log.name]

    def test_unsorted_rows_stand_in_the_order_of_their_end(self, log, base):
        with connect(base) as store, oplog.start(log), store.open_writer("slow") as writer:
            store.put("quick", b"")
            writer.write(b"")
        assert rows(log) == [("PUT", "quick"), ("PUT", "slow")]

    def test_one_at_a_time(self, log, base):
        with oplog.start(log):
            penstock.put(f"{base}a", b"")
            with pytest.raises(OpLogError, match=r"recorded in .*log\.tsv\.zst already"):
                oplog.start(log)
            with pytest.raises(OpLogError, match="already"), oplog.capture(log.with_name("other.tsv")):
                pass
            penstock.get(f"{base}a")
        assert rows(log) == [("PUT", "a"), ("GET", "a")]
        assert os.listdir(log.parent) == [log.name]

    def test_nothing_to_stop(self, log):
        with pytest.raises(OpLogError, match=r"penstock\.oplog\.start"):
            oplog.stop()
        with oplog.start(log):
            oplog.stop()
        with pytest.raises(OpLogError, match="no capture"):
            oplog.stop()

    def test_one_after_the_other(self, log, base):
        with oplog.start(log):
            penstock.put(f"{base}a", b"")
        second = log.with_name("second.tsv")
        with oplog.start(second):
            penstock.get(f"{base}a")
        assert rows(log) == [("PUT", "a")]
        assert rows(second) == [("GET", "a")]

    def test_a_file_that_cannot_be_written_begins_nothing(self, tmp_path, base):
        with pytest.raises(OpLogError, match="does not exist"):
            oplog.start(tmp_path / "no" / "log.tsv")
        with oplog.start(tmp_path / "log.tsv"):
            pass

    def test_best_effort_counts_what_it_drops(self, log, base):
        with connect(base) as store:
            oplog.start(log, lossless=False, buffer=1, level=19)
            for number in range(3000):
                store.put(f"{number}", b"")
            counts = oplog.stop()
        assert counts.accepted == counts.written == len(rows(log))
        assert counts.accepted + counts.dropped == 3000

    def test_a_fault_in_the_program_leaves_a_whole_log(self, log, base):
        with pytest.raises(ObjectNotFoundError), oplog.start(log):
            penstock.get(f"{base}a")
        assert rows(log) == [("GET", "a")]


class Flaky(MemoryStore):
    """Fails twice, then works."""

    def __init__(self, failures):
        super().__init__(MemoryOptions(name="flaky"))
        self.failures = failures

    def stat(self, key, /):
        if self.failures:
            self.failures -= 1
            raise StoreConnectionError("not now")
        return super().stat(key)


class TestRetries:
    def test_a_repeated_call_is_one_row_that_knows_its_attempts(self, monkeypatch, log):
        flaky = Flaky(0)
        flaky.put("k", b"")
        monkeypatch.setattr("penstock.opening.Target.open", lambda self, threads: flaky)
        with connect("mem://flaky/", retries=RetryPolicy(base_delay=0)) as store, oplog.start(log) as capture:
            flaky.failures = 2
            store.stat("k")
            store.stat("k")
            recorder = capture._recorders.current()
            assert recorder.active.rows["attempts"].tolist() == [3, 1]
        assert [(row.op, row.error) for row in read(log)] == [("STAT", ""), ("STAT", "")]


class TestSwitch:
    def test_what_is_metered_is_not_metered_again(self):
        recorder = Recorder(0, lambda filled: RecordBuffer(8))
        metered = Metered(MemoryStore(MemoryOptions(name="m")), OneRecorder(recorder))
        assert switch.switched(metered, "mem://m/", "mem://") is metered
        once = switch.switched(MemoryStore(MemoryOptions(name="m")), "mem://m/", "mem://")
        assert switch.switched(once, "mem://m/", "mem://") is once

    def test_nothing_is_in_the_way_while_nothing_is_recorded(self, log):
        store = MemoryStore(MemoryOptions(name="m"))
        switched = switch.switched(store, "mem://m/", "mem://")
        assert switched.get == store.get
        with oplog.start(log):
            assert switched.get != store.get
        assert all(getattr(switched, name) == getattr(store, name) for name in switch._METHODS)

    def test_reads_in_bulk_are_not_offered_while_each_is_recorded(self, log, tmp_path):
        with penstock.connect(f"file://{tmp_path}") as store:
            store.put("a", b"1")
            room = memoryview(bytearray(1))
            assert store.raw.fill_many(["a"], [room]) == 1
            with oplog.start(log):
                assert store.raw.fill_many is None
            assert store.raw.fill_many(["a"], [room]) == 1
            switch.arrange(lambda: oplog.start(log))
            try:
                assert store.raw.fill_many is None
            finally:
                switch.arrange(None)
            assert store.raw.fill_many(["a"], [room]) == 1

    def test_a_store_that_nobody_uses_goes(self):
        store = switch.switched(MemoryStore(MemoryOptions(name="m")), "mem://m/", "mem://")
        before = len(switch._board.stores)
        del store
        assert len(switch._board.stores) == before - 1

    def test_a_second_one_is_refused(self, log):
        class Nothing:
            def meter(self, store, base_uri, endpoint_name):
                return store

            def retried(self):
                raise AssertionError

        with oplog.start(log):
            with pytest.raises(UsageError, match="already"):
                switch.install(Nothing())
            switch.uninstall(Nothing())
            assert switch._board.capture is not None

    def test_commands_share_it(self, base):
        with StoreCache().find(base).store as store:
            assert isinstance(store.raw, switch.Switched)


CALLS = "def work(key):\n    penstock.put(base + key, b'1')\n    penstock.get(base + key)\n"
PROGRAM = f"import multiprocessing, os, sys\nimport penstock\nbase = f'file://{{os.getcwd()}}/data/'\n{CALLS}\n"


def keys_of(path):
    return Counter(row.file.rpartition("/")[2] for row in read(path))


class TestSeveralProcesses:
    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_a_job_and_its_workers_in_one_log(self, tmp_path, log, method):
        run_program(
            tmp_path,
            PROGRAM
            + f"""
if __name__ == "__main__":
    early = penstock.connect(base)
    with penstock.oplog.capture("log.tsv.zst", client_id="job", sort=True) as captured:
        early.put("early", b"")
        os.chdir("/")
        os.chdir({str(tmp_path)!r})
        children = [multiprocessing.get_context({method!r}).Process(target=work, args=(f"k{{n}}",)) for n in range(3)]
        for child in children: child.start()
        for child in children: child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
        work("own")
    early.put("late", b"")
    assert "PENSTOCK_OPLOG" not in os.environ
    print(captured.joined.rows, captured.joined.cut_off)
""",
        )
        assert keys_of(log) == {"early": 1, "own": 2, "k0": 2, "k1": 2, "k2": 2}
        found = list(read(log))
        assert {row.client_id for row in found} == {"job"}
        assert len({row.thread for row in found}) == 4
        assert [row.start_ns for row in found] == sorted(row.start_ns for row in found)
        assert oplog.part_paths(log) == []

    def test_a_forked_child_uses_the_stores_of_its_parent_and_a_part_of_its_own(self, tmp_path, log):
        done = run_program(
            tmp_path,
            PROGRAM
            + """
with penstock.oplog.capture("log.tsv.zst") as captured:
    store = penstock.connect(base)
    store.put("parent", b"")
    child = os.fork()
    if not child:
        for n in range(20000): store.stat("parent")
        store.put("child", b"")
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    store.put("parent", b"")
assert captured.joined.cut_off == (), captured
""",
        )
        assert keys_of(log) == {"parent": 20002, "child": 1}
        assert done.stderr == "", "the child says nothing of rows that are its parent's"

    def test_an_explicit_log_is_no_business_of_children(self, tmp_path, log):
        run_program(
            tmp_path,
            PROGRAM
            + """
store = penstock.connect(base)
with penstock.oplog.start("log.tsv.zst", buffer=10):
    for n in range(15): store.put("parent", b"")
    child = os.fork()
    if not child:
        for n in range(50): store.put("child", b"")
        try:
            penstock.oplog.stop()
        except penstock.errors.OpLogError:
            with penstock.oplog.start("child.tsv"): store.put("own", b"")
            sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for n in range(15): store.put("parent", b"")
""",
        )
        assert keys_of(log) == {"parent": 30}
        assert keys_of(tmp_path / "child.tsv") == {"own": 1}

    def test_children_that_are_forked_while_threads_record(self, tmp_path, log):
        done = run_program(
            tmp_path,
            """
import os, threading
import penstock
with penstock.oplog.capture("log.tsv.zst", buffer=8) as captured:
    store = penstock.connect("mem://x/")
    store.put("k", b"")
    on = True
    def hammer():
        while on:
            store.stat("k")
            penstock.connect("mem://x/").stat("k")
    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads: thread.start()
    for n in range(20):
        child = os.fork()
        if not child:
            for n in range(25):
                store.stat("k")
                penstock.stat("mem://x/k")
            os._exit(penstock.oplog.stop().accepted)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 50
    on = False
    for thread in threads: thread.join()
    counts = penstock.oplog.stop()
print(captured.joined.rows - counts.written, captured.joined.parts, counts.dropped, captured.joined.cut_off)
""",
        )
        assert done.stdout == "1000 21 0 ()\n"

    def test_a_killed_worker_leaves_its_whole_rows(self, tmp_path, log):
        run_program(
            tmp_path,
            PROGRAM
            + """
import signal
from penstock.oplog import capturing
def killed():
    store = penstock.connect(base)
    for n in range(5000): store.put("k", b"")
    while capturing._running.log.written < 4096: pass
    os.kill(os.getpid(), signal.SIGKILL)
with penstock.oplog.capture("log.tsv.zst") as captured:
    child = multiprocessing.get_context("fork").Process(target=killed)
    child.start()
    child.join()
    assert child.exitcode == -9
(part,) = captured.joined.cut_off
assert part.endswith(f".part-{child.pid}.tsv.zst"), part
""",
        )
        found = list(read(log))
        assert 4096 <= len(found) <= 5000
        assert [row.idx for row in found] == list(range(len(found)))

    def test_parts_of_an_earlier_capture_are_not_mixed_in(self, tmp_path, log):
        left = tmp_path / "log.part-12.tsv.zst"
        left.write_bytes(b"x")
        with pytest.raises(OpLogError, match=r"log\.part-12\.tsv\.zst was left"), oplog.capture(log):
            pass
        assert left.read_bytes() == b"x"

    def test_what_went_wrong_first_is_raised(self, log, base):
        with pytest.raises(ObjectNotFoundError), oplog.capture(log):
            penstock.get(f"{base}a")
        assert rows(log) == [("GET", "a")]

    def test_no_call_no_rows(self, log):
        with oplog.capture(log) as captured:
            pass
        assert rows(log) == []
        assert captured.joined.rows == 0


class TestEnvironment:
    def test_a_program_that_knows_nothing_of_it(self, tmp_path, log):
        run_program(
            tmp_path,
            PROGRAM + "os.mkdir('x'); os.chdir('x'); work('a'); work('b')",
            environ={"PENSTOCK_OPLOG": "log.tsv.zst"},
        )
        (part,) = oplog.part_paths(log)
        assert keys_of(part) == {"a": 2, "b": 2}
        assert oplog.collect(log).rows == 4
        assert keys_of(log) == {"a": 2, "b": 2}

    def test_a_program_that_opens_no_store_leaves_nothing(self, tmp_path, log):
        run_program(tmp_path, PROGRAM, environ={"PENSTOCK_OPLOG": str(log)})
        assert oplog.part_paths(log) == []

    def test_its_options(self, tmp_path, log):
        environ = {
            "PENSTOCK_OPLOG": str(log),
            "PENSTOCK_OPLOG_LEVEL": "3",
            "PENSTOCK_OPLOG_BUF": "2",
            "PENSTOCK_OPLOG_LOSSLESS": "yes",
            "PENSTOCK_OPLOG_SORT": "1",
            "PENSTOCK_OPLOG_CLIENT_ID": "rank 3",
        }
        code = "with penstock.open_writer(base + 'slow') as writer:\n    work('a')\n    writer.write(b'')\n"
        run_program(tmp_path, PROGRAM + code, environ=environ)
        (part,) = oplog.part_paths(log)
        assert rows(part) == [("PUT", "slow"), ("PUT", "a"), ("GET", "a")]
        assert {row.client_id for row in read(part)} == {"rank 3"}

    def test_a_log_that_cannot_be_written_is_a_failure(self, tmp_path):
        done = run_program(
            tmp_path, PROGRAM + "work('a')", environ={"PENSTOCK_OPLOG": "/nowhere/log.tsv"}, code_of_exit=1
        )
        assert "OpLogError" in done.stderr
        assert not Path(tmp_path / "data" / "a").exists()

    def test_workers_that_are_forked_have_parts_of_their_own(self, tmp_path, log):
        code = """
with multiprocessing.get_context("fork").Pool(2) as pool:
    work("own")
    pool.map(work, [f"k{n}" for n in range(10)])
    pool.close()
    pool.join()
"""
        run_program(tmp_path, PROGRAM + code, environ={"PENSTOCK_OPLOG": str(log)})
        assert 2 <= len(oplog.part_paths(log)) <= 3
        oplog.collect(log, sort=True)
        assert keys_of(log) == {"own": 2, **{f"k{n}": 2 for n in range(10)}}

    def test_losses_are_said_at_the_end(self, tmp_path, log):
        environ = {"PENSTOCK_OPLOG": str(log), "PENSTOCK_OPLOG_LOSSLESS": "no", "PENSTOCK_OPLOG_BUF": "1"}
        code = "store = penstock.connect('mem://x/')\nfor n in range(20000): store.put('k', b'')\n"
        done = run_program(tmp_path, PROGRAM + code, environ=environ)
        (part,) = oplog.part_paths(log)
        written = len(rows(part))
        assert f"{written:,} rows written, {20000 - written:,} dropped" in done.stderr
