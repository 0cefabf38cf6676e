"""Connections that are kept: gone when they are needed, shared by threads, and never a wrong answer."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from penstock.errors import LengthMismatchError, StoreConnectionError
from penstock.http import HTTPClient, Origin, Settings
from penstock.sinks import Into
from penstock.testing.proxy import FaultProxy, Plan, Way
from penstock.testing.sinks import CheckedSink, Room, SinkError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(params=["plain", "tls"])
def channel(request, hostile, connect, context_for, bundle):
    context = context_for("127.0.0.1") if request.param == "tls" else None

    def start(script, **settings):
        server = hostile(script, context=context)
        return server, connect(server.origin, ca_bundle=bundle, **settings)

    return start


def test_one_caller_uses_one_connection(channel):
    server, client = channel(lambda peer, head: peer.send(OK))
    assert [client.get() for _ in range(20)] == [(200, b"ok")] * 20
    assert server.connections == 1


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_that_ended_between_requests_is_not_used(end, replay, channel):
    ended = threading.Event()

    def answer_once(peer, head):
        peer.send(OK)
        if peer.number == 0:
            asked.wait(30)
            if end == "reset":
                peer.reset()
            else:
                threading.Timer(0.2, ended.set).start()
                peer.finish()
            ended.set()

    asked = threading.Event()
    server, client = channel(answer_once)
    assert client.get(replay=replay) == (200, b"ok")
    asked.set()
    assert ended.wait(30)
    assert client.get(replay=replay) == (200, b"ok")
    assert server.connections == 2
    assert client.is_of_use()


def lose_second(end, requests, times=1):
    """The first request of a connection is answered, the second one is read and the connection lost."""
    seen = {}

    def script(peer, head):
        requests.append(peer.number)
        seen[peer.number] = seen.get(peer.number, 0) + 1
        if peer.number < times and (seen[peer.number] == 2 or peer.number > 0):
            peer.body(head)
            peer.end(end)
        else:
            peer.body(head)
            peer.send(OK)

    return script


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("body", [None, b"x" * 3_000_000], ids=["small", "large"])
def test_a_request_that_is_lost_on_a_kept_connection_is_sent_once_more(end, body, channel):
    requests = []
    _, client = channel(lose_second(end, requests))
    assert client.get(body=body) == (200, b"ok")
    assert client.get(body=body) == (200, b"ok")
    assert requests == [0, 0, 1]
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_request_that_must_not_be_repeated_is_not(end, channel, outcome):
    requests = []
    _, client = channel(lose_second(end, requests))
    assert client.get(replay=False) == (200, b"ok")
    assert type(outcome(client.get, replay=False)) is StoreConnectionError
    assert requests == [0, 0]
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_request_is_repeated_once_and_no_more(end, channel, outcome):
    requests = []
    _, client = channel(lose_second(end, requests, times=9))
    assert client.get() == (200, b"ok")
    assert type(outcome(client.get)) is StoreConnectionError
    assert requests == [0, 0, 1]
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_on_a_new_connection_nothing_is_repeated(end, channel, outcome):
    requests = []

    def lose(peer, head):
        requests.append(peer.number)
        peer.end(end)

    _, client = channel(lose)
    assert type(outcome(client.get)) is StoreConnectionError
    assert requests == [0]
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", OK[:-1], b"nonsense"])
def test_after_a_byte_of_an_answer_nothing_is_repeated(begun, end, channel, outcome):
    requests = []

    def begin(peer, head):
        requests.append(peer.number)
        if len(requests) == 1:
            peer.send(OK)
        else:
            peer.send(begun)
            if end == "reset":
                hold.wait(0.2)  # a reset overtakes what was sent
            peer.end(end)

    hold = threading.Event()
    _, client = channel(begin, read_timeout=0.5 if end == "stall" else 20.0)
    assert client.get() == (200, b"ok")
    assert isinstance(outcome(client.get), OSError)
    assert requests == [0, 0]
    assert client.is_of_use()


def test_a_time_out_is_not_repeated(channel, outcome):
    requests = []

    def stall(peer, head):
        requests.append(peer.number)
        if len(requests) == 1:
            peer.send(OK)
        else:
            peer.wait()

    _, client = channel(stall, read_timeout=0.3)
    assert client.get() == (200, b"ok")
    assert isinstance(outcome(client.get), TimeoutError)
    assert requests == [0, 0]


def test_what_comes_on_an_idle_connection_is_no_answer(channel):
    def answer(peer, head):
        peer.send(OK)
        if peer.number == 0:
            asked.wait(30)
            peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil")
            sent.set()
            peer.wait()

    asked, sent = threading.Event(), threading.Event()
    server, client = channel(answer)
    assert client.get() == (200, b"ok")
    asked.set()
    assert sent.wait(30)
    threading.Event().wait(0.05)  # the kernel tells nobody when it has arrived
    assert client.get() == (200, b"ok")
    assert server.connections == 2


@pytest.mark.parametrize("read", ["read", "into", "close"])
def test_what_came_behind_an_answer_is_no_answer(read, channel):
    """Nor when it came before the answer was read, in a segment or a TLS record of its own."""

    def answer(peer, head):
        peer.send(OK)
        if peer.number == 0:
            peer.send(OK.replace(b"ok", b"no"))
            sent.set()

    sent = threading.Event()
    server, client = channel(answer)
    exchange = client.send("/")
    assert sent.wait(30)
    threading.Event().wait(0.05)  # as above
    if read == "read":
        assert exchange.read() == b"ok"
    elif read == "into":
        sink = CheckedSink()
        exchange.into(sink)
        assert sink.view() == b"ok"
    else:
        exchange.close()
    assert client.get() == (200, b"ok")
    assert server.connections == 2


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"])
def test_a_connection_that_delimited_a_body_by_its_end_is_closed_at_once(head, channel):
    def answer(peer, request):
        peer.send(head + b"hello")
        peer.finish()  # waits for the client's end
        closed.set()

    closed = threading.Event()
    _, client = channel(answer)
    assert client.get() == (200, b"hello")
    assert closed.wait(30)


def test_an_idle_connection_that_is_too_old_is_not_used(channel):
    server, client = channel(lambda peer, head: peer.send(OK), max_idle=0.05)
    assert client.get() == (200, b"ok")
    threading.Event().wait(0.2)
    assert client.get() == (200, b"ok")
    assert server.connections == 2


def test_threads_share_a_client(channel):
    """Each of many requests gets its own body, of a length of its own, whole."""

    def answer(peer, head):
        text = b"body of " + head.split()[1] + b" "
        body = text * (1 + int(head.split()[1][1:]) % 97)
        if int(head.split()[1][1:]) % 2:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            peer.send(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")

    def work(thread):
        try:
            for turn in range(200):
                number = thread * 200 + turn
                expected = f"body of /{number} ".encode() * (1 + number % 97)
                if client.get(f"/{number}") != (200, expected):
                    wrong.append(number)
        except BaseException as error:
            wrong.append(error)
            raise

    wrong = []
    server, client = channel(answer)
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(16)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)
    assert server.connections <= 16


def test_threads_survive_connections_that_are_lost_all_the_time(hostile, connect):
    """Behind a proxy that drops everything again and again, each answer is right or an error."""
    server = hostile(lambda peer, head: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + head[5:11]))
    with FaultProxy(server.port) as proxy:
        client = connect(Origin(False, proxy.host, proxy.port))

        def work(thread):
            for turn in range(100):
                number = f"{thread:03d}{turn:03d}"
                try:
                    got = client.get(f"/{number}")
                except StoreConnectionError:
                    lost.append(number)
                    continue
                if got != (200, number.encode()):
                    wrong.append((number, got))

        wrong, lost = [], []
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        drops = 0
        while any(thread.is_alive() for thread in threads):
            proxy.then(Plan(down=Way(cut=30)), Plan(opening="reset"), Plan(down=Way(cut=100), ending="reset"))
            drops += proxy.drop("reset" if drops % 2 else "close")
            threading.Event().wait(0.005)
        assert wrong == []
        assert drops > 0
        assert len(lost) < 800
        proxy.plan = Plan()
        proxy.drop()


def test_closing_while_idle_lets_the_server_go(channel):
    def answer(peer, head):
        peer.send(OK)
        peer.wait()
        gone.set()

    gone = threading.Event()
    _, client = channel(answer)
    assert client.get() == (200, b"ok")
    client.http.close()
    client.http.close()
    assert gone.wait(30)


def test_closing_during_an_exchange_leaves_it_whole_and_keeps_nothing(channel):
    def answer(peer, head):
        peer.send(OK[:-1])
        closed.wait(30)
        peer.send(OK[-1:])
        peer.wait()
        gone.set()

    closed, gone = threading.Event(), threading.Event()
    _, client = channel(answer)
    exchange = client.send("/")
    client.http.close()
    closed.set()
    assert exchange.read() == b"ok"
    assert gone.wait(30)


@pytest.mark.parametrize(
    "wire", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n", b"\r\n"]
)
@pytest.mark.parametrize("room", Room)
def test_a_failing_sink_is_heard_and_harms_nothing(wire, room, channel):
    def answer(peer, head):
        peer.send(b"HTTP/1.1 200 OK\r\n" + wire + bytes(1_000_000) + b"\r\n0\r\n\r\n" * (b"chunked" in wire))
        peer.finish()

    _, client = channel(answer)
    for limit in (0, 1, 70_000, 999_999):
        sink = CheckedSink(room, fail_at=limit)
        with pytest.raises(SinkError):
            client.send("/").into(sink)
        sink.check()
        assert sink.nbytes <= limit
        assert client.is_of_use()


@pytest.mark.parametrize("room", Room)
def test_every_sink_gets_every_byte(room, channel):
    data = os.urandom(300_000)
    framed = {
        "/length": b"Content-Length: %d\r\n\r\n" % len(data) + data,
        "/chunks": b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(
            b"%x\r\n" % len(data[at : at + 70_001]) + data[at : at + 70_001] + b"\r\n"
            for at in range(0, len(data), 70_001)
        )
        + b"0\r\n\r\n",
        "/end": b"Connection: close\r\n\r\n" + data,
    }

    def answer(peer, head):
        path = head.split()[1].decode()
        peer.send(b"HTTP/1.1 200 OK\r\n" + framed[path], piece=50_021)
        if path == "/end":
            peer.finish()

    _, client = channel(answer)
    for path in framed:
        sink = CheckedSink(room, unaligned=True)
        assert client.send(path).into(sink) == len(data)
        sink.check()
        assert sink.view() == data


def test_a_buffer_that_is_too_small_is_a_mismatch_and_one_that_fits_is_filled(channel):
    _, client = channel(
        lambda peer, head: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
    )
    for size in (0, 1, 65_536, 99_999):
        with pytest.raises(LengthMismatchError):
            client.send("/").into(Into(bytearray(size)))
        assert client.is_of_use()
    assert client.send("/").into(Into(bytearray(100_000))) == 100_000


def test_a_small_read_refuses_a_body_that_came_with_the_head(channel, outcome):
    server, client = channel(lambda peer, head: peer.send(OK))
    assert type(outcome(client.send("/").read, 1)) is StoreConnectionError
    assert client.send("/").read(2) == b"ok"
    assert server.connections == 2


def test_a_small_read_refuses_a_large_body(channel, outcome):
    def answer(peer, head):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))

    _, client = channel(answer)
    assert client.send("/").read(100_000) == bytes(100_000)
    assert type(outcome(client.send("/").read, 99_999)) is StoreConnectionError
    assert client.is_of_use()


@pytest.mark.parametrize("size", [0, 1, 10_000, 10_000_000])
def test_an_answer_that_nobody_reads_can_be_closed(size, channel):
    def answer(peer, head):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    server, client = channel(answer)
    exchange = client.send("/")
    exchange.close()
    exchange.close()
    assert exchange.read() == b""
    assert client.is_of_use()
    assert size > 10_000 or server.connections == 3  # the good requests come three at a time


@pytest.mark.parametrize("chunks", [b"0\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"])
def test_a_chunked_answer_that_nobody_reads_leaves_its_connection_to_others(chunks, channel):
    def answer(peer, head):
        peer.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

    server, client = channel(answer)
    for _ in range(5):
        client.send("/").close()
    assert server.connections == 1


def test_a_body_is_had_once(channel):
    server, client = channel(lambda peer, head: peer.send(OK))
    exchange = client.send("/")
    assert exchange.read() == b"ok"
    assert exchange.read() == b""
    exchange.close()
    assert client.get() == (200, b"ok")
    assert server.connections == 1


@pytest.mark.parametrize("how", ["close", "reset", "nonsense", "cut", "late", "refused", "well"])
def test_no_descriptor_is_left(how, channel, outcome):
    wires = {"nonsense": b"nonsense\r\n\r\n", "cut": OK[:-1], "well": OK, "refused": b"HTTP/1.1 101 S\r\n\r\n"}

    def answer(peer, head):
        peer.send(wires.get(how, b""))
        peer.end({"reset": "reset", "well": "keep", "late": "stall"}.get(how, "close"))

    _, client = channel(answer, read_timeout=0.1 if how == "late" else 20.0)
    outcome(client.get)
    client.http.close()
    before = sockets()
    for _ in range(10):
        outcome(client.get)
    client.http.close()
    assert sockets() - before <= 0


def sockets():
    """How many sockets of this process end at a server, which has as many; those of the server end at its pace."""
    mine = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if is_link(name)]
    inodes = {name[8:-1] for name in mine if name.startswith("socket:")}
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    listening = {row[1] for row in rows if row[3] == "0A"}
    return sum(row[9] in inodes and row[2] in listening for row in rows)


def is_link(name):
    try:
        os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return False
    return True


def test_a_client_needs_no_settings(hostile):
    server = hostile(lambda peer, head: peer.send(OK))
    client = HTTPClient(server.origin)
    try:
        assert client.settings == Settings()
        assert client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").read() == b"ok"
    finally:
        client.close()
