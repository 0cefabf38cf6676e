"""The launcher that a job is to use, opened; and what it needs to know before it starts."""

from __future__ import annotations

import os
from typing import Any

import attrs

from penstock.launchers import Launcher
from penstock.options import resolve
from penstock.plugins import default_host
from penstock.workload.config import Distributed, LauncherChoice

__all__ = ["open_launcher"]


def open_launcher(choice: LauncherChoice, distributed: Distributed) -> Launcher:
    """Open it; nothing is started. One that connects to agents is told the addresses of ``distributed.agents``, unless
    its own options name some.

    Raises PluginError where there is none of that name, UsageError for options that it can't use.
    """
    kind = default_host().launcher_type(choice.name)
    given: dict[str, Any] = dict(choice.options)
    addresses = [agent.address for agent in distributed.agents if agent.address is not None]
    if addresses and "agents" not in given and any(field.name == "agents" for field in attrs.fields(kind.options)):
        given["agents"] = ",".join(addresses)
    options = resolve(kind.options, explicit=given, environ=os.environ, scheme=f"launcher {kind.name}").options
    return kind.open(options)
