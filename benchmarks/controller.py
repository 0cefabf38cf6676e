"""What a controller costs: its CPU, memory and traffic with 8, 64 and 512 hosts, and what a relay of them costs.

    python benchmarks/controller.py [--dir DIR] [--quick]

Snapshots are recorded from a real run of several operations and sizes on one host. Then simulated hosts send them,
each second another, through the real workers, coordinator, live view and result: once for 10 minutes as fast as they
are taken, of which CPU time is counted, and once in real time with the questions of every second. The simulation is in
the controller's process, so its own CPU, some ten microseconds for each snapshot, is counted too.

A relay is a host's worker that drives other hosts instead of processes; it hands on one snapshot for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

WORKERS = (8, 64, 512)
FAN_IN = (8, 64, 128)
#: What is simulated without end: 10,000 hosts.
MANY = 10_000
RECORDED = {
    "duration": "12s",
    "concurrency": 8,
    "prepare": {
        "ensure_objects": [{"path": f"{size}/", "count": 60, "size": size} for size in ("4KiB", "64KiB", "1MiB")]
    },
    "workload": [
        {"op": "get", "path": "4KiB/*", "weight": 45},
        {"op": "get", "path": "64KiB/*", "weight": 25},
        {"op": "get", "path": "1MiB/*", "weight": 10},
        {"op": "put", "path": "new-small/", "size": "16KiB", "weight": 3},
        {"op": "put", "path": "new-large/", "size": "1MiB", "weight": 1},
        {"op": "stat", "path": "4KiB/*", "weight": 13},
        {"op": "list", "path": "64KiB/", "weight": 3},
    ],
}
#: Of a snapshot these are its own each second; the rest is sent as it was recorded.
OWN = ("number", "start", "end", "start_s", "end_s", "cpu_ns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=".", help="where the recorded run works; what is made there is removed")
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten, and no 512")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, directory, workers, seconds, pace = arguments.child
        child = {"record": record, "controller": controller, "relay": relay}[kind]
        print(json.dumps(child(Path(directory), int(workers), int(seconds), pace == "fast")))
        return
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=arguments.dir)).resolve()
    try:
        measure(directory, quick=arguments.quick)
    finally:
        shutil.rmtree(directory)


def measure(directory: Path, *, quick: bool) -> None:
    """Record, simulate and print."""
    recorded = spawn("record", directory, 1, 1)
    workers, minutes = (WORKERS[:2], 1) if quick else (WORKERS, 10)
    whole = {n: spawn("controller", directory, n, 60 * minutes if n < 512 else 60) for n in workers}
    paced = {n: spawn("controller", directory, n, 15, "real") for n in workers}
    relays = {n: spawn("relay", directory, n, 30 if quick else 120) for n in FAN_IN}
    size = recorded["bytes"] / recorded["snapshots"]
    print(
        f"\n{recorded['snapshots']} snapshots of a second recorded: {size / 1024:.0f} KiB each, "
        f"{recorded['operations']:,.0f} operations/s of {recorded['cells']} kinds and sizes. {os.cpu_count()} CPUs.\n"
    )
    print("| hosts | simulated | CPU per snapshot | CPU of a core | with questions, in real time | memory | after the"
          " result | result written in | received |")  # fmt: skip
    print("|---" * 9 + "|")
    for n, found in whole.items():
        print(
            f"| {n} | {found['seconds'] / 60:.0f} min | {1e3 * found['cpu'] / found['snapshots']:.2f} ms "
            f"| {found['cpu'] / found['seconds']:.1%} | {paced[n]['cpu'] / paced[n]['seconds']:.1%} "
            f"| {found['running_mib']:.0f} MiB | {found['mib']:.0f} MiB | {found['result_cpu']:.1f} s CPU "
            f"| {found['bytes'] / found['seconds'] / 1e6:.2f} MB/s |"
        )
    print("\n| relay of | CPU per snapshot of a host | CPU of a core | memory | received | sent on |")
    print("|---" * 6 + "|")
    for n, found in relays.items():
        print(
            f"| {n} hosts | {1e3 * found['cpu'] / found['snapshots']:.2f} ms | {found['cpu'] / found['seconds']:.1%} "
            f"| {found['mib']:.0f} MiB | {found['bytes'] / found['seconds'] / 1e6:.2f} MB/s "
            f"| {found['sent'] / found['seconds'] / 1e6:.3f} MB/s |"
        )
    told(whole, paced, relays)


def told(whole: Mapping[int, Any], paced: Mapping[int, Any], relays: Mapping[int, Any]) -> None:
    """How far one controller goes, and a tree for many."""
    largest = max(whole)
    each = max(whole[n]["cpu"] / whole[n]["seconds"] / n for n in (64, largest))
    asked = max(paced[n]["cpu"] / paced[n]["seconds"] / n for n in (64, largest))
    fan = max(n for n in relays if relays[n]["cpu"] / relays[n]["seconds"] < 0.5)
    relay = relays[fan]
    tops = -(-MANY // fan)
    # What a relay sends on is larger than a host's; that it costs as much more above is more than it does.
    top = tops * each * relay["sent"] / relay["seconds"] / (relay["bytes"] / relay["seconds"] / fan)
    received = MANY * whole[largest]["bytes"] / whole[largest]["snapshots"] / 1e6
    print(
        f"\nExtrapolated to {MANY:,} hosts: one controller needs {MANY * asked:.1f} cores and receives {received:.0f} "
        f"MB/s; it carries {int(0.8 / asked):,} hosts with 80 % of a core. With relays of {fan}: {tops} relays at "
        f"{relay['cpu'] / relay['seconds']:.0%} of a core each, and a controller at {top:.0%} of one at most."
    )


def spawn(kind: str, directory: Path, workers: int, seconds: int, pace: str = "fast") -> dict[str, Any]:
    """Measure in a process of its own."""
    print(f"{kind}, {workers} hosts, {seconds} s, {pace}", file=sys.stderr)
    command = [sys.executable, __file__, "--child", kind, str(directory), str(workers), str(seconds), pace]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def peak_mib() -> float:
    """The most memory that this process had so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def record(directory: Path, _workers: int, _seconds: int, _fast: bool) -> dict[str, Any]:
    """Run on one host, and keep what its worker sends."""
    from penstock.cli import main as penstock
    from penstock.engine.watch import Watched
    from penstock.stats.tally import Tally

    snapshots: list[Mapping[str, Any]] = []
    ends: list[Mapping[str, Any]] = []
    take, end = Watched.take, Watched.end

    def taking(worker: Watched, snapshot: Mapping[str, Any]) -> Tally:
        if worker.remote is not None and snapshot["number"] >= 0:
            snapshots.append(snapshot)
        return take(worker, snapshot)

    def ending(worker: Watched, report: Mapping[str, Any]) -> None:
        ends.append(report)
        end(worker, report)

    Watched.take, Watched.end = taking, ending  # type: ignore[method-assign]
    config = RECORDED | {"target": f"file://{directory}/data/", "results_dir": str(directory / "recorded")}
    config["launcher"] = {"name": "local", "hosts": 1}
    (directory / "recorded.yaml").write_text(json.dumps(config))
    try:
        penstock(["run", "--no-preflight", str(directory / "recorded.yaml")], standalone_mode=False)
    except SystemExit as done:
        if done.code:
            raise
    finally:
        sys.stdout.flush()
    whole = [snapshot for snapshot in snapshots if 0.9 < snapshot["end_s"] - snapshot["start_s"] < 1.1]
    (directory / "snapshots.json").write_text(json.dumps({"snapshots": whole, "end": ends[0]}))
    tallies = [Tally.from_message(snapshot["tally"]) for snapshot in whole]
    return {
        "snapshots": len(whole),
        "bytes": sum(len(json.dumps(snapshot, separators=(",", ":"))) for snapshot in whole),
        "operations": sum(tally.count for tally in tallies) / len(whole),
        "cells": len({cell for tally in tallies for cell in tally.cells}),
    }


