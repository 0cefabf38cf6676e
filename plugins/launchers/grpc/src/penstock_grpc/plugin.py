"""The launcher ``grpc`` and the command ``agent``; gRPC is imported when one of them is used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from penstock.commands import Command
from penstock.errors import UsageError
from penstock.hookspecs import hookimpl
from penstock.launchers import Launcher, LauncherType
from penstock.options import option

if TYPE_CHECKING:
    import click

__all__ = ["AccessOptions", "GrpcOptions", "check_keepalive"]

#: Below this gRPC would take it for 1 s without a word.
_SHORTEST_KEEPALIVE = 1.0
_LONGEST_KEEPALIVE = 5.0


@attrs.frozen(kw_only=True)
class AccessOptions:
    """How a controller gets to an agent and proves who it is."""

    token_file: str | None = option(
        None,
        help="file that holds the agents' token; none: what PENSTOCK_AGENT_TOKEN holds",
        env="PENSTOCK_AGENT_TOKEN_FILE",
    )
    tls_ca: str | None = option(
        None,
        help="certificates of who signed the agents' ones (PEM); none: no TLS, which only agents on this host's "
        "loopback offer",
        env="PENSTOCK_AGENT_TLS_CA",
    )
    tls_cert: str | None = option(
        None, help="your own certificate (PEM), for agents that want one", env="PENSTOCK_AGENT_TLS_CERT"
    )
    tls_key: str | None = option(None, help="the key of tls_cert (PEM)", env="PENSTOCK_AGENT_TLS_KEY")
    server_name: str | None = option(
        None, help="the name in the agents' certificates, where it is not the host's", env="PENSTOCK_AGENT_SERVER_NAME"
    )
    connect_timeout: float = option(10.0, help="how long an agent may take to answer", unit="seconds")
    keepalive: float = option(
        4.0,
        help="ask a silent agent for a sign of life after so long, and give it as long to answer: a host that is cut "
        "off is noticed after twice this; 1 s to 5 s",
        unit="seconds",
    )

    def __attrs_post_init__(self) -> None:
        if self.connect_timeout <= 0:
            raise UsageError("connect_timeout: write a time above 0, such as 10s")
        check_keepalive(self.keepalive)


@attrs.frozen(kw_only=True)
class GrpcOptions(AccessOptions):
    """Where the agents are, and how to get to them."""

    agents: str | None = option(
        None,
        help="where agents listen: HOST or HOST:PORT (7167), separated by commas; there has to be one",
        env="PENSTOCK_AGENTS",
    )


def check_keepalive(seconds: float) -> None:
    """Raises UsageError for one that gRPC, or the limit of 10 s to miss a host, does not allow."""
    if not _SHORTEST_KEEPALIVE <= seconds <= _LONGEST_KEEPALIVE:
        raise UsageError(f"keepalive: {seconds:g} s; it is {_SHORTEST_KEEPALIVE:g} to {_LONGEST_KEEPALIVE:g} s")


def _silence() -> None:
    """Keep gRPC's own words from standard error; what they are about is said in ours. Before gRPC is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _open(options: GrpcOptions) -> Launcher:
    _silence()
    from penstock_grpc.launcher import GrpcLauncher

    return GrpcLauncher.from_options(options)


def _agent() -> click.Command:
    _silence()
    from penstock_grpc.command import agent

    return agent


@hookimpl
def penstock_launcher_types() -> Sequence[LauncherType]:
    summary = "agents on hosts without a cluster (penstock agent)"
    return (LauncherType(name="grpc", summary=summary, options=GrpcOptions, open=_open),)


@hookimpl
def penstock_commands() -> Sequence[Command]:
    return (Command(name="agent", summary="Let other hosts run workloads here; see how agents are.", load=_agent),)
