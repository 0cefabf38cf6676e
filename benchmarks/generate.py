# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "dgen-py", "s3dlio", "cryptography", "lz4", "zstandard"]
# ///
"""Generated content: ``nox -s bench -- generate [--quick]``.

How fast bytes come into the caller's buffer, against two generators written in Rust, NumPy's own, and the limits of
memory: a copy and a fill. Figures are GB (10^9 bytes) per second of processor time, of all threads, the best of
interleaved rounds; with 2 threads, each filling a buffer of its own, also per second of the clock. Then, what zstd
level 1 and LZ4 make of the bytes for each compress factor, and how many blocks are different for each dedup factor.
"""

from __future__ import annotations

import argparse
import functools
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np

from penstock.buffers import aligned_buffer
from penstock.payload import Payload
from penstock.payloads.checksums import crc32c
from penstock.payloads.comparing import Comparison, Version
from penstock.payloads.pooled import PooledPayload
from penstock.payloads.random import RandomPayload
from penstock.payloads.shaping import shaped
from penstock.payloads.zero import ZeroPayload

MIB = 1024 * 1024
SIZES = {"4 KiB": 4096, "64 KiB": 64 * 1024, "1 MiB": MIB, "8 MiB": 8 * MIB}
THREADS = (1, 2)
#: Bytes of one measurement in one thread.
WORK = 256 * MIB
RATIO_SIZES = {"4 KiB": 4096, "64 KiB": 64 * 1024, "1 MiB": MIB, "64 MiB": 64 * MIB}
#: Those that people ask for; above 20 no content can suit both compressors.
FACTORS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 50)
#: How far from the factor a ratio may lie.
NEAR = 0.05
#: GB/s of one core into 1 MiB.
GOALS = {"penstock pooled": 25.0, "penstock random": 10.0}
DEDUPS = (1, 2, 3.5, 10)

#: Fills a buffer once; ``number`` is how often it was called before.
Fill = Callable[[memoryview, int], object]


@attrs.frozen
class Row:
    """One generator: ``make(size)`` gives one thread's fill."""

    name: str
    make: Callable[[int], Fill]


def payload(made: Payload) -> Callable[[int], Fill]:
    return lambda size: lambda buffer, number: made.fill(buffer, obj=number)


def copy(size: int) -> Fill:
    source = np.frombuffer(_content(PooledPayload(1), size), dtype=np.uint8)
    return lambda buffer, number: np.copyto(np.frombuffer(buffer, dtype=np.uint8), source)


