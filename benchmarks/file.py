# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "fsspec", "obstore", "pyarrow", "s3dlio"]
# ///
"""Whole objects on local files, page cache warm, 8 threads: ``python benchmarks/file.py --dir DIR``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness import Call, Client, Work, main, names_of

KIB, MIB = 1024, 1024 * 1024
WORKS = [
    Work(title="GET 4 KiB", kind="get", size=4 * KIB, objects=2000, count=60_000, threads=8),
    Work(title="GET 64 KiB", kind="get", size=64 * KIB, objects=500, count=40_000, threads=8),
    Work(title="GET 8 MiB", kind="get", size=8 * MIB, objects=12, count=1000, threads=8, per_gb=True),
    Work(title="PUT 4 KiB", kind="put", size=4 * KIB, objects=9000, count=8000, threads=8),
    Work(title="PUT 8 MiB", kind="put", size=8 * MIB, objects=120, count=100, threads=8, per_gb=True),
]


def penstock(work: Work, directory: Path) -> Callable[[], Call]:
    from penstock.buffers import aligned_buffer
    from penstock.opening import open_store
    from penstock.sinks import Into

    store = open_store(f"file://{directory}", threads=work.threads)
    names = names_of(work)

    data = os.urandom(work.size)

    def make() -> Call:
        if work.kind == "put":
            return lambda number: store.put(names[number], data).size
        buffer = aligned_buffer(work.size)
        return lambda number: store.get(names[number], Into(buffer)).size

    return make


def system_calls(work: Work, directory: Path) -> Callable[[], Call]:
    """The least that Python can do: open, fstat, read into a buffer, close; writing to the final name."""
    paths = [str(directory / name) for name in names_of(work)]
    data = os.urandom(work.size)

    def make() -> Call:
        buffer = memoryview(bytearray(work.size))

        def get(number: int) -> int:
            fd = os.open(paths[number], os.O_RDONLY)
            size = os.fstat(fd).st_size
            got = os.preadv(fd, (buffer[:size],), 0)
            os.close(fd)
            return got

        def put(number: int) -> int:
            fd = os.open(paths[number], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            got = os.write(fd, data)
            os.close(fd)
            return got

        return put if work.kind == "put" else get

    return make


def plain_open(work: Work, directory: Path) -> Callable[[], Call]:
    paths = [str(directory / name) for name in names_of(work)]
    data = os.urandom(work.size)

    def get(number: int) -> int:
        with open(paths[number], "rb") as file:
            return len(file.read())

    def put(number: int) -> int:
        with open(paths[number], "wb") as file:
            return file.write(data)

    return lambda: put if work.kind == "put" else get


def pyarrow(work: Work, directory: Path) -> Callable[[], Call]:
    import pyarrow

    paths = [str(directory / name) for name in names_of(work)]
    data = os.urandom(work.size)

    def make() -> Call:
        buffer = bytearray(work.size)

        def get(number: int) -> int:
            with pyarrow.OSFile(paths[number]) as file:
                return file.readinto(buffer)

        def put(number: int) -> int:
            with pyarrow.OSFile(paths[number], "wb") as file:
                file.write(data)
            return work.size

        return put if work.kind == "put" else get

    return make


def fsspec(work: Work, directory: Path) -> Callable[[], Call]:
    from fsspec.implementations.local import LocalFileSystem

    files = LocalFileSystem()
    paths = [str(directory / name) for name in names_of(work)]
    data = os.urandom(work.size)

    def put(number: int) -> int:
        files.pipe_file(paths[number], data)
        return work.size

    return lambda: put if work.kind == "put" else lambda number: len(files.cat_file(paths[number]))


def s3dlio(work: Work, directory: Path) -> Callable[[], Call]:
    import s3dlio

    uris = [f"file://{directory}/{name}" for name in names_of(work)]
    data = os.urandom(work.size)

    def put(number: int) -> int:
        s3dlio.put_bytes(uris[number], data)
        return work.size

    return lambda: put if work.kind == "put" else lambda number: len(s3dlio.get(uris[number]))


def obstore(work: Work, directory: Path) -> Callable[[], Call]:
    import obstore
    from obstore.store import LocalStore

    store = LocalStore(directory)
    names = names_of(work)
    data = os.urandom(work.size)

    def put(number: int) -> int:
        obstore.put(store, names[number], data)
        return work.size

    return lambda: put if work.kind == "put" else lambda number: len(obstore.get(store, names[number]).bytes())


def memcpy(work: Work, directory: Path) -> Callable[[], Call]:
    def make() -> Call:
        source, target = memoryview(os.urandom(work.size)), memoryview(bytearray(work.size))

        def copy(number: int) -> int:
            target[:] = source
            return work.size

        return copy

    return make


CLIENTS = [
    Client(name="penstock", prepare=penstock),
    Client(name="system calls", prepare=system_calls),
    Client(name="open().read()", prepare=plain_open),
    Client(name="pyarrow", prepare=pyarrow, module="pyarrow"),
    Client(name="fsspec", prepare=fsspec, module="fsspec"),
    Client(name="s3dlio", prepare=s3dlio, module="s3dlio"),
    Client(name="obstore", prepare=obstore, module="obstore"),
    Client(name="memcpy (limit)", prepare=memcpy),
]

FIO = {
    "fio psync, 4 KiB of one open file, 8 jobs": (
        "--filename={file}", "--rw=randread", "--bs=4k", "--ioengine=psync", "--numjobs=8",
    ),
    "fio psync, 64 KiB of one open file, 8 jobs": (
        "--filename={file}", "--rw=randread", "--bs=64k", "--ioengine=psync", "--numjobs=8",
    ),
}  # fmt: skip

if __name__ == "__main__":
    main("Local files through the page cache, whole objects, 8 threads", WORKS, CLIENTS, fio=FIO)
