"""How addresses of agents are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_grpc.addresses import Address, parse_address, parse_addresses

from penstock.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("bench1", "bench1", 7167),
        (" bench1:80 ", "bench1", 80),
        ("bench-1.lab.example:65535", "bench-1.lab.example", 65535),
        ("10.0.0.7", "10.0.0.7", 7167),
        ("[::1]:7200", "::1", 7200),
        ("[::1]", "::1", 7167),
        ("fe80::1", "fe80::1", 7167),
    ],
)
def test_addresses_are_read(text, host, port):
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no HOST or HOST:PORT"),
        ("http://bench1:80", "is no HOST or HOST:PORT"),
        ("user@bench1", "is no HOST or HOST:PORT"),
        ("bench1:", "has no port"),
        ("bench1:http", "has no port"),
        ("bench1:70000", "has no port"),
        ("bench1:-1", "has no port"),
        ("[::1]7167", "is no HOST or HOST:PORT"),
        ("a b", "is no HOST or HOST:PORT"),
        ("-oProxy", "is no HOST or HOST:PORT"),
        ("bench1\n", None),
        ("ben\nch1", "is no HOST or HOST:PORT"),
    ],
)
def test_what_is_no_address_is_refused(text, said):
    if said is None:
        assert parse_address(text) == Address("bench1", 7167)
        return
    with pytest.raises(UsageError, match=said):
        parse_address(text)


@given(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), st.integers(0, 65535))
def test_an_address_reads_as_it_is_shown(host, port):
    assert parse_address(str(Address(host, port))) == Address(host, port)
    assert parse_address(str(Address("::1", port))) == Address("::1", port)


def test_a_list_is_read_from_text_and_from_parts():
    expected = (Address("a", 7167), Address("b", 1))
    assert parse_addresses("a, b:1,") == expected
    assert parse_addresses(["a", "b:1"]) == expected


def test_an_agent_that_is_named_twice_is_refused():
    with pytest.raises(UsageError, match="a:7167 is named twice"):
        parse_addresses("a,b,a:7167")


def test_a_controller_needs_a_port():
    with pytest.raises(UsageError, match="a:0 needs the port"):
        parse_addresses("a:0")


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False)]
)
def test_what_is_loopback(host, local):
    assert Address(host, 1).is_loopback() is local
