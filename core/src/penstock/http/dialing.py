"""Reaching a server: its addresses, a proxy in between, TLS."""

from __future__ import annotations

import base64
import itertools
import random
import socket
import ssl
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import attrs

from penstock.clocks import monotonic_ns
from penstock.errors import StoreConnectionError, StoreError, StoreTimeoutError, UsageError
from penstock.http.channels import Channel, PlainChannel, TLSChannel
from penstock.http.heads import MAX_HEAD, read_head
from penstock.http.values import Origin, Settings

__all__ = ["Address", "Dialer", "Proxy", "choose_proxy", "resolve", "tls_context"]

#: How long, in seconds, addresses are remembered, and one that failed is tried last.
_REMEMBER_S = 60.0
_AVOID_S = 30.0


@attrs.frozen(slots=True)
class Address:
    """One address of a host, as the socket functions take it."""

    family: int
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        return str(self.sockaddr[0])


@attrs.frozen(slots=True)
class Proxy:
    """An HTTP proxy; ``authorization`` is the value of its header, None when it wants none."""

    host: str
    port: int
    authorization: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read ``http://[user:password@]host:port``. Raises UsageError."""
        scheme, mark, rest = url.rpartition("://")
        userinfo, at, authority = rest.rpartition("@")
        if mark and scheme != "http":
            raise UsageError(f"a proxy is http://host:port; {scheme}:// is not supported")
        origin = Origin.parse(f"http://{authority}")
        token = base64.b64encode(unquote(userinfo).encode()) if at else None
        return cls(origin.host, origin.port, b"Basic " + token if token else None)


def choose_proxy(origin: Origin, proxy: str | None) -> Proxy | None:
    """The proxy for an origin: the given one, none if that is empty, else what the environment says."""
    if proxy is None:
        if proxy_bypass(f"{origin.host}:{origin.port}"):
            return None
        found = getproxies()
        proxy = found.get("https" if origin.tls else "http") or found.get("all") or ""
    return Proxy.parse(proxy) if proxy else None


def resolve(host: str, port: int, timeout: float | None = None) -> tuple[Address, ...]:
    """Every address of a host, IPv6 and IPv4, in the system's order. Raises StoreConnectionError, and
    StoreTimeoutError after ``timeout`` seconds, None: when the system gives up.
    """
    try:
        found = _looked_up(host, port) if timeout is None else _looked_up_within(host, port, timeout)
    except TimeoutError as error:
        raise StoreTimeoutError(
            f"the host name {host!r} was not resolved within {timeout:g} s; check the network's DNS"
        ) from error
    except (socket.gaierror, UnicodeError) as error:
        again = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        reason = error.strerror if isinstance(error, OSError) else "it is no legal name"
        raise StoreConnectionError(
            f"the host name {host!r} can't be resolved ({reason}); check the endpoint, and the network's DNS",
            retryable=again,
        ) from error
    addresses = (Address(family, sockaddr) for family, _, _, _, sockaddr in found)
    return tuple(dict.fromkeys(addresses))


