"""Reads checked against what a run has written: every fault is found and called by its name."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.board import MOST_VERSIONS, Board, remove
from penstock.engine.contents import Contents
from penstock.engine.knowing import Knowledge, PreparedContent, copy_names, put_contents
from penstock.engine.places import Places
from penstock.engine.plan import make_plans
from penstock.engine.sets import prepared_sets
from penstock.engine.steps import write_object
from penstock.engine.verifying import Verifier, Verifying
from penstock.errors import (
    ChecksumMismatchError,
    LengthMismatchError,
    ObjectNotFoundError,
    StaleReadError,
    TornReadError,
    UsageError,
)
from penstock.layers.faults import Corrupt, Faults, Faulty, Lose, Rule, Stale, Torn, Truncate
from penstock.memory import MemoryOptions, MemoryStore
from penstock.payloads.checksums import CHUNK
from penstock.sinks import Collect, Discard
from penstock.stats.verification import Verification
from penstock.workload.config import loads

SIZE = 3 * CHUNK + 1000
CONFIG = f"""
target: mem://verifying/
seed: 3
prepare:
  ensure_objects:
    - {{path: a/, count: 1010, size: {SIZE}, name: "o-{{:04d}}", compress_factor: 2}}
    - {{path: b/, count: 10, size: {{uniform: {{min: 1, max: 9000}}}}, name: "o-{{:04d}}", fill: random}}
  directory_structure: {{path: t/, width: 2, depth: 1, files_per_dir: 2, size: 50}}
workload:
  - {{op: get, path: "**"}}
  - {{op: put, path: "a/o-{{:04d}}", size: {SIZE}}}
  - {{op: put, path: "a/o-{{}}", size: 70000, fill: random}}
  - {{op: put, path: own/, size: 5000}}
  - {{op: put, path: "c/o-{{}}", size: 5000, fill: random, dedup_factor: 3, dedup_across_objects: true}}
