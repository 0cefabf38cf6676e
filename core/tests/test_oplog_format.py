"""The text of op-logs: the bulk formatter against a naive one, escaping, time stamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.clocks import Anchor
from penstock.oplog.columns import escape, format_time, parse_time, unescape
from penstock.oplog.formatter import Formatter
from penstock.oplog.matrix import Matrix
from penstock.records import Endpoint, Op, RecordBuffer, Recorder

ENDPOINTS = [
    Endpoint("s3://bucket/", "s3://"),
    Endpoint("file:///data/", "file://"),
    Endpoint("http://h\\x/a\tb/", "http://h\\x"),
]
SECOND = 10**9
#: Both wall times and durations of these fit 64 bits.
moments = st.one_of(
    st.integers(1, 5 * SECOND),
    st.integers(1, 2**61),
    st.sampled_from([1, SECOND - 1, SECOND, SECOND + 1, 86_400 * SECOND, 2**61]),
)
anything = st.text(st.characters(exclude_categories=()))
names = st.one_of(
    st.from_regex(r"[a-c]{1,3}/[0-9]{1,4}", fullmatch=True),
    anything,
    st.sampled_from(
        ["", "\t", "\n", "\r\n", "\\", "\\t", "a\\", "é", "\udcff", "\ud800", "x" * 256, "x" * 257, "ä" * 5000]
    ),
)
rows = st.tuples(
    st.sampled_from(Op),
    names,
    moments,
    st.one_of(st.just(0), moments),
    moments,
    st.one_of(st.integers(0, 10_001), st.integers(0, 2**62)),
    st.one_of(st.just(1), st.integers(0, 2**32 - 1)),
    st.one_of(st.just(""), st.just(""), anything),
    st.integers(0, len(ENDPOINTS) - 1),
)


def buffer_of(calls, thread=3):
    buffer = RecordBuffer(max(1, len(calls)))
    recorder = Recorder(thread, lambda filled: buffer)
    for call in calls:
        recorder.add(*call)
    return buffer


def naive_time(nanoseconds):
    seconds, rest = divmod(nanoseconds, SECOND)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}.{rest:09d}Z"


def naive_escape(text):
    for char, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, escaped)
    return text.encode(errors="backslashreplace").decode()


def naive_line(idx, thread, call, offset, client):
    op, name, start, first, end, nbytes, n_objects, error, endpoint = call
    base = ENDPOINTS[endpoint].base
    fields = (
        str(idx),
        str(thread),
        op.name,
        naive_escape(client),
        str(n_objects),
        str(nbytes),
        naive_escape(ENDPOINTS[endpoint].name),
        naive_escape(base[base.index("://") + 3 :] + name),
        naive_escape(error),
        naive_time(start + offset),
        naive_time(first + offset) if first > 0 else "",
        naive_time(end + offset),
        str(end - start),
    )
    return ("\t".join(fields) + "\n").encode()


@given(
    st.lists(rows, min_size=1, max_size=30),
    st.integers(0, 2**40),
    st.sampled_from([0, 1_760_000_000 * SECOND, -3 * SECOND]),
    st.sampled_from(["", "host-1", "a\tb\\"]),
)
@example([(Op.GET, "a", 1, 2, 3, 4, 1, "", 0), (Op.PUT, "bb", 1, 0, 3, 4, 1, "", 0)], 9_999, 0, "")
@example([(Op.GET, "a", 5, 0, 3, 4, 1, "", 0)], 0, 0, "")
@example([(Op.GET, f"k{n}", n * SECOND, 0, n * SECOND + n, 10**n, 1, "", n % 3) for n in range(1, 18)], 995, 0, "")
def test_bulk_and_single_lines_are_those_of_the_naive_formatter(calls, idx, offset, client):
    buffer = buffer_of(calls)
    before = buffer.rows.copy()
    formatter = Formatter(ENDPOINTS, Anchor(offset), client)
    expected = [naive_line(idx + place, 3, call, offset, client) for place, call in enumerate(calls)]
    assert formatter.format(buffer, 0, buffer.count, idx) == b"".join(expected)
    assert [formatter.line(buffer, place, idx + place) for place in range(len(calls))] == expected
    assert (buffer.rows == before).all()


@given(st.lists(rows, min_size=1, max_size=30))
@example(
    [(Op.PUT, "a", 1, 2, 3, 4, 1, "", 0), (Op.PUT, "bb", 1, 0, 3, 4, 1, "", 0), (Op.GET, "c", 1, 2, 3, 4, 1, "", 0)]
)
@example([(Op.PUT, "a", 1, 2, 3, 4, 1, "", 0), (Op.PUT, "bb", 1, 2, 3, 4, 1, "E: x", 0)])
def test_rows_of_15_columns(calls):
    buffer = buffer_of(calls)
    expected = []
    for place, call in enumerate(calls):
        *cells, end, took = naive_line(place, 3, call, 5, "").rstrip(b"\n").split(b"\t")
        last = cells[10] if call[0] is Op.PUT else b""
        expected.append(b"\t".join([*cells, last, end, took, b"0\n"]))
    formatter = Formatter(ENDPOINTS, Anchor(5), wide=True)
    assert formatter.format(buffer, 0, buffer.count, 0) == b"".join(expected)
    assert [formatter.line(buffer, place, place) for place in range(len(calls))] == expected


@given(st.lists(st.tuples(rows, st.one_of(st.just(0), st.integers(1, 2**60))), min_size=1, max_size=30))
@example([((Op.PUT, "a", 1, 2, 3, 4, 1, "", 0), 7), ((Op.GET, "b\t", 1, 2, 3, 4, 1, "E: x", 0), 0)])
def test_rows_that_end_with_when_they_were_due(calls):
    buffer = buffer_of([call for call, _ in calls])
    buffer.rows["due"] = [due for _, due in calls]
    expected = []
    for place, (call, due) in enumerate(calls):
        cell = naive_time(due + 5) if due else ""
        expected.append(naive_line(place, 3, call, 5, "").rstrip(b"\n") + f"\t{cell}\n".encode())
    formatter = Formatter(ENDPOINTS, Anchor(5), due=True)
    assert formatter.format(buffer, 0, buffer.count, 0) == b"".join(expected)
    assert [formatter.line(buffer, place, place) for place in range(len(calls))] == expected


def test_a_slice_of_a_buffer():
    calls = [(Op.GET, f"k{n}", 10, 11, 12 + n, n, 1, "E: x" if n == 4 else "", 0) for n in range(9)]
    formatter = Formatter(ENDPOINTS, Anchor(0))
    lines = [naive_line(100 + place, 3, call, 0, "") for place, call in enumerate(calls[3:6])]
    assert formatter.format(buffer_of(calls), 3, 6, 100) == b"".join(lines)


def test_endpoints_may_come_later():
    endpoints = [Endpoint("a://x/", "a://x")]
    formatter = Formatter(endpoints, Anchor(0))
    assert b"\ta://x\tx/k\t" in formatter.format(buffer_of([(Op.GET, "k", 1, 0, 2, 0, 1, "", 0)]), 0, 1, 0)
    endpoints.append(Endpoint("b://y/", "b://y"))
    assert b"\tb://y\ty/k\t" in formatter.format(buffer_of([(Op.GET, "k", 1, 0, 2, 0, 1, "", 1)]), 0, 1, 1)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
@example([0])
@example([0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 99_999, 10**8 - 1, 10**8, 10**12])
def test_digits(values):
    matrix = Matrix(len(values))
    matrix.digits(np.array(values))
    matrix.constant(b"\n")
    assert matrix.render().decode().split() == [str(value) for value in values]


@given(anything)
def test_escaping_is_undone(text):
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not set("\t\n\r") & set(escaped)
    assert escaped.encode().decode() == escaped


@pytest.mark.parametrize("text", ["C:\\users", "a\\", "\\x", "\\uzzzz", "\\u0041"])
def test_a_backslash_that_escapes_nothing_is_kept(text):
    assert unescape(text) == text


@given(st.integers(-(2**63), 2**63 - 1))
def test_times_come_back(nanoseconds):
    assert format_time(nanoseconds) == naive_time(nanoseconds)
    assert parse_time(format_time(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01t00:00:00.000000001z", 1),
        ("1970-01-01 00:00:00.Z", 0),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T18:30:00.25-0530", 250_000_000),
        ("2026-11-20T23:16:25.795976622Z", 1_795_216_585_795_976_622),
    ],
)
def test_stamps_of_other_programs(text, nanoseconds):
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1970-01-01T00:00:00",
        "1970-01-01",
        "1970-13-01T00:00:00Z",
        "1970-01-01T25:00:00Z",
        "1970-01-01T00:00:00.1234567890Z",
        "1970-01-01T00:00:00.12345678٣Z",
        "1970-01-01T00:00:00Zx",
        "1970-13-01T00:00:00.000000000Z",
        "1970-01-01T00:00:00+25:99",
    ],
)
def test_what_is_no_stamp(text):
    with pytest.raises(ValueError, match=r"time|month|hour|1970"):
        parse_time(text)