def _looked_up(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


def _looked_up_within(host: str, port: int, timeout: float) -> Sequence[tuple[Any, ...]]:
    """The system can't be told how long a name server may take, so a thread waits for it, and may be left behind."""
    outcome: Future[Sequence[tuple[Any, ...]]] = Future()

    def work() -> None:
        try:
            outcome.set_result(_looked_up(host, port))
        except Exception as error:  # noqa: BLE001 - raised where the result is taken
            outcome.set_exception(error)

    threading.Thread(target=work, name="penstock-resolver", daemon=True).start()
    return outcome.result(timeout)


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A context that always verifies, against ``ca_bundle`` or the system's certificates. Raises UsageError."""
    try:
        context = ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the CA bundle {ca_bundle!r} can't be used: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections to one origin, turn by turn to each of its addresses. Threads share it."""

    def __init__(self, origin: Origin, settings: Settings) -> None:
        self.origin = origin
        self.settings = settings
        self.proxy = choose_proxy(origin, settings.proxy)
        self._context = tls_context(settings.ca_bundle) if origin.tls else None
        self._lock = threading.Lock()
        self._addresses: tuple[Address, ...] = ()
        self._looked_up = 0
        self._bad: dict[Address, int] = {}
        # So that many processes that start at once don't all begin with the same address.
        self._turn = itertools.count(random.randrange(1 << 16))  # noqa: S311 - nothing secret

    def dial(self) -> Channel:
        """A connection that is ready for requests. Raises StoreConnectionError or StoreTimeoutError."""
        sock = self._connect()
        try:
            if self.proxy is not None and self.origin.tls:
                _open_tunnel(sock, self.proxy, self.origin, self.settings.connect_timeout)
            channel: Channel = PlainChannel(sock)
            if self._context is not None:
                channel = self._secure(sock, self._context)
            channel.wait_at_most(self._patience())
        except BaseException:
            sock.close()
            raise
        return channel

    def after_fork(self) -> None:
        """In the child of a fork, where another thread may have held the lock."""
        self._lock = threading.Lock()

    def addresses(self) -> Sequence[Address]:
        """The addresses in the order of the next attempt: in turn, those that failed lately last."""
        host, port = (self.proxy.host, self.proxy.port) if self.proxy else (self.origin.host, self.origin.port)
        now = monotonic_ns()
        with self._lock:
            known = self._addresses
            if not known or now - self._looked_up > _REMEMBER_S * 1e9:
                known = self._addresses = self._resolved(host, port)
                self._looked_up = now
            # A copy, since other threads enter theirs meanwhile.
            avoided = {address for address, since in dict(self._bad).items() if now - since < _AVOID_S * 1e9}
        turn = next(self._turn) % len(known)
        return sorted(known[turn:] + known[:turn], key=avoided.__contains__)

    def _resolved(self, host: str, port: int) -> tuple[Address, ...]:
        try:
            return resolve(host, port, self.settings.connect_timeout)
        except StoreError as error:
            # A name server's trouble need not become that of a program that knows the addresses.
            if self._addresses and error.retryable:
                return self._addresses
            raise

    def _patience(self) -> float:
        whole = self.settings.operation_timeout
        return self.settings.read_timeout if whole is None else min(whole, self.settings.read_timeout)

    def _connect(self) -> socket.socket:
        addresses = self.addresses()
        deadline = monotonic_ns() + round(self.settings.connect_timeout * 1e9)
        failures: list[tuple[Address, OSError]] = []
        for tried, address in enumerate(addresses):
            left = (deadline - monotonic_ns()) / 1e9 / (len(addresses) - tried)
            try:
                sock = _connected(address, max(left, 0.001))
            except OSError as error:
                failures.append((address, error))
                self._bad[address] = monotonic_ns()
                continue
            self._bad.pop(address, None)
            return sock
        raise self._unreachable(failures)

    def _unreachable(self, failures: Sequence[tuple[Address, OSError]]) -> StoreConnectionError | StoreTimeoutError:
        target = f"{self.proxy.host}:{self.proxy.port} (the proxy)" if self.proxy else self.origin.authority
        causes = "; ".join(dict.fromkeys(f"{address}: {_reason(error)}" for address, error in failures))
        late = all(isinstance(error, TimeoutError) for _, error in failures)
        failure: StoreConnectionError | StoreTimeoutError
        if late:
            failure = StoreTimeoutError(
                f"no connection to {target} within {self.settings.connect_timeout:g} s ({causes})"
            )
        else:
            failure = StoreConnectionError(f"no connection to {target}: {causes}")
        failure.__cause__ = failures[-1][1]
        return failure

    def _secure(self, sock: socket.socket, context: ssl.SSLContext) -> TLSChannel:
        host = self.origin.host
        try:
            return TLSChannel(sock, context, host, self.settings.connect_timeout)
        except ssl.SSLCertVerificationError as error:
            raise StoreConnectionError(
                f"the certificate of {host} is not trusted: {error.verify_message}; "
                "for a private authority name its file by ca_bundle",
                retryable=False,
            ) from error
        except TimeoutError as error:
            raise StoreTimeoutError(
                f"TLS with {host} was not agreed on within {self.settings.connect_timeout:g} s"
            ) from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise StoreConnectionError(f"{host} broke off the TLS handshake") from error
        except ssl.SSLError as error:
            raise StoreConnectionError(
                f"TLS with {self.origin.authority} failed: {error.reason or error.strerror}", retryable=False
            ) from error
        except OSError as error:
            raise StoreConnectionError(f"{host} broke off the TLS handshake: {_reason(error)}") from error


def _connected(address: Address, timeout: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.settimeout(timeout)
        sock.connect(address.sockaddr)
        # Without it the end of a body waits for the acknowledgement of its beginning: 44 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_tunnel(sock: socket.socket, proxy: Proxy, origin: Origin, timeout: float) -> None:
    """Ask the proxy for a connection to the origin (RFC 9110, 9.3.6), and get it within ``timeout`` seconds."""
    deadline = monotonic_ns() + round(timeout * 1e9)
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode()
    lines = [b"CONNECT " + target + b" HTTP/1.1", b"Host: " + target]
    if proxy.authorization:
        lines.append(b"Proxy-Authorization: " + proxy.authorization)
    where = f"the proxy {proxy.host}:{proxy.port}"
    try:
        sock.settimeout(timeout)
        sock.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # One by one, for what follows belongs to TLS.
            sock.settimeout(max((deadline - monotonic_ns()) / 1e9, 0.001))
            byte = sock.recv(1)
            if not byte or len(head) > MAX_HEAD:
                raise StoreConnectionError(f"{where} ended the connection instead of opening a tunnel")
            head += byte
    except TimeoutError as error:
        raise StoreTimeoutError(f"{where} opened no tunnel within {timeout:g} s") from error
    except OSError as error:
        raise StoreConnectionError(f"{where} failed: {_reason(error)}") from error
    status, _, _ = read_head(head[:-4].decode("latin-1"))
    if not 200 <= status < 300:
        remedy = "; give its user and password as http://user:password@host:port" if status == 407 else ""
        raise StoreConnectionError(
            f"{where} refused a tunnel to {origin.authority}{remedy}",
            status=status,
            retryable=status in (502, 503, 504),
        )


def _reason(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else error.strerror or str(error)
