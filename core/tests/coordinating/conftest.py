"""Hosts that are simulated in this process: they answer as they are told, with clocks of their own."""

from __future__ import annotations

import base64
import signal
from importlib.metadata import version

import anyio
import attrs
import numpy as np
import pytest

from penstock.clocks import monotonic_ns, wall_ns
from penstock.engine.coordinator import Coordinator
from penstock.engine.course import course_of
from penstock.engine.outcomes import status_of
from penstock.engine.parts import HostPlan
from penstock.engine.plan import make_plans
from penstock.engine.team import Rhythm
from penstock.errors import PenstockError, RunError, WorkerLostError
from penstock.launchers import Greeting, LaunchSpec
from penstock.launching import messages
from penstock.records import Op, record_dtype
from penstock.report.live import open_view
from penstock.stats.tally import Tally
from penstock.workload.config import loads

CONFIG = """
target: file:///simulated
concurrency: 4
processes: 2
live_interval: 0.1
duration: 1s
on_error: {action: continue}
workload: [{op: put, path: n/, size: 1}]
"""
#: So fast that a test does not wait, and slow enough for a busy machine.
RHYTHM = Rhythm(period=0.05, look=0.02, warn=0.1, lost=0.3, ahead=0.05)


@attrs.define(eq=False)
class SimulatedHost:
    """A worker on a host. ``does`` says by method what is to go wrong: ``dies``, ``silent``, ``fails`` or
    ``interrupts`` (its user does), or seconds that it takes. ``lost`` says which of its processes were lost. ``shift``
    is how far its clock is ahead in nanoseconds; ``out`` and ``back`` are how long a message takes each way, in
    seconds.
    """

    rank: int
    does: dict[str, str | float] = attrs.Factory(dict)
    shift: int = 0
    out: float = 0.0
    back: float = 0.0
    intervals: int = 3
    files: dict[str, bytes] = attrs.Factory(dict)
    lost: dict[int, str] = attrs.Factory(dict)
    calls: list[tuple[str, dict]] = attrs.Factory(list)
    received: dict[str, bytes] = attrs.Factory(dict)
    gone: anyio.Event | None = None
    mute: bool = False
    killed: bool = False

    @property
    def host(self):
        return f"node{self.rank}"

    @property
    def pid(self):
        return 100 + self.rank

    @property
    def greeting(self):
        return Greeting(
            protocol=messages.PROTOCOL, version=version("penstock"), python="3.11.7", host=self.host, pid=self.pid,
            cpus=(0, 1), plugins={},
        )  # fmt: skip

    def wall(self):
        return wall_ns() + self.shift

    def seen(self, method):
        return [body for name, body in self.calls if name == method]

    def kill(self):
        self.killed = True
        self._lost().set()

    def _lost(self):
        if self.gone is None:
            self.gone = anyio.Event()
        return self.gone

    async def _enter(self, method, body):
        self.calls.append((method, dict(body)))
        await anyio.sleep(self.out) if self.out else None
        does = self.does.get(method, 0.0)
        if does == "dies":
            self._lost().set()
        self.mute = self.mute or does == "silent"
        if self.mute:
            await self._lost().wait()
        if self._lost().is_set():
            raise WorkerLostError(self.rank, self.host, "the link is down" if not self.killed else "it was given up")
        if does == "fails":
            raise RunError("no room left")
        if does == "interrupts":
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep(0.1)
        if isinstance(does, float):
            await anyio.sleep(does)

    async def call(self, method, body):
        await self._enter(method, body)
        answer = self._answer(method, body)
        await anyio.sleep(self.back) if self.back else None
        return answer

    def _answer(self, method, body):
        if method == "clock":
            return {"wall_ns": self.wall()}
        if method == "files":
            return {"files": [{"name": n, "bytes": len(d), "path": f"/far/{n}"} for n, d in self.files.items()]}
        if method == "fetch":
            data = self.files[body["name"]][body["offset"] :][: body["length"]]
            end = body["offset"] + len(data) >= len(self.files[body["name"]])
            return {"data": base64.b64encode(data).decode(), "end": end}
        if method == "receive":
            assert len(self.received.get(body["name"], b"")) == body["offset"]
            self.received[body["name"]] = self.received.get(body["name"], b"") + base64.b64decode(body["data"])
        if method == "preflight":
            return {"findings": []}
        if method == "beat":
            return {
                "processes": [{"rank": rank, "pid": 0, "cpu_ns": 0, "lost": why} for rank, why in self.lost.items()]
            }
        return {"log": {"accepted": 7, "written": 7}} if method == "finish" else {}

    async def stream(self, method, body):
        await self._enter(method, body)
        if method in ("prepare", "cleanup"):
            yield {"made": 5, "found": 0, "nbytes": 50, "failed": 0}
        if method != "run":
            return
        while (ahead := body["start_ns"] - self.wall()) > 0:
            await anyio.sleep(ahead / 1e9)
        began = self.wall()
        yield self._snapshot(-1)
        for number in range(self.intervals):
            if number == 1:
                await self._enter("middle", {})
            yield self._snapshot(number)
        yield {
            "done": True, "reason": "", "began_ns": began, "processes": self._processes(5), "disks": [], "links": [],
        }  # fmt: skip

    def _processes(self, used):
        ranks = [2 * self.rank, 2 * self.rank + 1]
        return [
            {"rank": each, "pid": 1000 + each, "cpu_ns": used * 10**6, "lost": self.lost.get(each)} for each in ranks
        ]

    def _snapshot(self, number):
        tally = Tally()
        if number >= 0:
            rows = np.zeros(1, record_dtype())
            rows["op"], rows["end"], rows["attempts"] = Op.PUT, 10**6, 1
            tally.add(rows)
        return {
            "number": number, "start_s": max(number, 0) * 0.1, "end_s": (number + 1) * 0.1,
            "tally": tally.to_message(), "errors": [], "cpu_ns": (number + 2) * 10**6,
            "processes": self._processes(number + 2), "host": {"user": 10.0, "system": 5.0, "iowait": 1.0},
        }  # fmt: skip


