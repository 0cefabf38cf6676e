"""The way to a server in single steps: its name, its addresses, its certificate, its clock.

The transport does all of this at once for each connection; here each part is done by itself, with what the transport
uses, so that what works here works there.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from penstock.client.crew import each
from penstock.errors import PenstockError, StoreConnectionError, StoreTimeoutError, UsageError
from penstock.http import HTTPClient, Origin, Settings, parse_date
from penstock.http.channels import TLSChannel
from penstock.http.dialing import Address, Dialer, Proxy, choose_proxy, resolve
from penstock.service import Endpoint

__all__ = ["Route"]

_DAY = 86_400


@attrs.define(slots=True)
class Route:
    """The way to the origin: directly, or through a proxy, which then is what is resolved and connected to."""

    origin: Origin
    settings: Settings
    proxy: Proxy | None
    addresses: tuple[Address, ...] = ()

    @classmethod
    def of(cls, endpoint: Endpoint, options: Any) -> Route:
        """The way that a backend with these options goes; it has the options that every backend with HTTP has."""
        origin = Origin(endpoint.tls, endpoint.host, endpoint.port)
        settings = Settings(
            connect_timeout=getattr(options, "connect_timeout", 10.0),
            read_timeout=getattr(options, "read_timeout", 60.0),
            ca_bundle=endpoint.ca_bundle,
            proxy=_proxy_url(origin, endpoint.proxy, getattr(options, "proxy", None)),
        )
        return cls(origin, settings, choose_proxy(origin, settings.proxy))

    def facts(self) -> Mapping[str, str]:
        """Where requests go, in words."""
        facts = {"endpoint": str(self.origin)}
        if self.proxy is not None:
            facts["proxy"] = f"http://{self.proxy.host}:{self.proxy.port}"
        if self.settings.ca_bundle is not None:
            facts["trusted certificates"] = self.settings.ca_bundle
        return facts

    def resolve(self) -> Mapping[str, str]:
        """Look up the name of the host, or of the proxy. Raises StoreConnectionError and StoreTimeoutError."""
        hop = self.proxy or self.origin
        self.addresses = resolve(hop.host, hop.port, self.settings.connect_timeout)
        facts = {("proxy" if self.proxy else "host"): hop.host}
        return facts | {"addresses": ", ".join(map(str, self.addresses))}

    def connect(self, clock: Callable[[], int]) -> Iterator[tuple[str, float | OSError]]:
        """Connect to each address; its seconds, or its failure. ``clock`` gives nanoseconds."""

        def one(address: Address) -> tuple[Address, float | OSError]:
            begin = clock()
            try:
                with socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
                    sock.settimeout(self.settings.connect_timeout)
                    sock.connect(address.sockaddr)
            except OSError as error:
                return address, error
            return address, (clock() - begin) / 1e9

        results = dict(each(one, self.addresses, 16))
        for address in self.addresses:
            yield str(address), results[address]

    def unreachable(self, failures: Mapping[str, OSError]) -> StoreConnectionError | StoreTimeoutError:
        """The error of a host of which no address answers."""
        where = f"the proxy {self.proxy.host}:{self.proxy.port}" if self.proxy else self.origin.authority
        causes = "; ".join(f"{address}: {error.strerror or error}" for address, error in failures.items())
        late = all(isinstance(error, TimeoutError) for error in failures.values())
        failure = (StoreTimeoutError if late else StoreConnectionError)(f"no connection to {where}: {causes}")
        # A refusal says more than a silence.
        failure.__cause__ = min(failures.values(), key=lambda error: isinstance(error, TimeoutError))
        return failure

    def handshake(self, now: float) -> Mapping[str, str]:
        """Agree on TLS and read the certificate. ``now`` is the wall clock's time. Raises StoreConnectionError."""
        channel = Dialer(self.origin, self.settings).dial()
        with contextlib.closing(channel):
            assert isinstance(channel, TLSChannel)
            facts = {"version": channel.version or "unknown"}
            return facts | _certificate_facts(channel.certificate(), now)

    def clock_offset(self, clock: Callable[[], float]) -> float | None:
        """How far the clock, in seconds since 1970, is ahead of the server's, to the second; None when not seen."""
        head = f"HEAD / HTTP/1.1\r\nHost: {self.origin.authority}\r\nUser-Agent: penstock\r\n\r\n".encode()
        # Whatever is wrong with such a request, the step's own one will show whether it matters.
        with contextlib.suppress(PenstockError, ValueError), contextlib.closing(self._client()) as client:
            before = clock()
            answer = client.send(head)
            after = clock()
            answer.close()
            said = parse_date(answer.header("date") or "")
            if said is None:
                return None
            # The server's second began up to a second before its answer.
            server = said / 1e9
            return before - server - 1 if before > server + 1 else min(0.0, after - server)
        return None

    def _client(self) -> HTTPClient:
        return HTTPClient(self.origin, self.settings)


def _proxy_url(origin: Origin, named: str | None, given: str | None) -> str | None:
    """What the transport takes for a proxy: an endpoint names it without the password that reaching it needs."""
    if named is None:
        return ""
    with contextlib.suppress(UsageError):
        bare = Proxy.parse(named)
        chosen = choose_proxy(origin, given)
        if chosen is not None and (chosen.host, chosen.port) == (bare.host, bare.port):
            return given
    return named


def _certificate_facts(certificate: Mapping[str, Any], now: float) -> dict[str, str]:
    facts = {"subject": _name(certificate.get("subject", ()))}
    names = [str(value) for _, value in certificate.get("subjectAltName", ())]
    if names:
        facts["names"] = ", ".join(names)
    facts["issuer"] = _name(certificate.get("issuer", ()))
    if ends := certificate.get("notAfter"):
        at = ssl.cert_time_to_seconds(str(ends))
        days = int((at - now) // _DAY)
        facts["expires"] = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC, in {days:,} days"
    return facts


def _name(parts: Any) -> str:
    return ", ".join(f"{name}={value}" for part in parts for name, value in part) or "empty"
