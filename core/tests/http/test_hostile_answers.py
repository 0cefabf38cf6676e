"""Answers as no server should give them: each ends in the right bytes or in the right error, and harms no later one.

Each row is sent whole and byte by byte. ``kept`` says whether the connection may carry the next request.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from penstock.errors import StoreConnectionError
from penstock.sinks import Collect

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
Broken = StoreConnectionError


class Row(NamedTuple):
    """``end``: what the server does after the bytes; ``whole``: the row means nothing byte by byte."""

    name: str
    wire: bytes
    expected: Any
    kept: bool = False
    end: str = "keep"
    method: str = "GET"
    status: int = 200
    whole: bool = False


def plain(*lines, body=b"hello"):
    return OK + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunks(*pieces):
    return CHUNKED + b"".join(pieces)


def first(line, body=b"hello"):
    return line + b"\r\nContent-Length: 5\r\n\r\n" + body


LENGTHS = [
    Row("length", plain(b"Content-Length: 5"), b"hello", True),
    Row("length, odd case and white space", plain(b"cOnTENT-leNGTH:\t 5 \t"), b"hello", True),
    Row("length without white space", plain(b"Content-Length:5"), b"hello", True),
    Row("length with leading zeros", plain(b"Content-Length: 0005"), b"hello", True),
    Row("length zero", plain(b"Content-Length: 0", body=b""), b"", True),
    # RFC 9110, 8.6 lets a recipient take equal lengths for one.
    Row("two equal lengths", plain(b"Content-Length: 5", b"Content-Length: 5"), b"hello", True),
    Row("a list of equal lengths", plain(b"Content-Length: 5, 5"), b"hello", True),
    Row("two different lengths", plain(b"Content-Length: 5", b"Content-Length: 6"), Broken),
    Row("a list of different lengths", plain(b"Content-Length: 6, 5"), Broken),
    Row("a list with an empty length", plain(b"Content-Length: 5,"), Broken),
    Row("a length and an empty one", plain(b"Content-Length: 5", b"Content-Length:"), Broken),
    Row("length too long", plain(b"Content-Length: 10"), Broken, end="close"),
    Row("length too long, reset", plain(b"Content-Length: 10"), Broken, end="reset"),
    Row("length too short", plain(b"Content-Length: 3"), b"hel", whole=True),
    Row("length zero and a body", plain(b"Content-Length: 0"), b"", whole=True),
    Row("a second answer that nobody asked for", plain(b"Content-Length: 5") + EVIL, b"hello", whole=True),
    Row("a line end after the body", plain(b"Content-Length: 5") + b"\r\n", b"hello", whole=True),
    *(
        Row(f"length {text[:24]!r}", plain(b"Content-Length:" + text), Broken)
        for text in (
            *(b"-5", b"+5", b" -0", b"0x5", b"5a", b"5 5", b"", b"  ", b"5.0", b"1e1", b"five", b"5;", b"'5'", b"5_0"),
            *(b"99999999999999999999", b"18446744073709551621", b"9" * 5000, b"\xd9\xa5", b"\xb2", b"5\x0b", b"5\x0c"),
        )
    ),
    Row("no length, closed", plain(), b"hello", end="close"),
    Row("no length, closed, nothing", plain(body=b""), b"", end="close"),
    Row("no length, reset", plain(), Broken, end="reset"),
    Row("no length, and what looks like an answer", plain(body=EVIL), EVIL, end="close"),
]

CODINGS = [
    Row("chunks", chunks(b"3\r\nhel\r\n", b"2\r\nlo\r\n", b"0\r\n\r\n"), b"hello", True),
    Row("no chunks", chunks(b"0\r\n\r\n"), b"", True),
    Row(
        "chunks, large and small digits",
        chunks(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
        b"0123456789" * 2,
        True,
    ),
    Row("chunks, leading zeros", chunks(b"00005\r\nhello\r\n000\r\n\r\n"), b"hello", True),
    Row("chunks, extensions", chunks(b'5;a;b=c;d="e;f"\r\nhello\r\n0;last\r\n\r\n'), b"hello", True),
    Row("chunks, white space before the extension", chunks(b"5 \t;a=b\r\nhello\r\n0\r\n\r\n"), b"hello", True),
    Row("chunks and trailers", chunks(b"5\r\nhello\r\n0\r\nEtag: x\r\nContent-Length: 9\r\n\r\n"), b"hello", True),
    Row("chunks and another answer", chunks(b"5\r\nhello\r\n0\r\n\r\n", EVIL), b"hello", whole=True),
    Row(
        "chunks, coding in odd case",
        OK + b"TRANSFER-encoding:\tChunKed \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        True,
    ),
    Row("a body like chunks", plain(b"Content-Length: 5", body=b"0\r\n\r\n"), b"0\r\n\r\n", True),
    *(
        Row(f"chunk size {size[:24]!r}", chunks(size + b"\r\nhello\r\n0\r\n\r\n"), Broken)
        for size in (
            *(
                b"",
                b"-5",
                b"+5",
                b" 5",
                b"0x5",
                b"x5",
                b"5h",
                b"5 5",
                b"5,",
                b"five",
                b"\x005",
                b"5\x00",
                b"\xb2",
                b"5.0",
            ),
            *(b"00000000000000005", b"fffffffffffffffff", b"10000000000000005", b"5;a\x00b", b"5;a\x7fb", b"5;a\nb"),
            *(b"5;" + b"x" * 70_000, b"0" * 70_000 + b"5"),
        )
    ),
    Row("a chunk too long", chunks(b"5\r\nhello!\r\n0\r\n\r\n"), Broken),
    Row("a chunk too short", chunks(b"5\r\nhell\r\n0\r\n\r\n"), Broken),
    Row("a chunk without a line end", chunks(b"5\r\nhello0\r\n\r\n"), Broken),
    Row("a chunk ends in a line feed", chunks(b"5\r\nhello\n0\r\n\r\n"), Broken),
    Row("a chunk ends in a carriage return", chunks(b"5\r\nhello\rx0\r\n\r\n"), Broken),
    Row("a chunk size ends in a line feed", chunks(b"5\nhello\r\n0\r\n\r\n"), Broken),
    Row("the last chunk's line ends in a line feed", chunks(b"5\r\nhello\r\n0\n\r\n\r\n"), Broken),
    Row("no last chunk", chunks(b"5\r\nhello\r\n"), Broken, end="close"),
    Row("no end of the trailers", chunks(b"5\r\nhello\r\n0\r\n"), Broken, end="close"),
    Row("trailers without a colon", chunks(b"5\r\nhello\r\n0\r\nnothing\r\n\r\n"), Broken),
    Row("trailers without end", chunks(b"5\r\nhello\r\n0\r\n", b"A: b\r\n" * 20_000), Broken),
    Row("chunks and a length", OK + b"Content-Length: 5\r\n" + CHUNKED[17:] + b"5\r\nhello\r\n0\r\n\r\n", Broken),
    Row("chunks and a length after", CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Broken),
    *(
        Row(f"coding {coding!r}", OK + b"Transfer-Encoding:" + coding + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Broken)
        for coding in (
            *(
                b"gzip",
                b"identity",
                b"gzip, chunked",
                b"chunked, gzip",
                b"chunked, chunked",
                b"xchunked",
                b"chunked;a=b",
            ),
            *(b"", b"chunk", b'"chunked"', b"chunked,", b"\x0bchunked", b"chunked\x0c", b"chun\x85ked", b"\xa0chunked"),
        )
    ),
    Row("coding twice", CHUNKED[:-2] + CHUNKED[17:] + b"5\r\nhello\r\n0\r\n\r\n", Broken),
    # RFC 9112, 6.1: HTTP/1.0 has no chunks; whoever sends them understands the connection otherwise than we do.
    Row("chunks in HTTP/1.0", CHUNKED.replace(b"/1.1", b"/1.0") + b"5\r\nhello\r\n0\r\n\r\n", (b"hello", Broken)),
    Row(
        "chunks in HTTP/1.0 that keeps alive",
        CHUNKED.replace(b"/1.1", b"/1.0")[:-2] + b"Connection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        (b"hello", Broken),
    ),
]

HEADS = [
    Row("no reason", first(b"HTTP/1.1 200"), b"hello", True),
    Row("an empty reason", first(b"HTTP/1.1 200 "), b"hello", True),
    Row("a reason beyond ASCII", first("HTTP/1.1 200 Tout va très bien".encode()), b"hello", True),
    Row("a status of its own", first(b"HTTP/1.1 299 Fine"), b"hello", True, status=299),
    Row("an error with a body", first(b"HTTP/1.1 503 Slow Down"), b"hello", True, status=503),
    Row("a redirect is not followed", first(b"HTTP/1.1 307 Over There\r\nLocation: /good"), b"hello", True, status=307),
    *(
        Row(f"begins with {line[:30]!r}", first(line), Broken)
        for line in (
            *(b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.1 20 OK"),
            *(b"HTTP/1.1 2000 OK", b"HTTP/1.1 abc OK", b"HTTP/1.1 000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1  200 OK"),
            *(
                b"HTTP/1.1\t200\tOK",
                b"HTTP/1.1 -20 OK",
                b"HTTP/1.1 +20 OK",
                b"HTTP/1.1 2 0 OK",
                b"HTTP/1.1",
                b"HTTP/1.1 ",
            ),
            *(b"http/1.1 200 OK", b"Http/1.1 200 OK", b"HTTP/11 200 OK", b"HTTP/1.11 200 OK", b"HTTP/ 1.1 200 OK"),
            *(b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK", b"ICY 200 OK", b"HTTP/1.1 200 O\x00K"),
            *(
                b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK",
                b"HTTP/1.1 \xb200 OK",
                b"HTTP/1.1 200\xa0OK",
                b"HTTP/1.1 200 O\rK",
                b"hello",
            ),
            *(b"HTTP/1.1 200 " + b"x" * 70_000, b"x" * 70_000, b"GET / HTTP/1.1", b"", b"\x00", b"SSH-2.0-OpenSSH_9.6"),
        )
    ),
    Row("HTTP/0.9", b"<html>hello</html>", Broken, end="close"),
    Row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Broken),
    Row("frames of HTTP/2", bytes.fromhex("00000c04000000000000030000006400040000ffff"), Broken),
    Row("an alert of TLS", b"\x15\x03\x03\x00\x02\x02\x46", Broken),
    Row("what is no text", bytes(range(128, 256)) * 8, Broken),
    Row("zeros", bytes(1000), Broken),
    *(
        Row(f"the line {line[:30]!r}", plain(b"Content-Length: 5", line), Broken)
        for line in (
            *(
                b"A : b",
                b"A\t: b",
                b" A: b",
                b"\tfolded",
                b" folded",
                b": b",
                b"A",
                b"A;: b",
                b"A(: b",
                b"\xe9: b",
                b"A\x00: b",
            ),
            *(
                b"A: b\x00c",
                b"A: b\rc",
                b"A: b\nc",
                b"A: b\nContent-Length: 0",
                b"A: b\r",
                b"A\x7f: b",
                b"@: b",
                b'"A": b',
            ),
            *(b"A: " + b"b" * 70_000, b"A" * 70_000 + b": b"),
        )
    ),
    Row("a space before the length's colon", plain(b"Content-Length : 5"), Broken),
    Row("a length in a fold", plain(b"A: b", b" Content-Length: 5"), Broken),
    Row("line feeds alone", plain(b"Content-Length: 5").replace(b"\r\n", b"\n"), Broken),
    Row("line feeds here and there", plain(b"Content-Length: 5").replace(b"\r\n\r\n", b"\n\r\n"), Broken),
    Row("an end of line feeds", plain(b"Content-Length: 5").replace(b"\r\n\r\n", b"\n\n"), Broken),
    Row("carriage returns alone", plain(b"Content-Length: 5").replace(b"\r\n", b"\r"), Broken, end="close"),
    Row("10,000 headers", plain(*(b"a%05d: 1" % i for i in range(10_000)), b"Content-Length: 5"), Broken),
    Row("1,000 headers", plain(*(b"a%05d: 1" % i for i in range(1_000)), b"Content-Length: 5"), b"hello", True),
    Row("1,000 times the same", plain(*[b"a: 1"] * 1_000, b"Content-Length: 5"), b"hello", True),
    Row("a long head", plain(b"a: " + b"b" * 50_000, b"Content-Length: 5"), b"hello", True),
    Row("empty values", plain(b"a:", b"b: ", b"c:\t", b"Content-Length: 5"), b"hello", True),
]

STATUSES = [
    Row("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, status=204),
    Row("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b"", True, status=204),
    Row("204 with a body", first(b"HTTP/1.1 204 No Content"), b"", status=204, whole=True),
    Row("204 with chunks", CHUNKED.replace(b"200", b"204") + b"0\r\n\r\n", b"", status=204, whole=True),
    Row("304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", True, status=304),
    Row("304 with a body", first(b"HTTP/1.1 304 Not Modified"), b"", status=304, whole=True),
    Row("304 and an answer as its body", first(b"HTTP/1.1 304 No", EVIL), b"", status=304, whole=True),
    Row("HEAD", plain(b"Content-Length: 5", body=b""), b"", True, method="HEAD"),
    Row("HEAD of chunks", CHUNKED, b"", True, method="HEAD"),
    Row("HEAD without a length", plain(body=b""), b"", True, method="HEAD"),
    Row("HEAD with a body", plain(b"Content-Length: 5"), b"", method="HEAD", whole=True),
    Row("HEAD and an answer as its body", plain(b"Content-Length: 5", body=EVIL), b"", method="HEAD", whole=True),
    Row("HEAD with a bad length", plain(b"Content-Length: x", body=b""), Broken, method="HEAD"),
    Row("HEAD not found", b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n", b"", True, method="HEAD", status=404),
    Row("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"Content-Length: 5"), b"hello", True),
    Row(
        "103 and 102 first",
        b"HTTP/1.1 103 A\r\nLink: <a>\r\n\r\nHTTP/1.1 102 B\r\n\r\n" + plain(b"Content-Length: 5"),
        b"hello",
        True,
    ),
    Row(
        "100 with a length",
        b"HTTP/1.1 100 C\r\nContent-Length: 9\r\n\r\n" + plain(b"Content-Length: 5"),
        b"hello",
        True,
    ),
    Row("100 with a bad head", b"HTTP/1.1 100 C\r\nA : b\r\n\r\n" + plain(b"Content-Length: 5"), Broken),
    Row("100 and no more", b"HTTP/1.1 100 Continue\r\n\r\n", Broken, end="close"),
    Row("1,000 times 100", b"HTTP/1.1 100 C\r\n\r\n" * 1_000 + plain(b"Content-Length: 5"), Broken),
    Row("101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Broken),
    Row("101 and then an answer", b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n" + plain(b"Content-Length: 5"), Broken),
    Row("close", plain(b"Content-Length: 5", b"Connection: close"), b"hello"),
    Row("close, odd case, among others", plain(b"Content-Length: 5", b"connection: x,\tClOsE , y"), b"hello"),
    Row("close twice", plain(b"Connection: keep-alive", b"Connection: close", b"Content-Length: 5"), b"hello"),
    Row("close and chunks", CHUNKED[:-2] + b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    Row("close and no body", plain(b"Content-Length: 0", b"Connection: close", body=b""), b""),
    Row("disclose is not close", plain(b"Content-Length: 5", b"Connection: disclose"), b"hello", True),
    Row("HTTP/1.0", first(b"HTTP/1.0 200 OK"), b"hello"),
    Row("HTTP/1.0 without a length", b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello", end="close"),
    Row("HTTP/1.0 too short", first(b"HTTP/1.0 200 OK", b"hell"), Broken, end="close"),
    Row("HTTP/1.0 that keeps alive", first(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive"), b"hello", True),
    Row(
        "HTTP/1.0 that keeps alive without a length",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
        b"hello",
        end="close",
    ),
]

ROWS = [*LENGTHS, *CODINGS, *HEADS, *STATUSES]
CASES = [(row, piece) for row in ROWS for piece in ((0,) if row.whole or len(row.wire) > 20_000 else (0, 1))]


@pytest.mark.parametrize(("row", "piece"), CASES, ids=[f"{row.name}{'-by-byte' * piece}" for row, piece in CASES])
def test_an_answer_is_right_or_refused(row, piece, hostile, connect, outcome):
    def answer(peer, head):
        peer.send(row.wire, piece)
        peer.end(row.end)

    server = hostile(answer)
    client = connect(server.origin)
    got = outcome(client.get, "/bad", method=row.method)
    allowed = row.expected if isinstance(row.expected, tuple) else (row.expected,)
    if isinstance(got, Exception):
        assert type(got) in allowed, got
        assert got.retryable
    else:
        assert got[1] in allowed
        assert got[0] == row.status
    before = server.connections
    assert client.send("/good").read() == b"good"
    assert server.connections == before + (0 if row.kept else 1)
    assert client.is_of_use()


def test_the_table_has_what_it_should():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len(ROWS) > 200


WHOLE = {
    "length": plain(b"Content-Length: 5", b"Etag: x"),
    "chunks": chunks(b"3;a=b\r\nhel\r\n", b"02\r\nlo\r\n", b"0\r\n", b"Etag: x\r\n\r\n"),
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"Content-Length: 5"),
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_that_is_cut_anywhere_is_an_error(name, end, hostile, connect, outcome):
    def answer(peer, head):
        cut = int(head.split()[1][1:])
        peer.send(WHOLE[name][:cut])
        peer.end(end if cut < len(WHOLE[name]) else "keep")

    server = hostile(answer)
    client = connect(server.origin)
    assert client.get(f"/{len(WHOLE[name])}") == (200, b"hello")
    for cut in range(len(WHOLE[name])):
        assert type(outcome(client.get, f"/{cut}", replay=False)) is StoreConnectionError, cut
    assert client.is_of_use()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_large_body_that_is_cut_delivers_a_true_beginning(end, hostile, connect, outcome):
    data = bytes(range(256)) * 20_000

    def answer(peer, head):
        peer.send(OK + b"Content-Length: %d\r\n\r\n" % len(data) + data[:-1_000])
        peer.end(end)

    client = connect(hostile(answer).origin)
    sink = Collect()
    assert type(outcome(client.send("/").into, sink)) is StoreConnectionError
    assert bytes(sink.view()) == data[: sink.nbytes]
    assert sink.nbytes == len(data) - 1_000 or end == "reset"
    assert client.is_of_use()


@pytest.mark.parametrize(
    "wire",
    [
        plain(b"Content-Length: 999999999999999999"),
        chunks(b"fffffffffffffff\r\nhello"),
        chunks(b"10000000000\r\nhello"),
    ],
    ids=["length", "chunk", "tebibyte"],
)
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_length_beyond_all_memory_is_not_believed(wire, end, hostile, connect, outcome):
    def answer(peer, head):
        peer.send(wire)
        peer.end(end)

    client = connect(hostile(answer).origin)
    assert type(outcome(client.send("/").into, Collect())) is StoreConnectionError
    assert client.is_of_use()
