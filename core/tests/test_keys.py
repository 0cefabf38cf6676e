"""Which keys are legal, and the order of keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidKeyError
from penstock.keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, check_key, check_path_key, is_plain_path, sort_key


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_of_legal_length_is_a_key(key):
    if len(key.encode()) <= MAX_KEY_BYTES:
        assert check_key(key) is key
    else:
        with pytest.raises(InvalidKeyError):
            check_key(key)


@pytest.mark.parametrize("key", ["a" * 1024, "é" * 512, "日" * 341 + "x", "\U0001f600" * 256])
def test_the_limit_is_in_bytes_and_inclusive(key):
    assert len(key.encode()) == MAX_KEY_BYTES
    check_key(key)
    with pytest.raises(InvalidKeyError, match=r"of 1025 bytes.*limit is 1024"):
        check_key(key + "x")


@pytest.mark.parametrize(
    ("key", "reason"), [("", "empty"), ("a\0b", "NUL"), ("a\ud800", "surrogate at 1"), ("\ud800" * 400, "surrogate")]
)
def test_what_no_store_holds(key, reason):
    with pytest.raises(InvalidKeyError, match=reason):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "a/b", "a/", "a b/c%20", "...", "a/..b", ".hidden", "é" * 127])
def test_what_a_file_system_holds(key):
    assert check_path_key(key) is key


@pytest.mark.parametrize("key", ["/", "/a", "a//b", "a//", ".", "..", "../a", "a/..", "a/../b", "a/./b", "./a"])
def test_what_would_be_no_file_name(key):
    with pytest.raises(InvalidKeyError, match="segment"):
        check_path_key(key)


@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_segments_are_bounded_in_bytes(letter):
    fits = letter * (MAX_SEGMENT_BYTES // len(letter.encode()))
    check_path_key(f"dir/{fits}/x")
    with pytest.raises(InvalidKeyError, match="segment is longer than 255"):
        check_path_key(f"dir/{fits}{letter}/x")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_keys_sort_as_their_bytes(keys):
    assert sorted(keys, key=sort_key) == [raw.decode() for raw in sorted(key.encode() for key in keys)]


def test_the_order_of_bytes_is_not_that_of_utf_16():
    assert sorted(["\U00010000", "\uffff"], key=sort_key) == ["\uffff", "\U00010000"]


@given(st.text("a./\0é-", max_size=8) | st.integers(240, 260).map("x".__mul__))
def test_what_is_plain_at_a_glance_stands_the_check_and_is_not_hidden(key):
    if is_plain_path(key):
        assert check_path_key(key) is key
        assert not any(segment.startswith(".") or not segment for segment in key.split("/"))


@pytest.mark.parametrize("key", ["a", "dev/shm/object-000001.bin", "a.b/c", "x" * MAX_SEGMENT_BYTES])
def test_common_names_are_plain(key):
    assert is_plain_path(key)
