"""What the benchmarks of object stores share: cases, rows, one process for each measurement, tables.

A row is measured in turns with all others. How often it repeats a call is found while it warms up, so that a client
that takes a hundred times as long does not take a hundred times as long to measure. CPU is that of the whole client
process, all its threads, user and system.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

import attrs
from harness import interleaved

__all__ = [
    "KIB",
    "MIB",
    "AsyncCall",
    "Call",
    "Case",
    "Peer",
    "Place",
    "Row",
    "Sample",
    "content",
    "fill",
    "grid",
    "main",
]

KIB, MIB = 1024, 1024 * 1024

#: Moves one object, by its number, and returns its size.
Call = Callable[[int], int]
AsyncCall = Callable[[int], Awaitable[int]]


@attrs.frozen
class Case:
    """One column: whole objects of ``size`` bytes, ``lanes`` at a time."""

    kind: str
    size: int
    lanes: int
    tls: bool = False

    @property
    def group(self) -> str:
        lanes = f"{self.lanes} lane{'s' if self.lanes > 1 else ''}"
        return f"{self.kind.upper()}, {lanes}{', TLS' if self.tls else ''}"

    @property
    def column(self) -> str:
        return f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"

    @property
    def title(self) -> str:
        return f"{self.kind.upper()} {self.column}, {self.group.partition(', ')[2]}"

    @property
    def names(self) -> list[str]:
        """The objects, which exist before anything is measured; puts replace them."""
        count = min(1000, max(self.lanes, 2, 256 * MIB // self.size))
        return [f"{self.kind}-{self.size}/object-{number:06d}" for number in range(count)]


@attrs.frozen(kw_only=True)
class Place:
    """Where the objects are: ``url`` for peers, ``uri`` for penstock, both without a slash at the end.

    ``options`` are penstock's for this store. ``root`` is the directory of the objects' files, empty where they are
    none.
    """

    url: str
    uri: str
    ca: str
    options: Mapping[str, str] = attrs.field(factory=dict)
    root: str = ""


@attrs.frozen
class Sample:
    """Seconds of CPU and of time, calls, and the peak of the process's memory in KiB, 0 if unknown."""

    cpu: float
    wall: float
    count: int
    peak: int


class Row(Protocol):
    """What stands in a line of the table."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str:
        """What has to be installed first; empty when nothing is."""

    def able(self, case: Case) -> bool: ...

    def sample(self, case: Case, place: Place, seconds: float) -> Sample: ...


@attrs.frozen(kw_only=True)
class Peer:
    """A Python client, measured in a process of its own.

    ``prepare`` answers with a maker of one lane's call: lanes are threads, with ``asynchronous`` tasks of one loop.
    ``module`` is what has to be importable. ``tls``: it can be told of our certificate.
    """

    name: str
    prepare: Callable[[Case, Place], Callable[[], Call] | Callable[[], AsyncCall]]
    module: str = ""
    kinds: tuple[str, ...] = ("get", "put")
    tls: bool = True
    asynchronous: bool = False
    largest: int = 1 << 40

    def missing(self) -> str:
        try:
            found = not self.module or importlib.util.find_spec(self.module)
        except ModuleNotFoundError:
            found = None
        return "" if found else self.module

    def able(self, case: Case) -> bool:
        return case.kind in self.kinds and (self.tls or not case.tls) and case.size <= self.largest

    def sample(self, case: Case, place: Place, seconds: float) -> Sample:
        plan = json.dumps([self.name, attrs.asdict(case), attrs.asdict(place), seconds])
        done = subprocess.run(
            [sys.executable, sys.argv[0], "--measure", plan], capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return Sample(*json.loads(done.stdout.splitlines()[-1]))


def grid(
    sizes: Sequence[int], lanes: Sequence[int], *, tls: bool = False, kinds: Sequence[str] = ("get", "put")
) -> list[Case]:
    """Every combination, column after column of one table and then the next table."""
    return [Case(kind, size, count, tls) for count in lanes for kind in kinds for size in sizes]


def content(size: int) -> bytes:
    """Incompressible bytes, the same ones in every process."""
    source = random.Random(size)
    return b"".join(source.randbytes(min(MIB, size)) for _ in range(0, size, MIB))


def fill(directory: Path, cases: Sequence[Case]) -> None:
    """Make the cases' objects as files, those that are not there yet."""
    for case in cases:
        block = content(case.size)
        for name in case.names:
            path = directory / name
            if not path.exists() or path.stat().st_size != case.size:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(block)


