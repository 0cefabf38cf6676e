"""Looking at the hosts of a run without running it: what ``penstock preflight`` does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from penstock.clocks import Anchor
from penstock.engine.findings import Finding, ordered
from penstock.engine.preflight import answer, ask, inspect, questions
from penstock.engine.probing import read_clock
from penstock.engine.starting import forwarded, open_launcher, refuse_open
from penstock.errors import PenstockError
from penstock.launchers import HOST_WORKER, Launcher, LaunchSpec, WorkerHandle
from penstock.quantities import format_duration
from penstock.workload.config import Config, Distributed

__all__ = ["look", "look_at_clock"]


def look(config: Config) -> list[Finding]:
    """Look at every host of a configuration, or at this one where its launcher has none; errors first.

    Raises RunError where hosts can't be started, UsageError for options and agents that don't go with them.
    """
    launcher = open_launcher(config.launcher, config.distributed)
    with tempfile.TemporaryDirectory(prefix="penstock-preflight-") as scratch:
        if launcher.hosts:
            return anyio.run(_look, launcher, config, scratch)
        found = answer(ask(config, hosts=1), scratch=scratch)["findings"]
        return ordered(Finding.from_message(each) for each in found)


async def _look(launcher: Launcher, config: Config, scratch: str) -> list[Finding]:
    distributed = config.distributed
    try:
        spec = LaunchSpec(scratch=scratch, worker=HOST_WORKER, lease=distributed.lease)
        handles = await launcher.start(distributed.hosts, spec)
        asked = questions(config, [(handle.host, handle.greeting.host) for handle in handles], forwarded(distributed))
        refuse_open((name for question in asked for name in question["environment"]), launcher.channel)
        found = await inspect(asked, [handle.host for handle in handles], _Calls(handles).call)
        return ordered([*found, *[await _clock(handle, distributed) for handle in handles]])
    finally:
        await launcher.stop()


class _Calls:
    def __init__(self, handles: Sequence[WorkerHandle]) -> None:
        self._handles = handles

    async def call(self, rank: int, question: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._handles[rank].call("preflight", question)


async def _clock(handle: WorkerHandle, distributed: Distributed) -> Finding:
    anchor = Anchor.now()

    async def ask_clock() -> int:
        return int((await handle.call("clock", {}))["wall_ns"])

    try:
        reading = await read_clock(ask_clock, distributed.clock.probes, anchor)
    except PenstockError as error:
        remedy = "look at the worker's log on that host"
        return Finding(level="error", subject="clock", cause=str(error), remedy=remedy, host=handle.host)
    return look_at_clock(handle.host, reading.offset_ns, reading.uncertainty_ns, distributed)


def look_at_clock(host: str, offset_ns: int, uncertainty_ns: int, distributed: Distributed) -> Finding:
    """What a comparison of clocks tells: ``offset_ns`` is how far the host's is ahead, give or take the other."""
    policy, uncertain = distributed.clock, uncertainty_ns / 1e9
    sign = "ahead" if offset_ns >= 0 else "behind"
    text = f"{format_duration(abs(offset_ns) / 1e9)} {sign}, give or take {format_duration(uncertain)}"
    if uncertain <= policy.max_uncertainty:
        return Finding(level="info", subject="clock", cause=text, host=host)
    more = f"{text}: more than distributed.clock.max_uncertainty, {format_duration(policy.max_uncertainty)}"
    remedy = "use a faster network, or raise it"
    level = "error" if policy.action == "refuse" else "warning"
    return Finding(level=level, subject="clock", cause=more, remedy=remedy, host=host)  # type: ignore[arg-type]
