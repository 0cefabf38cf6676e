"""The methods of the agent's service as ``_proto/agent_v1.proto`` defines them, and how its connections are kept."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import socket
from collections.abc import Sequence
from typing import Any

from penstock_grpc._proto import agent_v1_pb2 as pb

__all__ = [
    "INFO",
    "PIECE_BYTES",
    "SERVICE",
    "SESSION",
    "channel_options",
    "controller_name",
    "server_options",
    "version",
]

_DESCRIPTOR = pb.DESCRIPTOR.services_by_name["Agent"]
#: The service's full name, and its methods' paths.
SERVICE: str = _DESCRIPTOR.full_name
INFO, SESSION = (f"/{SERVICE}/{method.name}" for method in _DESCRIPTOR.methods)

#: Longest piece of a frame in a message.
PIECE_BYTES = 1024 * 1024

Options = Sequence[tuple[str, Any]]


def _options(keepalive: float) -> list[tuple[str, Any]]:
    """For both ends: a ping after ``keepalive`` seconds without a word, and as long to answer it.

    Pings go on through silence (max_pings_without_data), and while nobody calls.
    """
    milliseconds = max(1, int(keepalive * 1000))
    return [
        ("grpc.keepalive_time_ms", milliseconds),
        # The first is for what the kernel was never acknowledged, the second for a process that hangs: a ping that it
        # does not answer would otherwise be waited for a minute.
        ("grpc.keepalive_timeout_ms", milliseconds),
        ("grpc.http2.ping_timeout_ms", milliseconds),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", 2 * PIECE_BYTES),
    ]


def channel_options(keepalive: float, server_name: str | None) -> Options:
    """Of a controller's channel. Proxies of the environment are for the web, and a retried session is another one."""
    options = [*_options(keepalive), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    # Controllers of one process would share a connection, and with it who they are.
    options.append(("grpc.use_local_subchannel_pool", 1))
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options


def server_options(keepalive: float) -> Options:
    """Of an agent. A second agent on the same port would share its connections, were that not forbidden.

    A controller may ping as often as it likes: what it is told to do is its user's affair.
    """
    return [
        *_options(keepalive),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def version(distribution: str) -> str:
    """The installed version of a distribution."""
    return importlib.metadata.version(distribution)


def controller_name() -> str:
    """How a controller calls itself: ``user@host pid 17``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user where containers run under any number
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"
