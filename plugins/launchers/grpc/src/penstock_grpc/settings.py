"""How an agent is run: its options, and the refusal to open a port that anybody could use."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

import attrs

from penstock.errors import UsageError
from penstock.launching import check_patterns
from penstock.options import option
from penstock_grpc.addresses import PORT, Address, is_loopback, parse_address
from penstock_grpc.plugin import GrpcOptions, check_keepalive
from penstock_grpc.tls import Tls, read_tls
from penstock_grpc.tokens import VARIABLE, Token, read_token

if TYPE_CHECKING:
    import grpc

__all__ = ["AgentOptions", "Settings", "StatusOptions"]


@attrs.frozen(kw_only=True)
class AgentOptions:
    """The options of ``penstock agent``."""

    listen: str = option(
        f"127.0.0.1:{PORT}", help="HOST:PORT of this host; port 0: a free one", env="PENSTOCK_AGENT_LISTEN"
    )
    token_file: str | None = option(
        None, help="file with the token that controllers show", env="PENSTOCK_AGENT_TOKEN_FILE"
    )
    tls_cert: str | None = option(None, help="this agent's certificate (PEM)", env="PENSTOCK_AGENT_TLS_CERT")
    tls_key: str | None = option(None, help="the key of tls_cert (PEM)", env="PENSTOCK_AGENT_TLS_KEY")
    tls_client_ca: str | None = option(
        None,
        help="certificates of who signs those of controllers (PEM): only controllers with one are served",
        env="PENSTOCK_AGENT_TLS_CLIENT_CA",
    )
    allow_env: tuple[str, ...] = option((), help="variables that controllers may set beyond the usual ones")
    scratch: str | None = option(None, help="where workers keep their files; none: where temporary files are")
    max_sessions: int = option(1, help="sessions that may run at once")
    once: bool = option(False, help="end after the first session")
    insecure_loopback: bool = option(False, help="listen on the loopback without a token")
    keepalive: float = option(
        4.0, help="ask a silent controller for a sign of life after so long, and give it as long", unit="seconds"
    )
    grace: float = option(30.0, help="how long sessions may go on once it was told to end", unit="seconds")


@attrs.frozen(kw_only=True)
class StatusOptions(GrpcOptions):
    """The options of ``penstock agent status``."""

    wait: float = option(0.0, help="wait so long for all of them to answer", unit="seconds")


@attrs.frozen(kw_only=True)
class Settings:
    """An agent's options, checked, and what they name read."""

    address: Address
    #: The numeric addresses that ``address`` stands for.
    bind: tuple[Address, ...]
    tls: Tls | None
    token: Token | None
    allow_env: tuple[str, ...]
    scratch: str | None
    max_sessions: int
    once: bool
    keepalive: float
    grace: float

    @classmethod
    def from_options(cls, options: AgentOptions, environ: MutableMapping[str, str]) -> Settings:
        """Takes the token out of ``environ``. Raises UsageError, with the remedy, for an open port and for what can't
        be used.
        """
        address = parse_address(options.listen, what="listen")
        token = read_token(options.token_file, environ, take=True)
        tls = _tls(options)
        bind = _resolve(address)
        _refuse_open(address, bind, tls, token, options.insecure_loopback)
        check_patterns(options.allow_env)
        check_keepalive(options.keepalive)
        if options.max_sessions < 1:
            raise UsageError(
                f"max_sessions: {options.max_sessions}; an agent that serves nobody is not needed: 1 or more"
            )
        return cls(
            address=address,
            bind=bind,
            tls=tls,
            token=token,
            allow_env=tuple(options.allow_env),
            scratch=_writable(options.scratch),
            max_sessions=options.max_sessions,
            once=options.once,
            keepalive=options.keepalive,
            grace=options.grace,
        )

    def credentials(self) -> grpc.ServerCredentials | None:
        """What to listen with; None without TLS."""
        return None if self.tls is None else self.tls.for_agent()

    @property
    def is_unreachable(self) -> bool:
        """Whether a name that looks like one for others leads to the loopback, as a host's own does on Debian."""
        host = self.address.host
        named = not host.endswith("localhost") and all(each.host != host for each in self.bind)
        return named and all(is_loopback(each.host) for each in self.bind)

    @property
    def protection(self) -> str:
        """What keeps others out, for the log."""
        parts = []
        if self.tls is not None:
            parts.append("mutual TLS" if self.tls.ca is not None else "TLS")
        if self.token is not None:
            parts.append("token")
        return " and ".join(parts) or "loopback alone"


def _tls(options: AgentOptions) -> Tls | None:
    if options.tls_cert is None and options.tls_key is None:
        if options.tls_client_ca is not None:
            raise UsageError("tls_client_ca is for an agent with a certificate; give tls_cert and tls_key too")
        return None
    return read_tls(ca=options.tls_client_ca, cert=options.tls_cert, key=options.tls_key, ca_option="tls_client_ca")


def _resolve(address: Address) -> tuple[Address, ...]:
    try:
        return tuple(Address(numeric, address.port) for numeric in address.resolve())
    except OSError as error:
        raise UsageError(
            f"listen: there is no host {address.host} ({error.strerror or error}); write a name or number of this host"
        ) from None


def _refuse_open(
    address: Address, bind: tuple[Address, ...], tls: Tls | None, token: Token | None, insecure_loopback: bool
) -> None:
    local = all(is_loopback(each.host) for each in bind)
    if tls is None and not local:
        raise UsageError(
            f"listen: {address} can be reached from other hosts, and without TLS they could read and change what is "
            "sent; give tls_cert and tls_key, and a token or tls_client_ca, or listen on 127.0.0.1"
        )
    if token is not None or (tls is not None and tls.ca is not None):
        return
    if insecure_loopback and local:
        return
    raise UsageError(
        f"listen: anybody who reaches {address} could run workloads here; set {VARIABLE} or give token_file (make one "
        "by: openssl rand -hex 32)"
        + (", or say --insecure-loopback if every user of this host may" if local else ", or tls_client_ca")
    )


def _writable(scratch: str | None) -> str | None:
    if scratch is not None and not (os.path.isdir(scratch) and os.access(scratch, os.W_OK | os.X_OK)):
        raise UsageError(f"scratch {scratch}: no directory that can be written; make it")
    return scratch
