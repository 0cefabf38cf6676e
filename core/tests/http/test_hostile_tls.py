"""Servers whose TLS is not what it should be."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import threading

import pytest
import trustme

from penstock.errors import StoreConnectionError, UsageError
from penstock.http import HTTPClient, Origin, Settings
from penstock.testing.proxy import FaultProxy, Plan, Way

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(peer, head):
    peer.send(OK)


def test_a_good_server_is_trusted(hostile, connect, context_for, bundle):
    client = connect(hostile(answer, context=context_for("127.0.0.1")).origin, ca_bundle=bundle)
    assert client.get() == (200, b"ok")
    assert client.is_of_use()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken(version, hostile, connect, context_for, bundle):
    context = context_for("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    data = os.urandom(3_000_000)
    server = hostile(
        lambda peer, head: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + data), context=context
    )
    client = connect(server.origin, ca_bundle=bundle)
    for _ in range(3):
        assert client.get() == (200, data)
    assert server.connections == 1


def refused(got, *words):
    assert type(got) is StoreConnectionError, got
    assert not got.retryable
    assert all(word in str(got) for word in words), got


def test_a_certificate_of_nobody_we_know_is_refused(hostile, connect, context_for, outcome):
    server = hostile(answer, context=context_for("127.0.0.1"))
    refused(outcome(connect(server.origin).get), "127.0.0.1", "ca_bundle")
    assert server.requests == []


def test_a_certificate_of_another_authority_is_refused(hostile, connect, context_for, bundle, outcome):
    server = hostile(answer, context=context_for("127.0.0.1", by=trustme.CA()))
    refused(outcome(connect(server.origin, ca_bundle=bundle).get), "127.0.0.1")


def test_a_certificate_of_another_host_is_refused(hostile, connect, context_for, bundle, outcome):
    for names in (("localhost",), ("127.0.0.2",), ("*.0.0.1",), ("example.com", "127.0.0.10")):
        server = hostile(answer, context=context_for(*names))
        refused(outcome(connect(server.origin, ca_bundle=bundle).get), "127.0.0.1")


def test_an_expired_certificate_is_refused(hostile, connect, context_for, bundle, outcome):
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    context = context_for("127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=90))
    refused(outcome(connect(hostile(answer, context=context).origin, ca_bundle=bundle).get), "expired")


def test_old_versions_are_refused(hostile, connect, context_for, bundle, outcome):
    context = context_for("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    got = outcome(connect(hostile(answer, context=context).origin, ca_bundle=bundle).get)
    assert type(got) is StoreConnectionError


def test_a_bundle_that_cannot_be_used_is_named(tmp_path):
    for path in (tmp_path / "absent.pem", tmp_path / "empty.pem", tmp_path):
        if path.name == "empty.pem":
            path.write_text("no certificate")
        with pytest.raises(UsageError, match=str(path)):
            HTTPClient(Origin(True, "127.0.0.1", 1), Settings(ca_bundle=str(path), proxy=""))


@pytest.mark.parametrize(
    "wire", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01", os.urandom(500), bytes(500)]
)
@pytest.mark.parametrize("end", ["close", "reset"])
def test_what_is_no_tls_is_an_error(wire, end, hostile, connect, bundle, outcome):
    def shake(peer):
        peer.receive()
        peer.send(wire)
        peer.end(end)

    server = hostile(talk=shake)
    client = connect(Origin(True, "127.0.0.1", server.port), ca_bundle=bundle)
    assert type(outcome(client.get)) is StoreConnectionError


def test_a_client_without_tls_meets_a_server_with_it(hostile, connect, context_for, outcome):
    server = hostile(answer, context=context_for("127.0.0.1"))
    client = connect(Origin(False, "127.0.0.1", server.port))
    assert type(outcome(client.get)) is StoreConnectionError


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_handshake_that_is_cut_anywhere_is_an_error_that_may_pass(
    ending, hostile, connect, context_for, bundle, outcome
):
    server = hostile(answer, context=context_for("127.0.0.1"))
    with FaultProxy(server.port) as proxy:
        for cut in (1, 4, 5, 6, 50, 150, 400, 1_000):
            client = connect(Origin(True, "127.0.0.1", proxy.port), ca_bundle=bundle)
            proxy.then(Plan(down=Way(cut=cut), ending=ending))
            got = outcome(client.get)
            assert type(got) is StoreConnectionError
            assert got.retryable
            assert client.is_of_use()


@pytest.mark.parametrize("framing", ["Content-Length: 300000", "Transfer-Encoding: chunked", "Connection: close"])
def test_an_end_without_a_farewell_is_no_end_of_a_body(framing, hostile, connect, context_for, bundle, outcome):
    """Whoever is in between can cut a connection, and must not thereby shorten an object."""

    def cut(peer, head):
        chunk = b"493e0\r\n" if "chunked" in framing else b""
        peer.send(b"HTTP/1.1 200 OK\r\n" + framing.encode() + b"\r\n\r\n" + chunk + bytes(200_000))
        socket.socket.shutdown(peer.sock, socket.SHUT_WR)
        peer.wait()

    client = connect(hostile(cut, context=context_for("127.0.0.1")).origin, ca_bundle=bundle)
    assert type(outcome(client.get)) is StoreConnectionError
    assert client.is_of_use()


def test_a_farewell_within_a_body_is_no_end_of_it(hostile, connect, context_for, bundle, outcome):
    def cut(peer, head):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(200_000))
        peer.finish()

    client = connect(hostile(cut, context=context_for("127.0.0.1")).origin, ca_bundle=bundle)
    assert type(outcome(client.get)) is StoreConnectionError
    assert client.is_of_use()


def test_corrupted_records_are_an_error(hostile, connect, context_for, bundle, outcome):
    data = bytes(300_000)
    server = hostile(
        lambda peer, head: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + data),
        context=context_for("127.0.0.1"),
    )
    with FaultProxy(server.port) as proxy:
        for offset in (0, 3, 100, 1_000, 5_000, 50_000, 200_000):
            client = connect(Origin(True, "127.0.0.1", proxy.port), ca_bundle=bundle)
            proxy.then(Plan(down=Way(corrupt=offset)))
            assert type(outcome(client.get)) is StoreConnectionError, offset
            assert client.get() == (200, data)


def test_tickets_and_pauses_do_not_cost_the_connection(hostile, connect, context_for, bundle):
    """TLS 1.3 sends session tickets after the handshake, which look like bytes of an answer from below."""
    server = hostile(answer, context=context_for("127.0.0.1"))
    client = connect(server.origin, ca_bundle=bundle)
    for _ in range(5):
        assert client.get() == (200, b"ok")
        threading.Event().wait(0.05)
    assert server.connections == 1
