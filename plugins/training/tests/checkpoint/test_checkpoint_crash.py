"""kill -9 at random moments of saves: the latest is always a complete checkpoint, and no older than what was saved.

A process that has everything imported forks savers, so that a crash costs milliseconds. It says what it does line by
line: nothing here waits for time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from penstock_training.checkpoint import CheckpointStore

NURSERY = """
import os, sys
import numpy as np
from penstock_training.checkpoint import CheckpointStore

uri, level = sys.argv[1], int(sys.argv[2]) or None

def say(text):
    os.write(1, (text + "\\n").encode())

def save_for_ever():
    say(f"pid {os.getpid()}")
    checkpoints = CheckpointStore(uri, "hashed", level, keep_last=3)
    newest = checkpoints.latest()
    step = newest.step + 1 if newest is not None else 0
    while True:
        fill = (step % 251).to_bytes(1, "big")
        kind = step % 4
        if kind == 0:
            checkpoints.save(step, (fill * 50_000 for _ in range(20)), {"step": step})
        elif kind == 1:
            checkpoints.save(step, {"w": np.full(500_000, step), "b": np.full(3, step)}, {"step": step})
        elif kind == 2:
            checkpoints.save_async(step, fill * 1_000_000, {"step": step}).result()
        else:
            shards = [checkpoints.save_shard(step, fill * 300_000, rank=rank, world_size=3) for rank in range(3)]
            checkpoints.commit(step, shards, {"step": step})
        say(f"saved {step}")
        step += 1

for _ in sys.stdin:
    child = os.fork()
    if not child:
        try:
            save_for_ever()
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    say("dead")
"""


def crash_often(uri, level, times, seed):
    """Kill savers so many times; after each the newest checkpoint is whole, and what was said to be saved is there."""
    draw = random.Random(seed)
    nursery = subprocess.Popen(
        [sys.executable, "-c", NURSERY, uri, str(level)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with nursery, CheckpointStore(uri) as checkpoints:
        newest = checkpoints.latest()
        said = newest.step if newest is not None else -1
        try:
            for _ in range(times):
                said = one_crash(nursery, draw, said)
                newest = checkpoints.latest()
                if newest is None:
                    assert said == -1
                    continue
                assert newest.step in (said, said + 1)
                check(checkpoints.load_latest())
                said = newest.step
        finally:
            nursery.stdin.close()
        assert nursery.wait(60) == 0
        everything_left_is_whole(checkpoints)
    return said


def one_crash(nursery, draw, said):
    nursery.stdin.write("go\n")
    nursery.stdin.flush()
    pid = int(nursery.stdout.readline().removeprefix("pid "))
    for _ in range(draw.randrange(4)):
        said = int(nursery.stdout.readline().removeprefix("saved "))
    time.sleep(draw.random() * 0.006)  # the moment is random, nothing is waited for
    os.kill(pid, signal.SIGKILL)
    for line in iter(nursery.stdout.readline, "dead\n"):
        said = int(line.removeprefix("saved "))
    return said


def check(loaded):
    step = loaded.metadata["step"]
    assert step == loaded.step
    for data in loaded.by_rank.values():
        if isinstance(data, dict):
            assert (data["w"] == step).all()
            assert (data["b"] == step).all()
        else:
            assert bytes(data).strip(bytes([step % 251])) == b""


def everything_left_is_whole(checkpoints):
    manifests = checkpoints.list()
    assert [entry for entry in checkpoints.entries() if entry.problem] == []
    for manifest in manifests:
        check(checkpoints.load(checkpoints.verify(manifest)))


def nothing_is_left_over(directory, uri):
    with CheckpointStore(uri) as checkpoints:
        checkpoints.prune(older_than=0)
        claimed = {shard.key for manifest in checkpoints.list() for shard in manifest.shards}
        claimed |= {manifest.key for manifest in checkpoints.list()}
        # Of the directory itself, as a listing shows no temporary files.
        found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
        # A pointer is replaced under a temporary name for an instant.
        assert {name for name in found if "/" in name} == claimed
        assert checkpoints.load_latest().step == max(manifest.step for manifest in checkpoints.list())


@pytest.mark.parametrize("level", [0, 1], ids=["plain", "zstd"])
def test_killed_savers_leave_the_last_checkpoint(tmp_path, level):
    last = crash_often(tmp_path.as_uri(), level, times=15, seed=level)
    assert last > 5
    nothing_is_left_over(tmp_path, tmp_path.as_uri())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_killed_savers_leave_the_last_checkpoint(tmp_path):
    crash_often(tmp_path.as_uri(), 0, times=150, seed=None)
    crash_often(tmp_path.as_uri(), 1, times=50, seed=None)
    nothing_is_left_over(tmp_path, tmp_path.as_uri())
