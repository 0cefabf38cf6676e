"""Sizes, durations and counts: what is read, exactly, and what is refused with which remedy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.quantities import (
    format_bytes,
    format_count,
    format_duration,
    format_rate,
    parse_count,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0),
        ("4096", 4096),
        (4096, 4096),
        ("4_096", 4096),
        ("1B", 1),
        ("4KiB", 4096),
        ("4 KiB", 4096),
        (" 4KB ", 4000),
        ("4kB", 4000),
        ("1.5MiB", 1572864),
        ("1.1KB", 1100),
        ("0.3MB", 300000),
        ("1GiB", 1 << 30),
        ("1TB", 10**12),
        ("2PiB", 2 << 50),
        ("1EiB", 1 << 60),
        ("9007199254740993B", 9007199254740993),
    ],
)
def test_sizes(text, nbytes):
    assert parse_size(text) == nbytes


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("4K", "write KiB or KB"),
        ("4k", "write KiB or KB"),
        ("4M", "write MiB or MB"),
        ("4Mb", "bits; write MB or MiB"),
        ("4Kib", "bits"),
        ("4mb", "bits; write MB or MiB"),
        ("4MIB", "unknown unit MIB; write KiB"),
        ("4 bytes", "unknown unit"),
        ("", "is not a size; write bytes"),
        ("KiB", "is not a size"),
        ("-1", "is not a size"),
        (-1, "negative"),
        ("1.5", "whole number of bytes"),
        ("0.3KiB", "whole number of bytes"),
        ("1e3", "not a size"),
        ("nan", "not a size"),
        ("٣", "not a size"),
        (True, "not a size"),
        (1.5, "not a size"),
        (None, "not a size"),
    ],
)
def test_what_is_no_size_names_the_remedy(text, remedy):
    with pytest.raises(ValueError, match=remedy):
        parse_size(text)


@given(st.integers(0, 1 << 70))
def test_a_size_of_any_length_is_exact(nbytes):
    assert parse_size(str(nbytes)) == nbytes
    assert parse_size(f"{nbytes}KiB") == nbytes * 1024


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        (30, 30.0),
        (0.25, 0.25),
        ("0.5", 0.5),
        ("30s", 30.0),
        ("250ms", 0.25),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("1m30s", 90.0),
        ("1m 30s", 90.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1h1m1s1ms", 3661.001),
        ("1.5h", 5400.0),
        ("0.1s", 0.1),
        (" 5m ", 300.0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "5 minutes",
        "1m30",
        "30S",
        "-5s",
        "1s x",
        "5min",
        "1e3",
        "infinity",
        -1,
        -0.5,
        math.nan,
        math.inf,
        True,
        None,
    ],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"not a duration|negative"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("20000", 20000), ("20_000", 20000), ("20,000", 20000), (5, 5), (" 7 ", 7), ("0", 0)]
)
def test_counts(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "-1", -1, "1.5", "1e3", "many", "٣", "1k", True, 1.5, "_", "1__0,", None])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match=r"not a whole number|negative"):
        parse_count(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (1 << 20, "1.00 MiB"),
        ((1 << 20) - 1, "1.00 MiB"),
        (100 << 20, "100 MiB"),
        (99.96 * 1024, "100 KiB"),
        (1 << 60, "1.00 EiB"),
        (5000 << 60, "5000 EiB"),
    ],
)
def test_bytes_as_text(value, text):
    assert format_bytes(value) == text
    assert format_rate(value) == f"{text}/s"


@given(st.floats(0, 1e21))
def test_bytes_as_text_are_right_to_half_a_percent(value):
    number, unit = format_bytes(value).split()
    shown = float(number) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert shown == pytest.approx(value, rel=0.00501, abs=0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9999, "9999"), (12345, "12.3 k"), (0.5, "0"), (1_500_000, "1.50 M"), (99_999, "100 k"), (3.7, "4")],
)
def test_counts_as_text(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (85.2e-6, "85.2 µs"),
        (0.012, "12.0 ms"),
        (1.5, "1.50 s"),
        (125, "2m05s"),
        (12000, "3h20m"),
        (12e-9, "12 ns"),
        (0.9999, "1.00 s"),
        (59.99, "60.0 s"),
        (119.9, "1m59s"),
        (3599.9, "59m59s"),
    ],
)
def test_durations_as_text(seconds, text):
    assert format_duration(seconds) == text


@given(st.floats(1e-9, 1e6))
def test_durations_as_text_never_show_a_full_unit_too_many(seconds):
    text = format_duration(seconds)
    assert "1000" not in text
    assert "m60s" not in text
    assert "h60m" not in text