def main(
    description: str,
    cases: Sequence[Case],
    rows: Sequence[Row],
    *,
    quick: Sequence[Case],
    server: Callable[[], AbstractContextManager[Callable[[Sequence[Case], bool], Place]]],
    environ: Callable[[Place], Mapping[str, str]] = lambda place: {},
) -> None:
    """The command line. ``server`` runs one and gives a function that makes a case's objects and says where."""
    # Beside this script lie others with the names of packages, such as azure.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]
    arguments = _arguments(description)
    if arguments.measure:
        _measure(arguments.measure, rows)
        return
    chosen = [case for case in (quick if arguments.quick else cases) if _matches(case, arguments.cases)]
    rows = [row for row in rows if _named(row, arguments.only, True) and not _named(row, arguments.without, False)]
    absent = {row.name: row.missing() for row in rows if row.missing()}
    rows = [row for row in rows if row.name not in absent]
    if not chosen or not rows:
        sys.exit("nothing to measure: no case, or no row, fits what was asked")
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    seconds = arguments.seconds or (0.3 if arguments.quick else 0.6)
    print(f"{description}. Medians of {rounds} interleaved runs; client CPU per operation, from 1 MiB on per GB,")
    print(f"then the rate; {os.cpu_count()} CPUs shared with the server.", flush=True)
    failures: dict[str, str] = {}
    with server() as place_of:
        for group in dict.fromkeys(case.group for case in chosen):
            columns = [case for case in chosen if case.group == group]
            place = place_of(columns, columns[0].tls)
            os.environ.update(environ(place))
            found = {case: _run(case, rows, place, rounds, seconds, failures) for case in columns}
            _print(group, columns, rows, found)
    for name, what in absent.items():
        print(f"\nLeft out, not installed: {name} ({what})")
    for title, what in failures.items():
        print(f"\nFailed: {title}: {what}")
    if failures:
        sys.exit(1)


def _arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few columns, 3 short rounds instead of 5")
    parser.add_argument("--only", default="", metavar="NAMES", help="rows to measure, such as penstock*,obstore")
    parser.add_argument("--without", default="", metavar="NAMES", help="leave these rows out")
    parser.add_argument("--cases", default="", metavar="REGEX", help='columns such as "GET 4 KiB, 8 lanes"')
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long each measurement takes")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _matches(case: Case, pattern: str) -> bool:
    return re.search(pattern, case.title, re.IGNORECASE) is not None


def _named(row: Row, names: str, default: bool) -> bool:
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    return any(fnmatch(row.name.lower(), name) for name in wanted) if wanted else default


def _run(
    case: Case, rows: Sequence[Row], place: Place, rounds: int, seconds: float, failures: dict[str, str]
) -> dict[str, list[Sample]]:
    able = [row for row in rows if row.able(case)]
    found: dict[str, list[Sample]] = {}
    for number, row in interleaved(able, rounds):
        title = f"{row.name}, {case.title}"
        if title in failures:
            continue
        _progress(f"{case.title}: round {number + 1} of {rounds}, {row.name}")
        try:
            found.setdefault(row.name, []).append(row.sample(case, place, seconds))
        except (RuntimeError, subprocess.SubprocessError) as error:
            failures[title] = " ".join(str(error).split())[-400:]
    _progress("")
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr)


def _measure(plan: str, rows: Sequence[Row]) -> None:
    name, fields, where, seconds = json.loads(plan)
    case, place = Case(**fields), Place(**where)
    peer = next(row for row in rows if row.name == name and isinstance(row, Peer))
    make = peer.prepare(case, place)
    cpu, wall, count = (_tasks if peer.asynchronous else _threads)(make, case, seconds)  # type: ignore[operator]
    print(json.dumps([cpu, wall, count, _peak()]), flush=True)
    # Some clients' own threads take seconds to end.
    os._exit(0)


