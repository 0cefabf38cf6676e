"""Servers that keep a client waiting, in every phase: it gives up by its time-outs, and then is of use."""

from __future__ import annotations

import signal
import socket
import ssl
import threading

import pytest

from penstock.errors import StoreConnectionError, StoreTimeoutError
from penstock.http import Origin
from penstock.testing.proxy import FaultProxy, Plan, Way

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PHASES = {
    "before any byte": b"",
    "in the status line": b"HTTP/1.",
    "in a header": OK + b"Content-",
    "after the head": OK + b"Content-Length: 5\r\n\r\n",
    "in the body": OK + b"Content-Length: 5\r\n\r\nhel",
    "in a body without a length": OK + b"\r\nhel",
    "in a chunk's size": CHUNKED + b"5",
    "in a chunk": CHUNKED + b"5\r\nhel",
    "after a chunk": CHUNKED + b"5\r\nhello",
    "before the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "in the trailers": CHUNKED + b"5\r\nhello\r\n0\r\nEtag:",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.fixture(params=["plain", "tls"])
def channel(request, hostile, connect, context_for, bundle):
    context = context_for("127.0.0.1") if request.param == "tls" else None

    def start(script, **settings):
        server = hostile(script, context=context)
        return server, connect(server.origin, ca_bundle=bundle, **settings)

    return start


@pytest.fixture(params=["plain", "tls"])
def channel_through(request, hostile, connect, context_for, bundle, stack):
    """The same, by way of a proxy that keeps to a plan."""
    context = context_for("127.0.0.1") if request.param == "tls" else None

    def start(script, plan, **settings):
        proxy = stack.enter_context(FaultProxy(hostile(script, context=context).port, plan=plan))
        return connect(Origin(context is not None, proxy.host, proxy.port), ca_bundle=bundle, **settings)

    return start


@pytest.fixture
def finished():
    """Set when the test is over, so that no script outlives it."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("limit", ["read_timeout", "operation_timeout"])
@pytest.mark.parametrize("phase", PHASES)
def test_silence_ends_by_itself(phase, limit, channel, outcome):
    def fall_silent(peer, head):
        peer.send(PHASES[phase])
        peer.wait()

    server, client = channel(fall_silent, **{limit: 0.3})
    got = outcome(client.get, "/")
    assert type(got) is StoreTimeoutError
    assert got.retryable
    assert client.is_of_use()
    assert [head for _, head, _ in server.requests if b" / " in head] == []


DRIPS = {
    "status line": (b"HTTP/1.1 200 ", b"x"),
    "header": (OK + b"a: ", b"x"),
    "headers": (OK, b"a: b\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "body without a length": (OK + b"\r\n", b"x"),
    "chunk": (CHUNKED + b"fffff\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "chunk extension": (CHUNKED + b"5;", b"x"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("what", DRIPS)
def test_dripping_for_ever_ends_with_the_operation(what, channel, outcome, finished):
    before, drop = DRIPS[what]

    def drip(peer, head):
        peer.send(before)
        while not finished.wait(0.02):
            peer.send(drop)

    _, client = channel(drip, operation_timeout=0.5)
    got = outcome(client.get, "/")
    assert isinstance(got, StoreTimeoutError | StoreConnectionError)
    assert type(got) is StoreTimeoutError or what in ("interim answers", "trailers")
    assert client.is_of_use()


@pytest.mark.parametrize("what", ["status line", "header", "headers", "interim answers", "chunk extension", "trailers"])
def test_what_has_no_end_is_refused_in_bounded_memory(what, channel, outcome):
    before, drop = DRIPS[what]
    sent = []

    def flood(peer, head):
        peer.send(before)
        while True:
            sent.append(peer.sock.send(drop * 1_000))

    _, client = channel(flood)
    assert type(outcome(client.get, "/")) is StoreConnectionError
    assert client.is_of_use()
    # What the sockets' buffers hold was sent too.
    assert sum(sent) < 64 * 1024 * 1024


def test_a_record_of_tls_that_drips_ends_with_the_operation(hostile, connect, context_for, bundle, outcome, finished):
    """No byte of the answer can be had before the record is whole, so time must be kept below TLS."""

    def drip(peer):
        raw = peer.sock
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context_for("127.0.0.1").wrap_bio(incoming, outgoing, server_side=True)
        for step in (tls.do_handshake, lambda: tls.read(65_536)):
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    incoming.write(raw.recv(65_536))
                else:
                    raw.sendall(outgoing.read())
                    break
        tls.write(OK + b"Content-Length: 16000\r\n\r\n" + bytes(16_000))
        for byte in outgoing.read():
            if finished.wait(0.02):
                return
            raw.sendall(bytes([byte]))

    server = hostile(talk=drip)
    client = connect(Origin(True, "127.0.0.1", server.port), ca_bundle=bundle, operation_timeout=0.5)
    assert type(outcome(client.get, "/")) is StoreTimeoutError


HANDSHAKES = {
    "nothing": (b"", b""),
    "part of a record": (b"\x16\x03\x03\x40\x00", b""),
    "a record that drips": (b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00"),
}


@pytest.mark.parametrize("what", HANDSHAKES)
def test_a_handshake_that_does_not_end_is_given_up(what, hostile, connect, bundle, outcome, finished):
    before, drop = HANDSHAKES[what]

    def shake(peer):
        peer.send(before)
        while not finished.wait(0.05):
            peer.send(drop)

    server = hostile(talk=shake)
    client = connect(Origin(True, "127.0.0.1", server.port), ca_bundle=bundle, connect_timeout=0.5)
    assert type(outcome(client.get, "/")) is StoreTimeoutError


def test_a_server_that_never_accepts_is_given_up(connect, outcome):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            # The queue of a listener that never accepts fills up; then the system drops what else comes.
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                fillers.append(filler)
                filler.connect_ex(listener.getsockname())
            client = connect(Origin(False, *listener.getsockname()), connect_timeout=0.4)
            got = outcome(client.get, "/")
        finally:
            for filler in fillers:
                filler.close()
    assert type(got) is StoreTimeoutError
    assert got.retryable


def test_nobody_listening_is_a_connection_error(connect, outcome):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    got = outcome(connect(Origin(False, "127.0.0.1", port)).get, "/")
    assert type(got) is StoreConnectionError
    assert got.retryable
    assert str(port) in str(got)


@pytest.mark.parametrize("phase", ["after the head", "in the body", "in a chunk", "in a body without a length"])
def test_closing_an_answer_neither_raises_nor_waits_for_a_silent_server(phase, channel, outcome):
    def fall_silent(peer, head):
        peer.send(PHASES[phase])
        peer.wait()

    _, client = channel(fall_silent, read_timeout=600.0)
    answer = client.send("/")
    answer.close()
    answer.close()
    assert client.is_of_use()


def test_closing_an_answer_shortens_no_later_wait(channel):
    def answer(peer, head):
        peer.send(OK + b"Content-Length: 5\r\n\r\n")
        pause.wait(1.5 if head.startswith(b"GET /slow ") else 0.2)
        peer.send(b"hello")

    pause = threading.Event()
    server, client = channel(answer)
    client.send("/").close()
    assert client.get("/slow") == (200, b"hello")
    assert server.connections == 1


@pytest.fixture
def interrupts():
    """A handler of SIGUSR1, which counts; it outlives the server of the test."""
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    yield caught
    signal.signal(signal.SIGUSR1, before)


def test_signals_do_not_end_a_wait(interrupts, channel):
    """A system call that a signal interrupts is not late."""

    def answer_late(peer, head):
        for _ in range(20):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            pause.wait(0.02)
        peer.send(OK + b"Content-Length: 5\r\n\r\n")
        for byte in b"hello":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            pause.wait(0.02)
            peer.send(bytes([byte]))

    pause = threading.Event()
    _, client = channel(answer_late)
    assert client.get() == (200, b"hello")
    assert interrupts


def test_a_slow_download_is_no_silence(channel_through):
    body = bytes(range(256)) * 1_000

    def answer(peer, head):
        peer.send(OK + b"Content-Length: 256000\r\n\r\n" + body)

    client = channel_through(answer, Plan(down=Way(rate=100_000)), read_timeout=1.0)
    assert client.get() == (200, body)
