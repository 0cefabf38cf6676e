"""How busy the machine's disks and network were, from what Linux counts.

Sources: the kernel's documentation, ``admin-guide/iostats`` for ``/proc/diskstats`` (the tenth number behind the
name is milliseconds in which a request was under way) and ``ABI/testing/sysfs-class-net`` for ``/sys/class/net``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

__all__ = ["DeviceUse", "MachineMeter", "device_of"]

_DISKS: Final = "/proc/diskstats"
_NETWORK: Final = "/sys/class/net"
_SECTOR: Final = 512


@attrs.frozen
class DeviceUse:
    """Use of one device between two readings.

    ``share`` is 0 to 1: of a disk the time in which a request was under way, of a network interface the bytes of
    its busier direction over what its link carries. ``bytes_per_second`` goes with it, in both directions for a disk.
    """

    name: str
    share: float
    bytes_per_second: float


@attrs.define
class _Reading:
    disks: Mapping[str, tuple[int, int]]
    links: Mapping[str, tuple[int, int]]


class MachineMeter:
    """Measures disks and links from when it was made. What the system does not tell is left out."""

    def __init__(self, now_ns: int, *, disks: str = _DISKS, network: str = _NETWORK) -> None:
        """``now_ns`` is a reading of the monotonic clock."""
        self._paths = disks, network
        self._began = now_ns
        self._first = self._read()

    def disks(self, now_ns: int) -> dict[str, DeviceUse]:
        """Each whole disk that did something, by name."""
        seconds, found = (now_ns - self._began) / 1e9, {}
        later = self._read().disks
        for name, (busy_ms, sectors) in later.items():
            before_ms, before_sectors = self._first.disks.get(name, (busy_ms, sectors))
            if seconds > 0 and sectors > before_sectors:
                share = (busy_ms - before_ms) / 1e3 / seconds
                rate = (sectors - before_sectors) * _SECTOR / seconds
                found[name] = DeviceUse(name, min(1.0, max(0.0, share)), rate)
        return found

    def links(self, now_ns: int) -> dict[str, DeviceUse]:
        """Each interface whose speed is known, by name; the loopback has none."""
        seconds, found = (now_ns - self._began) / 1e9, {}
        for name, (received, sent) in self._read().links.items():
            before = self._first.links.get(name, (received, sent))
            speed = _number(Path(self._paths[1], name, "speed"))
            if seconds > 0 and speed is not None and speed > 0:
                rate = max(received - before[0], sent - before[1]) / seconds
                # The link's speed is in units of 10^6 bits per second.
                found[name] = DeviceUse(name, min(1.0, rate * 8 / (speed * 1e6)), rate)
        return found

    def _read(self) -> _Reading:
        return _Reading(_read_disks(self._paths[0]), _read_links(self._paths[1]))


def device_of(path: str, *, devices: str = "/sys/dev/block") -> str | None:
    """The name of the whole disk that holds a path, as ``/proc/diskstats`` has it; None where there is none."""
    try:
        number = os.stat(path).st_dev
        place = Path(devices, f"{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    except OSError:
        return None
    # A partition is a directory in that of its disk.
    return place.parent.name if (place / "partition").exists() else place.name


def _read_disks(path: str) -> dict[str, tuple[int, int]]:
    """Milliseconds under way, and sectors read and written, of each disk."""
    found = {}
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if len(fields) >= 13:
                    found[fields[2]] = int(fields[12]), int(fields[5]) + int(fields[9])
    except (OSError, ValueError):
        return {}
    return found


def _read_links(path: str) -> dict[str, tuple[int, int]]:
    """Bytes received and sent of each interface."""
    found = {}
    try:
        names = os.listdir(path)
    except OSError:
        return {}
    for name in names:
        counts = [_number(Path(path, name, "statistics", f"{way}_bytes")) for way in ("rx", "tx")]
        if counts[0] is not None and counts[1] is not None:
            found[name] = counts[0], counts[1]
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