def _threads(make: Callable[[], Call], case: Case, seconds: float) -> tuple[float, float, int]:
    """Lanes as threads. Marks are taken while all wait, so that neither connecting nor warming up counts."""
    size, objects, lanes = case.size, len(case.names), case.lanes
    marks: list[tuple[float, float]] = []
    warmed, numbers, limit = itertools.count(), itertools.count(), 0

    def begin() -> None:
        nonlocal limit
        limit = _limit(lanes, next(warmed), time.perf_counter() - marks[0][1], seconds)
        _mark(marks)

    steps = iter([lambda: _mark(marks), begin, lambda: _mark(marks)])
    barrier = threading.Barrier(lanes, action=lambda: next(steps)())
    failures: list[BaseException] = []

    def lane(index: int) -> None:
        try:
            call = make()
            _check(call(index % objects), size)
            barrier.wait()
            end = time.perf_counter() + seconds / 5
            while time.perf_counter() < end:
                _check(call(next(warmed) % objects), size)
            barrier.wait()
            while (number := next(numbers)) < limit:
                if (moved := call(number % objects)) != size:
                    _check(moved, size)
            barrier.wait()
        except BaseException as error:  # noqa: BLE001 (carried to the main thread)
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=lane, args=(index,)) for index in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return *_between(marks[-2:]), limit


def _tasks(make: Callable[[], AsyncCall], case: Case, seconds: float) -> tuple[float, float, int]:
    """Lanes as tasks of one loop."""
    size, objects, lanes = case.size, len(case.names), case.lanes

    async def lane(call: AsyncCall, numbers: Iterator[int], limit: float, end: float) -> None:
        while time.perf_counter() < end and (number := next(numbers)) < limit:
            if (moved := await call(number % objects)) != size:
                _check(moved, size)

    async def run() -> tuple[float, float, int]:
        calls = [make() for _ in range(lanes)]
        await asyncio.gather(*(call(index % objects) for index, call in enumerate(calls)))
        warmed, numbers, began = itertools.count(), itertools.count(), time.perf_counter()
        await asyncio.gather(*(lane(call, warmed, 1e12, began + seconds / 5) for call in calls))
        limit = _limit(lanes, next(warmed), time.perf_counter() - began, seconds)
        marks: list[tuple[float, float]] = []
        _mark(marks)
        await asyncio.gather(*(lane(call, numbers, limit, 1e12) for call in calls))
        _mark(marks)
        return *_between(marks), limit

    return asyncio.run(run())


def _limit(lanes: int, warmed: int, took: float, seconds: float) -> int:
    """How many calls should fill the time, after so many took so long."""
    return max(lanes, 2, int(warmed / took * seconds))


def _check(moved: int, size: int) -> None:
    if moved != size:
        raise RuntimeError(f"an object of {size} bytes moved {moved}")


def _between(marks: Sequence[tuple[float, float]]) -> tuple[float, float]:
    (cpu, wall), (cpu_after, wall_after) = marks
    return cpu_after - cpu, wall_after - wall


def _mark(marks: list[tuple[float, float]]) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    marks.append((usage.ru_utime + usage.ru_stime, time.perf_counter()))


def _peak() -> int:
    """KiB. getrusage's peak would be at least that of the process which started this one."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def _print(
    group: str, columns: Sequence[Case], rows: Sequence[Row], found: Mapping[Case, Mapping[str, Sequence[Sample]]]
) -> None:
    shown = [row.name for row in rows if any(found[case].get(row.name) for case in columns)]
    if not shown:
        return
    units = [f"{case.column}, {'s/GB (MB/s)' if case.size >= MIB else 'µs (ops/s)'}" for case in columns]
    print(f"\n### {group}\n\n| client | {' | '.join(units)} | peak RSS, MB |\n|---|{'--:|' * (len(columns) + 1)}")
    for name in shown:
        cells = [_cell(case, found[case].get(name)) for case in columns]
        peaks = [sample.peak // 1024 for case in columns for sample in found[case].get(name, ()) if sample.peak]
        print(f"| {name} | {' | '.join(cells)} | {f'{min(peaks)}-{max(peaks)}' if peaks else ''} |")
    sys.stdout.flush()


def _cell(case: Case, samples: Sequence[Sample] | None) -> str:
    if not samples:
        return ""
    cpu = statistics.median(sample.cpu / sample.count for sample in samples)
    rate = statistics.median(sample.count / sample.wall for sample in samples)
    if case.size >= MIB:
        return f"{cpu / case.size * 1e9:.3f} ({rate * case.size / 1e6:,.0f})"
    return f"{cpu * 1e6:.1f} ({rate:,.0f})"
