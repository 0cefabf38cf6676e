"""Where agents listen: ``host``, ``host:port``, ``[::1]:port``."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

import attrs

from penstock.errors import UsageError

__all__ = ["PORT", "Address", "is_loopback", "parse_address", "parse_addresses"]

#: Where an agent listens unless told otherwise.
PORT = 7167
_BRACKETED = re.compile(r"\[([^\]]+)\](?::(.*))?\Z", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")


@attrs.frozen(slots=True)
class Address:
    """A host, by name or number and without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The same for gRPC, which would take a name with a colon for a scheme."""
        return f"dns:///{self}"

    def resolve(self) -> list[str]:
        """The numeric addresses behind the host, each once. Raises OSError."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def is_loopback(self) -> bool:
        """Whether all of them are of this host's own loopback. Raises OSError."""
        return all(is_loopback(each) for each in self.resolve())


def is_loopback(numeric: str) -> bool:
    """Whether a numeric address is of this host's own loopback."""
    return ipaddress.ip_address(numeric.partition("%")[0]).is_loopback


def parse_address(text: str, *, what: str = "agents") -> Address:
    """Read one; without a port it is :data:`PORT`. ``what`` names the option in the error, a UsageError."""
    host, port = _split(text.strip())
    if not _is_host(host):
        raise UsageError(f"{what}: {text!r} is no HOST or HOST:PORT; write bench1, bench1:{PORT} or [::1]:{PORT}")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise UsageError(f"{what}: {text!r} has no port from 0 to 65535; write {host}:{PORT}")
    return Address(host, int(port))


def _split(text: str) -> tuple[str, str]:
    if match := _BRACKETED.match(text):
        return match[1], str(PORT) if match[2] is None else match[2]
    if text.count(":") > 1:
        return text, str(PORT)
    host, colon, port = text.partition(":")
    return host, port if colon else str(PORT)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _NAME.match(host) is not None
    return True


def parse_addresses(texts: str | Iterable[str]) -> tuple[Address, ...]:
    """Read several, of a list or separated by commas. Raises UsageError, also for one that is named twice."""
    parts = texts.split(",") if isinstance(texts, str) else list(texts)
    if not all(isinstance(part, str) for part in parts):
        raise UsageError(f"agents: write a list of HOST:PORT, not {texts!r}")
    found = [parse_address(part) for part in parts if part.strip()]
    for address in found:
        if found.count(address) > 1:
            raise UsageError(f"agents: {address} is named twice; one agent is one worker, so name it once")
        if address.port == 0:
            raise UsageError(f"agents: {address} needs the port that its agent listens on")
    return tuple(found)
