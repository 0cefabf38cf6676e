"""Signatures, against those of azure-storage-blob's own policy: the same request, the same signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import string
from types import SimpleNamespace

import pytest
from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from azure_fakes import KEY, FakeAnswer, FakeClient, fake_store, parsed
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import CredentialsError, InvalidKeyError
from penstock.sinks import Discard
from penstock_azure import signing
from penstock_azure.account import Account
from penstock_azure.container import Container
from penstock_azure.naming import encode_key
from penstock_azure.plugin import AzureOptions
from penstock_azure.signing import VERSION, ms_fields

CREATED = FakeAnswer(201, {"etag": '"0x1"'})
TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


def legal(key):
    try:
        return bool(encode_key(key))
    except InvalidKeyError:
        return False


KEYS = TEXT.filter(legal)
NAMES = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=12).filter(
    lambda n: not n[0].isdigit()
)
VALUES = st.text(string.ascii_letters + string.punctuation, max_size=20)
METADATA = st.dictionaries(NAMES, VALUES, max_size=6)
ETAGS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20)


def theirs(head, account="acme", key=KEY, scheme="https"):
    """The signature that the SDK gives a request, from its head as it was sent."""
    verb, target, fields = parsed(head)
    fields.pop("Authorization")
    request = HttpRequest(verb, f"{scheme}://{fields.pop('Host')}{target}", headers=fields)
    policy = SharedKeyCredentialPolicy(account, key)
    policy.on_request(SimpleNamespace(http_request=request, context=SimpleNamespace(transport=None)))
    return request.headers["Authorization"]


def require_equal(client, **account):
    assert client.sent
    for head in client.sent:
        assert parsed(head)[2]["Authorization"] == theirs(head, **account)


@given(KEYS, st.integers(0, 10**12), st.none() | st.integers(1, 10**12), st.none() | ETAGS)
def test_get(key, start, length, if_match):
    store, client = fake_store(FakeAnswer(206, {"content-range": "bytes 0-0/1"}, b"x"))
    store.get(key, Discard(), start=start, length=length, if_match=if_match)
    require_equal(client)


@given(KEYS, METADATA, st.booleans(), st.none() | ETAGS, st.sampled_from([None, "text/plain", "a/b; charset=utf-8"]))
def test_put(key, metadata, create, if_match, content_type):
    for data in (b"", b"some bytes"):
        store, client = fake_store(CREATED)
        store.put(key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type)
        require_equal(client)


@given(KEYS, st.sampled_from(["md5", "crc64"]))
def test_put_with_a_checksum(key, checksum):
    store, client = fake_store(CREATED, checksum=checksum)
    store.put(key, b"some bytes")
    require_equal(client)


@given(KEYS, METADATA, st.booleans())
def test_writer(key, metadata, create):
    store, client = fake_store(CREATED)
    writer = store.open_writer(key, part_size=4, create=create, metadata=metadata, content_type="text/plain")
    writer.write(b"0123456789")
    writer.commit()
    assert len(client.sent) == 4
    require_equal(client)


@given(KEYS, KEYS, METADATA)
def test_copy_and_stat(source, target, metadata):
    found = FakeAnswer(200, {"etag": '"0x1"'})
    copied = FakeAnswer(202, {"etag": '"0x1"', "x-ms-copy-status": "success"})
    store, client = fake_store(*([found, found] if source == target else [found, copied, found]))
    store.copy(source, target, metadata=metadata)
    require_equal(client)


@given(TEXT, st.sampled_from(["", "/", "-", "é"]))
def test_listing(prefix, delimiter):
    store, client = fake_store(FakeAnswer(200, {}, b"<EnumerationResults/>"))
    list(store.list_pages(prefix, delimiter=delimiter))
    require_equal(client)


@given(st.lists(KEYS, min_size=2, max_size=4), st.booleans())
def test_batch(keys, snapshots):
    answer = FakeAnswer(202, {"content-type": "multipart/mixed; boundary=b"}, b"--b--")
    store, client = fake_store(answer, delete_snapshots=snapshots)
    store.delete(keys)
    require_equal(client)
    parts = client.bodies[0].split(b"--batch_")[1:-1]
    assert len(parts) == len(keys)
    for part in parts:
        head = part.partition(b"\r\n\r\n")[2].replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: acme\r\n", 1)
        assert parsed(head)[2]["Authorization"] == theirs(head)


def test_an_emulators_path_holds_the_account_twice():
    store, client = fake_store(endpoint="http://127.0.0.1:10000")
    store.get("a b", Discard())
    assert parsed(client.sent[0])[1] == "/acme/box/a%20b"
    require_equal(client, scheme="http")


@given(st.dictionaries(NAMES | st.sampled_from(["x-a", "blob-type", "dates", "version", "datf"]), VALUES))
def test_the_order_of_fields_is_the_services(names):
    fields = {f"x-ms-{name}": value for name, value in names.items()} | {"x-ms-meta-z_z": "1", "x-ms-meta-z1": "2"}
    before, after = ms_fields(fields)
    both = f"{before}x-ms-date:now\n{after}"
    request = HttpRequest("GET", "https://acme", headers=fields | {"x-ms-date": "now"})
    assert both == SharedKeyCredentialPolicy._get_canonicalized_headers(SimpleNamespace(http_request=request))


def test_long_and_short_keys_sign_alike():
    for key in (b"k", b"k" * 64, b"k" * 65, b"k" * 200):
        fields = signing.SharedKey("acme", key).sign("GET\n", "", "", "/path")
        date = fields.partition("\r\n")[0].partition(": ")[2]
        signed = f"GET\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/acme/path".encode()
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert fields.endswith(f"SharedKey acme:{expected}\r\n")


def test_a_date_is_made_once_a_second(monkeypatch):
    made = []
    seconds = iter([7, 7, 7, 8])
    monkeypatch.setattr(signing, "now_s", lambda: next(seconds))
    monkeypatch.setattr(signing, "formatdate", lambda second, usegmt: made.append(second) or f"second {second}")
    signer = signing.SharedKey("acme", b"k")
    lines = [signer.sign("GET\n", "", "", "/path") for _ in range(4)]
    assert made == [7, 8]
    assert lines[0] == lines[2] != lines[3]
    assert "x-ms-date: second 8\r\n" in lines[3]


def test_a_shared_access_signature_ends_the_query_exactly():
    sas = "sv=2023-11-03&ss=b&se=2030-01-01T00%3A00%3A00Z&sig=a%2Bb%2Fc%3D"
    store, client = fake_store(FakeAnswer(200, {}, b"<EnumerationResults/>"), account_key=None, sas_token=f"?{sas}")
    store.get("k", Discard())
    list(store.list_pages("a b"))
    (_, get, fields), (_, listing, _) = map(parsed, client.sent)
    assert get == f"/box/k?{sas}"
    assert listing == f"/box?comp=list&maxresults=1000&restype=container&prefix=a%20b&{sas}"
    assert "Authorization" not in fields


def test_a_batch_carries_the_signature_in_each_part():
    answer = FakeAnswer(202, {"content-type": "multipart/mixed; boundary=b"}, b"--b--")
    store, client = fake_store(answer, account_key=None, sas_token="sv=1&sig=marker")
    store.delete(["one", "two"])
    assert client.bodies[0].count(b"?sv=1&sig=marker HTTP/1.1") == 2


def test_anonymous_requests_have_nothing():
    store, client = fake_store(account_key=None, credential="anonymous")
    store.get("k", Discard())
    _, target, fields = parsed(client.sent[0])
    assert target == "/box/k"
    assert set(fields) == {"Host", "User-Agent", "x-ms-version"}


def test_a_bearer_token_is_sent_with_the_date():
    tokens = SimpleNamespace(token=lambda: "a.b.c", close=lambda: None)
    account = Account.of(AzureOptions(account="acme", container="box", credential="default"))
    container = Container(account, "box", None, signing.Bearer(tokens))
    container.client = client = FakeClient(FakeAnswer())
    container.exchange("stat", "HEAD", "k").close()
    fields = parsed(client.sent[0])[2]
    assert fields["Authorization"] == "Bearer a.b.c"
    assert fields["x-ms-date"].endswith("GMT")


def test_tokens_are_refused_over_plain_http():
    with pytest.raises(CredentialsError, match="not sent over plain http"):
        Account.of(AzureOptions(account="acme", endpoint="http://127.0.0.1:1", credential="default"))
