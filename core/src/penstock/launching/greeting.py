"""A worker's first words."""

from __future__ import annotations

import functools
import os
import platform
import socket
from importlib.metadata import entry_points, version

from penstock.launchers import Greeting
from penstock.launching.messages import PROTOCOL

__all__ = ["greet", "own_version"]

_GROUPS = tuple(f"penstock.{kind}" for kind in ("stores", "formats", "payloads", "launchers", "commands"))


@functools.cache
def own_version() -> str:
    """Penstock's."""
    return version("penstock")


def greet(host: str = "") -> Greeting:
    """What this process is. ``host`` is what its host is called, empty: as it calls itself."""
    return Greeting(
        protocol=PROTOCOL,
        version=own_version(),
        python=platform.python_version(),
        host=host or socket.gethostname(),
        pid=os.getpid(),
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        plugins=_plugins(),
    )


def _plugins() -> dict[str, str]:
    found = entry_points()
    offered = (entry.dist for group in _GROUPS for entry in found.select(group=group))
    return {dist.name: dist.version for dist in offered if dist is not None}
