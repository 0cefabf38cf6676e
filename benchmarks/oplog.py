# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "duckdb", "numpy", "polars", "s3dlio", "zstandard"]
# ///
"""What an op-log costs: µs of CPU per row, of each step and all in, against other ways to write one.

    python benchmarks/oplog.py            both tables: writing, row by row; and analyzing and sorting a large log
    python benchmarks/oplog.py --quick    the same with fewer rows, once
    python benchmarks/oplog.py --only reading --reading-rows 100000000
    python benchmarks/oplog.py --soak     10,000,000 metered operations through one log, and what became of the rows

Rows have 13 columns and about 150 bytes. Compression is zstd level 1 everywhere. Peers: a loop over f-strings with the
second cached, polars (columns made from the records, then write_csv), and s3dlio (its file reads with its log on and
off). To read them: polars (lazy) and duckdb, which group the same rows in the same way. Peers that are not installed
are left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import zstandard
from reading import table as reading_table

from penstock.clocks import Anchor, monotonic_ns
from penstock.memory import MemoryOptions, MemoryStore
from penstock.oplog import OpLog, OpLogWriter, join_parts, read
from penstock.oplog.formatter import BATCH, Formatter
from penstock.records import Endpoint, Op, RecordBuffer, Recorder
from penstock.sinks import Discard

ROWS = 200_000
ENDPOINTS = [Endpoint("s3://bucket/", "s3://")]
SOAK = 10_000_000
READING_ROWS = 10_000_000


def calls(count: int) -> list[tuple[int, str, int, int, int, int]]:
    """Operations as a mixed workload makes them."""
    rng, at, made = random.Random(1), monotonic_ns(), []
    for number in range(count):
        op = rng.choice((Op.GET, Op.GET, Op.PUT, Op.STAT))
        took = rng.randrange(20_000, 3_000_000)
        first = at + took // 2 if op == Op.GET else 0
        nbytes = 0 if op == Op.STAT else rng.randrange(1 << 20)
        made.append(
            (op, f"data/part-{number % 64:03d}/object-{rng.randrange(10**6)}.bin", at, first, at + took, nbytes)
        )
        at += took // 8
    return made


def append(made: list[tuple[int, str, int, int, int, int]]) -> RecordBuffer:
    buffer = RecordBuffer(len(made) + 1)
    recorder = Recorder(3, lambda filled: buffer)
    add = recorder.add
    for op, name, start, first, end, nbytes in made:
        add(op, name, start, first, end, nbytes)
    return buffer


def loop(made: list[tuple[int, str, int, int, int, int]]) -> None:
    for _op, _name, _start, _first, _end, _nbytes in made:
        pass


def formatted(buffer: RecordBuffer) -> list[bytes]:
    formatter = Formatter(ENDPOINTS, Anchor.now())
    return [formatter.format(buffer, at, min(at + BATCH, buffer.count), at) for at in range(0, buffer.count, BATCH)]


def compressed(texts: list[bytes]) -> int:
    frame = zstandard.ZstdCompressor(level=1).compressobj()
    size = sum(len(frame.compress(text)) + len(frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)) for text in texts)
    return size + len(frame.flush())


def naive_lines(buffer: RecordBuffer) -> list[bytes]:
    """The usual loop: one f-string a row, the text of the last second kept."""
    offset = Anchor.now().offset_ns
    second, text = -1, ""
    lines = []

    def stamp(moment: int) -> str:
        nonlocal second, text
        whole, rest = divmod(moment + offset, 10**9)
        if whole != second:
            second, text = whole, f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{text}.{rest:09d}Z"

    ops = {int(op): op.name for op in Op}
    rows = zip(buffer.rows.tolist(), buffer.names, strict=True)
    for idx, ((start, first, end, _, nbytes, count, _, _, _, op, _), name) in enumerate(rows):
        begin, done = stamp(start), stamp(end)
        body = stamp(first) if first else ""
        lines.append(
            f"{idx}\t3\t{ops[op]}\t\t{count}\t{nbytes}\ts3://\tbucket/{name}\t\t"
            f"{begin}\t{body}\t{done}\t{end - start}\n"
        )
    return ["".join(lines[at : at + BATCH]).encode() for at in range(0, len(lines), BATCH)]


def polars_lines(buffer: RecordBuffer) -> list[bytes]:
    """polars, in batches as ours."""
    import numpy as np
    import polars as pl

    offset = Anchor.now().offset_ns
    ops = np.array(["", *Op.__members__], dtype=object)
    texts = []
    for at in range(0, buffer.count, BATCH):
        rows = buffer.rows[at : at + BATCH]
        start, end = rows["start"] + offset, rows["end"] + offset
        frame = pl.DataFrame(
            {
                "idx": np.arange(at, at + len(rows)),
                "thread": np.full(len(rows), 3),
                "op": pl.Series(ops[rows["op"]].tolist()),
                "client_id": pl.repeat("", len(rows), eager=True),
                "n_objects": np.ascontiguousarray(rows["n_objects"]),
                "bytes": np.ascontiguousarray(rows["nbytes"]),
                "endpoint": pl.repeat("s3://", len(rows), eager=True),
                "file": pl.Series(buffer.names[at : at + BATCH]),
                "error": pl.repeat("", len(rows), eager=True),
                "start": pl.Series(start).cast(pl.Datetime("ns")),
                "first_byte": pl.Series(np.where(rows["first"] > 0, rows["first"] + offset, 0)).cast(pl.Datetime("ns")),
                "end": pl.Series(end).cast(pl.Datetime("ns")),
                "duration_ns": end - start,
            }
        ).with_columns(
            file=pl.lit("bucket/") + pl.col("file"),
            first_byte=pl.when(pl.col("first_byte") > pl.datetime(1971, 1, 1)).then(pl.col("first_byte")),
        )
        text = frame.write_csv(
            separator="\t", include_header=False, quote_style="never", datetime_format="%Y-%m-%dT%H:%M:%S%.9fZ"
        )
        texts.append(text.encode())
    return texts


def written(buffer: RecordBuffer, path: str) -> None:
    with OpLogWriter(path, endpoints=ENDPOINTS, anchor=Anchor.now()) as writer:
        for at in range(0, buffer.count, BATCH):
            writer.write(buffer, at, min(at + BATCH, buffer.count))


def recorded(made: list[tuple[int, str, int, int, int, int]], path: str) -> None:
    """From the call of ``add`` to the file, as in a program: another thread formats, compresses and writes."""
    with OpLog(path, environ={}) as log:
        log.meter(MemoryStore(MemoryOptions()), "s3://bucket/", "s3://")
        add = log._recorders.current().add
        for op, name, start, first, end, nbytes in made:
            add(op, name, start, first, end, nbytes)
    assert log.written == len(made)
    assert log.dropped == 0


def by_peer(lines: Callable[[RecordBuffer], list[bytes]], made: list[tuple[int, str, int, int, int, int]]) -> None:
    compressed(lines(append(made)))


def joined(directory: Path, buffer: RecordBuffer) -> Callable[[], None]:
    """Two parts into one file; their writing is not measured."""

    def prepare() -> None:
        for name in "ab":
            written(buffer, str(directory / f"{name}.tsv.zst"))

    def run() -> None:
        join_parts([directory / "a.tsv.zst", directory / "b.tsv.zst"], directory / "joined.tsv.zst")

    run.prepare = prepare  # type: ignore[attr-defined]
    return run


def cpu_of(run: Callable[[], object]) -> float:
    """Seconds of CPU, user and system, of all threads."""
    if hasattr(run, "prepare"):
        run.prepare()
    begin = time.process_time_ns()
    run()
    return (time.process_time_ns() - begin) / 1e9


def table(rows: int, rounds: int, directory: Path) -> None:
    made = calls(rows)
    buffer = append(made)
    texts = formatted(buffer)
    path = str(directory / "oplog.tsv.zst")
    written(buffer, path)
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        "(loop around the records)": (rows, lambda: loop(made)),
        "append: Recorder.add": (rows, lambda: append(made)),
        "format": (rows, lambda: formatted(buffer)),
        "compress": (rows, lambda: compressed(texts)),
        "write: format, compress, file": (rows, lambda: written(buffer, path)),
        "**record, all in: OpLog**": (rows, lambda: recorded(made, path)),
        "f-strings, all in": (rows, lambda: by_peer(naive_lines, made)),
    }
    missing = [name for name in ("polars", "s3dlio") if importlib.util.find_spec(name) is None]
    if "polars" not in missing:
        assert b"".join(polars_lines(buffer)).count(b"\n") == rows
        steps["polars write_csv, all in"] = (rows, lambda: by_peer(polars_lines, made))
    steps["join of two parts"] = (2 * rows, joined(directory, buffer))
    steps["read, row by row"] = (rows, lambda: sum(1 for _ in read(path, strict=True)))
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, (count, run) in steps.items():
            found[name].append(cpu_of(run) / count * 1e6)
    if "s3dlio" not in missing:
        with_log, without = zip(*(s3dlio_log(directory) for _ in range(rounds)), strict=True)
        found["s3dlio, file read of 4 KiB"] = list(without)
        found["s3dlio, file read of 4 KiB, logged"] = list(with_log)
    print(f"\nMedians of {rounds} interleaved rounds of {rows:,} rows, µs of CPU per row; {os.cpu_count()} CPUs.")
    print(
        f"{sum(map(len, texts)) / rows:.0f} bytes a row, compressed {sum(map(len, texts)) / compressed(texts):.2f}:1.\n"
    )
    print("| step | median | least |\n|---|--:|--:|")
    for name, samples in found.items():
        print(f"| {name} | {statistics.median(samples):.3f} | {min(samples):.3f} |")
    if missing:
        print(f"\nNot installed, so left out: {', '.join(missing)}")


S3DLIO = """
import sys, time, s3dlio
target, log, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
if log:
    s3dlio.init_op_log(log)
