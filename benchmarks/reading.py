"""What it costs to analyze and sort large op-logs, beside polars and duckdb: what ``oplog.py`` measures with it.

Each measurement is a process of its own. CPU is user and system time of it and all that it starts; memory is its peak
and, for several processes, that of the largest worker times their number.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import zstandard

from penstock.clocks import Anchor
from penstock.oplog import OpLogWriter
from penstock.oplog.formatter import BATCH
from penstock.records import Endpoint, Op, RecordBuffer

__all__ = ["make_log", "table", "unpack"]

BOUNDS = "0, 8192, 65536, 524288, 4194304, 33554432, 268435456, 2147483648"


def make_log(path: Path, rows: int) -> None:
    """A log as a mixed workload of 8 threads makes it, by penstock's own writer."""
    import numpy as np

    rng = np.random.default_rng(1)
    at = 0
    buffer = RecordBuffer(BATCH)
    anchor = Anchor(1_769_860_800_000_000_000)
    with OpLogWriter(path, endpoints=[Endpoint("s3://bucket/", "s3://")], anchor=anchor) as writer:
        for begin in range(0, rows, BATCH):
            count = min(BATCH, rows - begin)
            took = rng.integers(20_000, 3_000_000, count)
            start = at + np.cumsum(took // 8)
            at = int(start[-1])
            ops = rng.choice(np.array([Op.GET, Op.GET, Op.PUT, Op.STAT], np.uint8), count)
            buffer.clear()
            buffer.thread = begin // BATCH % 8
            numbers = rng.integers(0, 10**6, count).tolist()
            buffer.names = [f"data/part-{number % 64:03d}/object-{number}.bin" for number in numbers]
            buffer.errors = ["Timeout: no answer within 30 s"]
            made = buffer.rows
            made["start"], made["end"] = start, start + took
            made["first"] = np.where(ops == Op.GET, start + took // 2, 0)
            made["nbytes"] = np.where(ops == Op.STAT, 0, rng.integers(0, 1 << 20, count))
            made["op"], made["n_objects"], made["attempts"] = ops, 1, 1
            made["error"] = rng.integers(0, 10_000, count) == 0
            made["due"] = made["endpoint"] = made["flags"] = 0
            writer.write(buffer, 0, count)


def unpack(path: Path) -> Path:
    """The same log without compression."""
    plain = path.with_suffix("")
    with open(path, "rb") as source, open(plain, "wb") as target:
        zstandard.ZstdDecompressor().copy_stream(source, target)
    return plain


ANALYZE = """
from penstock.analysis.analyzing import analyze
def run(path, workers):
    found = analyze([path], workers=int(workers))
    return found.logs[0].rows, found.tally.operation("GET").service.percentile(99)
"""

SCAN = """
from penstock.oplog.columnar import ColumnLog
def run(path, workers):
    return sum(map(len, ColumnLog(path))), 0
"""

SORT = """
import os
from penstock.oplog import sort_log
def run(path, workers):
    done = sort_log(path, path + ".sorted.tsv.zst")
    os.unlink(path + ".sorted.tsv.zst")
    return done.rows, 0
"""

POLARS = """
import polars as pl
def run(path, workers):
    names = ["op", "thread", "bytes", "error", "start", "first_byte", "end", "duration_ns"]
    texts = {name: pl.String for name in ("op", "error", "start", "first_byte", "end")}
    log = pl.scan_csv(path, separator="\\t", quote_char=None, schema_overrides=texts).select(names)
    stamp = lambda name: pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.9fZ", time_unit="ns")
    bounds = [BOUNDS]
    percents = (0.5, 0.9, 0.95, 0.99, 0.999)
    log = log.with_columns(stamp("start"), stamp("end"), stamp("first_byte"))
    log = log.with_columns(failed=pl.col("error").fill_null("") != "")
    log = log.with_columns(first=(pl.col("first_byte") - pl.col("start")).dt.total_nanoseconds())
    log = log.with_columns(bucket=pl.sum_horizontal([pl.col("bytes") > bound for bound in bounds]))
    good, took, first = ~pl.col("failed"), pl.col("duration_ns"), pl.col("first")
    found = log.group_by("op", "bucket").agg(
        pl.len().alias("rows"), pl.col("failed").sum().alias("errors"), pl.col("bytes").filter(good).sum(),
        took.filter(good).mean().alias("mean"), took.filter(good).min().alias("min"),
        took.filter(good).max().alias("max"), took.filter(good).std().alias("std"),
        *(took.filter(good).quantile(at).alias(f"p{at}") for at in percents),
        *(first.filter(good).quantile(at).alias(f"f{at}") for at in percents),
        pl.col("thread").n_unique().alias("threads"), pl.col("start").min(), pl.col("end").max(),
    ).collect(engine="streaming")
    return int(found["rows"].sum()), 0
""".replace("BOUNDS", BOUNDS)

DUCKDB = """
import duckdb
def run(path, workers):
    database = duckdb.connect()
    database.execute("set enable_progress_bar = false")
    database.execute("set threads to " + (workers if int(workers) else "1"))
    found = database.execute(
        "with log as (select *, coalesce(error, '') <> '' as failed, "
        "epoch_ns(first_byte) - epoch_ns(start) as first_ns, "
        "list_sum([(bytes > bound)::int for bound in [BOUNDS]]) as bucket "
        "from read_csv(?, delim='\\t', quote='', escape='', header=true, types={'start': 'TIMESTAMP_NS', "
        "'first_byte': 'TIMESTAMP_NS', 'end': 'TIMESTAMP_NS', 'error': 'VARCHAR', 'client_id': 'VARCHAR'})) "
        "select op, bucket, count(*), count(*) filter (failed), sum(bytes) filter (not failed), "
        "avg(duration_ns) filter (not failed), min(duration_ns) filter (not failed), "
        "max(duration_ns) filter (not failed), stddev(duration_ns) filter (not failed), "
        "quantile_disc(duration_ns, [0.5, 0.9, 0.95, 0.99, 0.999]) filter (not failed), "
        "quantile_disc(first_ns, [0.5, 0.9, 0.95, 0.99, 0.999]) filter (not failed), "
        'count(distinct thread), min(start), max("end") from log group by op, bucket', [path]
    ).fetchall()
    return sum(row[2] for row in found), 0
""".replace("BOUNDS", BOUNDS)

HARNESS = """
import json, resource, sys, time
begin = time.perf_counter()
rows, check = run(sys.argv[1], sys.argv[2])
wall = time.perf_counter() - begin
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
peak = own.ru_maxrss + children.ru_maxrss * int(sys.argv[2])
print(json.dumps({"rows": rows, "wall": wall, "cpu": cpu, "peak": peak}))
"""


@attrs.frozen
class Step:
    """One row of the table."""

    name: str
    code: str
    path: Path
    workers: int = 0
    module: str = ""


def table(directory: Path, rows: int, rounds: int) -> None:
    """Make a log, measure and print."""
    packed = directory / "large.tsv.zst"
    make_log(packed, rows)
    plain = unpack(packed)
    processors = len(os.sched_getaffinity(0))
    steps = [
        Step(f"**analyze, {processors} workers**, zstd", ANALYZE, packed, processors),
        Step(f"analyze, {processors} workers, plain", ANALYZE, plain, processors),
        Step("analyze, one process, zstd", ANALYZE, packed),
        Step("read into columns, zstd", SCAN, packed),
        Step("polars lazy, plain", POLARS, plain, module="polars"),
        Step("duckdb, zstd", DUCKDB, packed, processors, module="duckdb"),
        Step("duckdb, plain", DUCKDB, plain, processors, module="duckdb"),
        Step("sort, zstd", SORT, packed),
    ]
    missing = sorted({step.module for step in steps if step.module and importlib.util.find_spec(step.module) is None})
    steps = [step for step in steps if step.module not in missing]
    found: dict[str, list[dict[str, Any]]] = {step.name: [] for step in steps}
    for _ in range(rounds):
        for step in steps:
            found[step.name].append(_measure(step, rows))
    size = packed.stat().st_size / 2**20
    print(f"\nA log of {rows:,} rows, {size:.0f} MiB compressed; medians of {rounds} interleaved rounds; ", end="")
    print(f"{processors} CPUs. What starting takes is within.\n")
    print("| step | M rows/s | CPU µs/row, median | least | peak MiB |\n|---|--:|--:|--:|--:|")
    for name, samples in found.items():
        rate = rows / statistics.median(sample["wall"] for sample in samples) / 1e6
        costs = [sample["cpu"] / rows * 1e6 for sample in samples]
        peak = max(sample["peak"] for sample in samples) / 1024
        print(f"| {name} | {rate:.2f} | {statistics.median(costs):.3f} | {min(costs):.3f} | {peak:.0f} |")
    if missing:
        print(f"\nNot installed, so left out: {', '.join(missing)}")


def _measure(step: Step, rows: int) -> dict[str, Any]:
    command: Sequence[str] = [sys.executable, "-c", step.code + HARNESS, str(step.path), str(step.workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{step.name} failed: {done.stderr}")
    sample: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if sample["rows"] != rows:
        sys.exit(f"{step.name} saw {sample['rows']} of {rows} rows")
    return sample
