"""The launcher that a job is to use, opened; and what it needs to know before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import attrs

from penstock.engine.plan import Host
from penstock.errors import RunError, UsageError
from penstock.launchers import Channel, Launcher
from penstock.options import resolve
from penstock.plugins import default_host
from penstock.workload.config import Distributed, LauncherChoice

__all__ = ["expected_hosts", "forwarded", "open_launcher", "refuse_open"]


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


def forwarded(distributed: Distributed) -> dict[str, str]:
    """The variables of this process that the hosts are to have. Raises UsageError for one that is not set."""
    names = distributed.forward_env
    if missing := [name for name in names if name not in os.environ]:
        raise UsageError(f"distributed.forward_env: {', '.join(missing)}: not set here; set it, or leave it out")
    return {name: os.environ[name] for name in names}


def refuse_open(names: Iterable[str], channel: Channel) -> None:
    """Raise RunError where variables of these names would be handed on for anybody to read."""
    handed = sorted(set(names))
    if handed and channel == "open":
        raise RunError(
            f"{', '.join(handed)}: not handed on, because anybody on the way to the hosts could read it; use a "
            "launcher's encryption or token, or set it on each host"
        )


def expected_hosts(distributed: Distributed) -> list[Host]:
    """The hosts as far as they are known before they start, each with as many processors as this one: what can't be
    carried out on any is found with these.
    """
    names = [tuple(agent.names()) for agent in distributed.agents] or [()] * (distributed.hosts or 1)
    return [Host(names=each) for each in names]
