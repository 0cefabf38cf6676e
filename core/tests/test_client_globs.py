"""Globs against a slow, independent reading of the same rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client.globs import compile_glob, glob_start, is_glob, literal_prefix, unescape
from penstock.client.store import Store
from penstock.memory import MemoryOptions, MemoryStore


@pytest.mark.parametrize(
    ("pattern", "matches", "misses"),
    [
        ("*.dat", ["a.dat", ".dat"], ["a.dat.bak", "d/a.dat", "a_dat"]),
        ("a/*/c", ["a/b/c", "a//c"], ["a/b/b/c", "a/c"]),
        ("**", ["", "a", "a/b"], []),
        ("**/c", ["c", "a/c", "a/b/c"], ["xc", "a/xc"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["ac", "a/bc"]),
        ("a**", ["a", "ab/c"], ["ba"]),
        ("a**/b", ["a/b", "ax/b", "a/x/b"], ["ab"]),
        ("data?.csv", ["data?.csv"], ["data1.csv"]),
        ("[ab]", ["[ab]"], ["a"]),
        ("a[*]b", ["a*b"], ["axb", "a[*]b"]),
        ("a\nb*", ["a\nb", "a\nb\nc"], ["a"]),
    ],
)
def test_rules(pattern, matches, misses):
    expression = compile_glob(pattern)
    assert [text for text in matches if not expression.fullmatch(text)] == []
    assert [text for text in misses if expression.fullmatch(text)] == []


def test_three_stars_mean_nothing():
    with pytest.raises(ValueError, match=r"\*\*"):
        compile_glob("a***")


def test_what_is_a_glob():
    assert is_glob("a*")
    assert not is_glob("a[*]?")
    assert unescape("a[*]?") == "a*?"
    assert literal_prefix("a[*]b/*") == "a*b/"
    assert glob_start("a[*]b/*") == 6


def by_hand(pattern, key):
    """Match by trying every split, one token at a time."""
    if not pattern:
        return not key
    if pattern.startswith("[*]"):
        return key.startswith("*") and by_hand(pattern[3:], key[1:])
    if pattern.startswith("**"):
        return any(by_hand(pattern[2:], key[cut:]) for cut in range(len(key) + 1))
    if pattern.startswith("*"):
        end = key.find("/") if "/" in key else len(key)
        return any(by_hand(pattern[1:], key[cut:]) for cut in range(end + 1))
    return key.startswith(pattern[0]) and by_hand(pattern[1:], key[1:])


tokens = st.lists(st.sampled_from(["a", "b", "/", "*", "[*]", "."]), max_size=6)
names = st.text(alphabet="ab/*.", min_size=1, max_size=6)


@given(tokens, names)
def test_single_stars_agree_with_the_slow_matcher(parts, key):
    pattern = "".join(parts)
    if "**" not in pattern:
        assert bool(compile_glob(pattern).fullmatch(key)) == by_hand(pattern, key)


@given(st.text(alphabet="ab/.", max_size=4), st.text(alphabet="ab/.", max_size=4), names)
def test_two_stars_agree_where_they_end_a_name(head, tail, key):
    pattern = f"{head}**{tail}"
    if not tail.startswith("/"):
        assert bool(compile_glob(pattern).fullmatch(key)) == by_hand(pattern, key)


@given(st.sets(names, max_size=8), st.sampled_from(["", "a", "a/"]), tokens)
def test_a_listing_by_pattern_is_the_filtered_listing(keys, prefix, parts):
    pattern = "".join(parts)
    if "***" in pattern:
        return
    raw = MemoryStore(MemoryOptions(name="test-client-globs"))
    raw.delete([info.key for page in raw.list_pages() for info in page.objects])
    store = Store(raw, "mem://test-client-globs/")
    for key in keys:
        store.put(key, b"")
    expression = compile_glob(pattern)
    expected = {key for key in keys if key.startswith(prefix) and expression.fullmatch(key[len(prefix) :])}
    assert {info.key for info in store.list(prefix, pattern=pattern)} == expected
