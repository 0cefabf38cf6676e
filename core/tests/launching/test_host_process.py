"""The worker of a host as a process, with a process of its own: what is left when one of them is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import anyio
import attrs
import pytest

from penstock.clocks import wall_ns
from penstock.engine.parts import HostPlan
from penstock.engine.plan import make_plans
from penstock.errors import WorkerLostError
from penstock.launchers import HOST_WORKER, WORKER, LaunchSpec
from penstock.launching import Crew, serve_host
from penstock.stats.tally import Tally
from penstock.workload.config import loads

CONFIG = """
target: "mem:///"
concurrency: 2
duration: 600s
live_interval: 0.1
prepare: {ensure_objects: [{count: 5, size: 100}]}
workload: [{op: get, path: "*"}]
"""


@attrs.frozen
class Host:
    """A host at the other end of a link, and the processes of which it consists; until ``silence`` is cancelled it is
    asked whether it is there.
    """

    handle: object
    link: object
    pids: list[int]
    scratch: Path
    silence: anyio.CancelScope

    async def work(self, seen):
        """Run until it is over; ``seen`` gets an event when something was measured."""
        start = wall_ns()
        async for item in self.handle.stream("run", {"leg": 0, "share": 0, "start_ns": start, "origin_ns": start}):
            if "tally" in item and Tally.from_message(item["tally"]).count:
                seen.set()

    def record(self):
        return json.loads((self.scratch / "host.json").read_text())


@pytest.fixture
def on_a_host(link_pair, tmp_path):
    """Runs a check with a host that is ready to work, and ends it."""

    def run(check, *, lease=30.0, processes=1):
        async def main():
            here, there = link_pair()

            async def serve():
                await serve_host(there, scratch=str(tmp_path), name="load1")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                crew = Crew([here], ["load1"])
                (handle,) = await crew.start(LaunchSpec(worker=HOST_WORKER, lease=lease))
                alone = anyio.CancelScope()

                async def beat():
                    with alone, contextlib.suppress(WorkerLostError):
                        while True:
                            await anyio.sleep(0.1)
                            await handle.call("beat", {})

                tasks.start_soon(beat)
                # Objects in memory are of one process, so each has a plan of its own.
                plans = [
                    attrs.evolve(make_plans(loads(CONFIG, label="t", environ={}), run_id=f"r{rank}")[0], rank=rank)
                    for rank in range(processes)
                ]
                plan = HostPlan.of(plans, rank=0, hosts=1, run_id="r", worker=WORKER, first=0, shares=1)
                answer = await handle.call("open", plan.to_message())
                async for _ in handle.stream("prepare", {}):
                    pass
                await handle.call("resolve", {"leg": 0, "share": 0})
                (scratch,) = tmp_path.iterdir()
                pids = [handle.pid, *(each["pid"] for each in answer["processes"])]
                try:
                    with anyio.fail_after(120):
                        await check(Host(handle, here, pids, scratch, alone))
                finally:
                    alone.cancel()
                    await crew.stop()

        anyio.run(main)

    return run


def test_a_killed_process_is_told_and_the_others_go_on(on_a_host, gone):
    async def check(host):
        _, first, second = host.pids
        seen, items = anyio.Event(), []
        start = wall_ns()
        killed = False
        async for item in host.handle.stream("run", {"leg": 0, "share": 0, "start_ns": start, "origin_ns": start}):
            items.append(item)
            lost = {each["rank"]: each["lost"] for each in item["processes"]}
            if item.get("number", -1) >= 1 and not killed:
                killed = True
                os.kill(first, signal.SIGKILL)
            if lost[0] is not None and not seen.is_set() and item.get("number", -1) > 3:
                seen.set()
                await host.handle.call("drain", {"reason": "enough"})
        assert items[-1]["done"]
        assert items[-1]["reason"] == "enough"
        assert "SIGKILL" in items[-1]["processes"][0]["lost"]
        assert items[-1]["processes"][1]["lost"] is None
        assert (await host.handle.call("beat", {}))["processes"][0]["pid"] == first
        await host.handle.call("finish", {})
        kept = host.record()
        told = Tally()
        for item in items[:-1]:
            told.merge(Tally.from_message(item["tally"]))
        assert Tally.from_message(kept["legs"][0]["tally"]) == told
        await host.handle.call("release", {"keep": []})
        assert not host.scratch.exists()
        gone([first])
        assert second in host.pids

    on_a_host(check, processes=2)


def test_nothing_is_left_running_of_a_host_whose_worker_is_killed(on_a_host, gone):
    async def check(host):
        seen = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def work():
                with pytest.raises(WorkerLostError, match="worker 0 on load1"):
                    await host.work(seen)

            tasks.start_soon(work)
            await seen.wait()
            os.kill(host.pids[0], signal.SIGKILL)
        await anyio.to_thread.run_sync(gone, host.pids)
        assert host.record()["status"] == "running"

    on_a_host(check)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", "the controller was gone"),
        ("silent", "nothing was heard of the controller for 4 s"),
        ("told", "it was told to end (SIGTERM)"),
    ],
)
def test_a_host_without_its_controller_ends_by_itself_and_keeps_what_it_measured(on_a_host, gone, how, said):
    async def check(host):
        seen = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def work():
                # A host that drains may come to its end before it is gone.
                with contextlib.suppress(WorkerLostError):
                    await host.work(seen)

            tasks.start_soon(work)
            await seen.wait()
            host.silence.cancel()
            if how == "gone":
                host.link.kill()
                host.handle.kill()
            if how == "told":
                os.kill(host.handle.pid, signal.SIGTERM)
            await anyio.to_thread.run_sync(gone, host.pids)
        kept = host.record()
        assert (kept["status"], kept["reason"]) == ("abandoned", said)
        assert (host.scratch / "host.log").read_text() == ""
        assert kept["legs"][0]["ended"]
        assert Tally.from_message(kept["legs"][0]["tally"]).count > 0

    on_a_host(check, lease=4.0 if how == "silent" else 30.0)
