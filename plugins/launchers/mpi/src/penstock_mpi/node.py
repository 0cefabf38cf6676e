"""What a rank tells of the node it is on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Node", "this_node"]


@attrs.frozen(slots=True, kw_only=True)
class Node:
    """A node as one of its ranks sees it. Two of one ``name`` are the same when they run the same kernel, too, which
    ``boot`` identifies. ``cpus`` are the processors that the rank may use.
    """

    name: str
    boot: str
    cpus: tuple[int, ...]

    @property
    def key(self) -> tuple[str, str]:
        """The same for all ranks of a node."""
        return self.name, self.boot

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Node:
        """What :meth:`to_message` was called on."""
        return cls(name=message["name"], boot=message["boot"], cpus=tuple(message["cpus"]))


def this_node() -> Node:
    """That of this process."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return Node(name=socket.gethostname(), boot=boot, cpus=tuple(sorted(os.sched_getaffinity(0))))
