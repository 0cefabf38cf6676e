"""URIs: opaque text round trips, the few rules, and remedies in errors."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidURIError
from penstock.urls import StoreURL, join, parse_object, parse_store, strip_scheme

schemes = st.from_regex(r"[a-z][a-z0-9]*(\+[a-z0-9]+)*", fullmatch=True)
authorities = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]))
paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
never_a_scheme = lambda text: "://" not in text  # noqa: E731


@given(schemes, authorities.filter(never_a_scheme), paths.filter(never_a_scheme))
def test_any_text_round_trips(scheme, authority, path):
    uri = f"{scheme}://{authority}/{path}"
    url = parse_object(uri)
    assert (url.scheme, url.authority, url.path) == (scheme, authority, f"/{path}")
    assert str(url) == uri
    assert url.query == {}


@pytest.mark.parametrize(
    "key", ["a b", "100%", "a%20b", "a+b", "#1", "what?", "ünï/日本", "a//b", "//", "x=1&y", "http://inside/of/a/key"]
)
def test_keys_are_opaque(key):
    assert parse_object(f"s3://bucket/{key}").path == f"/{key}"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://2024-data/k", ("s3", "2024-data", "/k")),
        ("s3://minio-backups/k", ("s3", "minio-backups", "/k")),
        ("s3://my.dotted.bucket/k", ("s3", "my.dotted.bucket", "/k")),
        ("s3+https://host:9000/b/k", ("s3+https", "host:9000", "/b/k")),
        ("file:///abs/path", ("file", "", "/abs/path")),
        ("file://./rel", ("file", ".", "/rel")),
        ("mem://", ("mem", "", "")),
        ("mem://name", ("mem", "name", "")),
        ("/abs/path", ("file", "", "/abs/path")),
        ("rel/path", ("file", ".", "/rel/path")),
        ("./rel", ("file", ".", "/rel")),
        (".", ("file", ".", "/")),
        ("a/./b/../c/", ("file", ".", "/a/c/")),
        ("..", ("file", "", os.path.abspath("..").rstrip("/") + "/")),
        ("../x", ("file", "", os.path.abspath("../x"))),
        ("/a/../b", ("file", "", "/b")),
        ("a:b", ("file", ".", "/a:b")),
        ("what?", ("file", ".", "/what?")),
    ],
)
def test_the_parts(uri, parts):
    url = parse_object(uri)
    assert (url.scheme, url.authority, url.path) == parts


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("", "write scheme://"),
        ("S3://bucket/k", "such as s3://"),
        ("s3.crt://bucket/k", "scheme"),
        ("s3://file:///x", "exactly one"),
        ("s3://b/a\0b", "NUL"),
        ("/a\0b", "NUL"),
    ],
)
def test_what_is_refused_names_the_remedy(uri, remedy):
    with pytest.raises(InvalidURIError, match=remedy):
        parse_object(uri)


def test_a_remedy_is_itself_legal():
    for wrong in ("S3://x", "s3.crt://x", "s3-http://x", "s3+://x"):
        with pytest.raises(InvalidURIError) as caught:
            parse_object(wrong)
        advised = [word for word in str(caught.value).split() if word.endswith("://")]
        for word in advised:
            parse_object(f"{word}x")


class TestQuery:
    def test_it_belongs_to_the_key_of_an_object(self):
        assert parse_object("file:///d?cache=off").path == "/d?cache=off"

    def test_it_holds_options_of_a_store(self):
        url = parse_store("file:///d?cache=off&fsync=true")
        assert (url.path, url.query) == ("/d", {"cache": "off", "fsync": "true"})
        assert str(url) == "file:///d"

    def test_a_value_may_hold_anything_but_an_ampersand(self):
        assert parse_store("s3://b?endpoint=http://h:1/?x=y").query == {"endpoint": "http://h:1/?x=y"}
        assert parse_store("s3://b?name=").query == {"name": ""}

    @pytest.mark.parametrize("query", ["", "flag", "=x", "a=1&", "a=1&a=2"])
    def test_what_is_refused(self, query):
        with pytest.raises(InvalidURIError, match=r"given twice|name=value"):
            parse_store(f"mem://n?{query}")

    def test_an_error_shows_no_value(self):
        for query in ("secret_key=hush&x", "secret_key=hush&secret_key=hush2"):
            with pytest.raises(InvalidURIError) as caught:
                parse_store(f"s3://b?{query}")
            assert "hush" not in str(caught.value)

    def test_a_bare_path_has_options_too(self):
        assert parse_store("/d?a=1") == StoreURL("file", "", "/d", {"a": "1"})


def test_join():
    assert join("s3://b", "k") == "s3://b/k"
    assert join("s3://b/", "k") == "s3://b/k"
    assert join("s3://b/", "") == "s3://b/"
    assert join("s3://b", "/k") == "s3://b//k"


def test_strip_scheme():
    assert strip_scheme("s3://b/k") == "b/k"
    assert strip_scheme("file:///a") == "/a"
    assert strip_scheme("mem://") == ""
    assert strip_scheme("plain") == "plain"
