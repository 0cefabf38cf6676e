"""Where a client's requests go, and how patient it is."""

from __future__ import annotations

import attrs

from penstock.errors import UsageError

__all__ = ["Origin", "Settings"]

_DEFAULT_PORTS = {False: 80, True: 443}


@attrs.frozen(slots=True)
class Origin:
    """Scheme, host and port of a server (RFC 6454). ``host`` is bare: an IPv6 address without its brackets."""

    tls: bool
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read ``http://host``, ``https://host:port``, ``http://[::1]:port``; a path is ignored.

        Raises UsageError for anything else.
        """
        scheme, mark, rest = url.partition("://")
        authority = rest.partition("/")[0]
        if not mark or scheme not in ("http", "https") or not authority or "@" in authority:
            raise UsageError(f"an endpoint is http://host:port or https://host:port, not {_shown(url)!r}")
        tls = scheme == "https"
        host, port = _split_port(authority, _DEFAULT_PORTS[tls], url)
        return cls(tls, host, port)

    @property
    def authority(self) -> str:
        """What a Host header says: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.tls] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """Times are in seconds, sizes in bytes.

    ``connect_timeout`` bounds reaching a server, over all its addresses, and with TLS the handshake once more.
    ``read_timeout`` is the longest silence in either direction, ``operation_timeout`` the longest exchange from the
    first byte sent to the last one received (None: no limit). A connection that was idle for ``max_idle`` is not
    used again. ``ca_bundle`` is a file of trusted certificates, None for the system's. ``proxy`` is
    ``http://[user:password@]host:port``, empty for none, None for what ``HTTPS_PROXY``, ``HTTP_PROXY`` and
    ``NO_PROXY`` say.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    operation_timeout: float | None = None
    max_idle: float = 30.0
    ca_bundle: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)


def _split_port(authority: str, default: int, url: str) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        good = bool(bracket) and (not rest or rest.startswith(":"))
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
        good = ":" not in port
    if not good or not host or not host.isprintable() or " " in host:
        raise UsageError(f"{_shown(url)!r} names no host; write http://host:port, an IPv6 address in brackets")
    if not port:
        return host, default
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"{_shown(url)!r}: a port is a number from 1 to 65535")
    return host, int(port)


def _shown(url: str) -> str:
    # What stands before an @ may be a password.
    head, at, tail = url.rpartition("@")
    return f"…@{tail}" if at and head else url
