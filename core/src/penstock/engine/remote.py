"""What the coordinator knows of a worker that is a host with processes of its own, beside what it measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from penstock.launchers import Greeting
from penstock.report.crew import ClockReading
from penstock.stats.machine import DeviceUse
from penstock.stats.system import CpuUsage

__all__ = ["Remote", "Seen", "offset_at"]


@attrs.define(eq=False)
class Remote:
    """A host through the whole run.

    ``readings`` compare its clock with the coordinator's, in order of time. ``round_trip_ns`` is how long it last took
    to answer. ``op_log`` tells what became of its part of the log, ``kept`` where it keeps what was not fetched;
    ``directory`` is where it keeps everything until then, empty: not known.
    ``fetched`` are the files of it that were, by name. ``lost`` says how each of its processes was lost that was.
    """

    greeting: Greeting
    processes: int
    name: str = ""
    address: str = ""
    readings: list[ClockReading] = attrs.field(factory=list)
    round_trip_ns: int = 0
    op_log: Mapping[str, Any] | None = None
    kept: str = ""
    directory: str = ""
    fetched: dict[str, str] = attrs.field(factory=dict)
    lost: dict[int, str] = attrs.field(factory=dict)

    @property
    def cpus(self) -> int:
        """How many processors it may use."""
        return len(self.greeting.cpus)

    @property
    def offset_ns(self) -> int:
        """How far its wall clock is ahead, as far as is known."""
        return self.readings[-1].offset_ns if self.readings else 0

    def ours(self, wall_ns: int) -> int:
        """What the coordinator's wall clock shows when the host's shows that."""
        return wall_ns - offset_at(self.readings, wall_ns)

    def facts(self, seen: Seen) -> dict[str, Any]:
        """What is to be shown of it, as what JSON can hold."""
        greeting = self.greeting
        facts: dict[str, Any] = {
            "penstock": greeting.version,
            "python": greeting.python,
            "host": greeting.host,
            "plugins": dict(greeting.plugins),
            "round_trip_ms": round(self.round_trip_ns / 1e6, 3),
            "processes": [{"rank": rank, "pid": pid} for rank, pid in sorted(seen.pids.items())],
        }
        facts |= {"disks": _devices(seen.disks), "links": _devices(seen.links)}
        return facts | ({"kept": self.kept} if self.kept else {})


def _devices(found: Mapping[str, DeviceUse]) -> list[dict[str, Any]]:
    return [attrs.asdict(each) for each in found.values()]


def offset_at(readings: list[ClockReading], wall_ns: int) -> int:
    """How far a host's clock was ahead when it showed ``wall_ns``: between two readings on the line through them,
    before the first and after the last as in these; 0 without any.
    """
    if not readings:
        return 0
    later = next((place for place, each in enumerate(readings) if each.at_ns + each.offset_ns >= wall_ns), None)
    if later is None:
        return readings[-1].offset_ns
    if not later:
        return readings[0].offset_ns
    before, after = readings[later - 1], readings[later]
    begin, end = before.at_ns + before.offset_ns, after.at_ns + after.offset_ns
    return before.offset_ns + round((after.offset_ns - before.offset_ns) * (wall_ns - begin) / max(end - begin, 1))


@attrs.define(eq=False)
class Seen:
    """What a host tells of itself in one leg.

    ``began_ns`` is its wall clock when its first operation began. ``cpu_s`` and ``first_cpu_ns`` are the processor
    time of its processes, by rank; ``busy`` sums up how many percent-seconds of all its processors anything used over
    ``seconds``. ``lost`` says how each process was lost that was.
    """

    began_ns: int | None = None
    pids: dict[int, int] = attrs.field(factory=dict)
    cpu_ns: dict[int, int] = attrs.field(factory=dict)
    first_cpu_ns: dict[int, int] = attrs.field(factory=dict)
    lost: dict[int, str] = attrs.field(factory=dict)
    busy: float = 0.0
    seconds: float = 0.0
    disks: Mapping[str, DeviceUse] = attrs.field(factory=dict)
    links: Mapping[str, DeviceUse] = attrs.field(factory=dict)

    def take(self, snapshot: Mapping[str, Any], *, counts: bool) -> CpuUsage | None:
        """Note a snapshot, which counts or is of the warm-up; returns how busy the host was."""
        self._processes(snapshot, counts=counts)
        host = snapshot.get("host")
        if host is None:
            return None
        cpu = CpuUsage(user=float(host["user"]), system=float(host["system"]), iowait=float(host["iowait"]))
        if counts:
            seconds = float(snapshot["end_s"]) - float(snapshot["start_s"])
            self.busy, self.seconds = self.busy + (cpu.user + cpu.system) * seconds, self.seconds + seconds
        return cpu

    def end(self, report: Mapping[str, Any]) -> None:
        """Note its report of the end."""
        self._processes(report, counts=True)
        began = report.get("began_ns")
        self.began_ns = None if began is None else int(began)
        for kind in ("disks", "links"):
            setattr(self, kind, {str(each["name"]): DeviceUse(**each) for each in report.get(kind, ())})

    @property
    def cpu_seconds(self) -> list[float]:
        """The processor time of each process in the measured window."""
        return [(used - self.first_cpu_ns.get(rank, 0)) / 1e9 for rank, used in sorted(self.cpu_ns.items())]

    @property
    def host_share(self) -> float | None:
        """The busy share of all its processors, 0 to 1; None: not known."""
        return self.busy / self.seconds / 100 if self.seconds > 0 else None

    def _processes(self, report: Mapping[str, Any], *, counts: bool) -> None:
        for each in report.get("processes", ()):
            rank = int(each["rank"])
            self.pids[rank], self.cpu_ns[rank] = int(each["pid"]), int(each.get("cpu_ns") or self.cpu_ns.get(rank, 0))
            if not counts:
                self.first_cpu_ns[rank] = self.cpu_ns[rank]
            if each.get("lost") is not None:
                self.lost[rank] = str(each["lost"])