"""
FIRST, SECOND, OWN, MASKED = range(4)


class Run:
    """What a worker sets up: a store, what is known of its objects, and reads through the check."""

    def __init__(self, mode, faults=(), *, text=CONFIG, board=None, payload=lambda plain: plain):
        self.config = loads(text, label="test", environ={})
        self.places = Places(self.config)
        contents = Contents(self.config.seed)

        def content(recipe):
            return payload(contents.open(recipe))

        self.sets = prepared_sets(self.config, self.places, content)
        self.puts = put_contents(self.config, self.places, content, "abcd1234")
        self.plain = MemoryStore(MemoryOptions(name=uuid.uuid4().hex))
        families = [*map(PreparedContent, self.sets), *self.puts]
        knowledge = Knowledge(families, copy_names(self.config, self.places, "abcd1234"))
        self.verifier = Verifier(mode, knowledge, board or Board(slots=1024))
        self.faulty = Faulty(self.plain, Faults(rules=tuple(faults), seed=1))
        self.store = Verifying(self.faulty, self.verifier, 0)

    def prepare(self, store=None):
        for prepared in self.sets:
            count = prepared.objects.count if prepared.payload is not None else 0
            # The names of two masks meet from 1000 on.
            for index in range(count)[-10:]:
                key, size = prepared.objects.key(index), prepared.objects.size(index)
                room = memoryview(bytearray(size))
                write_object(store or self.plain, key, prepared.payload, prepared.number(index), size, room, size, 1)
        return self

    def put(self, which, index, *, store=None, parts=False):
        put = self.puts[which]
        key = {FIRST: "a/o-{:04d}", SECOND: "a/o-{}", OWN: "own/object-abcd1234-3-{:08d}.dat", MASKED: "c/o-{}"}[which]
        size, number = put.size(index), put.number(index)
        single = -1 if parts else size
        room = memoryview(bytearray(size))
        checked = store or self.store
        checked.writing = self.verifier.knowledge.bit_of("abcd1234", put.operation)
        write_object(checked, key.format(index), put.payload, number, size, room, single, 4096)
        return key.format(index)

    def get(self, key, **how):
        sink = Collect()
        self.store.get(key, sink, **how)
        return bytes(sink.view())

    @property
    def counts(self):
        counts = self.store.counts
        return counts.reads, counts.stale, counts.torn, counts.corrupt, counts.wrong_size, counts.unknown


MODES = pytest.mark.parametrize("mode", ["size", "checksum", "content"])
BYTES = pytest.mark.parametrize("mode", ["checksum", "content"])


@MODES
def test_what_is_as_written_passes_and_arrives_unchanged(mode):
    run = Run(mode).prepare()
    keys = [info.key for page in run.plain.list_pages() for info in page.objects]
    assert len(keys) == 24
    for key in keys:
        sink = Collect()
        run.plain.get(key, sink)
        assert run.get(key) == bytes(sink.view())
        assert run.get(key, start=5, length=20) == bytes(sink.view())[5:25]
        assert run.get(key, start=10**9) == b""
    assert run.counts == (72, 0, 0, 0, 0, 0)
    assert run.store.counts.nbytes == sum(len(run.get(key)) + len(run.get(key, start=5, length=20)) for key in keys)


@MODES
def test_a_sink_that_takes_bytes_or_gives_room_is_served_alike(mode):
    run = Run(mode).prepare()

    class Writing:
        def get(self, key, sink, /, *, start=0, length=None, if_match=None):
            whole = Collect()
            info = run.plain.get(key, whole, start=start, length=length)
            for at in range(0, whole.nbytes, 777):
                sink.write(whole.view()[at : at + 777])
            sink.write(b"")
            return info

        capabilities = run.plain.capabilities

    Verifying(Writing(), run.verifier, 0).get("a/o-1001", Discard())
    Verifying(run.plain, run.verifier, 0).get("a/o-1001", Discard(room=1000))


@BYTES
@given(key=st.sampled_from(["a/o-1003", "b/o-0004", "t/d1_w1.dir/file_00000001.dat"]), seed=st.integers(0, 50))
@settings(max_examples=30)
def test_any_corruption_of_a_read_is_found(mode, key, seed):
    run = Run(mode).prepare()
    faulty = Faulty(run.plain, Faults(rules=(Rule(effect=Corrupt(), operations=("get",)),), seed=seed))
    with pytest.raises(ChecksumMismatchError, match=r"not what was written \(as prepared\) at byte") as caught:
        Verifying(faulty, run.verifier, 0).get(key, Discard())
    assert type(caught.value) is ChecksumMismatchError
    assert (caught.value.uri, caught.value.operation) == (key, "get")


@BYTES
@pytest.mark.parametrize("offset", [0, 1, 1023, 4096, SIZE - 1])
def test_a_corruption_that_was_written_is_found_in_the_whole_and_in_ranges(mode, offset):
    run = Run(mode)
    run.prepare(
        Faulty(run.plain, Faults(rules=(Rule(effect=Corrupt(offset=offset), operations=("put",), keys="a/**"),)))
    )
    with pytest.raises(ChecksumMismatchError, match="not what was written"):
        run.get("a/o-1000")
    start = offset // 1000 * 1000
    with pytest.raises(ChecksumMismatchError, match="not what was written"):
        run.get("a/o-1000", start=start, length=1000)
    # The rest of it is whole.
    run.get("a/o-1000", start=start + 1000, length=500)
    if start:
        run.get("a/o-1000", start=0, length=start)
    assert run.store.counts.corrupt == 2


def test_the_place_of_the_first_wrong_byte_is_named():
    run = Run("content")
    run.prepare(
        Faulty(run.plain, Faults(rules=(Rule(effect=Corrupt(offset=77_777), operations=("put",), keys="a/**"),)))
    )
    with pytest.raises(ChecksumMismatchError, match=r"at byte 77777$"):
        run.get("a/o-1000")
    with pytest.raises(ChecksumMismatchError, match=r"at byte 77777$"):
        run.get("a/o-1000", start=70_000, length=10_000)


@MODES
def test_an_object_that_is_too_short_or_too_long_is_found(mode):
    run = Run(mode, [Rule(effect=Truncate(at=SIZE - 1), operations=("get",), nth=1)]).prepare()
    with pytest.raises(LengthMismatchError, match=f"{SIZE - 1} bytes were read where {SIZE} were written"):
        run.get("a/o-1000")
    sink = Collect()
    run.plain.get("a/o-1000", sink)
    known = run.verifier.knowledge.of(0, "a/o-1000")[0]
    longer = memoryview(bytearray(SIZE + 5))
    known.version.make(longer, 0)
    run.plain.put("a/o-1000", longer)
    with pytest.raises(LengthMismatchError, match=f"{SIZE + 5} bytes"):
        run.get("a/o-1000")
    run.plain.put("a/o-1000", b"")
    with pytest.raises(LengthMismatchError, match=r"^get a/o-1000: 0 bytes"):
        run.get("a/o-1000")
    assert run.store.counts.wrong_size == 3


@MODES
def test_what_this_run_replaced_is_expected_in_its_place(mode):
    run = Run(mode).prepare()
    run.get(run.put(FIRST, 1004))
    run.get(run.put(SECOND, 1004))
    run.get(run.put(SECOND, 1005, parts=True))
    run.get(run.put(MASKED, 5))
    for index in range(6):
        run.get(run.put(OWN, index))
    assert run.counts == (10, 0, 0, 0, 0, 0)


@BYTES
def test_a_stale_read_is_told_from_a_corrupt_one(mode):
    run = Run(mode, [Rule(effect=Stale(), operations=("get",))]).prepare()
    key = run.put(FIRST, 1004)
    with pytest.raises(StaleReadError, match="the object as prepared, which had been replaced"):
        run.get(key)
    with pytest.raises(StaleReadError, match="as prepared"):
        run.get(key, start=1000, length=90_000)
    run.put(SECOND, 1004, parts=True)
    with pytest.raises(StaleReadError, match=r"as put by workload\[1\]"):
        run.get(key)
    assert run.counts == (3, 3, 0, 0, 0, 0)


class Alike:
    """Objects that differ in their last bytes alone, as files of some formats do in all but a few."""

    def __init__(self, payload, nbytes):
        self.payload = payload
        self.nbytes = nbytes

    def fill(self, buffer, /, *, obj, offset=0):
        self.payload.fill(buffer, obj=obj, offset=offset)
        same = min(max(self.nbytes - offset, 0), buffer.nbytes)
        buffer[:same] = b"x" * same


@BYTES
@pytest.mark.parametrize("same", [64, 4096, SIZE - 8])
@pytest.mark.parametrize("parts", [False, True])
def test_a_stale_read_is_found_where_versions_begin_alike(mode, same, parts):
    stale = [Rule(effect=Stale(), operations=("get",))]
    run = Run(mode, stale, payload=lambda plain: Alike(plain, same)).prepare()
    key = run.put(FIRST, 1004, parts=parts)
    with pytest.raises(StaleReadError, match="the object as prepared, which had been replaced"):
        run.get(key)
    # What is the same in both is not wrong.
    run.get(key, start=10, length=50)
    assert run.counts == (2, 1, 0, 0, 0, 0)


@MODES
def test_versions_of_the_same_bytes_are_not_told_apart_and_never_wrong(mode):
    run = Run(mode, [Rule(effect=Stale(), operations=("get",))], payload=lambda plain: Alike(plain, SIZE)).prepare()
    run.get(run.put(FIRST, 1004))
    run.get(run.put(FIRST, 1004))
    assert run.counts == (2, 0, 0, 0, 0, 0)


def test_a_stale_read_shows_by_its_size_where_no_other_version_has_it():
    stale = [Rule(effect=Stale(), operations=("get",))]
    run = Run("size", stale, text=CONFIG.replace(f"size: {SIZE}}}", "size: 60000}")).prepare()
    with pytest.raises(StaleReadError, match="the size of the object as prepared"):
        run.get(run.put(SECOND, 1004))
    run = Run("size", stale).prepare()
    run.get(run.put(FIRST, 1005))


@MODES
def test_a_put_that_was_lost_makes_stale_reads(mode):
    lose = [Rule(effect=Lose(), operations=("put", "commit"))]
    run = Run(mode, lose, text=CONFIG.replace(f"size: {SIZE}}}", "size: 60000}")).prepare()
    for key in (run.put(SECOND, 1004), run.put(SECOND, 1005, parts=True)):
        with pytest.raises(StaleReadError):
            run.get(key)
    with pytest.raises(ObjectNotFoundError):
        run.get(run.put(OWN, 1))


@BYTES
@pytest.mark.parametrize("at", [512, CHUNK, CHUNK + 4096, 2 * CHUNK + 100])
def test_a_torn_read_is_told_from_both(mode, at):
    run = Run(mode, [Rule(effect=Torn(at=at), operations=("get",))]).prepare()
    key = run.put(FIRST, 1004)
    if mode == "checksum" and at < CHUNK:
        # One chunk holds parts of both, so nobody can tell by its checksum.
        with pytest.raises(ChecksumMismatchError):
            run.get(key)
        return
    with pytest.raises(TornReadError, match="up to byte") as caught:
        run.get(key)
    assert "as prepared" in caught.value.message
    assert "as put by workload[1]" in caught.value.message
    if mode == "content":
        # Halves of units are zeros in the prepared one, never in the other.
        assert f"byte {at}" in caught.value.message
    assert run.counts == (1, 0, 1, 0, 0, 0)


@BYTES
def test_a_put_that_was_written_torn_is_found(mode):
    run = Run(mode, [Rule(effect=Torn(at=2 * CHUNK), operations=("put",))]).prepare()
    with pytest.raises(TornReadError):
        run.get(run.put(FIRST, 1004))


@MODES
def test_while_a_put_is_under_way_both_versions_are_right(mode):
    run = Run(mode).prepare()
    during = []

    class Between:
        capabilities = run.plain.capabilities

        def put(self, key, data, /, **how):
            during.append(run.get(key))
            info = run.plain.put(key, data, **how)
            during.append(run.get(key))
            return info

    run.put(SECOND, 1004, store=Verifying(Between(), run.verifier, 0))
    assert during[0] != during[1]
    assert run.counts == (2, 0, 0, 0, 0, 0)


@MODES
def test_a_read_that_began_before_a_put_ended_may_find_the_old_version(mode):
    run = Run(mode).prepare()

    class Slow:
        capabilities = run.plain.capabilities

        def get(self, key, sink, /, **how):
            old = Collect()
            info = run.plain.get(key, old)
            run.put(SECOND, 1004)
            sink.write(old.view())
            return info

    Verifying(Slow(), run.verifier, 0).get("a/o-1004", Discard())


@MODES
def test_a_put_that_failed_may_or_may_not_have_happened(mode):
    run = Run(mode).prepare()

    class Failing:
        capabilities = run.plain.capabilities

        def put(self, key, data, /, **how):
            run.plain.put(key, data, **how)
            raise OSError("the answer was lost")

    run.get("a/o-1004")
    with pytest.raises(OSError, match="lost"):
        run.put(SECOND, 1004, store=Verifying(Failing(), run.verifier, 0))
    run.get("a/o-1004")
    assert run.counts == (2, 0, 0, 0, 0, 0)


@MODES
def test_what_nobody_knows_is_counted_and_named_and_not_passed_as_right(mode):
    run = Run(mode).prepare()
    run.plain.put("elsewhere", b"whatever")
    # An object under a mask may be another run's, until this run has replaced it.
    run.plain.put("c/o-7", b"of another run")
    assert run.get("elsewhere") == b"whatever"
    assert run.get("c/o-7") == b"of another run"
    assert run.counts == (0, 0, 0, 0, 0, 2)
    assert run.store.counts.example == "elsewhere"
    run.put(MASKED, 7)
    run.get("c/o-7")
    run.plain.put("c/o-7", b"of another run")
    with pytest.raises((ChecksumMismatchError, LengthMismatchError)):
        run.get("c/o-7")
    run.plain.put("own/object-abcd1234-3-00000001.dat", bytes(5000))
    if mode != "size":
        with pytest.raises(ChecksumMismatchError):
            run.get("own/object-abcd1234-3-00000001.dat")


@MODES
def test_what_copies_of_this_run_may_have_replaced_is_not_known(mode):
    copies = '  - {op: copy, path: "a/*", to: "b/o-{:04d}"}\n'
    run = Run(mode, text=f"{CONFIG.rstrip()}\n{copies}").prepare()
    run.plain.copy("a/o-1001", "b/o-0003")
    run.get("b/o-0003")
    assert run.counts == (0, 0, 0, 0, 0, 1)
    run.get("a/o-1001")
    assert run.counts == (1, 0, 0, 0, 0, 1)


@BYTES
def test_an_object_in_the_place_of_another_is_found(mode):
    run = Run(mode).prepare()
    run.plain.copy("a/o-1001", "a/o-1002")
    with pytest.raises(ChecksumMismatchError):
        run.get("a/o-1002")


def test_the_time_of_the_check_is_counted():
    run = Run("content").prepare()
    ticks = iter(range(0, 10**9, 1000))
    store = Verifying(run.plain, run.verifier, 0, clock=lambda: next(ticks))
    store.get("b/o-0001", Discard())
    # Twice: for what arrived, and for the verdict.
    assert store.counts.cpu_ns == 2000


def test_more_puts_than_can_be_told_apart_are_refused():
    puts = "".join(f'  - {{op: put, path: "p{n}/{{:04d}}", size: 1}}\n' for n in range(MOST_VERSIONS // 2))
    text = f"target: mem://verifying/\nverify: size\nworkload:\n{puts}"
    make_plans(loads(text, label="test", environ={}), run_id="x")
    with pytest.raises(UsageError, match=r"32 puts with a mask, of all stages and repeats together are.*at most 31"):
        make_plans(loads(f"{text}repeat: 2\n", label="test", environ={}), run_id="x")


def test_puts_under_names_of_their_own_need_not_be_told_apart():
    puts = "".join(f'  - {{op: put, path: "p{n}/", size: 1}}\n' for n in range(MOST_VERSIONS))
    run = Run("size", text=f"target: mem://verifying/\nworkload:\n{puts}")
    assert len(run.puts) == MOST_VERSIONS


def test_a_board_is_shared_by_processes_and_leaves_nothing_behind():
    name = uuid.uuid4().hex
    board = Board(name)
    try:
        program = (
            f"from penstock.engine.board import Board\nboard = Board({name!r})\n"
            "board.replace('x', 3, board.complete('x'))\nboard.replace('x', 5, board.complete('x'))"
        )
        subprocess.run([sys.executable, "-c", program], check=True)
        assert (board.past("x"), board.complete("x")) == (0b1001, 0b101001)
        assert (board.past("y"), board.complete("y")) == (0, 1)
    finally:
        board.unlink()
    assert Board(name).past("x") == 0
    remove(name)
    remove(name)


def test_a_full_board_forgets_and_never_accuses():
    board = Board(slots=16)
    for number in range(200):
        board.replace(f"k{number}", 1, board.complete(f"k{number}"))
    assert sum(board.past(f"k{number}") for number in range(200)) == 16


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 31)), max_size=30))
def test_a_board_remembers_what_was_replaced(writes):
    board, complete, past = Board(slots=256), {}, {}
    for key, bit in writes:
        before = board.complete(str(key))
        assert before == complete.get(key, 1)
        board.replace(str(key), bit, before)
        past[key] = (past.get(key, 0) | before) & ~(1 << bit)
        complete[key] = before | 1 << bit
    assert {key: board.past(str(key)) for key in past} == past


def test_counts_of_workers_are_added_and_those_of_the_warm_up_left_out():
    one = Verification("content", reads=5, nbytes=50, stale=1, cpu_ns=7)
    other = Verification("content", reads=2, corrupt=2, unknown=3, example="k")
    one.merge(Verification.from_message(other.to_message()))
    assert one == Verification("content", reads=7, nbytes=50, stale=1, corrupt=2, unknown=3, cpu_ns=7, example="k")
    assert one.wrong == 3
    later = one.since(Verification("content", reads=5, unknown=3, stale=1))
    assert (later.reads, later.stale, later.unknown, later.example) == (2, 0, 0, "")
