"""Whatever call on the store fails, and whether its work was done or not: no checkpoint is lost, none is half there."""

from __future__ import annotations

import itertools
import os
import random
import threading
import uuid

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import penstock
from penstock.client import Store
from penstock.errors import AccessDeniedError
from penstock.layers.faults import Fail, Faults, Rule
from penstock.layers.forwarding import Forwarding
from penstock.layers.retry import RetryPolicy
from penstock.layers.stack import Layers
from penstock.payloads.checksums import crc32c
from penstock.sinks import Collect
from penstock_training.checkpoint import CheckpointStore
from penstock_training.checkpoint.manifest import decode_pointer

CONTENTS = {
    "bytes": (lambda n: bytes([n]) * 3000, lambda found: bytes(found)[:1]),
    "chunks": (lambda n: [bytes([n]) * 100] * 3, lambda found: bytes(found)[:1]),
    "tensors": (lambda n: {"w": np.full(9, n, "u1"), "b": np.zeros(2)}, lambda found: found["w"].tobytes()[:1]),
}


def claimed(checkpoints):
    return {shard.key for manifest in checkpoints.list() for shard in manifest.shards}


def every_call_fails(failing, uri, when, act):
    """Do ``act`` again and again while call number 1, 2, … fails, until one attempt meets no failure."""
    for nth in itertools.count(1):
        with failing(uri, nth, when=when) as store:
            yield nth, lambda store=store: act(store)
            if not store.faults():
                return


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("level", [None, 1])
def test_a_save_fails_at_every_call(root, failing, objects, when, kind, level):
    make, tell = CONTENTS[kind]
    last, count = 0, 0
    with CheckpointStore(root) as checker:
        checker.save(0, make(0))

        def save(store):
            return CheckpointStore(store, compression_level=level, keep_last=3).save(count, make(count))

        for nth, attempt in every_call_fails(failing, root, when, save):
            count = nth
            try:
                attempt()
            except AccessDeniedError as error:
                committed = checker.latest().step == count
                said = hasattr(error, "__notes__")
            else:
                committed = said = True
            assert committed or not said
            last = count if committed else last
            loaded = checker.load_latest()
            assert (loaded.step, tell(loaded.data)) == (last, bytes([last]))
        assert count > 5
        checker.prune(older_than=0)
        assert set(objects(root, "shards/")) == claimed(checker)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_of_ranks_fails_at_every_call(root, failing, objects, when):
    with CheckpointStore(root) as checker:
        checker.save(0, b"before")
        last, count = 0, 0

        def commit(store):
            checkpoints = CheckpointStore(store)
            shards = [checkpoints.save_shard(count, bytes([rank]), rank=rank, world_size=3) for rank in range(3)]
            return checkpoints.commit(count, shards)

        for nth, attempt in every_call_fails(failing, root, when, commit):
            count = nth
            try:
                attempt()
            except AccessDeniedError:
                last = count if checker.latest().step == count else last
            else:
                last = count
            loaded = checker.load_latest()
            assert loaded.step == last
            assert len(loaded.by_rank) == (3 if last else 1)
        checker.prune(older_than=0)
        assert set(objects(root, "shards/")) == claimed(checker)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_fails_at_every_call(root, failing, objects, when):
    with CheckpointStore(root) as checker:
        checker.save(1, b"one")
        for _, attempt in every_call_fails(failing, root, when, lambda store: CheckpointStore(store).delete(2)):
            if not any(manifest.step == 2 for manifest in checker.list()):
                checker.save(2, b"two")
            try:
                attempt()
            except AccessDeniedError:
                there = any(manifest.step == 2 for manifest in checker.list())
            else:
                there = False
            assert bytes(checker.load_latest().data) == (b"two" if there else b"one")
        checker.prune(older_than=0)
        assert set(objects(root, "shards/")) == claimed(checker)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_load_fails_at_every_call_without_a_wrong_answer(root, failing, when):
    with CheckpointStore(root) as checker:
        checker.save(1, {"w": np.arange(100_000)})
    attempts = 0
    for _, attempt in every_call_fails(
        failing, root, when, lambda store: CheckpointStore(store, part_size=100_000).load_latest()
    ):
        attempts += 1
        try:
            found = attempt()
        except AccessDeniedError:
            continue
        assert np.array_equal(found.data["w"], np.arange(100_000))
    assert attempts > 8