def numpy_raw(size: int) -> Fill:
    generator = np.random.SFC64(1)
    # It gives memory of its own, so the bytes are copied once.
    return lambda buffer, number: np.copyto(np.frombuffer(buffer, dtype=np.uint64), generator.random_raw(size // 8))


def numpy_bytes(size: int) -> Fill:
    generator = np.random.default_rng(1)

    def fill(buffer: memoryview, number: int) -> None:
        buffer[:] = generator.bytes(size)

    return fill


def rust(module: str) -> Callable[[int], Fill]:
    """The streaming generator of one of the peers, of one thread."""

    def make(size: int) -> Fill:
        import importlib

        kind = importlib.import_module(module).Generator
        stream = kind(64 * WORK, max_threads=1) if module == "dgen_py" else kind(64 * WORK, threads=1)
        left = [64 * WORK]

        def fill(buffer: memoryview, number: int) -> None:
            nonlocal stream
            if left[0] < size:
                stream.reset()
                left[0] = 64 * WORK
            left[0] -= stream.fill_chunk(buffer)

        return fill

    return make


def checked(size: int) -> Fill:
    """What ``verify: content`` does: make the bytes again, and compare."""
    made = PooledPayload(1)
    whole = aligned_buffer(size)
    made.fill(whole, obj=1)
    room = aligned_buffer(256 * 1024)

    def check(buffer: memoryview, number: int) -> None:
        comparison = Comparison([Version(made, 1)], room=room)
        comparison.take(whole)
        if comparison.finding().kind != "same":
            raise AssertionError("the comparison found a difference where there is none")

    return check


def summed(size: int) -> Fill:
    """What ``verify: checksum`` does once the checksums of an object are known."""
    whole = aligned_buffer(size)
    return lambda buffer, number: crc32c(whole)


def rows() -> Sequence[Row]:
    pooled, random = PooledPayload(1), RandomPayload(1)
    return (
        Row("LIMIT memset", payload(ZeroPayload(1))),
        Row("LIMIT copy (numpy)", copy),
        Row("penstock pooled", payload(pooled)),
        Row("penstock pooled, dedup 3", payload(shaped(pooled, 1, dedup_factor=3))),
        Row("penstock pooled, compress 2", payload(shaped(pooled, 1, compress_factor=2))),
        Row("penstock pooled, compress 4", payload(shaped(pooled, 1, compress_factor=4))),
        Row("penstock random", payload(random)),
        Row("penstock random, compress 2", payload(shaped(random, 1, compress_factor=2))),
        Row("penstock random, compress 4", payload(shaped(random, 1, compress_factor=4))),
        Row("dgen-py", rust("dgen_py")),
        Row("s3dlio", rust("s3dlio")),
        Row("numpy SFC64 random_raw, copied", numpy_raw),
        Row("numpy default_rng bytes, copied", numpy_bytes),
        Row("verify: content (pooled)", checked),
        Row("verify: checksum (kept)", summed),
    )


@attrs.frozen
class Sample:
    """GB per second of processor time, and of the clock."""

    cpu: float
    wall: float


def measure(row: Row, size: int, threads: int, work: int) -> Sample:
    count = max(work // size, 1)
    # Small pieces cost calls, not bytes: fewer of them tell as much.
    count = min(count, 20_000)
    fills = [row.make(size) for _ in range(threads)]
    marks: list[tuple[float, float]] = []
    barrier = threading.Barrier(threads, action=lambda: marks.append((time.process_time(), time.perf_counter())))
    failures: list[BaseException] = []

    def lane(fill: Fill) -> None:
        try:
            buffer = aligned_buffer(size)
            fill(buffer, 0)
            barrier.wait()
            for number in range(1, count + 1):
                fill(buffer, number)
            barrier.wait()
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)
            barrier.abort()

    helpers = [threading.Thread(target=lane, args=(fill,)) for fill in fills]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    if failures:
        sys.exit(f"{row.name}: {failures[0]!r}")
    (cpu, wall), (cpu_end, wall_end) = marks
    moved = threads * count * size / 1e9
    return Sample(moved / max(cpu_end - cpu, 1e-9), moved / max(wall_end - wall, 1e-9))


def speeds(rounds: int, work: int) -> None:
    table: dict[str, dict[tuple[str, int], list[Sample]]] = {}
    made = rows()
    for number in range(rounds):
        # Each round begins elsewhere, so that none always follows the same neighbour.
        shift = number * len(made) // rounds
        for row in (*made[shift:], *made[:shift]):
            for title, size in SIZES.items():
                for threads in THREADS:
                    print(f"\rround {number + 1} of {rounds}: {row.name:<40}", end="", file=sys.stderr)
                    table.setdefault(row.name, {}).setdefault((title, threads), []).append(
                        measure(row, size, threads, work)
                    )
    print(file=sys.stderr)
    heads = [*SIZES, "2 threads, 8 MiB", "by the clock", "goal at 1 MiB"]
    print("| GB/s per CPU second, into a buffer of | " + " | ".join(heads) + " |")
    print("|---|" + "--:|" * len(heads))
    for row in made:
        cells = [max(sample.cpu for sample in table[row.name][title, 1]) for title in SIZES]
        both = table[row.name]["8 MiB", 2]
        cells += [max(sample.cpu for sample in both), max(sample.wall for sample in both)]
        goal = f"≥ {GOALS[row.name]:g}" if row.name in GOALS else ""
        print(f"| {row.name} | " + " | ".join([*(f"{cell:.1f}" for cell in cells), goal]) + " |")


def compressors() -> Mapping[str, Callable[[bytes], bytes]]:
    import lz4.block
    import lz4.frame
    import zstandard

    return {
        "zstd -1": zstandard.ZstdCompressor(level=1).compress,
        "LZ4 frame": lz4.frame.compress,
        "LZ4 block": lambda data: lz4.block.compress(data, store_size=False),
    }


def peers_at(factor: int) -> Mapping[str, Callable[[int], bytes]]:
    import dgen_py
    import s3dlio

    def dgen(size: int) -> bytes:
        return bytes(dgen_py.generate_buffer(size, dedup_ratio=1.0, compress_ratio=float(factor)))

    return {
        "dgen-py": dgen,
        "s3dlio": lambda size: bytes(memoryview(s3dlio.generate_data(size, dedup=1, compress=factor))),
    }


def ratios(quick: bool) -> None:
    squeeze = compressors()
    heads = [f"{name}, {title}" for title in RATIO_SIZES for name in squeeze]
    print(f"\nWhat compressors make of it; the goal is within {NEAR:.0%} of the factor, ! is not.")
    print("\n| compress factor | " + " | ".join(heads) + " |\n|---|" + "--:|" * len(heads))
    for factor in FACTORS:
        for name, base in (("pooled", PooledPayload(2)), ("random", RandomPayload(2))):
            made = functools.partial(_content, shaped(base, 2, compress_factor=factor))
            print(f"| {factor} {name} | " + " | ".join(_ratios(factor, made, squeeze, quick)) + " |")
    for factor in (1, 2, 5):
        for name, generate in peers_at(factor).items():
            print(f"| {factor} {name} | " + " | ".join(_ratios(factor, generate, squeeze, quick)) + " |")


def _content(made: Payload, size: int) -> bytes:
    buffer = bytearray(size)
    made.fill(memoryview(buffer), obj=7)
    return bytes(buffer)


def _ratios(
    factor: float, generate: Callable[[int], bytes], squeeze: Mapping[str, Callable[[bytes], bytes]], quick: bool
) -> Sequence[str]:
    cells = []
    for size in RATIO_SIZES.values():
        if quick and size > MIB:
            cells += ["-"] * len(squeeze)
            continue
        data = generate(size)
        found = [len(data) / len(compress(data)) for compress in squeeze.values()]
        cells += [f"{ratio:.2f}{'' if abs(ratio / factor - 1) <= NEAR else ' !'}" for ratio in found]
    return cells


def dedups() -> None:
    heads = ("different blocks of 1 MiB in an object of 70", "different objects of 1 MiB of 70, across")
    print("\n| dedup factor | " + " | ".join(heads) + " |\n|---|--:|--:|")
    for factor in DEDUPS:
        within, across = (shaped(PooledPayload(3), 3, dedup_factor=factor, across=blocks) for blocks in (0, 1))
        whole = _content(within, 70 * MIB)
        blocks = {whole[at : at + MIB] for at in range(0, len(whole), MIB)}
        objects = set()
        for obj in range(70):
            buffer = bytearray(MIB)
            across.fill(memoryview(buffer), obj=obj)
            objects.add(bytes(buffer))
        print(f"| {factor} | {len(blocks)} | {len(objects)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds, and no ratios of 64 MiB")
    arguments = parser.parse_args()
    rounds, work = (3, WORK // 4) if arguments.quick else (7, WORK)
    speeds(rounds, work)
    ratios(arguments.quick)
    dedups()


if __name__ == "__main__":
    main()
