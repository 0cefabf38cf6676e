"""Threads, forked and spawned processes, and pickles."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

SCRIPT = Path(__file__).with_name("fork_script.py")


def test_a_forked_child_goes_on_with_what_its_parent_had(every_base):
    options = [f"{name}={value}" for name, value in every_base.options.items()]
    command = [sys.executable, str(SCRIPT), every_base.fs.protocol[0], every_base.path, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout.strip(), done.returncode) == ("all right", 0), done.stderr


def test_a_spawned_process_gets_it_by_pickle(files):
    files.fs.pipe_file(f"{files.path}/x", b"12345")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(type(files.fs).info, files.fs, f"{files.path}/x").result(60)["size"] == 5


@pytest.mark.parametrize("protocol", ["penstock+mem", "penstock+file", "penstock+s3"])
def test_a_pickled_file_system_is_the_same_again(protocol):
    fs = fsspec.filesystem(protocol, default_block_size=77)
    again = pickle.loads(pickle.dumps(fs))
    assert again is fs
    assert again == fs
    assert again.blocksize == 77
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()) == fs


def test_the_file_system_of_another_ones_scheme_pickles():
    from penstock_fsspec.schemes import _remake, filesystem_class

    cls = filesystem_class("mem")
    remade = _remake("mem", (), {})
    assert type(remade) is cls


def test_threads_share_it(every_base):
    fs = every_base.fs

    def work(number: int) -> bytes:
        path = f"{every_base.path}/{number}"
        with fs.open(path, "wb") as file:
            file.write(bytes([number]) * 50_000)
        with fs.open(path) as file:
            file.seek(49_990)
            found = file.read()
        assert fs.cat_ranges([path] * 2, [0, 40_000], [2, 40_002]) == [bytes([number]) * 2] * 2
        fs.rm_file(path)
        return found

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [bytes([number]) * 10 for number in range(24)]
    assert fs.find(every_base.path) == []
