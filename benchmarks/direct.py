# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "s3dlio"]
# ///
"""O_DIRECT, whole objects and random reads, 16 threads: ``python benchmarks/direct.py --dir DIR``.

The random reads of penstock and s3dlio open the object each time, as their users' calls do; fio reads one file that
stays open, and so does the row of bare ``preadv``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from harness import Call, Client, Work, main, names_of

KIB, MIB = 1024, 1024 * 1024
WORKS = [
    Work(title="GET 4 KiB", kind="get", size=4 * KIB, objects=2000, count=20_000, threads=16),
    Work(title="GET 1 MiB", kind="get", size=MIB, objects=64, count=2000, threads=16, per_gb=True),
    Work(title="GET 8 MiB", kind="get", size=8 * MIB, objects=16, count=240, threads=16, per_gb=True),
    Work(title="random 4 KiB, depth 16", kind="range", size=4 * KIB, objects=1, count=60_000, threads=16),
    Work(title="PUT 4 KiB", kind="put", size=4 * KIB, objects=9000, count=8000, threads=8),
    Work(title="PUT 8 MiB", kind="put", size=8 * MIB, objects=150, count=120, threads=8, per_gb=True),
]
# Every run reads the same places in the same order, and counts differ only by the length of the run.
BLOCKS = 12_000
OFFSETS = [random.Random(1).randrange(BLOCKS) * 4096 for _ in range(60_000)]


def penstock(work: Work, directory: Path) -> Callable[[], Call]:
    from penstock.buffers import aligned_buffer
    from penstock.opening import open_store
    from penstock.sinks import Into

    store = open_store(f"direct://{directory}", threads=work.threads)
    names = names_of(work)

    def make() -> Call:
        buffer = aligned_buffer(work.size)
        buffer[:] = os.urandom(work.size)

        def get_range(number: int) -> int:
            sink = Into(buffer)
            store.get(names[0], sink, start=OFFSETS[number], length=work.size)
            return sink.nbytes

        return {
            "get": lambda number: store.get(names[number], Into(buffer)).size,
            "put": lambda number: store.put(names[number], buffer).size,
            "range": get_range,
        }[work.kind]

    return make


def system_calls(work: Work, directory: Path) -> Callable[[], Call]:
    """The least that Python can do: the same calls of the system, writing to the final name."""
    from penstock.buffers import aligned_buffer

    paths = [str(directory / name) for name in names_of(work)]
    shared = os.open(paths[0], os.O_RDONLY | os.O_DIRECT) if work.kind == "range" else -1

    def make() -> Call:
        buffer = aligned_buffer(work.size)
        buffer[:] = os.urandom(work.size)

        def get(number: int) -> int:
            fd = os.open(paths[number], os.O_RDONLY | os.O_DIRECT)
            size = os.fstat(fd).st_size
            got = os.preadv(fd, (buffer[:size],), 0)
            os.close(fd)
            return got

        def put(number: int) -> int:
            fd = os.open(paths[number], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT)
            got = os.write(fd, buffer)
            os.close(fd)
            return got

        return {"get": get, "put": put, "range": lambda number: os.preadv(shared, (buffer,), OFFSETS[number])}[
            work.kind
        ]

    return make


def s3dlio(work: Work, directory: Path) -> Callable[[], Call]:
    import s3dlio

    from penstock.buffers import aligned_buffer

    uris = [f"direct://{directory}/{name}" for name in names_of(work)]
    data = aligned_buffer(work.size)
    data[:] = os.urandom(work.size)

    def put(number: int) -> int:
        s3dlio.put_bytes(uris[number], data)
        return work.size

    call: Call = {
        "get": lambda number: len(s3dlio.get(uris[number])),
        "put": put,
        "range": lambda number: len(s3dlio.get_range(uris[0], OFFSETS[number], work.size)),
    }[work.kind]
    return lambda: call


KINDS = ("get", "put", "range")
CLIENTS = [
    Client(name="penstock", prepare=penstock, kinds=KINDS),
    Client(name="system calls", prepare=system_calls, kinds=KINDS),
    Client(name="s3dlio", prepare=s3dlio, kinds=KINDS, module="s3dlio"),
]

_RANDOM = ("--filename={file}", "--rw=randread", "--bs=4k", "--direct=1")
FIO = {
    "fio psync, 16 jobs": (*_RANDOM, "--ioengine=psync", "--numjobs=16"),
    "fio io_uring, depth 16": (*_RANDOM, "--ioengine=io_uring", "--iodepth=16"),
}

if __name__ == "__main__":
    main("O_DIRECT", WORKS, CLIENTS, fio=FIO)
