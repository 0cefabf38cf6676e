"""What the storage benchmarks share: one process for each measurement, interleaved rounds, medians, tables.

A client's CPU time is what its whole process, all threads, used for the calls alone: warmed up first, then
measured by getrusage. On a busy machine it is the figure to trust, wall time is not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
from ending import orderly

__all__ = ["Client", "Work", "interleaved", "main", "names_of"]

Call = Callable[[int], int]
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Work:
    """One column: ``count`` calls that move ``size`` bytes each, over ``objects`` objects, from ``threads`` threads.

    Puts make new objects, out of the way of the next run; ``objects`` has to be larger than ``count`` for them.
    """

    title: str
    kind: str
    size: int
    objects: int
    count: int
    threads: int
    per_gb: bool = False


@attrs.frozen(kw_only=True)
class Client:
    """One row. ``prepare`` gets the work and the directory and answers with a maker of one thread's call, which
    takes the object's number and returns the bytes moved. ``module`` is what has to be installed.
    """

    name: str
    prepare: Callable[[Work, Path], Callable[[], Call]]
    kinds: tuple[str, ...] = ("get", "put")
    module: str = ""


@attrs.frozen
class _Sample:
    cpu: float
    wall: float
    count: int


def names_of(work: Work) -> list[str]:
    """The objects of a work, relative to the directory."""
    return [f"{work.kind}-{work.size}/object-{number:06d}.bin" for number in range(work.objects)]


def main(
    description: str,
    works: Sequence[Work],
    clients: Sequence[Client],
    *,
    fio: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """The command line of a benchmark. ``fio`` names rows by the arguments of fio; ``{file}`` is a large file."""
    arguments = _arguments(description)
    if arguments.measure:
        _measure(arguments, works, clients)
        return
    skipped = set(arguments.without)
    works = [work for work in works if not arguments.only or work.title in arguments.only]
    clients = [client for client in clients if client.name not in skipped]
    fio = {} if "fio" in skipped or fio is None else fio
    _require(clients, fio)
    rounds, scale = (3, 0.2) if arguments.quick else (5, 1.0)
    with _scratch(Path(arguments.dir)) as directory:
        _make_objects(works, directory)
        table = {work.title: _run(work, clients, directory, rounds, scale) for work in works}
        limits = {name: _run_fio(command, directory, rounds, arguments.quick) for name, command in fio.items()}
    _print(description, works, clients, table, limits, rounds)


def _arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dir", default=".", help="a directory on the disk to measure; what is made there is removed")
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 5")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out a client, or fio")
    parser.add_argument("--only", action="append", default=[], metavar="TITLE", help="measure only this column")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _require(clients: Sequence[Client], fio: Mapping[str, Sequence[str]]) -> None:
    missing = [c.name for c in clients if c.module and importlib.util.find_spec(c.module) is None]
    if fio and shutil.which("fio") is None:
        missing.append("fio")
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; install it, or leave it out by --without NAME")


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=parent)).resolve()
    try:
        with orderly():
            yield directory
    finally:
        shutil.rmtree(directory)


def _make_objects(works: Sequence[Work], directory: Path) -> None:
    for work in works:
        for name in names_of(work):
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            if work.kind != "put":
                size = work.size if work.kind == "get" else work.size * work.count
                _fill(path, size)
    os.sync()


def _fill(path: Path, size: int) -> None:
    block = os.urandom(min(size, 8 << 20))
    with path.open("wb") as file:
        for begin in range(0, size, len(block)):
            file.write(block[: size - begin])


def _run(work: Work, clients: Sequence[Client], directory: Path, rounds: int, scale: float) -> dict[str, list[_Sample]]:
    rows: dict[str, list[_Sample]] = {}
    able = [client for client in clients if work.kind in client.kinds]
    for number, client in interleaved(able, rounds):
        print(f"\r{work.title}: round {number + 1} of {rounds}, {client.name}        ", end="", file=sys.stderr)
        plan = json.dumps(attrs.asdict(attrs.evolve(work, count=max(int(work.count * scale), work.threads))))
        command = [sys.executable, sys.argv[0], "--measure", client.name, plan, str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"\n{client.name}, {work.title}: {done.stderr}")
        rows.setdefault(client.name, []).append(_Sample(*json.loads(done.stdout.splitlines()[-1])))
        if work.kind == "put":
            _put_away(directory / names_of(work)[0].split("/")[0], len(rows[client.name]), client.name, work)
            _make_objects([work], directory)
    print(file=sys.stderr)
    return rows


def _put_away(made: Path, number: int, client: str, work: Work) -> None:
    """Make room for the next run. Small objects stay until the end: ext4 gives nobody the inode of a file that was
    deleted in the last minutes, and searches past all of them for each file that the next client makes.
    """
    if work.size >= 1 << 20:
        shutil.rmtree(made)
    else:
        made.rename(made.with_name(f"{made.name}-{number}-{client.split()[0].replace('/', '')}"))


def interleaved(clients: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Each round begins with another client, so that no one always follows the same neighbour or the clean-up."""
    for number in range(rounds):
        first = number * max(len(clients) // rounds, 1) % len(clients)
        for client in (*clients[first:], *clients[:first]):
            yield number, client


def _measure(arguments: argparse.Namespace, works: Sequence[Work], clients: Sequence[Client]) -> None:
    name, plan, directory = arguments.measure
    work = Work(**json.loads(plan))
    client = next(client for client in clients if client.name == name)
    make = client.prepare(work, Path(directory))
    marks: list[tuple[resource.struct_rusage, float]] = []
    # Both marks are taken while every thread waits, so that setting up and warming up do not count.
    barrier = threading.Barrier(
        work.threads, action=lambda: marks.append((resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()))
    )
    failures: list[BaseException] = []
    warming = 2 * work.threads if work.kind == "put" else min(work.count, max(work.objects, 2 * work.threads))
    warm, measured = itertools.count(), itertools.count(warming if work.kind == "put" else 0)
    limit = work.count + (warming if work.kind == "put" else 0)

    def lane() -> None:
        try:
            call = make()
            _calls(call, work, warm, warming)
            barrier.wait()
            _calls(call, work, measured, limit)
            barrier.wait()
        except BaseException as error:  # noqa: BLE001 (carried to the main thread)
            barrier.abort()
            failures.append(error)

    threads = [threading.Thread(target=lane) for _ in range(work.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    (before, begin), (after, end) = marks
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([cpu, end - begin, work.count]))


def _calls(call: Call, work: Work, numbers: Iterator[int], limit: int) -> None:
    objects, size = work.objects, work.size
    while (number := next(numbers)) < limit:
        if call(number % objects if objects > 1 else number) != size:
            raise RuntimeError(f"object {number}: not {size} bytes")


def _run_fio(command: Sequence[str], directory: Path, rounds: int, quick: bool) -> list[_Sample]:
    samples = []
    largest = max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    seconds = "1" if quick else "3"
    for _ in range(rounds):
        words = [word.replace("{file}", str(largest)) for word in command]
        done = subprocess.run(
            ["fio", "--name=x", "--thread", "--time_based", f"--runtime={seconds}", "--group_reporting",
             "--output-format=json", *words],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        job = json.loads(done.stdout)["jobs"][0]
        wall = job["read"]["runtime"] / 1000
        # fio counts a group's CPU as the mean of its threads.
        threads = int(next((word.split("=")[1] for word in command if word.startswith("--numjobs=")), "1"))
        cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * wall * threads
        samples.append(_Sample(cpu, wall, job["read"]["total_ios"]))
    return samples


def _print(
    description: str,
    works: Sequence[Work],
    clients: Sequence[Client],
    table: Mapping[str, Mapping[str, Sequence[_Sample]]],
    limits: Mapping[str, Sequence[_Sample]],
    rounds: int,
) -> None:
    print(f"{description}. Client CPU, medians of {rounds} interleaved runs; in brackets operations per second.\n")
    units = [f"{work.title}, {'s/GB' if work.per_gb else 'µs'}" for work in works]
    print(f"| client | {' | '.join(units)} |\n|---|{'--:|' * len(works)}")
    for client in clients:
        cells = [_cell(work, table[work.title].get(client.name)) for work in works]
        print(f"| {client.name} | {' | '.join(cells)} |")
    if limits:
        print("\n| limit | µs per read | reads/s |\n|---|--:|--:|")
    for name, samples in limits.items():
        cpu = statistics.median(sample.cpu / sample.count for sample in samples)
        rate = statistics.median(sample.count / sample.wall for sample in samples)
        print(f"| {name} | {cpu * 1e6:.2f} | {rate:,.0f} |")


def _cell(work: Work, samples: Sequence[_Sample] | None) -> str:
    if not samples:
        return ""
    cpu = statistics.median(sample.cpu / sample.count for sample in samples)
    rate = statistics.median(sample.count / sample.wall for sample in samples)
    figure = f"{cpu / work.size * 1e9:.3f}" if work.per_gb else f"{cpu * 1e6:.1f}"
    return f"{figure} ({rate:,.0f})"
