"""The client: requests over connections that are kept."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.clocks import monotonic_ns
from penstock.errors import StoreConnectionError, UsageError
from penstock.http.answers import Answer
from penstock.http.connection import Connection
from penstock.http.dialing import Dialer
from penstock.http.forms import Forms
from penstock.http.values import Origin, Settings

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["HTTPClient"]


class HTTPClient:
    """HTTP/1.1 to one origin. Threads share it: each exchange has a connection of its own while it lasts.

    It follows no redirect, keeps no cookie and repeats no request but one: see :meth:`send`.
    """

    def __init__(self, origin: Origin, settings: Settings | None = None) -> None:
        self.origin = origin
        self.settings = settings or Settings()
        self._dialer = Dialer(origin, self.settings)
        self._idle: deque[Connection] = deque()
        self._forms = Forms()
        self._max_idle_ns = round(self.settings.max_idle * 1e9)
        self._closed = False
        _clients.add(self)
        proxy = self._dialer.proxy
        #: What a plain request to a proxy has before its target, and the header that opens the proxy.
        self._absolute = f"{origin}".encode() if proxy and not origin.tls else b""
        self._proxy_line = (
            b"Proxy-Authorization: " + proxy.authorization + b"\r\n" if proxy and proxy.authorization else b""
        )

    def send(self, head: bytes, body: Buffer | Sequence[Buffer] | None = None, *, replay: bool = True) -> Answer:
        """Send a request and return its answer when the head is there; 1xx answers are passed over.

        ``head`` is complete, to the empty line, with a target that begins with ``/``. ``body`` is sent without being
        joined or copied, and may be changed when this returns. ``replay``: on a kept connection that turns out to be
        closed, before any byte of an answer, the request is sent once more on a new one; it must be idempotent. An
        answer that comes while the body is being sent ends the sending.

        Raises StoreConnectionError or StoreTimeoutError, without URI and operation, and UsageError for a head that
        would be more than one request.
        """
        if head.find(b"\r\n\r\n") != len(head) - 4:
            raise UsageError("the head of a request ends with its first empty line; a line end stands in a header")
        if self._absolute:
            head = self._for_proxy(head)
        request = (head,) if body is None else (head, *_parts(body))
        bodiless = head.startswith(b"HEAD ")
        connection = self._take(replay)
        if connection is not None:
            try:
                return Answer(self, connection, connection.exchange(request, bodiless))
            except BaseException as error:
                connection.close()
                if not (replay and connection.silent and isinstance(error, StoreConnectionError)):
                    raise
        connection = self._connect()
        try:
            return Answer(self, connection, connection.exchange(request, bodiless))
        except BaseException:
            connection.close()
            raise

    def keep(self, connection: Connection, /) -> None:
        """Take a connection that can carry another request."""
        connection.idle_since = monotonic_ns()
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close the idle connections; those in use close when their exchange ends."""
        self._closed = True
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _after_fork(self) -> None:
        # Of two processes that talk on one connection, each gets the other's answers.
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self._dialer.after_fork()

    def _take(self, replay: bool) -> Connection | None:
        """The connection that was used last, for it is the least likely to be closed; None when there is none.

        For a request that can be sent again it is not asked whether the server has closed it: that shows.
        """
        idle = self._idle
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                break
            if (
                monotonic_ns() - connection.idle_since < self._max_idle_ns
                and connection.is_quiet()
                and (replay or connection.is_open())
            ):
                return connection
            connection.close()
        return None

    def _connect(self) -> Connection:
        settings = self.settings
        return Connection(self._dialer.dial(), self._forms, settings.read_timeout, settings.operation_timeout)

    def _for_proxy(self, head: bytes) -> bytes:
        """The request in absolute form (RFC 9112, 3.2.2)."""
        method, space, rest = head.partition(b" ")
        line, end, fields = rest.partition(b"\r\n")
        return method + space + self._absolute + line + end + self._proxy_line + fields


_clients: weakref.WeakSet[HTTPClient] = weakref.WeakSet()


def _after_fork() -> None:
    for client in _clients:
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _parts(body: Buffer | Sequence[Buffer]) -> Sequence[bytes | memoryview]:
    if isinstance(body, (list, tuple)):
        return [view for part in body if len(view := _flat(part))]
    view = _flat(body)  # type: ignore[arg-type]
    return (view,) if len(view) else ()


def _flat(data: Buffer) -> bytes | memoryview:
    if type(data) is bytes:
        return data
    view = memoryview(data)
    if view.format == "B" and view.ndim == 1 and view.contiguous:
        return view
    return view.cast("B") if view.nbytes else b""
