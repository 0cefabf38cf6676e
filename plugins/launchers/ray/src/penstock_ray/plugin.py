"""What penstock-ray offers: the launcher ``ray``."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock.errors import UsageError
from penstock.hookspecs import hookimpl
from penstock.launchers import Launcher, LauncherType
from penstock.options import option

__all__ = ["RayOptions", "penstock_launcher_types"]


@attrs.frozen(kw_only=True)
class RayOptions:
    """Options of the launcher ``ray``."""

    address: str = option(
        "",
        help="the cluster: HOST:PORT of its head (the port is 6379 mostly), auto: the one that runs on this machine, "
        "local: start one on this machine alone and end it afterwards",
        env="RAY_ADDRESS",
    )
    workers: int | None = option(None, help="how many nodes, where the run does not say; none: all that have CPUs")
    token_file: str = option(
        "",
        help="file that holds the cluster's token; without it as Ray does: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, "
        "~/.ray/auth_token",
    )
    insecure: bool = option(False, help="use a cluster that asks for no token: whoever reaches it may run code on it")
    cpus: int = option(1, help="CPUs that Ray counts as taken on each node; the worker uses all that it may")
    node_timeout: float = option(10.0, help="how long to wait for nodes that are not there yet", unit="seconds")
    placement_timeout: float = option(
        30.0, help="how long to wait for CPUs on nodes that something else has taken", unit="seconds"
    )


def _open(options: RayOptions) -> Launcher:
    from penstock_ray.launcher import RayLauncher

    _check(options)
    return RayLauncher(options)


def _check(options: RayOptions) -> None:
    if not options.address:
        raise UsageError(
            "ray: which cluster? Give the option address: HOST:6379 of its head, auto for the one that runs on this "
            "machine, or local to start one here"
        )
    if "://" in options.address:
        raise UsageError(
            f"ray: {options.address} is the address of a client's server; run penstock on a node of the cluster, with "
            "HOST:PORT of its head or auto"
        )
    if options.insecure and options.token_file:
        raise UsageError("ray: token_file and insecure contradict each other; leave one out")
    if options.cpus < 1 or (options.workers is not None and options.workers < 1):
        raise UsageError("ray: workers and cpus are at least 1")
    if options.placement_timeout <= 0 or options.node_timeout <= 0:
        raise UsageError("ray: node_timeout and placement_timeout are more than 0 seconds")


@hookimpl
def penstock_launcher_types() -> Sequence[LauncherType]:
    """The launcher for Ray clusters."""
    return (
        LauncherType(name="ray", summary="one worker on each node of a Ray cluster", options=RayOptions, open=_open),
    )