class Interrupted(Forwarding):
    """Does something else before its first put of the pointer, and notes where the pointer is after each."""

    def __init__(self, store, meanwhile):
        super().__init__(store)
        self.meanwhile = meanwhile
        self.pointers = []

    def put(self, key, data, /, **conditions):
        if key == "latest.json" and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
            self.pointers.append(self.pointer())
        try:
            return self._store.put(key, data, **conditions)
        finally:
            if key == "latest.json":
                self.pointers.append(self.pointer())

    def pointer(self):
        sink = Collect()
        self._store.get("latest.json", sink)
        return decode_pointer(sink.view(), "").step


@pytest.mark.parametrize("before", [None, 1])
def test_a_saver_that_is_overtaken_leaves_the_pointer_at_the_newer(place, before):
    with place() as store, place() as other, CheckpointStore(other) as overtaking:
        if before is not None:
            overtaking.save(before, b"before")
        raw = Interrupted(store.raw, lambda: overtaking.save(9, b"nine"))
        manifest = CheckpointStore(Store(raw, store.uri)).save(5, b"five")
        assert raw.pointers[0] == raw.pointers[-1] == 9
        if store.capabilities.if_match:
            assert set(raw.pointers) == {9}
        assert overtaking.latest().step == 9
        assert bytes(overtaking.load(manifest).data) == b"five"


@pytest.mark.parametrize("level", [None, 1])
def test_answers_that_are_lost_and_calls_that_are_repeated_do_no_harm(root, level):
    rules = [
        Rule(effect=Fail(error="StoreConnectionError", when="after"), operations=[operation], every=2)
        for operation in ("put", "commit", "delete")
    ]
    policy = RetryPolicy(base_delay=0.0001)
    with penstock.connect(root, retries=policy, layers=Layers(faults=Faults(rules=rules))) as store:
        checkpoints = CheckpointStore(store, compression_level=level, keep_last=2)
        for step in range(8):
            checkpoints.save(step, bytes([step]) * 100)
            assert bytes(checkpoints.load_latest().data) == bytes([step]) * 100
        assert sum(count.injected for count in store.stack.faulty[0].counts()) > 8


def test_files_of_checkpoints_never_have_another_name(tmp_path, monkeypatch):
    """A process that is killed while it gives a file its name leaves nothing but a pointer's temporary file."""
    renamed = []
    rename = os.rename
    monkeypatch.setattr(
        "penstock.posix.replace.os.rename", lambda one, other: (renamed.append(other), rename(one, other))
    )
    with CheckpointStore(tmp_path.as_uri()) as checkpoints:
        checkpoints.save(1, b"x" * 1_000_000)
        checkpoints.save(2, {"w": np.zeros(3)})
    assert {os.path.basename(path) for path in renamed} == {b"latest.json"}


def test_savers_at_the_same_time_neither_collide_nor_move_the_pointer_back(place):
    """Readers see steps that only rise; and where the store has conditions, so does the pointer itself."""
    savers, each = 4, 8
    steps = list(range(savers * each))
    random.Random(5).shuffle(steps)
    done = threading.Event()
    failures = []

    def save(mine):
        try:
            with place() as store, CheckpointStore(store) as checkpoints:
                for step in mine:
                    checkpoints.save(step, bytes([step]) * 100)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    def watch():
        try:
            with place() as store, CheckpointStore(store) as checkpoints:
                newest = pointed = None
                while not done.is_set():
                    manifest = checkpoints.latest()
                    if manifest is not None:
                        assert newest is None or manifest.name >= newest
                        newest = manifest.name
                    if store.capabilities.if_match and store.exists("latest.json"):
                        name = decode_pointer(store.get("latest.json"), "")
                        assert pointed is None or name >= pointed
                        pointed = name
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=save, args=(steps[n::savers],)) for n in range(savers)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert failures == []
    with place() as store, CheckpointStore(store) as checkpoints:
        assert [manifest.step for manifest in checkpoints.list()] == sorted(steps)
        assert decode_pointer(store.get("latest.json"), "").step == max(steps)
        assert bytes(checkpoints.load_latest().data) == bytes([max(steps)]) * 100


def test_savers_of_one_step_at_the_same_time_do_not_collide(place):
    failures = []

    def save(number):
        try:
            with place() as store, CheckpointStore(store) as checkpoints:
                checkpoints.save(7, bytes([number]) * 100)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with place() as store, CheckpointStore(store) as checkpoints:
        saved = checkpoints.list()
        assert {bytes(checkpoints.load(each).data)[0] for each in saved} == set(range(8))
        assert checkpoints.latest() == saved[-1]