class Beat:
    """Lets all hosts send the snapshot of one second before any sends that of the next."""

    def __init__(self, hosts: int, *, fast: bool) -> None:
        self.hosts, self.fast = hosts, fast
        self.here = 0
        self.gone = asyncio.Event()
        self.began = 0.0

    async def after(self, number: int) -> None:
        """Until the interval of that number is over."""
        if not self.fast:
            self.began = self.began or time.monotonic()
            await asyncio.sleep(max(0.0, self.began + number + 1 - time.monotonic()))
            return
        self.here += 1
        if self.here < self.hosts:
            await self.gone.wait()
            return
        for _ in range(4):  # for what was sent to be taken
            await asyncio.sleep(0)
        self.here, gone = 0, self.gone
        self.gone = asyncio.Event()
        gone.set()


class Host:
    """A :class:`penstock.launching.links.Link` whose other end is simulated."""

    def __init__(self, rank: int, launcher: Simulated) -> None:
        self._rank, self._launcher = rank, launcher
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        greeting = {"protocol": launcher.protocol, "version": version("penstock"), "python": "3", "host": f"h{rank:05}"}
        greeting |= {"pid": 1000 + rank, "cpus": [0, 1], "plugins": {}}
        self._frames.put_nowait(json.dumps(greeting).encode())

    async def send(self, frame: bytes, /) -> None:
        request = json.loads(frame)
        method, number = request.get("method"), request.get("id")
        if method == "run":
            self._running = asyncio.create_task(self._run(number))
        elif method is not None:
            self._put({"id": number, "body": self._answer(method)})

    async def receive(self) -> bytes | None:
        frame = await self._frames.get()
        self._launcher.nbytes += len(frame or b"")
        return frame

    async def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._frames.put_nowait(None)

    async def cause(self) -> str:
        return "it was ended"

    def _put(self, message: Mapping[str, Any]) -> None:
        self._frames.put_nowait(json.dumps(message).encode())

    def _answer(self, method: str) -> dict[str, Any]:
        if method == "clock":
            return {"wall_ns": time.time_ns()}
        return {"lanes": 8, "processes": [], "log": None, "files": [], "findings": []}

    async def _run(self, number: int) -> None:
        launcher = self._launcher
        for second in range(-1, launcher.seconds):
            if second >= 0:
                await launcher.beat.after(second)
            self._frames.put_nowait(launcher.frame(number, self._rank, second))
        launcher.ended()
        self._put({"id": number, "item": launcher.end})
        self._put({"id": number, "end": True})


