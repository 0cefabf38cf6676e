# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "h5py", "ml_dtypes", "numpy", "pyarrow", "s3dlio", "safetensors", "tfrecord"]
# ///
"""Formats in memory: ``nox -s bench -- formats [--quick]``.

What it costs to turn samples into the bytes of a file and back, for samples of 4 KiB, 100 KiB and 8 MiB of random
bytes: processor time of all threads per sample, and in brackets GB (10^9 bytes) of content per second of it; the best
of interleaved rounds. Each format stands against the library that most people use for it; the limits are a copy of each
sample, and a loop that only cuts the file into slices, which is what a reader without checks would do at the least.
Decoding ends with arrays (or bytes) that can be used; where the content is a view of the file, as with most of ours,
every peer's sum is what it is without touching the content.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from penstock.samples import LocalBuffer, choose_format

MIB = 1024 * 1024
SIZES = {"4 KiB": 4096, "100 KiB": 100 * 1024, "8 MiB": 8 * MIB}
#: Bytes of one measurement, and the most samples of one.
WORK = 128 * MIB
MOST = 10_000

Sample = dict[str, Any]
Call = Callable[[], object]


@attrs.frozen
class Row:
    """One way to write and read. ``make`` gets the samples and a directory; an answer of None is not offered."""

    group: str
    name: str
    make: Callable[[list[Sample], Path], tuple[Call | None, Call | None]]


def drain(pieces: Iterator[Any]) -> int:
    """Take every piece, as a writer would, and look at no byte of it."""
    return sum(memoryview(piece).nbytes for piece in pieces)


def ours(name: str, *, one_by_one: bool = False, as_bytes: bool = False, **options: Any) -> Any:
    """A format of penstock; ``one_by_one`` where a file is one sample."""
    codec = choose_format("", name, options).codec

    def make(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
        if as_bytes:
            samples = [{"data": sample["data"].tobytes()} for sample in samples]
        files = [[sample] for sample in samples] if one_by_one else [samples]
        encoded = [b"".join(map(bytes, codec.encode(file))) for file in files[:1]]

        def encode() -> None:
            for file in files:
                drain(codec.encode(file))

        def decode() -> None:
            for data in encoded * len(files):
                for _ in codec.decode(data):
                    pass

        return encode, decode

    return make


def copies(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
    room = np.empty_like(samples[0]["data"])

    def copy() -> None:
        for sample in samples:
            np.copyto(room, sample["data"])

    return copy, copy


def slices(samples: list[Sample], directory: Path) -> tuple[None, Call]:
    data = b"".join(sample["data"].tobytes() for sample in samples)
    size = samples[0]["data"].nbytes

    def cut() -> None:
        for at in range(0, len(data), size):
            data[at : at + size]

    return None, cut


def tfrecord_package(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
    # It works on files only, so they lie in memory.
    from tfrecord.reader import tfrecord_loader
    from tfrecord.writer import TFRecordWriter

    path = str(directory / "peer.tfrecord")
    features = [{"data": (sample["data"].tobytes(), "byte")} for sample in samples]

    def encode() -> None:
        writer = TFRecordWriter(path)
        for feature in features:
            writer.write(feature)
        writer.close()

    def decode() -> None:
        for _ in tfrecord_loader(path, None, {"data": "byte"}):
            pass

    encode()
    return encode, decode


def numpy_npz(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
    def save(sample: Sample) -> bytes:
        out = io.BytesIO()
        np.savez(out, **sample)
        return out.getvalue()

    first = save(samples[0])

    def encode() -> None:
        for sample in samples:
            save(sample)

    def decode() -> None:
        for _ in samples:
            with np.load(io.BytesIO(first)) as archive:
                archive["data"]

    return encode, decode


def s3dlio_npz(samples: list[Sample], directory: Path) -> tuple[Call, None]:
    # It writes content of its own only, the time of which is in the figure.
    import s3dlio

    shape = list(samples[0]["data"].shape)

    def encode() -> None:
        for _ in samples:
            s3dlio.generate_npz_bytes(shape, "|u1", 1)

    return encode, None


def plain_h5py(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
    import h5py

    def save() -> bytes:
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            rows = file.create_dataset("data", (len(samples), *samples[0]["data"].shape), "u1")
            for number, sample in enumerate(samples):
                rows[number] = sample["data"]
        return out.getvalue()

    data = save()

    def decode() -> None:
        with h5py.File(io.BytesIO(data), "r") as file:
            rows = file["data"]
            for number in range(len(rows)):
                rows[number]

    return save, decode


def plain_pyarrow(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = samples[0]["data"].nbytes

    def save() -> bytes:
        out = io.BytesIO()
        column = pa.array([sample["data"].tobytes() for sample in samples], pa.binary(size))
        pq.write_table(pa.table({"data": column}), out, compression="none", use_dictionary=False)
        return out.getvalue()

    data = save()

    def decode() -> None:
        for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches(1024):
            for value in batch.column("data").to_pylist():
                np.frombuffer(value, np.uint8)

    return save, decode


def library_safetensors(samples: list[Sample], directory: Path) -> tuple[Call, Call]:
    from safetensors.numpy import load, save

    first = save(samples[0])

    def encode() -> None:
        for sample in samples:
            save(sample)

    def decode() -> None:
        for _ in samples:
            load(first)

    return encode, decode


def index_ours(samples: list[Sample], directory: Path) -> tuple[Call, None]:
    codec = choose_format("", "tfrecord").codec
    file = LocalBuffer(b"".join(map(bytes, codec.encode(samples))))
    return lambda: drain(codec.index(file)), None


def index_s3dlio(samples: list[Sample], directory: Path) -> tuple[Call, None]:
    import s3dlio

    data = b"".join(map(bytes, choose_format("", "tfrecord").codec.encode(samples)))
    return lambda: s3dlio.index_tfrecord_bytes(data), None


ROWS = (
    Row("limit", "copy of each sample (numpy)", copies),
    Row("limit", "slices of a file", slices),
    Row("TFRecord", "penstock, Example", ours("tfrecord")),
    Row("TFRecord", "penstock, Example, unchecked", ours("tfrecord", check=False)),
    Row("TFRecord", "penstock, raw", ours("tfrecord", as_bytes=True, example=False)),
    Row("TFRecord", "tfrecord package, Example, unchecked", tfrecord_package),
    Row("TFRecord", "index: penstock, checked", index_ours),
    Row("TFRecord", "index: s3dlio, unchecked", index_s3dlio),
    Row("NPZ, a file each", "penstock", ours("npz", one_by_one=True)),
    Row("NPZ, a file each", "numpy.savez, numpy.load", numpy_npz),
    Row("NPZ, a file each", "s3dlio, with its generation", s3dlio_npz),
    Row("HDF5", "penstock", ours("hdf5")),
    Row("HDF5", "h5py, a row at a time", plain_h5py),
    Row("Parquet", "penstock", ours("parquet")),
    Row("Parquet", "pyarrow", plain_pyarrow),
    Row("safetensors, a file each", "penstock", ours("safetensors", one_by_one=True)),
    Row("safetensors, a file each", "safetensors.numpy", library_safetensors),
    Row("safetensors, rows", "penstock", ours("safetensors", samples="rows")),
)


#: What has to be installed besides penstock.
PEERS = ("h5py", "pyarrow", "s3dlio", "safetensors", "tfrecord")


def best(rows: Sequence[Row], size: int, work: int, rounds: int, directory: Path) -> dict[tuple[Row, int], float]:
    """Seconds of processor time per sample, by row and by direction (0 encodes, 1 decodes)."""
    count = min(max(work // size, 2), MOST)
    random = np.random.default_rng(1)
    samples: list[Sample] = [{"data": random.integers(0, 256, size, np.uint8)} for _ in range(count)]
    found: dict[tuple[Row, int], float] = {}
    for number in range(rounds):
        # Each round begins elsewhere, so that none always follows the same neighbour.
        shift = number * len(rows) // rounds
        for row in (*rows[shift:], *rows[:shift]):
            print(
                f"\r{size} bytes, round {number + 1} of {rounds}: {row.group} {row.name:<40}", end="", file=sys.stderr
            )
            for direction, call in enumerate(row.make(samples, directory)):
                if call is not None:
                    begin = time.process_time()
                    call()
                    spent = (time.process_time() - begin) / count
                    found[row, direction] = min(spent, found.get((row, direction), spent))
    print(file=sys.stderr)
    return found


def show(rows: Sequence[Row], table: dict[str, dict[tuple[Row, int], float]]) -> None:
    heads = [f"{verb} {title}, µs (GB/s)" for verb in ("encode", "decode") for title in table]
    print(f"| format | by | {' | '.join(heads)} |\n|---|---|{'--:|' * len(heads)}")
    for row in rows:
        cells = []
        for direction in (0, 1):
            for title, found in table.items():
                spent = found.get((row, direction))
                cells.append(
                    "" if spent is None else f"{spent * 1e6:,.2f} ({SIZES[title] / max(spent, 1e-9) / 1e9:.1f})"
                )
        print(f"| {row.group} | {row.name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7")
    parser.add_argument("--only", action="append", default=[], metavar="FORMAT", help="TFRecord, NPZ, HDF5, …")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out a row")
    arguments = parser.parse_args()
    rounds, work = (3, WORK // 8) if arguments.quick else (7, WORK)
    wanted = {"limit", *arguments.only}
    rows = [row for row in ROWS if not arguments.only or any(row.group.startswith(word) for word in wanted)]
    rows = [row for row in rows if not any(word in row.name for word in arguments.without)]
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="penstock-bench-", dir=shared) as directory:
        table = {title: best(rows, size, work, rounds, Path(directory)) for title, size in SIZES.items()}
    show(rows, table)


if __name__ == "__main__":
    main()
