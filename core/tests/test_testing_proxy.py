"""The proxy that harms connections: each plan does what it says, to the byte, and to its own connection alone."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest

from penstock.testing.proxy import FaultProxy, Plan, Way

PATIENCE_S = 30.0


@contextmanager
def echoing():
    """A server that sends back what it gets until the client ends its side, and keeps what each connection sent."""
    heard: list[bytearray] = []
    server = socket.create_server(("127.0.0.1", 0))

    def echo(connection, text):
        with connection:
            try:
                while data := connection.recv(65_536):
                    text += data
                    connection.sendall(data)
            except OSError:
                text += b"<reset>"

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            heard.append(bytearray())
            threads.append(threading.Thread(target=echo, args=(connection, heard[-1])))
            threads[-1].start()

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield server.getsockname()[1], heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENCE_S)
        server.close()


@pytest.fixture
def echo():
    with echoing() as (port, heard):
        yield port, heard


@pytest.fixture
def proxy(echo):
    with FaultProxy(echo[0]) as proxy:
        yield proxy


def connect(proxy):
    return socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE_S)


def receive(connection, nbytes):
    """So many bytes, or what came before the end."""
    got = b""
    while len(got) < nbytes and (data := connection.recv(nbytes - len(got))):
        got += data
    return got


def until(found, expected):
    """Wait for what another thread is about to bring about."""
    deadline = time.monotonic() + PATIENCE_S
    while found() != expected and time.monotonic() < deadline:
        time.sleep(0.001)
    assert found() == expected


@contextmanager
def saying(connection, data):
    """Send more than fits on the way, beside the block that reads the answers."""
    sender = threading.Thread(target=connection.sendall, args=(data,))
    sender.start()
    yield
    sender.join(PATIENCE_S)


def receive_or_reset(connection):
    try:
        return connection.recv(1)
    except ConnectionResetError:
        return b""


def talk(proxy, data, *, end=True):
    """Send, end our side, and hear everything; ``<reset>`` ends what a reset ended."""
    got = b""
    try:
        with connect(proxy) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                got += piece
    except ConnectionError:
        got += b"<reset>"
    return got


def test_without_a_plan_everything_passes(proxy, echo):
    data = os.urandom(3_000_000)
    with connect(proxy) as connection:
        with saying(connection, data):
            assert receive(connection, len(data)) == data
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert (proxy.connections, proxy.up_bytes, proxy.down_bytes) == (1, len(data), len(data))


@pytest.mark.parametrize("nbytes", [1, 10, 99_999])
def test_answers_are_cut_to_the_byte(proxy, nbytes):
    data = os.urandom(100_000)
    proxy.then(Plan(down=Way(cut=nbytes)))
    assert talk(proxy, data, end=False) == data[:nbytes]
    assert proxy.down_bytes == nbytes
    assert talk(proxy, data) == data


@pytest.mark.parametrize("nbytes", [1, 10, 99_999])
def test_requests_are_cut_to_the_byte(proxy, echo, nbytes):
    data = os.urandom(100_000)
    proxy.then(Plan(up=Way(cut=nbytes)))
    talk(proxy, data, end=False)
    assert proxy.up_bytes == nbytes
    assert talk(proxy, data) == data
    until(lambda: bytes(echo[1][0]), data[:nbytes])


def test_a_cut_at_zero_waits_for_the_first_byte(proxy, echo):
    proxy.then(Plan(down=Way(cut=0)))
    with connect(proxy) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE_S)
        connection.sendall(b"request")
        assert connection.recv(1) == b""
    assert bytes(echo[1][0]) == b"request"


def test_a_cut_can_be_a_reset(proxy, echo):
    proxy.then(Plan(up=Way(cut=3), ending="reset"))
    assert talk(proxy, b"request", end=False).endswith(b"<reset>")
    assert talk(proxy, b"request") == b"request"
    # The reset may overtake what was passed on.
    until(lambda: bytes(echo[1][0]).removeprefix(b"req"), b"<reset>")


def test_a_cut_can_end_one_way_only(proxy, echo):
    proxy.then(Plan(down=Way(cut=3), ending="half"))
    with connect(proxy) as connection:
        connection.sendall(b"request")
        assert receive(connection, 100) == b"req"
        connection.sendall(b" and more")
        connection.shutdown(socket.SHUT_WR)
        assert talk(proxy, b"other") == b"other"
        until(lambda: bytes(echo[1][0][:16]), b"request and more")
    proxy.close()
    # What the server still had to say may meet a closed proxy.
    assert bytes(echo[1][0]).removesuffix(b"<reset>") == b"request and more"


@pytest.mark.parametrize(("opening", "expected"), [("close", b""), ("reset", b"<reset>")])
def test_a_connection_can_end_as_it_is_accepted(proxy, echo, opening, expected):
    proxy.then(Plan(opening=opening))
    try:
        with connect(proxy) as connection:
            got = connection.recv(1)
    except ConnectionError:
        got = b"<reset>"
    assert got == expected
    assert echo[1] == []
    assert talk(proxy, b"next") == b"next"


@pytest.mark.parametrize(
    ("plan", "heard"),
    [
        (Plan(opening="ignore"), []),
        (Plan(up=Way(swallow=True)), [b""]),
        (Plan(down=Way(swallow=True)), [b"request"]),
    ],
)
def test_a_connection_can_be_silent(proxy, echo, plan, heard):
    proxy.then(plan)
    with connect(proxy) as connection:
        connection.sendall(b"request")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert talk(proxy, b"other") == b"other"
        until(lambda: [bytes(text) for text in echo[1]], [*heard, b"other"])
        assert proxy.drop() >= 1
        connection.settimeout(PATIENCE_S)
        assert connection.recv(1) == b""


def test_one_byte_is_corrupted_each_way(proxy, echo):
    proxy.then(Plan(up=Way(corrupt=2), down=Way(corrupt=5)))
    assert talk(proxy, b"request") == b"re\x8eue\x8ct"
    assert bytes(echo[1][0]) == b"re\x8euest"
    assert talk(proxy, b"request") == b"request"


def test_one_plan_for_both_ways_counts_each_way(proxy):
    way = Way(cut=7)
    proxy.then(Plan(up=way, down=way))
    assert talk(proxy, b"request", end=False) == b"request"[: proxy.down_bytes]
    assert proxy.up_bytes == 7


def test_pieces_rates_and_delays_lose_nothing(proxy):
    data = os.urandom(2_000)
    for plan in (Plan(up=Way(piece=1), down=Way(piece=1)), Plan(down=Way(rate=20_000)), Plan(down=Way(delay=0.1))):
        proxy.then(plan)
        assert talk(proxy, data) == data


def test_bytes_come_one_at_a_time(proxy):
    proxy.then(Plan(down=Way(piece=1, rate=1 / PATIENCE_S)))
    with connect(proxy) as connection:
        connection.sendall(b"1234")
        assert connection.recv(100) == b"1"
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(100)


def test_a_delayed_answer_holds_up_no_other(proxy):
    proxy.then(Plan(down=Way(delay=PATIENCE_S)))
    with connect(proxy) as connection:
        connection.sendall(b"slow")
        assert talk(proxy, b"quick") == b"quick"
        connection.settimeout(0.01)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_plans_come_in_order_and_then_the_standing_one(proxy):
    proxy.plan = Plan(down=Way(cut=1))
    proxy.then(Plan(down=Way(cut=2)), Plan())
    assert [talk(proxy, b"abc") for _ in range(4)] == [b"ab", b"abc", b"a", b"a"]
    assert proxy.connections == 4


def test_nobody_listens_while_it_refuses_and_open_connections_go_on(proxy):
    with connect(proxy) as connection:
        connection.sendall(b"1")
        assert connection.recv(1) == b"1"
        with proxy.refusing():
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
            connection.sendall(b"2")
            assert connection.recv(1) == b"2"
    assert talk(proxy, b"again") == b"again"


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_dropping_ends_what_is_open(proxy, ending):
    with connect(proxy) as one, connect(proxy) as two:
        for connection in (one, two):
            connection.sendall(b"1")
            assert connection.recv(1) == b"1"
        assert proxy.drop(ending) == 2
        for connection in (one, two):
            if ending == "reset":
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
            else:
                assert connection.recv(1) == b""
    assert talk(proxy, b"again") == b"again"


def test_a_server_that_is_not_there_resets_the_client():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with FaultProxy(port) as proxy:
        assert talk(proxy, b"request") == b"<reset>"


PUT = b"PUT /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 27\r\n\r\nGET /in-a-body HTTP/1.1\r\n\r\n"
CHUNKED = (
    b"PUT /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nab\r\nc\r\n1C\r\nGET /in-a-chunk HTTP/1.1\r\n\r\n\r\n0\r\nEtag: x\r\n\r\n"
)
GET = b"GET /3 HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("piece", [1, 7, 65_536])
def test_heads_of_requests_are_kept_and_bodies_are_not(proxy, piece):
    proxy.plan = Plan(down=Way(swallow=True))
    with closing(connect(proxy)) as connection:
        text = PUT + CHUNKED + GET + PUT + GET
        for start in range(0, len(text), piece):
            connection.sendall(text[start : start + piece])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    heads = [PUT[:50], CHUNKED[:48], GET, PUT[:50], GET]
    assert [head[:7] for head in proxy.heads] == [head[:7] for head in heads]
    assert proxy.heads[2] == GET
    assert all(head.endswith(b"\r\n\r\n") and head.count(b"HTTP/1.1") == 1 for head in proxy.heads)


def test_what_is_not_http_has_no_heads(proxy):
    data = b"\x16\x03\x01" + bytes(2_000_000)
    with connect(proxy) as connection, saying(connection, data):
        assert receive(connection, len(data)) == data
    assert talk(proxy, b"CONNECT h:1 HTTP/1.1\r\n\r\n" + GET).endswith(GET)
    assert proxy.heads == [b"CONNECT h:1 HTTP/1.1\r\n\r\n"]


def test_a_connection_can_be_cut_after_the_first_head(proxy, echo):
    proxy.then(Plan(cut_after_head=True))
    head = b"PUT /1 HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
    assert talk(proxy, head + b"body", end=False) in (head, b"")
    assert talk(proxy, b"next") == b"next"
    until(lambda: bytes(echo[1][0]), head)


def test_closing_twice_is_harmless_and_leaves_nothing(echo):
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    proxy = FaultProxy(echo[0], plan=Plan(opening="ignore"))
    with connect(proxy) as connection:
        connection.sendall(b"request")
        proxy.plan = Plan(down=Way(swallow=True))
        with connect(proxy) as other:
            other.sendall(b"request")
            proxy.close()
            assert receive_or_reset(other) == b""
    proxy.close()
    assert not proxy_is_there(proxy)
    # The server's own of connections that have ended go in a moment.
    until(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()), (files, threads))


def proxy_is_there(proxy):
    try:
        connect(proxy).close()
    except ConnectionRefusedError:
        return False
    return True