class Simulated:
    """A launcher of such hosts."""

    hosts = True
    channel = "protected"

    def __init__(self, directory: Path, hosts: int, seconds: int, *, fast: bool) -> None:
        from penstock.launching import messages

        self.protocol = messages.PROTOCOL
        recorded = json.loads((directory / "snapshots.json").read_text())
        self.seconds, self.count, self.end, self.nbytes = seconds, hosts, recorded["end"], 0
        self._tails = [
            json.dumps({name: field for name, field in each.items() if name not in OWN}, separators=(",", ":"))[
                1:
            ].encode()
            for each in recorded["snapshots"]
        ]
        self._cpu = [each["cpu_ns"] for each in recorded["snapshots"]]
        self.beat = Beat(hosts, fast=fast)
        self._crew: Any = None
        self._ended = 0
        #: Processor time and memory when the first snapshot was sent, and after the last.
        self.cpu = [0.0, 0.0]
        self.mib = 0.0

    async def start(self, _workers: int | None, _spec: Any, /) -> Sequence[Any]:
        from penstock.launching.crew import Crew

        names = [f"h{rank:05}" for rank in range(self.count)]
        self._crew = Crew([Host(rank, self) for rank in range(self.count)], names)
        return await self._crew.start(None)  # type: ignore[no-any-return]

    async def stop(self) -> None:
        self.cpu[1], self.mib = time.process_time(), peak_mib()
        if self._crew is not None:
            await self._crew.stop()

    def frame(self, number: int, rank: int, second: int) -> bytes:
        """The snapshot of a second as a host sends it."""
        self.cpu[0] = self.cpu[0] or time.process_time()
        place = (second + rank) % len(self._tails)
        own = f'{{"id":{number},"item":{{"number":{second},"start":0,"end":0,"start_s":{float(second)},'
        own += f'"end_s":{second + 1.0},"cpu_ns":{(second + 2) * 10**9},'
        return own.encode() + self._tails[place] + b"}"

    def ended(self) -> None:
        self._ended += 1

    @property
    def figures(self) -> dict[str, float]:
        snapshots = self.count * (self.seconds + 1)
        cpu = self.cpu[1] - self.cpu[0]
        return {
            "seconds": self.seconds,
            "snapshots": snapshots,
            "bytes": self.nbytes,
            "cpu": cpu,
            "running_mib": self.mib,
        }


def controller(directory: Path, workers: int, seconds: int, fast: bool) -> dict[str, Any]:
    """A whole run with simulated hosts."""
    from penstock.engine import run
    from penstock.report.live import open_view
    from penstock.workload.config import load

    launcher = Simulated(directory, workers, seconds, fast=fast)
    config = RECORDED | {"target": f"file://{directory}/data/", "results_dir": str(directory / "simulated")}
    config |= {"duration": f"{seconds}s", "prepare": {}, "distributed": {"workers": workers}}
    path = directory / f"simulated-{workers}.yaml"
    path.write_text(json.dumps(config))
    run.open_launcher = lambda *_: launcher  # type: ignore[assignment,return-value]
    loaded = load(str(path), environ={})
    done = run.execute(
        loaded,
        command_line="simulated",
        preflight=False,
        view=lambda place: open_view(place / "console.log", quiet=True),
    )
    if done.outcome.status != "done" or len(done.outcome.workers) != workers:
        sys.exit(f"{done.outcome.status}: {done.outcome.reason}")
    return launcher.figures | {"result_cpu": time.process_time() - launcher.cpu[1], "mib": peak_mib()}


def relay(directory: Path, workers: int, seconds: int, fast: bool) -> dict[str, Any]:
    """A host's worker whose processes are other hosts."""
    from penstock.engine.host import HostSession
    from penstock.engine.parts import HostPart, HostPlan
    from penstock.launching import messages
    from penstock.launching.hosting import HostSettings

    launcher = Simulated(directory, workers, seconds, fast=fast)
    scratch = directory / f"relay-{workers}"
    scratch.mkdir()
    session = HostSession(HostSettings(scratch=str(scratch), name="relay", lease=60.0), launcher)  # type: ignore[arg-type]
    parts = tuple(HostPart(rank=rank, lanes=(8,), body={}) for rank in range(workers))
    plan = HostPlan(rank=0, hosts=1, run_id="bench", worker="penstock.engine.host", parts=parts)
    session.open(plan.to_message())
    now, leg = time.time_ns(), {"leg": 0, "share": 0}
    session.resolve(leg)
    items = session.run(leg | {"start_ns": now, "origin_ns": now})
    sent = sum(len(messages.encode({"id": number, "item": item})) for number, item in zip(itertools.count(), items))
    launcher.cpu[1] = time.process_time()
    figures = launcher.figures | {"sent": sent, "mib": peak_mib()}
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
