"""Saves in the background: what was handed over is what is saved, in bounded memory, and no failure is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import penstock
from penstock.client import Store
from penstock.errors import AccessDeniedError, UsageError
from penstock.layers.faults import Fail, Faults, Rule
from penstock.layers.forwarding import Forwarding
from penstock.layers.stack import Layers
from penstock_training.checkpoint import CheckpointStore


class Gated(Forwarding):
    """Writers begin only when the gate is open."""

    def __init__(self, store):
        super().__init__(store)
        self.gate = threading.Event()
        self.waiting = threading.Event()

    def open_writer(self, key, /, **arguments):
        self.waiting.set()
        assert self.gate.wait(60)
        return self._store.open_writer(key, **arguments)


@pytest.fixture
def gated(memory):
    opened = penstock.connect(memory)
    store = Gated(opened.detach())
    with Store(store, opened.uri) as whole:
        yield store, whole
        store.gate.set()


def denied(uri, keys):
    rule = Rule(effect=Fail(error="AccessDeniedError"), operations=["open_writer"], keys=keys)
    return penstock.connect(uri, retries=None, layers=Layers(faults=Faults(rules=[rule])))


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "penstock-checkpoint"]


@pytest.mark.parametrize("count", [100, 1_000_000])
def test_the_caller_goes_on_and_may_change_its_arrays(gated, count):
    store, whole = gated
    weights = np.arange(count, dtype="f4")
    with CheckpointStore(whole) as checkpoints:
        pending = checkpoints.save_async(1, {"w": weights}, {"epoch": 1})
        assert store.waiting.wait(60)
        assert not pending.done()
        weights[:] = -1
        store.gate.set()
        assert pending.result(60).metadata == {"epoch": 1}
        assert np.array_equal(checkpoints.load(1).data["w"], np.arange(count, dtype="f4"))


def test_saves_are_made_in_the_order_of_the_calls(root):
    with CheckpointStore(root) as checkpoints:
        pending = [checkpoints.save_async(3, bytes([number]) * 1000) for number in range(8)]
        checkpoints.save(3, b"last")
        assert all(each.done() for each in pending)
        ids = [each.result().id for each in pending]
        assert ids == sorted(ids)
        assert bytes(checkpoints.load_latest().data) == b"last"
    assert threads() == []


def test_no_more_is_held_than_allowed(memory):
    sizes = [5_000_000, 100, 1_000_000, 3_000_000]
    with CheckpointStore(memory, max_pending_bytes=1_000_000) as checkpoints:
        pending = [
            checkpoints.save_async(step, [bytes([step]) * nbytes] * 2 + [b""]) for step, nbytes in enumerate(sizes)
        ]
        for step, each in enumerate(pending):
            assert each.result(60).nbytes == 2 * sizes[step]
        assert 0 < checkpoints._background.peak <= 1_000_000
        assert checkpoints._background._held == 0
        for step, nbytes in enumerate(sizes):
            assert bytes(checkpoints.load(step).data) == bytes([step]) * 2 * nbytes


def test_a_state_larger_than_what_is_held_keeps_its_checksums(memory):
    state = {f"t{number}": np.full(1000 + number, number) for number in range(30)} | {"none": np.zeros((0, 2))}
    with CheckpointStore(memory, max_pending_bytes=7_777) as checkpoints:
        checkpoints.save_async(1, state).result(60)
        found = checkpoints.load_tensors(1, list(state))
        assert all(np.array_equal(found[name], array) for name, array in state.items())
        checkpoints.verify(1)


def test_result_raises_the_failure_and_nobody_else_does(memory):
    with denied(memory, "**") as store, CheckpointStore(store) as checkpoints:
        pending = checkpoints.save_async(1, b"x")
        with pytest.raises(AccessDeniedError):
            pending.result(60)
        checkpoints.wait()


@pytest.mark.parametrize("how", ["save", "save_async", "wait", "close"])
def test_a_failure_that_nobody_asked_for_is_raised_once_by_what_comes_next(memory, how, objects):
    with denied(memory, "shards/000000000000001*") as store:
        checkpoints = CheckpointStore(store)
        pending = checkpoints.save_async(1, b"x")
        while not pending.done():
            pending._future.exception(60)
        calls = {
            "save": lambda: checkpoints.save(2, b"y"),
            "save_async": lambda: checkpoints.save_async(2, b"y"),
            "wait": checkpoints.wait,
            "close": checkpoints.close,
        }
        with pytest.raises(AccessDeniedError) as caught:
            calls[how]()
        assert "step 1" in caught.value.__notes__[-1]
        assert objects(memory) == []
        assert checkpoints.save(2, b"y").step == 2
        checkpoints.close()


def test_the_error_of_the_block_is_the_one_raised(memory):
    def block():
        with CheckpointStore(store) as checkpoints:
            checkpoints.save_async(1, b"x")
            raise ZeroDivisionError

    with denied(memory, "**") as store, pytest.raises(ZeroDivisionError) as caught:
        block()
    assert "failed as well" in caught.value.__notes__[0]


def test_a_caller_that_waits_for_room_goes_on_when_the_save_fails(memory):
    with denied(memory, "**") as store, CheckpointStore(store, max_pending_bytes=1000) as checkpoints:
        pending = checkpoints.save_async(1, b"x" * 1_000_000)
        assert isinstance(pending.exception(60), AccessDeniedError)
        assert checkpoints._background._held == 0


def test_a_failure_to_hand_over_is_raised_at_once_and_saves_nothing(root, objects):
    def chunks():
        yield b"x" * 100_000
        raise ZeroDivisionError

    with CheckpointStore(root) as checkpoints:
        with pytest.raises(ZeroDivisionError):
            checkpoints.save_async(1, chunks())
        with pytest.raises(UsageError, match="chunk 1"):
            checkpoints.save_async(1, [b"", 3])
        checkpoints.wait()
        assert checkpoints.save_async(2, b"y").result(60).step == 2
        assert len(objects(root, "shards/")) == 1


def test_several_threads_may_save(memory):
    def saver(step):
        for _ in range(5):
            checkpoints.save_async(step, bytes([step]) * 50_000)

    with CheckpointStore(memory, max_pending_bytes=60_000) as checkpoints:
        crew = [threading.Thread(target=saver, args=(step,)) for step in range(4)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
    with CheckpointStore(memory) as checkpoints:
        assert len(checkpoints.list()) == 20
        assert checkpoints.prune(older_than=0).orphans == ()


def test_a_program_that_ends_waits_for_its_saves(tmp_path):
    script = """
import sys
from penstock_training.checkpoint import CheckpointStore
CheckpointStore(sys.argv[1]).save_async(1, (b"x" * 1_000_000 for _ in range(20)))
"""
    subprocess.run([sys.executable, "-c", script, tmp_path.as_uri()], check=True, timeout=60)
    with CheckpointStore(tmp_path.as_uri()) as checkpoints:
        assert checkpoints.verify().nbytes == 20_000_000