for number in range(200):
    s3dlio.get(target)
begin = time.process_time_ns()
for number in range(count):
    s3dlio.get(target)
if log:
    s3dlio.finalize_op_log()
print((time.process_time_ns() - begin) / count / 1000)
"""


def s3dlio_log(directory: Path) -> tuple[float, float]:
    """µs of CPU of a file read of 4 KiB, with the log on and without it."""
    target = directory / "object"
    target.write_bytes(bytes(4096))
    environ = os.environ | {"S3DLIO_OPLOG_LOSSLESS": "1"}
    cost = []
    for log in (str(directory / "peer.tsv.zst"), ""):
        command = [sys.executable, "-c", S3DLIO, f"file://{target}", log, "20000"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
        cost.append(float(done.stdout.split()[-1]))
    return cost[0], cost[1]


def soak(directory: Path, operations: int, threads: int) -> None:
    """Drive a metered store from several threads and account for every row."""
    path = directory / "soak.tsv.zst"
    store = MemoryStore(MemoryOptions(name="soak"))
    names = [f"data/part-{number % 64:03d}/object-{number:06d}.bin" for number in range(10_000)]
    for name in names:
        store.put(name, bytes(64))
    begin, used = time.monotonic(), time.process_time()
    with OpLog(path, environ={}) as log:
        metered = log.meter(store, "mem://soak/", "mem://soak")

        def work(first: int, count: int) -> None:
            sink = Discard(4096)
            for number in range(first, first + count):
                metered.get(names[number % 10_000], sink)

        share = operations // threads
        counts = [share + (number < operations % threads) for number in range(threads)]
        workers = [threading.Thread(target=work, args=(number * 37, count)) for number, count in enumerate(counts)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    took, used = time.monotonic() - begin, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"operations {operations:,} by {threads} threads in {took:.1f} s; {used / operations * 1e6:.2f} µs CPU each")
    print(f"rows accepted {log.accepted:,}, written {log.written:,}, dropped {log.dropped:,}")
    print(f"file {path.stat().st_size / 2**20:.1f} MiB; peak RSS while recording {peak:.0f} MiB")
    with read(path, strict=True) as reader:
        in_order = all(row.idx == place for place, row in enumerate(reader))
    print(f"rows read back {reader.count:,}, numbered without a gap: {in_order}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak RSS in all {peak:.0f} MiB")
    if not (log.accepted == log.written == reader.count == operations and in_order and log.dropped == 0):
        sys.exit("rows were lost")
    if peak >= 400:
        sys.exit("more than 400 MiB of memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=".", help="where to write; what is made there is removed")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("writing", "reading"), help="one of the tables")
    parser.add_argument("--reading-rows", type=int, default=READING_ROWS, help="of the log that is read")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--soak", action="store_true", help="the proof that no row is lost")
    parser.add_argument("--operations", type=int, default=SOAK, help="of the soak")
    parser.add_argument("--threads", type=int, default=8, help="of the soak")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-", dir=arguments.dir) as directory:
        if arguments.soak:
            soak(Path(directory), arguments.operations, arguments.threads)
            return
        if arguments.quick:
            arguments.rows, arguments.reading_rows, arguments.rounds = 20_000, 1_000_000, 1
        if arguments.only != "reading":
            table(arguments.rows, arguments.rounds, Path(directory))
        if arguments.only != "writing":
            reading_table(Path(directory), arguments.reading_rows, arguments.rounds)


if __name__ == "__main__":
    main()