ANY_FAULT = {"nth": st.integers(0, 16), "when": st.sampled_from(["before", "after"])}


class Machine(RuleBasedStateMachine):
    """Saves, deletions and prunings, each of which may meet a failure at any call, against a list of what is there."""

    @initialize(level=st.sampled_from([None, 1]), strategy=st.sampled_from(["flat", "hashed"]))
    def begin(self, level, strategy):
        self.uri = f"mem://{uuid.uuid4().hex}/run"
        self.options = {"compression_level": level, "strategy": strategy}
        self.checker = CheckpointStore(self.uri, **self.options)
        self.model = {}
        self.pointer = None

    def attempt(self, nth, when, act):
        """Whether it succeeded. ``nth`` 0: nothing fails."""
        rules = [Rule(effect=Fail(error="AccessDeniedError", when=when), nth=nth)] if nth else []
        with penstock.connect(self.uri, retries=None, layers=Layers(faults=Faults(rules=rules))) as store:
            try:
                act(CheckpointStore(store, **self.options))
            except AccessDeniedError:
                return False
        return True

    @rule(
        step=st.integers(0, 5),
        data=st.binary(max_size=40),
        tensors=st.booleans(),
        keep=st.none() | st.integers(1, 3),
        **ANY_FAULT,
    )
    def save(self, step, data, tensors, keep, nth, when):
        content = {"t": np.frombuffer(data, "u1")} if tensors else data
        before = dict(self.model)

        def act(checkpoints):
            checkpoints.keep_last = keep
            checkpoints.save(step, content)

        succeeded = self.attempt(nth, when, act)
        found = {manifest.name for manifest in self.checker.list()}
        new = found - set(before)
        assert len(new) == 1 if succeeded else len(new) <= 1
        for name in new:
            assert name.step == step
            self.model[name] = crc32c(data)
        # What keep_last removes are the oldest, and never what was there of the newest.
        gone = set(before) - found
        assert not gone or (keep is not None and new and max(gone) < max(found))
        if keep is not None and succeeded:
            kept = sorted([*before, *new])[-keep:]
            assert found == {*kept, *new}
        self.model = {name: value for name, value in self.model.items() if name in found}

    @rule(data=st.data(), **ANY_FAULT)
    def delete(self, data, nth, when):
        if not self.model:
            return
        name = data.draw(st.sampled_from(sorted(self.model)))
        succeeded = self.attempt(nth, when, lambda checkpoints: checkpoints.delete(name.step, id=name.id))
        found = {manifest.name for manifest in self.checker.list()}
        assert name not in found or not succeeded
        if name not in found:
            del self.model[name]
            self.pointer = None

    @rule(**ANY_FAULT)
    def prune(self, nth, when):
        if self.attempt(nth, when, lambda checkpoints: checkpoints.prune(older_than=0)):
            with penstock.connect(self.uri) as store:
                assert {info.key for info in store.list("shards/")} == claimed(self.checker)

    @rule(spoiled=st.sampled_from([None, b"", b'{"manifest":1}']))
    def spoil_the_pointer(self, spoiled):
        self.pointer = None
        if spoiled is None:
            penstock.delete(f"{self.uri}/latest.json")
        else:
            penstock.put(f"{self.uri}/latest.json", spoiled)

    @invariant()
    def the_newest_is_the_latest_and_loads(self):
        if not hasattr(self, "model"):
            return
        assert {manifest.name for manifest in self.checker.list()} == set(self.model)
        if not self.model:
            assert self.checker.latest() is None
            return
        loaded = self.checker.load_latest()
        assert loaded.manifest.name == max(self.model)
        found = loaded.data["t"].tobytes() if isinstance(loaded.data, dict) else loaded.data
        assert crc32c(found) == self.model[loaded.manifest.name]

    @invariant()
    def the_pointer_does_not_move_back(self):
        if not hasattr(self, "model") or not penstock.exists(f"{self.uri}/latest.json"):
            return
        name = decode_pointer(penstock.get(f"{self.uri}/latest.json"), "")
        if name is not None:
            assert self.pointer is None or name >= self.pointer
            self.pointer = name

    def teardown(self):
        if hasattr(self, "checker"):
            self.checker.prune(older_than=0)
            with penstock.connect(self.uri) as store:
                assert {info.key for info in store.list("shards/")} == claimed(self.checker)
            self.checker.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=20, stateful_step_count=15)
