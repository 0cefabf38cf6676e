"""How agents are, asked all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anyio
import attrs

from penstock.clocks import monotonic_ns, wall_ns
from penstock.errors import RunError, UsageError
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.addresses import Address, parse_addresses
from penstock_grpc.connecting import Access, Connection
from penstock_grpc.settings import StatusOptions

__all__ = ["Report", "ask_all"]

_PAUSE = 0.25


@attrs.frozen(kw_only=True)
class Report:
    """What an agent said, or why nothing came."""

    agent: str
    health: str = ""
    info: pb.InfoReply | None = None
    error: str = ""

    @property
    def usable(self) -> bool:
        """Whether it would take a session now."""
        return self.info is not None and not self.info.draining and not self._full(self.info)

    def to_line(self) -> str:
        """For people."""
        if self.info is None:
            return f"FAILED {self.error}"
        versions = f"penstock {self.info.penstock}, penstock-grpc {self.info.agent}, Python {self.info.python}"
        return f"{self.agent}  {self.health}  {self._state(self.info)}  host {self.info.host}, {versions}"

    def to_json(self) -> str:
        """For programs."""
        if self.info is None:
            return json.dumps({"agent": self.agent, "usable": False, "error": self.error})
        facts = {
            "agent": self.agent,
            "usable": self.usable,
            "health": self.health,
            "host": self.info.host,
            "penstock": self.info.penstock,
            "penstock_grpc": self.info.agent,
            "python": self.info.python,
            "protocol": self.info.protocol,
            "max_sessions": self.info.max_sessions,
            "draining": self.info.draining,
            "running": [{"controller": each.controller, "since_ms": each.since_ms} for each in self.info.running],
        }
        return json.dumps(facts)

    @staticmethod
    def _full(info: pb.InfoReply) -> bool:
        return len(info.running) >= info.max_sessions

    def _state(self, info: pb.InfoReply) -> str:
        state = "about to end" if info.draining else "busy" if self._full(info) else "free"
        now = wall_ns() // 1_000_000
        runs = [f"{each.controller}, {max(0, now - each.since_ms) // 1000} s" for each in info.running]
        return f"{state} ({'; '.join(runs)})" if runs else state


def ask_all(options: StatusOptions) -> list[Report]:
    """One report for each agent, in the order of their names. Raises UsageError as the launcher does."""
    agents = parse_addresses(options.agents or "")
    if not agents:
        raise UsageError("agent status: name the agents: penstock agent status bench1:7167 bench2:7167")
    access = Access.from_options(options)
    return anyio.run(_ask_until, agents, access, options.wait, backend="asyncio")


async def _ask_until(agents: Sequence[Address], access: Access, seconds: float) -> list[Report]:
    end = monotonic_ns() + int(seconds * 1e9)
    while True:
        reports: dict[Address, Report] = {}

        async def ask(address: Address, into: dict[Address, Report]) -> None:
            into[address] = await _ask(address, access)

        async with anyio.create_task_group() as tasks:
            for address in agents:
                tasks.start_soon(ask, address, reports)
        if all(report.info is not None for report in reports.values()) or monotonic_ns() >= end:
            return [reports[address] for address in agents]
        await anyio.sleep(_PAUSE)


async def _ask(address: Address, access: Access) -> Report:
    connection = Connection(address, access)
    try:
        info = await connection.info()
        return Report(agent=str(address), health=await connection.health(), info=info)
    except RunError as error:
        return Report(agent=str(address), error=str(error))
    finally:
        await connection.close()
