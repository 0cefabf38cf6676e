"""Uses a file system, forks, and uses it in the children too; run by test_processes.py in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

import fsspec

from penstock.errors import StoreError

DATA = bytes(range(256)) * 4000


def child(fs, path, read, written, answers) -> None:
    """What was opened before the fork, and what is opened after it."""
    read.seek(1000)
    inherited = read.read(50) == DATA[1000:1050]
    fs.pipe_file(f"{path}/of-the-child-{os.getpid()}", b"1")
    ranges = fs.cat_ranges([f"{path}/x"] * 3, [0, 300_000, 600_000], [10, 300_010, 600_010])
    again = fsspec.filesystem(fs.protocol[0], **fs.storage_options)
    try:
        written.write(b"not mine")
        refused = False
    except StoreError as error:
        refused = "another process" in str(error)
    del written
    answers.put([inherited, ranges == [DATA[s : s + 10] for s in (0, 300_000, 600_000)], again.exists(path), refused])


def main(protocol: str, path: str, options: dict[str, str]) -> None:
    fs = fsspec.filesystem(protocol, use_listings_cache=True, **options)
    fs.pipe_file(f"{path}/x", DATA)
    assert fs.cat_file(f"{path}/x") == DATA
    fs.ls(path)
    read = fs.open(f"{path}/x", block_size=100)
    read.read(10)
    written = fs.open(f"{path}/y", "wb")
    written.write(DATA)
    stop = threading.Event()

    def busy() -> None:
        # Locks are held at the moment of the fork.
        while not stop.is_set():
            fs.ls(path)
            fs.cat_ranges([f"{path}/x"] * 2, [0, 500_000], [10, 500_010])

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    for _ in range(6):
        answers = context.SimpleQueue()
        process = context.Process(target=child, args=(fs, path, read, written, answers))
        process.start()
        process.join(60)
        assert process.exitcode == 0, f"the child ended with {process.exitcode}"
        answer = answers.get()
        assert answer == [True] * 4, answer
    stop.set()
    for thread in threads:
        thread.join()
    written.close()
    assert fs.cat_file(f"{path}/y") == DATA
    read.seek(5000)
    assert read.read(5) == DATA[5000:5005]
    if fs.places.find(path).store.capabilities.shared:
        assert len(fs.glob(f"{path}/of-the-child-*")) == 6
    print("all right")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], dict(part.split("=", 1) for part in sys.argv[3:]))
