"""Headers, as servers send them, and what is remembered of them."""

from __future__ import annotations

import tracemalloc

import pytest

from penstock.http import dates, now_s


def head(*lines, status=b"503 Slow Down"):
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@pytest.fixture
def heard(hostile, connect):
    """The answer with these header lines."""

    def ask(*lines, **options):
        client = connect(hostile(lambda peer, _: peer.send(head(*lines, **options))).origin)
        return client.send("/")

    return ask


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"0", 0.0),
        (b"1", 1.0),
        (b" 120 ", 120.0),
        (b"007", 7.0),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1e3", None),
        (b"soon", None),
        (b"\xb2", None),
        (b"1, 2", None),
        (b"Fri, 21 Nov 1997 15:00:00 GMT", 0.0),
        (b"Friday, 21-Nov-97 15:00:00 GMT", 0.0),
        (b"Fri Nov 21 15:00:00 1997", 0.0),
        (b"Fri, 31 Feb 2026 15:00:00 GMT", None),
        (b"Fri, 21 Nov 2026 15:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds, heard):
    assert heard(b"Retry-After:" + text).retry_after == seconds


def test_retry_after_of_a_date_is_the_time_until_then(heard, monkeypatch):
    then = dates.parse_date("Fri, 21 Nov 2036 15:00:00 GMT") // 10**9
    monkeypatch.setattr("penstock.http.answers.now_s", lambda: then - 90)
    assert heard(b"Retry-After: Fri, 21 Nov 2036 15:00:00 GMT").retry_after == 90.0


def test_a_very_long_wait_stays_finite(heard):
    wait = heard(b"Retry-After: " + b"9" * 5_000).retry_after
    assert wait is not None
    assert wait < float("inf")


def test_without_retry_after_there_is_none(heard):
    assert heard().retry_after is None


def test_headers_are_found_by_lower_case_name(heard):
    answer = heard(b"X-Amz-Meta-Key:  a b \t", b"ETag:", b"x-list: 1", b"X-List: 2", b"x-LIST:3", b"X: a:b")
    assert answer.header("x-amz-meta-key") == "a b"
    assert answer.header("etag") == ""
    assert answer.header("x-list") == "1, 2, 3"
    assert answer.header("x") == "a:b"
    assert answer.header("absent") is None
    assert answer.header("X-List") is None
    assert dict(answer.headers) == {
        "content-length": "0",
        "x-amz-meta-key": "a b",
        "etag": "",
        "x-list": "1, 2, 3",
        "x": "a:b",
    }


@pytest.mark.parametrize(
    ("wire", "text"),
    [(b"caf\xc3\xa9", "café"), (b"caf\xe9", "caf\xe9"), (b"\xff\xfe", "\xff\xfe"), (b"\x85x\xa0", "\x85x\xa0")],
)
def test_what_is_no_ascii_is_utf8_if_it_can_be(wire, text, heard):
    assert heard(b"X: " + wire).header("x") == text


def test_now_is_in_whole_seconds():
    assert isinstance(now_s(), int)
    assert now_s() > 1_700_000_000


def test_a_server_cannot_make_the_process_remember_much(hostile, connect):
    """Status lines, names and dates are remembered; a hostile server sends long ones, each another."""
    size = 60_000

    def answer(peer, request):
        number = request.split()[1][1:]
        peer.send(head(status=b"503 " + number.ljust(size, b"x")))
        peer.receive()
        peer.send(head(b"X" + number.rjust(size, b"x") + b": y"))
        peer.receive()
        peer.send(head(b"Retry-After: " + number.ljust(size, b"x")))

    client = connect(hostile(answer).origin)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100):
            for _ in range(3):
                answer = client.send(f"/{number}")
                assert answer.status == 503
                assert answer.retry_after is None
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 50 * size
