"""Requests by way of proxies, and hosts with several addresses, some of them dead."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections import Counter

import pytest

from penstock.errors import StoreConnectionError, StoreTimeoutError, UsageError
from penstock.http import HTTPClient, Origin, Settings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "p%40ss:w%2Ford"
TOKEN = base64.b64encode(b"user:p@ss:w/ord")


def answer(peer, head):
    heads.append(head)
    peer.send(OK)


heads: list[bytes] = []


@pytest.fixture(autouse=True)
def _no_heads():
    heads.clear()


def tunnel(peer, head):
    """A proxy that opens tunnels, all of them to the host of the request."""
    heads.append(head)
    host, _, port = head.split()[1].decode().rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))) as there:
        peer.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
        back = threading.Thread(target=pump, args=(there, peer.sock))
        back.start()
        pump(peer.sock, there)
        back.join(30)


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_a_plain_request_goes_in_absolute_form(hostile, connect):
    proxy = hostile(answer)
    client = connect(Origin(False, "service.invalid", 8080), proxy=f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
    assert client.get("/key?a=b%20c", method="PUT", body=b"x", headers="X-Mine: 1\r\n") == (200, b"ok")
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"PUT http://service.invalid:8080/key?a=b%20c HTTP/1.1"
    assert b"Host: service.invalid:8080" in lines
    assert b"Proxy-Authorization: Basic " + TOKEN in lines
    assert b"X-Mine: 1" in lines


def test_a_request_to_ipv6_by_a_proxy_has_brackets(hostile, connect):
    proxy = hostile(answer)
    client = connect(Origin(False, "::1", 80), proxy=f"127.0.0.1:{proxy.port}")
    assert client.get("/") == (200, b"ok")
    assert heads[0].startswith(b"GET http://[::1]/ HTTP/1.1\r\n")
    assert b"roxy" not in heads[0]


def test_a_request_under_tls_goes_through_a_tunnel(hostile, connect, context_for, bundle):
    server = hostile(lambda peer, head: answer(peer, head), context=context_for("127.0.0.1"))
    proxy = hostile(tunnel)
    client = connect(server.origin, ca_bundle=bundle, proxy=f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
    for _ in range(3):
        assert client.get("/key") == (200, b"ok")
    opened, *asked = heads
    assert opened.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % (server.port, server.port))
    assert b"Proxy-Authorization: Basic " + TOKEN in opened
    assert len(asked) == 3
    # The service learns nothing of the proxy's password, nor the proxy of the request.
    assert all(b"roxy" not in head and head.startswith(b"GET /key HTTP/1.1\r\n") for head in asked)
    assert proxy.connections == server.connections == 1
    assert client.is_of_use()


def test_a_tunnel_does_not_replace_the_check_of_the_certificate(hostile, connect, context_for, bundle, outcome):
    server = hostile(answer, context=context_for("localhost"))
    proxy = hostile(tunnel)
    got = outcome(connect(server.origin, ca_bundle=bundle, proxy=f"http://127.0.0.1:{proxy.port}").get)
    assert type(got) is StoreConnectionError
    assert not got.retryable


REFUSALS = [
    (
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        407,
        False,
    ),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nevil", 403, False),
    (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", 502, True),
    (b"HTTP/1.1 503 Busy\r\n\r\n", 503, True),
    (b"HTTP/1.1 302 Found\r\nLocation: http://evil.invalid/\r\n\r\n", 302, False),
    (b"nonsense\r\n\r\n", None, True),
    (b"HTTP/1.1 200\r\nA : b\r\n\r\n", None, True),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, False),
    (b"HTTP/1.1 200 OK\r\n", None, True),
    (b"", None, True),
    (b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n", None, True),
]


@pytest.mark.parametrize(("wire", "status", "retryable"), REFUSALS)
def test_a_proxy_that_opens_no_tunnel_is_an_error_without_secrets(wire, status, retryable, hostile, connect, outcome):
    def refuse(peer, head):
        peer.send(wire)
        peer.finish()

    proxy = hostile(refuse)
    client = connect(Origin(True, "127.0.0.1", 9), proxy=f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
    got = outcome(client.get)
    assert type(got) is StoreConnectionError
    assert (got.status, got.retryable) == (status, retryable)
    for secret in ("p@ss", "p%40ss", "w/ord", TOKEN.decode()):
        assert secret not in f"{got!s} {got!r} {client.http.settings!r}"


@pytest.mark.parametrize("drop", [b"", b"x"], ids=["silent", "dripping"])
def test_a_proxy_that_does_not_answer_is_given_up(drop, hostile, connect, outcome):
    def wait(peer, head):
        peer.send(b"HTTP/1.1 200 OK\r\na: ")
        while not finished.wait(0.05):
            peer.send(drop)

    finished = threading.Event()
    proxy = hostile(wait)
    client = connect(Origin(True, "127.0.0.1", 9), proxy=f"http://127.0.0.1:{proxy.port}", connect_timeout=0.5)
    try:
        assert type(outcome(client.get)) is StoreTimeoutError
    finally:
        finished.set()


def test_a_proxy_that_is_not_there_is_named(connect, outcome):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    got = outcome(connect(Origin(False, "service.invalid", 80), proxy=f"http://u:{SECRET}@127.0.0.1:{port}").get)
    assert type(got) is StoreConnectionError
    assert f"127.0.0.1:{port}" in str(got)
    assert "p@ss" not in str(got)


@pytest.mark.parametrize(
    "proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1", "http://", "http://u:hush@", "http://h:x"]
)
def test_a_proxy_that_cannot_be_used_is_refused_at_once(proxy):
    with pytest.raises(UsageError) as caught:
        HTTPClient(Origin(False, "127.0.0.1", 1), Settings(proxy=proxy))
    assert "hush" not in str(caught.value)


@pytest.fixture
def environment(monkeypatch):
    def put(**variables):
        for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("variables", "by_proxy"),
    [
        ({}, False),
        ({"HTTP_PROXY": "PROXY"}, True),
        ({"http_proxy": "PROXY"}, True),
        ({"HTTPS_PROXY": "PROXY"}, False),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "127.0.0.1"}, False),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "other.invalid, 127.0.0.1"}, False),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "127.0.0.1:1"}, True),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "*"}, False),
        ({"HTTP_PROXY": "PROXY", "NO_PROXY": "other.invalid"}, True),
        ({"HTTP_PROXY": "", "NO_PROXY": ""}, False),
    ],
)
def test_the_environment_says_which_proxy(variables, by_proxy, environment, hostile, connect):
    proxy = hostile(lambda peer, head: peer.send(OK.replace(b"ok", b"by")))
    server = hostile(answer)
    environment(**{name: value.replace("PROXY", f"http://127.0.0.1:{proxy.port}") for name, value in variables.items()})
    assert connect(server.origin, proxy=None).get() == (200, b"by" if by_proxy else b"ok")
    # What is said outright counts more.
    assert connect(server.origin, proxy="").get() == (200, b"ok")


@pytest.fixture
def addresses(monkeypatch):
    """Let a name have these addresses."""

    def put(name, *targets):
        known = socket.getaddrinfo

        def look_up(host, port, *arguments, **options):
            if host != name:
                return known(host, port, *arguments, **options)
            asked.append(host)
            return [info for target in targets for info in known(*target, *arguments, **options)]

        asked = []
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return put


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_ipv6_works_with_and_without_tls(hostile, connect, context_for, bundle):
    assert connect(hostile(answer, host="::1").origin).get() == (200, b"ok")
    server = hostile(answer, host="::1", context=context_for("::1"))
    assert connect(server.origin, ca_bundle=bundle).get() == (200, b"ok")
    assert connect(Origin.parse(f"https://[::1]:{server.port}"), ca_bundle=bundle).get() == (200, b"ok")
    assert f"Host: [::1]:{server.port}".encode() in heads[-1]


def test_dead_addresses_are_passed_over(hostile, connect, addresses):
    server = hostile(answer)
    dead = [("127.0.0.1", closed_port()) for _ in range(3)]
    addresses("many.invalid", *dead, ("127.0.0.1", server.port))
    client = connect(Origin(False, "many.invalid", 1))
    held = [client.send("/") for _ in range(8)]
    assert [answer.read() for answer in held] == [b"ok"] * 8


def test_connections_are_spread_over_all_addresses(hostile, connect, addresses):
    servers = [hostile(answer) for _ in range(4)]
    asked = addresses("many.invalid", *(("127.0.0.1", server.port) for server in servers))
    client = connect(Origin(False, "many.invalid", 1))
    held = [client.send("/") for _ in range(12)]
    assert [answer.read() for answer in held] == [b"ok"] * 12
    assert Counter(server.connections for server in servers) == {3: 4}
    assert asked == ["many.invalid"]


def test_all_addresses_dead_is_an_error_that_names_the_host(connect, addresses, outcome):
    addresses("many.invalid", *(("127.0.0.1", closed_port()) for _ in range(3)))
    got = outcome(connect(Origin(False, "many.invalid", 81)).get)
    assert type(got) is StoreConnectionError
    assert got.retryable
    assert "many.invalid:81" in str(got)


def test_an_address_that_never_accepts_leaves_time_for_the_others(hostile, connect, addresses):
    server = hostile(answer)
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        addresses("many.invalid", listener.getsockname(), ("127.0.0.1", server.port))
        client = connect(Origin(False, "many.invalid", 1), connect_timeout=1.0)
        held = [client.send("/") for _ in range(4)]
        assert [answer.read() for answer in held] == [b"ok"] * 4


def test_threads_may_meet_dead_addresses_together(hostile, connect, addresses):
    server = hostile(answer)
    addresses("many.invalid", *(("127.0.0.1", closed_port()) for _ in range(20)), ("127.0.0.1", server.port))
    client = connect(Origin(False, "many.invalid", 1))

    def work():
        for _ in range(30):
            exchange = client.send("/", headers="Connection: close\r\n")
            got.append(exchange.read())
            client.http.close()

    got = []
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [b"ok"] * 240


def test_an_unknown_host_is_an_error_that_lasts(connect, outcome, monkeypatch):
    def look_up(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    got = outcome(connect(Origin(False, "absent.invalid", 80)).get)
    assert type(got) is StoreConnectionError
    assert not got.retryable
    assert "absent.invalid" in str(got)


def test_a_name_server_that_is_busy_may_recover(hostile, connect, outcome, monkeypatch):
    server = hostile(answer)
    known = socket.getaddrinfo
    troubles = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")]

    def look_up(*arguments, **options):
        if troubles:
            raise troubles.pop()
        return known("127.0.0.1", server.port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    client = connect(Origin(False, "busy.invalid", 80))
    got = outcome(client.get)
    assert type(got) is StoreConnectionError
    assert got.retryable
    assert client.get() == (200, b"ok")


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..b", "x" * 300])
def test_a_host_that_is_no_name_is_an_error(host, connect, outcome):
    got = outcome(connect(Origin(False, host, 80)).get)
    assert type(got) is StoreConnectionError
    assert not got.retryable


def test_a_name_server_that_never_answers_ends_in_time(connect, outcome, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    try:
        got = outcome(connect(Origin(False, "silent.invalid", 80), connect_timeout=0.2).get)
    finally:
        over.set()
    assert type(got) is StoreTimeoutError
    assert got.retryable
    assert "'silent.invalid' was not resolved within 0.2 s" in str(got)


def test_addresses_that_are_known_outlast_a_name_server(hostile, connect, monkeypatch):
    server = hostile(answer)
    known, asked = socket.getaddrinfo, []

    def look_up(*arguments, **options):
        asked.append(arguments)
        if len(asked) > 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return known("127.0.0.1", server.port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("penstock.http.dialing._REMEMBER_S", 0.0)
    client = connect(Origin(False, "known.invalid", 80))
    held = [client.send("/") for _ in range(3)]
    assert [answer.read() for answer in held] == [b"ok"] * 3
    assert len(asked) == 3