@attrs.define
class SimulatedLauncher:
    workers: list[SimulatedHost]
    channel: str = "protected"
    hosts: bool = True
    stopped: bool = False
    spec: LaunchSpec | None = None

    async def start(self, workers, spec):
        self.spec = spec
        return self.workers

    async def stop(self):
        self.stopped = True


@attrs.define
class SimulatedRun:
    """What came of one, and how long it took."""

    found: object
    workers: list[SimulatedHost]
    coordinator: Coordinator
    end: tuple
    seconds: float

    @property
    def notes(self):
        return [*self.found.notes, *(note for leg in self.found.legs for note in leg.notes)]


@attrs.define
class Planner:
    config: object
    op_log: str | None = None
    asked: list = attrs.Factory(list)

    def plans(self, hosts):
        plans = make_plans(self.config, run_id="run", hosts=hosts)
        plans = plans if self.op_log is None else [plan.logging_to(self.op_log) for plan in plans]
        return [
            HostPlan.of(
                [plan for plan in plans if plan.host == rank], rank=rank, hosts=len(hosts), run_id="run",
                worker="penstock.engine.worker", first=next(plan.rank for plan in plans if plan.host == rank),
                shares=len(self.config.parts()),
            )
            for rank in range(len(hosts))
        ]  # fmt: skip

    def questions(self):
        return self.asked


@pytest.fixture
def simulate(tmp_path):
    """Carry out a run on simulated hosts; a minute is for a hang."""

    def simulate(workers, text="", *, channel="protected", rhythm=RHYTHM, op_log=None, inputs=None, asks=False):
        config = loads(CONFIG + text, label="w.yaml", environ={})
        launcher = SimulatedLauncher(workers, channel)
        course = attrs.evolve(course_of(config), inputs=inputs or {})
        planner = Planner(config, op_log, [{}] * len(workers) if asks else [])
        coordinator = Coordinator(
            course, [], launcher, open_view(quiet=True), for_hosts=planner, directory=tmp_path,
            rhythm=rhythm,
        )  # fmt: skip

        async def run():
            with anyio.fail_after(60):
                async with coordinator.listening():
                    try:
                        await coordinator.run(LaunchSpec())
                    except PenstockError as error:
                        refused.append(error)

        began, refused = monotonic_ns(), []
        anyio.run(run)
        assert launcher.stopped
        for error in refused:
            raise error
        seconds = (monotonic_ns() - began) / 1e9
        return SimulatedRun(
            coordinator.found, workers, coordinator, status_of(course.on_error, coordinator.found), seconds
        )

    return simulate


@pytest.fixture
def host():
    """Makes a simulated host."""
    return SimulatedHost
