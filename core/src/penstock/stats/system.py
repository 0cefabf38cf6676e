"""What the client itself used and is: processor time, and the facts of host and software.

Nothing of it is secret: no environment variables, no user names, no addresses; the host's name is the only name.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Any, Final

import attrs

__all__ = ["CpuMeter", "CpuUsage", "environment"]

_STAT: Final = "/proc/stat"
#: Distributions whose versions tell how a result came about, beside every one called penstock-….
_NOTED: Final = ("anyio", "attrs", "hdrhistogram", "numpy", "pluggy", "zstandard")


@attrs.frozen(kw_only=True)
class CpuUsage:
    """Use of processors between two readings, in percent.

    ``user``, ``system`` and ``iowait`` are shares of all processors of the host; ``process`` is of this process with
    its threads, where 100 is one processor; ``busiest`` is the busiest processor and ``cores`` are all of them.
    What the system does not tell is 0 or empty.
    """

    user: float = 0.0
    system: float = 0.0
    iowait: float = 0.0
    process: float = 0.0
    busiest: float = 0.0
    cores: tuple[float, ...] = ()


class CpuMeter:
    """Measures the use of processors from one reading to the next."""

    def __init__(self, now_ns: int, *, stat_path: str = _STAT) -> None:
        """``now_ns`` is a reading of the monotonic clock."""
        self._path = stat_path
        self._now = now_ns
        self._own = _own_seconds()
        self._ticks = _read_ticks(stat_path)

    def read(self, now_ns: int) -> CpuUsage:
        """The use since the last reading, or since the meter was made."""
        own, ticks = _own_seconds(), _read_ticks(self._path)
        seconds = (now_ns - self._now) / 1e9
        process = 100 * (own - self._own) / seconds if seconds > 0 else 0.0
        shares = _shares(self._ticks, ticks)
        self._now, self._own, self._ticks = now_ns, own, ticks
        if not shares:
            return CpuUsage(process=process)
        user, system, iowait, _ = shares[0]
        cores = tuple(busy for *_, busy in shares[1:])
        return CpuUsage(
            user=user, system=system, iowait=iowait, process=process, busiest=max(cores, default=0.0), cores=cores
        )


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _read_ticks(path: str) -> list[list[int]]:
    """One list of ticks for all processors together, then one for each; empty where there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return [[int(ticks) for ticks in line.split()[1:9]] for line in file if line.startswith("cpu")]
    except OSError:
        return []


def _shares(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> list[tuple[float, float, float, float]]:
    """Percent of user, system, iowait and busy for each line of ticks."""
    if len(before) != len(after):
        return []  # a processor came or went
    shares = []
    for old, new in zip(before, after, strict=True):
        user, nice, system, idle, iowait, irq, softirq, steal = (
            max(0, late - early) for early, late in zip(old, new, strict=True)
        )
        whole = max(1, user + nice + system + idle + iowait + irq + softirq + steal)
        kernel = system + irq + softirq
        percent = (user + nice, kernel, iowait, user + nice + kernel + steal)
        shares.append((*(100 * ticks / whole for ticks in percent),))
    return shares  # type: ignore[return-value]


def environment(path: str | None = None) -> dict[str, Any]:
    """Facts of this host and its software as what JSON can hold; with a local ``path``, also those of its file
    system.
    """
    facts: dict[str, Any] = {
        "host": platform.node(),
        "system": _system_name(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu_model": _cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "cpu_limit": _cpu_limit(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "memory_limit_bytes": _whole(_first_line("/sys/fs/cgroup/memory.max")),
        "page_size_bytes": os.sysconf("SC_PAGE_SIZE"),
        "open_files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "clock_source": _first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "python": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        "packages": _packages(),
    }
    if path is not None:
        facts["file_system"] = _file_system(path)
    return {name: value for name, value in facts.items() if value is not None}


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip() or None
    except OSError:
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), None)
    except OSError:
        return None


def _cpu_limit() -> float | None:
    """How many processors' worth of time the control group may use; None: as many as there are."""
    quota, _, period = (_first_line("/sys/fs/cgroup/cpu.max") or "").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _packages() -> dict[str, str]:
    found = {dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]}
    return {name: found[name] for name in sorted(found) if name in _NOTED or name.split("-")[0] == "penstock"}


def _file_system(path: str) -> dict[str, str] | None:
    """Type and mount point of the file system that holds ``path``, or would once it is made."""
    real = os.path.realpath(path)
    best: tuple[str, str] | None = None
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                mount, _, source = line.partition(" - ")
                point = mount.split(" ")[4].replace("\\040", " ")
                inside = real == point or real.startswith(point.rstrip("/") + "/")
                if inside and (best is None or len(point) >= len(best[0])):
                    best = (point, source.split(" ")[0])
    except (OSError, IndexError):
        return None
    return {"type": best[1], "mount_point": best[0]} if best else None
