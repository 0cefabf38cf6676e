# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs"]
# ///
"""What the engine costs above the store: `penstock run`, with statistics and op-log, against a bare loop.

    python benchmarks/engine.py [--dir DIR] [--quick]

The bare loop calls the opened store's nine-method contract from as many threads, on keys drawn beforehand, and
records nothing, as the first two runs in one process. The last run has the default, a process for each processor,
each bound to one. All are measured in turn; figures are client CPU, user and system of all threads, per operation.
The columns that goals belong to are medians, and the least of all rounds, which a busy machine spoils less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import attrs

SIZE = 4096
OBJECTS = 1000
#: µs per operation above the store, with statistics and op-log; and what a record of the log adds, all in.
ENGINE, RECORD = 8.0, 1.5
#: µs per operation of the store alone, and of the run with its op-log.
GOALS = {("file", "get"): (14.0, 25.0), ("direct", "get"): (15.0, 25.0)}


@attrs.frozen
class Case:
    """One row: an operation on a scheme, ``count`` times from ``lanes`` threads of one process."""

    scheme: str
    op: str
    lanes: int
    count: int

    @property
    def title(self) -> str:
        return f"{self.scheme} {self.op.upper()} 4 KiB, {self.lanes} lanes"


CASES = (
    Case("mem", "get", 1, 400_000),
    Case("mem", "get", 8, 400_000),
    Case("mem", "stat", 8, 400_000),
    Case("file", "get", 8, 200_000),
    Case("file", "put", 8, 60_000),
    Case("direct", "get", 16, 60_000),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=".", help="a directory on the disk to measure; what is made there is removed")
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 5")
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(json.dumps(bare_loop(Case(**json.loads(arguments.bare[0])), arguments.bare[1])))
        return
    rounds, scale = (3, 0.2) if arguments.quick else (5, 1.0)
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=arguments.dir)).resolve()
    try:
        rows = [measure(attrs.evolve(case, count=int(case.count * scale)), directory, rounds) for case in CASES]
    finally:
        shutil.rmtree(directory)
    print(f"\nMedians of {rounds} interleaved rounds; {os.cpu_count()} CPUs; µs of client CPU per operation.\n")
    titles = (
        "work",
        "bare loop",
        "run",
        "run + op-log",
        "engine",
        f"engine + op-log (≤ {ENGINE:g})",
        "least",
        f"op-log (≤ {RECORD:g})",
        "least",
        "run + op-log, default",
        "ops/s bare",
        "ops/s default",
    )
    print("| " + " | ".join(titles) + " |")
    print("|---" * len(titles) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def measure(case: Case, directory: Path, rounds: int) -> list[str]:
    """One row of the table."""
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "run": [], "log": [], "default": []}
    for number in range(rounds):
        print(f"{case.title}: round {number + 1} of {rounds}", file=sys.stderr)
        # A place of its own for each round, which stays until the end: after many deletes ext4 searches long for a
        # free inode, and whoever makes files next would pay for it.
        target = f"{case.scheme}://{directory}/{case.title}-{number}"
        command = [sys.executable, __file__, "--bare", json.dumps(attrs.asdict(case)), target]
        found["bare"].append(json.loads(_output(command)))
        found["run"].append(run(case, f"{target}-run", directory, processes=1, op_log=False))
        found["log"].append(run(case, f"{target}-log", directory, processes=1, op_log=True))
        found["default"].append(run(case, f"{target}-default", directory, processes="auto", op_log=True))
    cpu = {name: statistics.median(sample[0] for sample in samples) for name, samples in found.items()}
    least = {name: min(sample[0] for sample in samples) for name, samples in found.items()}
    rate = {name: statistics.median(sample[1] for sample in samples) for name, samples in found.items()}
    goals = GOALS.get((case.scheme, case.op))
    of_store, of_run = (f" (≤ {goal:g})" for goal in goals) if goals else ("", "")
    return [
        case.title,
        f"{cpu['bare']:.1f}{of_store}",
        f"{cpu['run']:.1f}",
        f"{cpu['log']:.1f}{of_run}",
        f"{cpu['run'] - cpu['bare']:+.1f}",
        f"{cpu['log'] - cpu['bare']:+.1f}",
        f"{least['log'] - least['bare']:+.1f}",
        f"{cpu['log'] - cpu['run']:+.2f}",
        f"{least['log'] - least['run']:+.2f}",
        f"{cpu['default']:.1f}",
        f"{rate['bare']:,.0f}",
        f"{rate['default']:,.0f}",
    ]


def run(case: Case, target: str, directory: Path, *, processes: int | str, op_log: bool) -> tuple[float, float]:
    """µs of the workers' CPU per operation, and operations per second, of a `penstock run`."""
    item: dict[str, object] = {"op": case.op, "path": "*"}
    if case.op == "put":
        item = {"op": "put", "path": "new/", "size": SIZE, "fill": "zero"}
    config = {
        "target": target,
        "duration": None,
        "total_operations": case.count,
        "concurrency": case.lanes,
        "processes": processes,
        "op_log": op_log,
        "results_dir": str(directory),
        "prepare": {"ensure_objects": [{"path": "", "count": OBJECTS, "size": SIZE}]},
        "workload": [item],
    }
    path = directory / "engine.yaml"
    path.write_text(json.dumps(config))
    result = json.loads(_output([sys.executable, "-m", "penstock", "run", str(path), "--json"]))
    cpu = sum(worker["cpu_seconds"] for worker in result["workers"])
    return cpu / case.count * 1e6, case.count / result["window"]["seconds"]


def bare_loop(case: Case, target: str) -> tuple[float, float]:
    """The same work by plain threads on the store's contract."""
    from penstock.opening import resolve_place
    from penstock.sinks import Discard

    # As the engine does it: the store at its own root, and whole keys.
    place = resolve_place(target)
    with closing(place.open(case.lanes)) as store:
        base = f"{place.address.key}/"
        body = os.urandom(SIZE)
        keys = [f"{base}prepared-{number:08d}.dat" for number in range(OBJECTS)]
        for key in keys:
            store.put(key, body)
        share = case.count // case.lanes
        plans = [random.Random(lane).choices(keys, k=share) for lane in range(case.lanes)]

        def loop(lane: int) -> None:
            sink = Discard()
            if case.op == "get":
                for key in plans[lane]:
                    store.get(key, sink)
            elif case.op == "stat":
                for key in plans[lane]:
                    store.stat(key)
            else:
                for number in range(share):
                    store.put(f"{base}new/object-{lane}-{number:08d}.dat", body)

        threads = [threading.Thread(target=loop, args=(lane,)) for lane in range(case.lanes)]
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu / (share * case.lanes) * 1e6, share * case.lanes / seconds


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
