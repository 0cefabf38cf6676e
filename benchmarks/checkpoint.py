# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "numpy", "safetensors", "s3dlio", "torch", "trustme", "crc32c", "awscrt"]
# ///
"""Checkpoints: ``nox -s bench -- checkpoint [--quick]``.

One rank's state of tensors, saved and loaded, on files and over S3 (nginx on the loopback, which looks at no signature
and forgets uploads), against a plain write, NumPy's and safetensors' own files, torch.save, the FileSystemWriter of
torch.distributed.checkpoint, and s3dlio's checkpoint store; a copy in memory is the limit. Each measurement is a
process of its own; the medians of interleaved rounds. CPU is that of the whole client process, all threads, user and
system. Loading ends with tensors, or bytes, in fresh memory.

penstock's rows compute and check CRC-32C, of each tensor too; s3dlio's has none, torch's a CRC-32 of each record.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from harness import interleaved
from servers import nginx

MIB = 1024 * 1024
TENSOR = 8 * MIB
State = dict[str, Any]


@attrs.frozen(kw_only=True)
class Row:
    """``save(state, place)`` and ``load(place)``, either may be None. ``place`` is a directory, or a URI for S3.

    ``make`` brings the arrays of NumPy into what is saved. ``after`` ends what a save left under way.
    """

    name: str
    save: Callable[[Any, str], Any] | None = None
    load: Callable[[str], Any] | None = None
    make: Callable[[State], Any] = lambda state: state
    after: Callable[[Any], None] = lambda left: None
    module: str = ""
    remote: bool = False


def bytes_of(state: State) -> Any:
    """All tensors as one buffer, which exists before anything is measured."""
    return np.concatenate([array.view(np.uint8).reshape(-1) for array in state.values()]).data


def tensors_of(state: State) -> Any:
    import torch

    return {name: torch.from_numpy(array) for name, array in state.items()}


def copy(state: State, place: str) -> None:
    for array in state.values():
        np.copyto(ROOM[: array.size], array)


ROOM = np.empty(TENSOR // 4, dtype=np.float32)


def plain_write(state: State, place: str) -> None:
    with open(f"{place}/state", "wb", buffering=0) as file:
        for array in state.values():
            file.write(array.data)


def plain_read(place: str) -> Any:
    from penstock.buffers import aligned_buffer

    with open(f"{place}/state", "rb", buffering=0) as file:
        room = aligned_buffer(os.fstat(file.fileno()).st_size)
        done = 0
        while done < room.nbytes:
            done += file.readinto(room[done:])
    return room


def numpy_save(data: Any, place: str) -> None:
    np.save(f"{place}/state.npy", np.asarray(data))


def numpy_load(place: str) -> Any:
    return np.load(f"{place}/state.npy")


def safetensors_save(state: State, place: str) -> None:
    from safetensors.numpy import save_file

    save_file(state, f"{place}/state.safetensors")


def safetensors_load(place: str) -> Any:
    from safetensors.numpy import load_file

    return load_file(f"{place}/state.safetensors")


def torch_save(state: Any, place: str) -> None:
    import torch

    torch.save(state, f"{place}/state.pt")


def torch_load(place: str) -> Any:
    import torch

    return torch.load(f"{place}/state.pt", weights_only=True)


def dcp_save(state: Any, place: str) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save(state, storage_writer=dcp.FileSystemWriter(f"{place}/dcp", sync_files=False), no_dist=True)


def dcp_load(place: str) -> Any:
    import torch
    import torch.distributed.checkpoint as dcp

    reader = dcp.FileSystemReader(f"{place}/dcp")
    facts = reader.read_metadata().state_dict_metadata
    state = {name: torch.empty(each.size) for name, each in facts.items()}
    dcp.load(state, storage_reader=reader, no_dist=True)
    return state


def uri_of(place: str) -> str:
    return place if "://" in place else f"file://{place}"


def s3dlio_save(data: Any, place: str) -> None:
    import s3dlio

    s3dlio.PyCheckpointStore(f"{s3dlio_uri(place)}/s3dlio/").save(1, 1, "numpy", memoryview(data))


def s3dlio_load(place: str) -> Any:
    import s3dlio

    return s3dlio.PyCheckpointStore(f"{s3dlio_uri(place)}/s3dlio/").load_latest()


def s3dlio_uri(place: str) -> str:
    return f"s3://bucket{place.rpartition('/bucket')[2]}" if "://" in place else uri_of(place)


def penstock_save(name: str, level: int | None = None) -> Callable[[Any, str], None]:
    return lambda data, place: opened(place, name, level).save(1, data)


def penstock_load(name: str) -> Callable[[str], Any]:
    return lambda place: opened(place, name).load_latest().data


def penstock_stream(place: str) -> int:
    return sum(chunk.nbytes for chunk in opened(place, "bytes").stream())


def penstock_async(state: Any, place: str) -> Any:
    return opened(place, "tensors").save_async(1, state)


@functools.cache
def opened(place: str, name: str, level: int | None = None) -> Any:
    """A store stays open, as it does in a training: its boto3 client, which lists, is made once."""
    from penstock_training.checkpoint import CheckpointStore

    options = {"payload_signing": "unsigned"} if "://" in place else None
    return CheckpointStore(f"{uri_of(place)}/penstock-{name}", compression_level=level, options=options)


@functools.cache
def core(place: str) -> Any:
    import penstock

    return penstock.connect(place, options={"payload_signing": "unsigned"})


def core_put(data: Any, place: str) -> None:
    with core(place).open_writer("plain", part_size=16 * MIB) as writer:
        writer.write(memoryview(data))


def core_get(place: str) -> Any:
    return core(place).get("plain")


PENSTOCK = (
    Row(name="penstock bytes", save=penstock_save("bytes"), load=penstock_load("bytes"), make=bytes_of, remote=True),
    Row(name="penstock bytes, stream", load=penstock_stream, make=bytes_of, remote=True),
    Row(name="penstock tensors", save=penstock_save("tensors"), load=penstock_load("tensors"), remote=True),
)
FILES = (
    Row(name="LIMIT copy in memory", save=copy),
    Row(name="plain write and read", save=plain_write, load=plain_read),
    *PENSTOCK,
    Row(name="penstock tensors, torch", save=penstock_save("torch"), make=tensors_of, module="torch"),
    Row(
        name="penstock tensors, async (the caller's wait)",
        save=penstock_async,
        after=lambda pending: pending.result(),
    ),
    Row(name="penstock tensors, zstd 1", save=penstock_save("zstd", 1), load=penstock_load("zstd")),
    Row(name="numpy.save", save=numpy_save, load=numpy_load, make=bytes_of),
    Row(name="safetensors save_file", save=safetensors_save, load=safetensors_load, module="safetensors"),
    Row(name="torch.save", save=torch_save, load=torch_load, make=tensors_of, module="torch"),
    Row(name="DCP FileSystemWriter", save=dcp_save, load=dcp_load, make=tensors_of, module="torch"),
    Row(name="s3dlio", save=s3dlio_save, load=s3dlio_load, make=bytes_of, module="s3dlio"),
)
REMOTE = (
    Row(name="penstock.open_writer, one get", save=core_put, load=core_get, make=bytes_of, remote=True),
    *PENSTOCK,
    Row(name="s3dlio", save=s3dlio_save, load=s3dlio_load, make=bytes_of, module="s3dlio", remote=True),
)
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "bench-secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def state_of(nbytes: int) -> State:
    rng = np.random.default_rng(1)
    return {f"layer{n:03}": rng.random(TENSOR // 4, dtype=np.float32) for n in range(max(nbytes // TENSOR, 1))}


def measure(remote: bool, name: str, kind: str, place: str, nbytes: int) -> None:
    """Print seconds of CPU and of time, in this process of its own."""
    row = next(row for row in (REMOTE if remote else FILES) if row.name == name)
    if kind == "save":
        assert row.save is not None
        # What is imported and connected once does not count, nor the page cache's first use of so much memory, which on
        # a virtual machine costs several times what writing does.
        data = row.make(state_of(nbytes))
        row.after(row.save(data, place))
        if "://" not in place:
            # So every row finds the same memory free, whether it writes over its last file or beside it.
            shutil.rmtree(place)
            os.mkdir(place)
        before = usage()
        left = row.save(data, place)
        cpu, wall = since(before)
        row.after(left)
    else:
        assert row.load is not None
        # What is imported and connected once does not count.
        row.load(place)
        before = usage()
        loaded = row.load(place)
        cpu, wall = since(before)
        del loaded
    print(json.dumps([cpu, wall]), flush=True)
    # Some clients' own threads take seconds to end.
    os._exit(0)


def usage() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def since(before: tuple[float, float]) -> tuple[float, float]:
    cpu, wall = usage()
    return cpu - before[0], wall - before[1]


def sample(remote: bool, row: Row, kind: str, place: str, nbytes: int) -> tuple[float, float]:
    plan = json.dumps([remote, row.name, kind, place, nbytes])
    done = subprocess.run([sys.executable, sys.argv[0], "--measure", plan], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])
    cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall


def files(directory: Path, nbytes: int, rounds: int) -> None:
    rows = [row for row in FILES if present(row)]
    kept = directory / "kept"
    kept.mkdir()
    state = state_of(nbytes)
    for row in rows:
        if row.save is not None and row.load is not None:
            row.after(row.save(row.make(state), str(kept)))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    jobs = [(row, kind) for row in rows for kind in ("save", "load") if (row.save if kind == "save" else row.load)]
    for number, (row, kind) in interleaved(jobs, rounds):
        progress(f"files, round {number + 1} of {rounds}: {row.name}, {kind}")
        scratch = directory / "scratch"
        scratch.mkdir()
        place = scratch if kind == "save" else kept
        found.setdefault((row.name, kind), []).append(sample(False, row, kind, str(place), nbytes))
        shutil.rmtree(scratch)
    show("Files", [row.name for row in rows], found, nbytes)


def remote(nbytes: int, rounds: int) -> None:
    rows = [row for row in REMOTE if present(row)]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    failures: dict[str, str] = {}
    with nginx() as web:
        os.environ.update(ENVIRON | {"AWS_ENDPOINT_URL": web.url})
        bucket = web.root / "bucket"
        (bucket / "kept").mkdir(parents=True)
        state = state_of(nbytes)
        for row in FILES:
            if row.name in ("penstock bytes", "penstock tensors", "s3dlio") and present(row):
                row.save(row.make(state), str(bucket / "kept"))  # type: ignore[misc]
        (bucket / "kept" / "plain").write_bytes(bytes_of(state))
        jobs = [(row, kind) for row in rows for kind in ("save", "load") if (row.save if kind == "save" else row.load)]
        for number, (row, kind) in interleaved(jobs, rounds):
            progress(f"S3, round {number + 1} of {rounds}: {row.name}, {kind}")
            place = f"s3+{web.url}/bucket/{'scratch' if kind == 'save' else 'kept'}"
            try:
                found.setdefault((row.name, kind), []).append(sample(True, row, kind, place, nbytes))
            except RuntimeError as error:
                failures[f"{row.name}, {kind}"] = str(error)
            shutil.rmtree(bucket / "scratch", ignore_errors=True)
    show("S3, nginx on the loopback", [row.name for row in rows], found, nbytes)
    for name, why in failures.items():
        print(f"\nFailed: {name}: {why}")


def present(row: Row) -> bool:
    return not row.module or importlib.util.find_spec(row.module) is not None


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def show(title: str, names: list[str], found: Mapping[tuple[str, str], list[tuple[float, float]]], nbytes: int) -> None:
    progress("")
    print(f"\n### {title}\n\n| {nbytes // MIB} MiB | save, CPU s/GB | save, GB/s | load, CPU s/GB | load, GB/s |")
    print("|---|--:|--:|--:|--:|")
    for name in names:
        cells = []
        for kind in ("save", "load"):
            samples = found.get((name, kind), [])
            if not samples:
                cells += ["", ""]
                continue
            cells.append(f"{statistics.median(cpu for cpu, _ in samples) / nbytes * 1e9:.3f}")
            cells.append(f"{nbytes / 1e9 / statistics.median(wall for _, wall in samples):.2f}")
        print(f"| {name} | {' | '.join(cells)} |")
    sys.stdout.flush()


@contextlib.contextmanager
def scratch(parent: str) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=parent)).resolve()
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def main() -> None:
    # Beside this script lie others with the names of packages, such as azure.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 128 MiB instead of 5 of 512 MiB")
    parser.add_argument("--dir", default=".", help="a directory on the disk to measure; what is made there is removed")
    parser.add_argument("--without-s3", action="store_true", help="files alone")
    parser.add_argument("--without-files", action="store_true", help="S3 alone")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*json.loads(arguments.measure))
        return
    rounds, nbytes = (3, 128 * MIB) if arguments.quick else (5, 512 * MIB)
    print(
        f"Checkpoints of {nbytes // MIB} MiB in tensors of {TENSOR // MIB} MiB. Medians of {rounds} interleaved rounds;"
    )
    print(f"client CPU per GB, and the rate; {os.cpu_count()} CPUs.", flush=True)
    absent = sorted({row.module for row in (*FILES, *REMOTE) if not present(row)})
    if absent:
        print(f"\nLeft out, not installed: {', '.join(absent)}")
    if not arguments.without_files:
        with scratch(arguments.dir) as directory:
            files(directory, nbytes, rounds)
    if not arguments.without_s3:
        remote(nbytes, rounds)


if __name__ == "__main__":
    main()
