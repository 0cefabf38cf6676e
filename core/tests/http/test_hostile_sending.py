"""Requests with bodies, to servers that answer early, read slowly, or not at all."""

from __future__ import annotations

import array
import mmap
import socket
import threading

import pytest

from penstock.errors import StoreConnectionError, StoreError, StoreTimeoutError, UsageError

#: More than any socket's buffers take.
BIG = bytes(range(256)) * (64 * 1024 * 1024 // 256)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"


@pytest.fixture(params=["plain", "tls"])
def channel(request, hostile, connect, context_for, bundle):
    """Start a server and a client of it, over plain TCP and over TLS."""
    context = context_for("127.0.0.1") if request.param == "tls" else None

    def start(script, **settings):
        server = hostile(script, context=context)
        return server, connect(server.origin, ca_bundle=bundle, **settings)

    return start


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        bytearray(BIG[:100_000]),
        [b"one", bytearray(b" two "), memoryview(b"three")],
        [b"", b"one", b""],
        [memoryview(BIG)[start : start + 777_777] for start in range(0, 20_000_000, 777_777)],
        [b"%d," % number for number in range(3_000)],
        memoryview(array.array("I", range(1_000_000))),
        memoryview(BIG)[::2][:1_000].tobytes(),
        BIG,
    ],
    ids=["empty", "byte", "bytearray", "kinds", "empty-parts", "views", "many", "words", "copy", "big"],
)
def test_every_kind_of_body_arrives_whole(body, channel):
    bodies = []

    def store(peer, head):
        bodies.append(peer.body(head))
        peer.send(OK)

    server, client = channel(store)
    for _ in range(2):
        assert client.get("/put", method="PUT", body=body) == (200, b"ok")
    expected = b"".join(bytes(part) for part in body) if isinstance(body, list) else bytes(body)
    assert bodies == [expected] * 2
    assert server.connections == 1


def test_a_slow_reader_gets_every_byte(channel):
    bodies = []

    def store(peer, head):
        beginning = peer.body(head, limit=5_000)
        pause.wait(0.8)  # longer than a send blocks before it looks around
        length = len(BIG) - len(beginning)
        bodies.append(beginning + peer.body(b"Content-Length: %d\r\n" % length))
        peer.send(OK)

    pause = threading.Event()
    _, client = channel(store)
    assert client.get("/put", method="PUT", body=BIG) == (200, b"ok")
    assert bodies == [BIG]
    assert client.is_of_use()


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n" * 3], ids=["100", "102"]
)
def test_an_interim_answer_does_not_end_the_sending(interim, channel):
    # RFC 9110, 15.2: they may come at any time, whether or not they were asked for.
    bodies = []

    def store(peer, head):
        peer.send(interim)
        pause.wait(0.8)
        bodies.append(peer.body(head))
        peer.send(interim + OK)

    pause = threading.Event()
    _, client = channel(store)
    assert client.get("/put", method="PUT", body=BIG) == (200, b"ok")
    assert bodies == [BIG]
    assert client.is_of_use()


def test_expecting_100_needs_none(channel):
    bodies = []

    def store(peer, head):
        bodies.append(peer.body(head))
        peer.send(OK)

    _, client = channel(store)
    got = client.get("/put", method="PUT", body=b"body", headers="Expect: 100-continue\r\n")
    assert got == (200, b"ok")
    assert bodies == [b"body"]


def test_an_early_answer_of_a_server_that_reads_on_is_heard(channel):
    def refuse(peer, head):
        peer.send(REFUSED)
        peer.body(head)

    _, client = channel(refuse)
    for _ in range(2):
        assert client.get("/put", method="PUT", body=BIG) == (403, b"no")
        assert client.is_of_use()


def test_an_early_answer_of_a_server_that_reads_no_more_is_heard(channel):
    def refuse(peer, head):
        peer.body(head, limit=1_000)
        peer.send(REFUSED)
        finished.wait(30)

    finished = threading.Event()
    _, client = channel(refuse)
    try:
        assert client.get("/put", method="PUT", body=BIG) == (403, b"no")
        assert client.is_of_use()
    finally:
        finished.set()


def test_an_early_answer_of_a_server_that_ends_its_side_is_heard(channel):
    def refuse(peer, head):
        peer.body(head, limit=1_000)
        peer.send(REFUSED.replace(b"Content-Length: 2", b"Connection: close\r\nContent-Length: 2"))
        peer.finish()

    _, client = channel(refuse)
    assert client.get("/put", method="PUT", body=BIG) == (403, b"no")
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_early_answer_may_be_lost_with_its_connection(end, channel, outcome):
    # The system discards what came, once the other side resets for what it did not read.
    def refuse(peer, head):
        peer.body(head, limit=1_000)
        peer.send(REFUSED)
        if end == "reset":
            peer.reset()
        else:
            peer.sock.close()

    _, client = channel(refuse)
    got = outcome(client.get, "/put", method="PUT", body=BIG)
    assert got == (403, b"no") or type(got) is StoreConnectionError
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("nbytes", [0, 1, 1_000_000])
def test_a_connection_that_ends_while_we_send_is_an_error(nbytes, end, channel, outcome):
    tried = []

    def lose(peer, head):
        tried.append(head)
        peer.body(head, limit=nbytes)
        peer.end(end)

    _, client = channel(lose)
    got = outcome(client.get, "/put", method="PUT", body=BIG)
    assert type(got) is StoreConnectionError
    assert got.retryable
    assert len(tried) == 1
    assert client.is_of_use()


def test_a_server_that_never_reads_is_not_waited_for_for_ever(channel, outcome):
    def ignore(peer, head):
        finished.wait(30)

    finished = threading.Event()
    _, client = channel(ignore, read_timeout=0.6)
    try:
        assert type(outcome(client.get, "/put", method="PUT", body=BIG)) is StoreTimeoutError
        assert client.is_of_use()
    finally:
        finished.set()


def test_a_server_that_reads_for_ever_ends_with_the_operation(channel, outcome):
    def nibble(peer, head):
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while peer.receive() and not finished.wait(0.05):
            pass

    finished = threading.Event()
    _, client = channel(nibble, operation_timeout=1.0)
    try:
        assert type(outcome(client.get, "/put", method="PUT", body=BIG)) is StoreTimeoutError
        assert client.is_of_use()
    finally:
        finished.set()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n ",
        b"GET / HTTP/1.1\r\nX-Meta: a\r\n\r\nDELETE /all HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nContent-Type: b\r\nContent-Length: 0\r\n\r\n\r\n",
    ],
)
def test_a_head_that_is_not_one_request_is_not_sent(head, hostile, connect):
    requests = []

    def note(peer, request):
        requests.append(request)
        peer.send(OK)

    server = hostile(note)
    client = connect(server.origin)
    with pytest.raises(UsageError):
        client.http.send(head)
    assert server.connections == 0
    assert client.is_of_use()
    assert requests == []


@pytest.mark.parametrize("size", [4096, 4 << 20])
def test_memory_that_cannot_be_read_is_not_the_connections_fault(size, hostile, connect, tmp_path):
    """A mapping of a file that was cut short: the kernel refuses to read it, and nothing was wrong with the server."""
    server = hostile(lambda peer, head: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    client = connect(server.origin)
    (tmp_path / "cut").write_bytes(bytes(size))
    with (tmp_path / "cut").open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
        file.truncate(0)
        with pytest.raises(OSError, match="Bad address") as caught:
            client.send("/", method="PUT", body=memory)
        assert not isinstance(caught.value, StoreError)
    assert client.is_of_use()
