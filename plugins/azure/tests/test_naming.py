"""Keys and metadata: what the service can hold, and how it is written on the wire."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from azure_fakes import FakeAnswer, fake_store, parsed
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidKeyError, UsageError
from penstock.sinks import Discard
from penstock_azure.naming import check_etag, encode_key, metadata_fields

#: A key that Azure can't hold, and what the refusal says.
REFUSED = [
    ("back\\slash", "turns a backslash into a slash"),
    ("tab\there", "no control characters"),
    ("line\nend", "no control characters"),
    ("delete\x7f", "no control characters"),
    ("c1\x85", "no control characters"),
    ("trailing.", "ends in a dot"),
    ("a./b", "ends in a dot"),
    (".", "ends in a dot"),
    ("a/..", "ends in a dot"),
    ("../a", "ends in a dot"),
    ("./a", "ends in a dot"),
    ("a/" * 254 + "b", "255 segments"),
    ("é/" * 254 + "b", "255 segments"),
    ("x" * 1025, "1025 bytes"),
    ("", "empty"),
    ("a\ud800", "surrogate"),
]


@pytest.mark.parametrize(("key", "reason"), REFUSED)
def test_what_azure_cant_hold_is_refused_before_any_request(key, reason):
    store, client = fake_store()
    calls = (
        lambda: store.get(key, Discard()),
        lambda: store.put(key, b""),
        lambda: store.stat(key),
        lambda: store.open_writer(key, part_size=10),
        lambda: store.delete([key]),
        lambda: store.delete(["good", key]),
        lambda: store.copy("good", key) if key else store.put(key, b""),
    )
    client.answers.append(FakeAnswer(200, {"etag": '"0x1"'}))
    for call in calls:
        with pytest.raises(InvalidKeyError, match=reason):
            call()
    assert not [head for head in client.sent if b"good" not in head.partition(b"\r\n")[0]]


@pytest.mark.parametrize("key", ["a" * 254, "a.b/c.d", ".hidden/..x", "a//b", "/a", "a/", "~a", "a/" * 253 + "b"])
def test_plain_keys_stand_as_they_are(key):
    assert encode_key(key) == key


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\."), min_size=1, max_size=60))
def test_keys_are_encoded_exactly_once(key):
    encoded = encode_key(key)
    assert unquote(encoded) == key
    assert encoded == quote(key, safe="/")
    assert encoded.isascii()


def test_a_percent_in_a_key_is_a_percent():
    store, client = fake_store()
    store.get("50%25 a+b?c#d", Discard())
    assert parsed(client.sent[0])[1] == "/box/50%2525%20a%2Bb%3Fc%23d"


@pytest.mark.parametrize("name", ["with-hyphen", "1st", "", "a b", "é", "a:b", "a\r\nx-ms-evil"])
def test_names_of_metadata_are_identifiers(name):
    with pytest.raises(UsageError, match="a name is an identifier"):
        metadata_fields({name: "x"})


@pytest.mark.parametrize("value", ["é", "a\nb", "a\r\nx-ms-evil: 1", " lead", "trail ", "tab\tin"])
def test_values_of_metadata_come_back_as_they_are_or_are_refused(value):
    with pytest.raises(UsageError, match="printable ASCII"):
        metadata_fields({"name": value})


def test_metadata_has_bounds():
    with pytest.raises(UsageError, match="differ in case alone"):
        metadata_fields({"Name": "1", "name": "2"})
    with pytest.raises(UsageError, match="8192 bytes"):
        metadata_fields({"name": "x" * 8189})
    assert metadata_fields(
        {
            "name": "x" * 8188,
        }
    ) == {"x-ms-meta-name": "x" * 8188}
    assert metadata_fields(None) == metadata_fields({}) == {}
    assert metadata_fields({"a": ""}) == {"x-ms-meta-a": ""}


@pytest.mark.parametrize("etag", ["", 'a"b', "a b", "a\r\nb", "é"])
def test_no_etag_breaks_a_header(etag):
    with pytest.raises(UsageError, match="no etag"):
        check_etag(etag)


@pytest.mark.parametrize("content_type", ["", "a\r\nx: y", "é/b", " text/plain"])
def test_no_content_type_breaks_a_header(content_type):
    store, client = fake_store()
    with pytest.raises(UsageError, match="no content type"):
        store.put("k", b"", content_type=content_type)
    with pytest.raises(UsageError, match="no content type"):
        store.open_writer("k", part_size=10, content_type=content_type)
    assert client.sent == []
