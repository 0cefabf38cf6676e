"""The way into a cluster: its token, the connection, its nodes, and a place on each."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import attrs
import ray
import ray.util.scheduling_strategies
from anyio.to_thread import run_sync
from ray.exceptions import RayError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from penstock.errors import RunError
from penstock_ray.entrance import HOW_TO_GET_IN
from penstock_ray.plugin import RayOptions

__all__ = ["Cluster", "Node"]

#: What a cluster of our own gets for objects: the least that Ray takes is a little less, and we put nothing there.
_OBJECT_STORE = 80 * 1024 * 1024
#: A node that is cut off is given up after about ten seconds, not after a minute.
_HEALTH = {"health_check_period_ms": 1000, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 3}
_LOGGER = logging.getLogger("ray")
_DIAL_SECONDS = 10.0
_CONNECT_SECONDS = 60.0
_LEAVE_SECONDS = 10.0
_POLL_SECONDS = 0.1


@attrs.frozen
class Node:
    """One node: its id, and what its host is called, unlike all others."""

    id: str
    name: str


class Cluster:
    """One connection of this process to a cluster, and what was taken there. Ray allows a process one at a time."""

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._level: int | None = None
        self._connected = False
        self._group: PlacementGroup | None = None
        self._bundles: dict[str, int] = {}

    @property
    def protected(self) -> bool:
        """Whether nobody without a secret can read or join it."""
        return not self._options.insecure or os.environ.get("RAY_USE_TLS") == "1"

    async def connect(self) -> None:
        """Raises RunError that says what the user can do."""
        if ray.is_initialized():
            raise RunError("this process is connected to a Ray cluster already; disconnect it (ray.shutdown()) before")
        _read_environment()
        # What it says of itself is for its own programs; what goes wrong is raised.
        self._level = _LOGGER.level
        _LOGGER.setLevel(logging.CRITICAL)
        address = self._options.address
        if address not in ("auto", "local"):
            await _dial(address)
        ours: dict[str, Any] = {}
        if address == "local":
            ours = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False, "_system_config": _HEALTH}
        try:
            with anyio.fail_after(_CONNECT_SECONDS):
                await run_sync(
                    lambda: ray.init(address, log_to_driver=False, configure_logging=False, **ours),
                    abandon_on_cancel=True,
                )
        except TimeoutError:
            raise RunError(f"the Ray cluster at {address} did not answer within {_CONNECT_SECONDS:g} s") from None
        except (RayError, OSError, RuntimeError, ValueError, AssertionError) as error:
            raise RunError(_why_not(error, address)) from error
        self._connected = True

    async def place(self, workers: int | None) -> list[Node]:
        """Take a place on so many nodes, None: on each that has CPUs, and return them in the order of their names."""
        wanted = workers or self._options.workers
        nodes = await self._enough(wanted)
        count = wanted or len(nodes)
        group = placement_group([{"CPU": self._options.cpus}] * count, strategy="STRICT_SPREAD")
        self._group = group
        for _ in range(max(1, round(self._options.placement_timeout / _POLL_SECONDS))):
            if await run_sync(group.wait, _POLL_SECONDS):
                break
        else:
            raise RunError(
                f"{count} places on {len(nodes)} nodes were not to be had within {self._options.placement_timeout:g} s "
                f"({_listed(nodes)}): something else has taken their CPUs; wait for it, or take fewer workers or cpus"
            )
        bundles: Mapping[int, str] = (await run_sync(placement_group_table, group))["bundles_to_node_id"]
        known = {node.id: node for node in await self._nodes()}
        self._bundles = {node: bundle for bundle, node in bundles.items()}
        return [known[node] for node in sorted(self._bundles, key=list(known).index)]

    def start(self, kind: type[Any], node: Node) -> Any:
        """An actor of that class at our place on a node; it gets the name of its host."""
        assert self._group is not None
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
            self._group, placement_group_bundle_index=self._bundles[node.id]
        )
        remote = ray.remote(kind).options(
            num_cpus=self._options.cpus, max_restarts=0, max_task_retries=0, scheduling_strategy=strategy
        )
        return remote.remote(node.name)

    async def leave(self) -> None:
        """Give back what was taken; harmless twice, and bounded where the cluster does not answer."""
        group, self._group = self._group, None
        connected, self._connected = self._connected, False
        with anyio.CancelScope(shield=True):
            if group is not None:
                await _bounded(remove_placement_group, group)
            if connected:
                await _bounded(ray.shutdown)
        level, self._level = self._level, None
        if level is not None:
            _LOGGER.setLevel(level)

    async def _enough(self, wanted: int | None) -> list[Node]:
        """The nodes, once there are as many as are wanted."""
        nodes = await self._nodes()
        for _ in range(max(1, round(self._options.node_timeout / _POLL_SECONDS))):
            if len(nodes) >= (wanted or 1):
                return nodes
            await anyio.sleep(_POLL_SECONDS)
            nodes = await self._nodes()
        raise RunError(
            f"{wanted or 1} workers need as many nodes; the Ray cluster at {self._options.address} has {len(nodes)} "
            f"with {self._options.cpus} CPUs ({_listed(nodes)}): start Ray on more hosts "
            "(ray start --address=HEAD:6379), or ask for fewer workers"
        )

    async def _nodes(self) -> list[Node]:
        """The nodes that can give a place at all, in the order of their names; the same name has its id added."""
        known = [
            (str(each["NodeManagerHostname"]), str(each["NodeManagerAddress"]), str(each["NodeID"]))
            for each in await run_sync(ray.nodes)
            if each["Alive"] and each["Resources"].get("CPU", 0) >= self._options.cpus
        ]
        names = [name for name, _, _ in known]
        return [Node(node, name if names.count(name) == 1 else f"{name}-{node[:8]}") for name, _, node in sorted(known)]


async def _dial(address: str) -> None:
    """Ray tries an address at which nobody listens for minutes."""
    match = re.fullmatch(r"(\[[^\]]+\]|[^:]+):(\d{1,5})", address)
    if match is None:
        raise RunError(f"ray: {address!r} is no address; write HOST:PORT of the cluster's head, such as head:6379")
    try:
        with anyio.fail_after(_DIAL_SECONDS):
            async with await anyio.connect_tcp(match[1].strip("[]"), int(match[2])):
                pass
    except (OSError, OverflowError, TimeoutError) as error:
        raise RunError(
            f"nobody answers at {address} ({error or type(error).__name__}): is it the head of a Ray cluster that "
            "runs? ray status --address=HOST:PORT asks it"
        ) from error


def _read_environment() -> None:
    """Ray reads some of it once, when it is imported, which somebody may have done before us."""
    try:
        raylet = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    except (ImportError, AttributeError):
        # Another version of Ray; then what it read first holds.
        return


def _why_not(error: Exception, address: str) -> str:
    """Why there is no connection, with what helps."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    whole = " ".join(" ".join(str(each) for each in chain).split())
    said = " ".join(str(error).split())[:600]
    if "token" in whole.lower() or "unauthenticated" in whole.lower():
        return f"the Ray cluster at {address} refused our token, or we have none that can be read; {HOW_TO_GET_IN}"
    if "version mismatch" in whole.lower():
        return (
            f"the Ray cluster at {address} has another version of Ray or Python than this host (Ray {ray.__version__}, "
            f"Python {platform.python_version()}): install the same on all: {said}"
        )
    return f"no connection to the Ray cluster at {address}: {said}; penstock has to run on a node of the cluster"


def _listed(nodes: Sequence[Node]) -> str:
    names = [node.name for node in nodes[:8]]
    more = [f"and {len(nodes) - 8} more"] if len(nodes) > 8 else []
    return ", ".join(names + more) or "none"


async def _bounded(function: Any, *arguments: Any) -> None:
    """Call what may hang or fail when the cluster is gone."""
    with anyio.move_on_after(_LEAVE_SECONDS):
        try:
            await run_sync(function, *arguments, abandon_on_cancel=True)
        except (RayError, RuntimeError, OSError, ValueError):
            return
