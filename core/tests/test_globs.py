"""Globs against a slow, independent reading of the same rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client.store import Store
from penstock.globs import compile_glob, has_wildcard, unescape
from penstock.memory import MemoryOptions, MemoryStore

tokens = st.lists(st.sampled_from(["a", "b", "/", "*", "[*]", "."]), max_size=6)
names = st.text(alphabet="ab/*.", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("glob", "matches", "others"),
    [
        ("a/*.dat", ["a/x.dat", "a/.dat"], ["a/b/x.dat", "x.dat", "ba/x.dat", "a/x.dat2", "a/x_dat"]),
        ("a/*", ["a/x"], ["a/", "a/b/c", "a"]),
        ("a/**", ["a/x", "a/b/c", "a/"], ["a", "b/a/x"]),
        ("**", ["", "a", "a/b", "a\nb"], []),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "x/a"]),
        ("a/**/x", ["a/x", "a/b/x", "a/b/c/x"], ["a/bx", "ax"]),
        ("a**b", ["ab", "a/b", "axxb"], ["a", "abc"]),
        ("a***b", ["ab", "a/b"], ["a"]),
        ("*/*", ["a/b"], ["a", "/b", "a/", "a/b/c"]),
        ("a?[b].{c}+", ["a?[b].{c}+"], ["ax[b].{c}+", "ab"]),
        ("file:///m/*", ["file:///m/x"], ["file:///n/x"]),
        ("a[*]b*", ["a*b", "a*bc"], ["axb", "a[*]b"]),
        ("[*]", ["*"], ["a", "[*]"]),
        ("data?.csv", ["data?.csv"], ["data1.csv"]),
        ("plain", ["plain"], ["Plain", "plain/", "xplain"]),
        ("", [""], ["a"]),
    ],
)
def test_globs(glob, matches, others):
    compiled = compile_glob(glob)
    assert [name for name in matches if not compiled.matches(name)] == []
    assert [name for name in others if compiled.matches(name)] == []
    assert all(name.startswith(compiled.prefix) for name in matches)
    assert compiled.literal != has_wildcard(glob)


@given(st.text(alphabet="ab/.?[]\\$^é\n", max_size=12))
def test_text_without_a_star_matches_itself_alone(text):
    compiled = compile_glob(text)
    assert compiled.literal
    assert compiled.matches(text)
    assert not compiled.matches(f"{text}a")


@given(
    st.lists(st.sampled_from(["*", "**", "[*]", "[", "a", "b", "/"]), max_size=6), st.text(alphabet="ab/*[", max_size=8)
)
def test_globs_agree_with_a_search_through_all_splits(pieces, name):
    pattern = "".join(pieces)

    def search(rest, text, before):
        if not rest:
            return not text
        if rest.startswith("[*]"):
            return text[:1] == "*" and search(rest[3:], text[1:], "]")
        star = re.match(r"\*+", rest)
        if star is None:
            return text[:1] == rest[0] and search(rest[1:], text[1:], rest[0])
        tail = rest[star.end() :]
        if len(star[0]) > 1:
            if before in ("", "/") and tail.startswith("/") and search(tail[1:], text, "/"):
                return True
            return any(search(tail, text[cut:], "*") for cut in range(len(text) + 1))
        least = 1 if before in ("", "/") and tail[:1] in ("", "/") else 0
        cuts = [cut for cut in range(least, len(text) + 1) if "/" not in text[:cut]]
        return any(search(tail, text[cut:], "*") for cut in cuts)

    assert compile_glob(pattern).matches(name) == search(pattern, name, "")


def test_what_is_a_glob():
    assert has_wildcard("a*")
    assert not has_wildcard("a[*]?")
    assert unescape("a[*]?") == "a*?"
    assert compile_glob("a[*]b/*").prefix == "a*b/"
    assert compile_glob("a[*]b/*").start == 6


@given(st.sets(names, max_size=8), st.sampled_from(["", "a", "a/"]), tokens)
def test_a_listing_by_pattern_is_the_filtered_listing(keys, prefix, parts):
    pattern = "".join(parts)
    raw = MemoryStore(MemoryOptions(name="test-globs"))
    raw.delete([info.key for page in raw.list_pages() for info in page.objects])
    store = Store(raw, "mem://test-globs/")
    for key in keys:
        store.put(key, b"")
    glob = compile_glob(pattern)
    expected = {key for key in keys if key.startswith(prefix) and glob.matches(key[len(prefix) :])}
    assert {info.key for info in store.list(prefix, pattern=pattern)} == expected
