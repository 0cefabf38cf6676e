"""A server that misbehaves as told, and clients that must survive it.

A script is what a connection does with a request: ``script(peer, head)``. Requests for ``/good`` are answered well
whatever the script, so that each test can ask afterwards whether its client is still of use.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from contextlib import ExitStack, suppress

import pytest
import trustme

from penstock.errors import StoreError
from penstock.http import HTTPClient, Origin, Settings
from penstock.testing.sinks import CheckedSink

#: How long the other side is waited for before a test fails, in seconds.
PATIENCE_S = 30.0
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
RESET = struct.pack("ii", 1, 0)


class Peer:
    """The server's end of one connection, and what was heard on it."""

    def __init__(self, sock, number):
        self.sock = sock
        self.number = number
        self.rest = b""

    def head(self):
        """The next request's head, empty at the end."""
        while b"\r\n\r\n" not in self.rest:
            data = self.receive()
            if not data:
                return b""
            self.rest += data
        head, mark, self.rest = self.rest.partition(b"\r\n\r\n")
        return head + mark

    def body(self, head, limit=None):
        """The body that belongs to a head, or its beginning."""
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        length = length if limit is None else min(length, limit)
        parts = [self.rest[:length]]
        self.rest = self.rest[length:]
        left = length - len(parts[0])
        while left and (data := self.sock.recv(min(left, 1 << 20))):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def receive(self):
        try:
            return self.sock.recv(65_536)
        except (ssl.SSLError, ConnectionError):
            return b""

    def send(self, data, piece=0):
        """Send all, ``piece`` bytes at a time."""
        if not piece:
            self.sock.sendall(data)
            return
        for start in range(0, len(data), piece):
            self.sock.sendall(data[start : start + piece])

    def finish(self):
        """End our side, and wait for the client to end its own."""
        with suppress(OSError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
            else:
                self.sock.shutdown(socket.SHUT_WR)
        self.wait()

    def wait(self):
        """Wait until the client lets go of the connection."""
        while self.receive():
            pass

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    def end(self, how):
        """End as a table says: ``keep`` (do nothing), ``close``, ``reset`` or ``stall``."""
        {"keep": lambda: None, "close": self.finish, "reset": self.reset, "stall": self.wait}[how]()


class Hostile:
    """Listens on a free port of 127.0.0.1; each connection has a thread."""

    def __init__(self, script=None, *, talk=None, context=None, host="127.0.0.1"):
        """``talk(peer)`` has the whole connection, instead of a script that has its requests."""
        self._script = script
        self._talk = talk or self._answer
        self._context = context
        self.requests = []  #: (number of the connection, head, body) of each that came whole
        self.connections = 0
        self.problems = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self.host, self.port = self._listener.getsockname()[:2]
        self._open = set()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @property
    def origin(self):
        return Origin(self._context is not None, self.host, self.port)

    def close(self):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads), "the server hangs"
        assert self.problems == []

    def _serve(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(PATIENCE_S)
            self.connections += 1
            thread = threading.Thread(target=self._handle, args=(sock, self.connections - 1), daemon=True)
            self._threads.append(thread)
            self._open.add(sock)
            thread.start()

    def _handle(self, raw, number):
        sock = raw
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False)
                self._open.add(sock)
                self._open.discard(raw)
            self._talk(Peer(sock, number))
        except TimeoutError:
            self.problems.append(f"connection {number}: the client neither sent nor closed for {PATIENCE_S:.0f} s")
        except (OSError, ssl.SSLError):
            pass  # the client went away, as it may
        except Exception as error:  # noqa: BLE001  (it is reported when the server closes)
            self.problems.append(f"connection {number}: {error!r}")
        finally:
            self._open.discard(sock)
            sock.close()

    def _answer(self, peer):
        while head := peer.head():
            if b" /good " in head:
                self.requests.append((peer.number, head, b""))
                peer.send(GOOD)
            else:
                self._script(peer, head)
                if peer.sock.fileno() < 0:
                    return


class Client:
    """A client with the calls that tests make again and again."""

    def __init__(self, http):
        self.http = http

    def send(self, path="/", *, method="GET", headers="", body=None, replay=True):
        parts = body if isinstance(body, list) else [] if body is None else [body]
        length = "" if body is None else f"Content-Length: {sum(memoryview(part).nbytes for part in parts)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.http.origin.authority}\r\n{length}{headers}\r\n"
        return self.http.send(head.encode(), body, replay=replay)

    def get(self, path="/", **options):
        """Status and body, through a sink that watches how it is used."""
        answer = self.send(path, **options)
        sink = CheckedSink(unaligned=True)
        count = answer.into(sink)
        sink.check()
        assert count == sink.nbytes
        return answer.status, sink.view()

    def is_of_use(self):
        """Whether good requests get good answers, several at a time too."""
        for _ in range(2):
            answers = [self.send("/good") for _ in range(3)]
            assert [(answer.status, answer.read()) for answer in answers] == [(200, b"good")] * 3
        return True


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def hostile(stack):
    """Start a server: ``hostile(script)``."""

    def start(script=None, **options):
        return stack.enter_context(contextlib.closing(Hostile(script, **options)))

    return start


@pytest.fixture(scope="module", params=["plain", "tls"])
def told(request, context_for):
    """A server that answers with ``told.wire`` in the ``told.pieces`` (sizes) and then ends as ``told.end`` says."""

    def answer(peer, head):
        at = 0
        for size in (*server.pieces, len(server.wire)):
            if at < len(server.wire):
                peer.send(server.wire[at : at + size])
            at += size
        peer.end(server.end)

    server = Hostile(answer, context=context_for("127.0.0.1") if request.param == "tls" else None)
    server.wire, server.pieces, server.end = b"", (), "keep"
    with contextlib.closing(server):
        yield server


@pytest.fixture(scope="module")
def asking(told, bundle):
    """A client of that server."""
    http = HTTPClient(told.origin, Settings(proxy="", read_timeout=20.0, ca_bundle=bundle))
    with contextlib.closing(http):
        yield Client(http)


@pytest.fixture
def connect(stack):
    """Make a client: ``connect(origin)``, patient, and without a proxy unless one is given."""

    def make(origin, **settings):
        chosen = {"connect_timeout": 20.0, "read_timeout": 20.0, "proxy": ""} | settings
        return Client(stack.enter_context(contextlib.closing(HTTPClient(origin, Settings(**chosen)))))

    return make


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def bundle(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="session")
def context_for(authority):
    """A server's TLS context with a certificate for these names: ``context_for("127.0.0.1")``."""

    def make(*names, by=authority, **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        by.issue_cert(*names, **options).configure_cert(context)
        return context

    return make


@pytest.fixture
def outcome():
    """What a call gave: its result, or the StoreError that it raised. Any other exception is the test's failure."""

    def run(call, *arguments, **options):
        try:
            return call(*arguments, **options)
        except StoreError as error:
            if (error.uri, error.operation) != (None, None):
                raise
            return error

    return run
