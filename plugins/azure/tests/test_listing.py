"""Listings as the service writes them, where the emulator shows only some: empty pages, encoded names, directories."""

from __future__ import annotations

import pytest
from azure_fakes import FakeAnswer, fake_store, parsed

from penstock.errors import InvalidKeyError, NotAnObjectError, StoreConnectionError, StoreError, UsageError
from penstock.testing.tools import listed

BLOB = "<Blob><Name>{}</Name><Properties><Content-Length>{}</Content-Length>{}</Properties></Blob>"


def page(*entries, marker=""):
    text = (
        f"<EnumerationResults><Blobs>{''.join(entries)}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
    )
    return FakeAnswer(200, {}, f'\ufeff<?xml version="1.0" encoding="utf-8"?>{text}'.encode())


def blob(name, size=1, more=""):
    return BLOB.format(name, size, more)


def common(name):
    return f"<BlobPrefix><Name>{name}</Name></BlobPrefix>"


def test_pages_without_entries_are_passed_over():
    store, client = fake_store(page(marker="m1"), page(blob("a"), marker="m/2 +"), page(marker="m3"), page(blob("b")))
    assert [[info.key for info in found.objects] for found in store.list_pages()] == [["a"], ["b"]]
    targets = [parsed(head)[1] for head in client.sent]
    assert "marker" not in targets[0]
    assert "&marker=m%2F2%20%2B" in targets[2]


def test_an_entry_is_described():
    more = (
        "<Last-Modified>Fri, 09 Sep 2011 01:46:40 GMT</Last-Modified><Etag>0x8D1</Etag>"
        "<Content-Type>text/plain</Content-Type><Content-MD5/><AccessTier>Cool</AccessTier>"
    )
    store, _ = fake_store(page(blob("a &amp; &lt;b&gt;", 5, more)))
    (found,) = store.list_pages()
    (info,) = found.objects
    assert (info.key, info.size, info.modified_ns) == ("a & <b>", 5, 1_315_532_800 * 10**9)
    assert (info.etag, info.content_type, info.storage_class) == ("0x8D1", "text/plain", "Cool")


def test_names_that_xml_cant_hold_come_encoded():
    encoded = '<Blob><Name Encoded="true">a%EF%BF%BE%2525</Name><Properties/></Blob>'
    store, _ = fake_store(page(encoded, blob("b%2525")))
    assert listed(store) == ["a\ufffe%25", "b%2525"]


def test_a_common_prefix_comes_once():
    store, _ = fake_store(page(common("a/"), common("b/"), marker="m"), page(common("b/"), blob("c")))
    assert listed(store, delimiter="/") == ["a/", "b/", "c"]


def test_directories_of_a_hierarchical_namespace_are_no_objects():
    directory = blob("dir", 0, "<ResourceType>directory</ResourceType>")
    store, _ = fake_store(page(directory, blob("dir/k", 3, "<ResourceType>file</ResourceType>")))
    assert listed(store) == ["dir/k"]
    store, _ = fake_store(FakeAnswer(200, {"x-ms-resource-type": "directory", "x-ms-meta-hdi_isfolder": "true"}))
    with pytest.raises(NotAnObjectError) as caught:
        store.stat("dir")
    assert caught.value.uri == "az://acme/box/dir"


@pytest.mark.parametrize("body", [b"", b"no xml", b"<EnumerationResults>", b"<a><b></a>"])
def test_what_is_no_xml_is_no_empty_listing(body):
    store, _ = fake_store(FakeAnswer(200, {}, body))
    with pytest.raises(StoreConnectionError, match="is no XML") as caught:
        listed(store)
    assert caught.value.operation == "list_pages"


def test_arguments_that_are_none():
    store, client = fake_store(page())
    with pytest.raises(InvalidKeyError, match="surrogate"):
        listed(store, "\ud800")
    with pytest.raises(UsageError, match="page_size is at least 1"):
        listed(store, page_size=0)
    assert client.sent == []


STATUS = "HTTP/1.1 {}\r\n{}\r\n\r\n{}\r\n"


def batch(*parts, boundary="b-1"):
    body = "".join(f"--{boundary}\r\nContent-Type: application/http\r\n{part}" for part in parts)
    headers = {"content-type": f"multipart/mixed; boundary={boundary}"}
    return FakeAnswer(202, headers, f"{body}--{boundary}--\r\n".encode())


def part(number, status, code="", body=""):
    line = f"x-ms-error-code: {code}" if code else "x-ms-request-id: r"
    return f"Content-ID: {number}\r\n\r\n{STATUS.format(status, line, body)}"


def test_each_key_of_a_batch_has_its_outcome():
    busy = "<Error><Code>ServerBusy</Code><Message>Busy.</Message></Error>"
    answer = batch(
        part(2, "404 gone", "BlobNotFound"),
        part(0, "202 Accepted"),
        part(1, "503 busy", "ServerBusy", busy),
        part(3, "412 leased", "LeaseIdMissing"),
    )
    store, _ = fake_store(answer)
    failed = store.delete(["a", "b", "c", "d", "e"])
    assert [(error.uri, error.code, error.retryable) for error in failed] == [
        ("az://acme/box/b", "ServerBusy", True),
        ("az://acme/box/d", "LeaseIdMissing", False),
        ("az://acme/box/e", None, False),
    ]
    assert "says nothing of this key" in str(failed[2])


def test_a_batch_that_is_refused_as_a_whole_raises():
    refused = batch("\r\n" + STATUS.format("400 bad", "x-ms-error-code: InvalidInput", ""))
    for answer in (refused, FakeAnswer(202, {}, b""), FakeAnswer(403, {"x-ms-error-code": "AuthenticationFailed"})):
        store, _ = fake_store(answer)
        with pytest.raises(StoreError) as caught:
            store.delete(["a", "b"])
        assert caught.value.operation == "delete"


def test_a_copy_that_is_not_done_is_waited_for(monkeypatch):
    monkeypatch.setattr("penstock_azure.copying._FIRST_S", 0.001)
    found = FakeAnswer(200, {"etag": '"0x1"', "content-length": "5"}, b"12345")

    def copying(status, copy_id="c-1", code=200):
        return FakeAnswer(code, {"etag": '"0x2"', "x-ms-copy-id": copy_id, "x-ms-copy-status": status})

    store, client = fake_store(found, copying("pending", code=202), copying("pending"), copying("success"))
    info = store.copy("a", "b")
    assert (info.key, info.size, info.etag) == ("b", 5, "0x2")
    assert [parsed(head)[0] for head in client.sent] == ["HEAD", "PUT", "HEAD", "HEAD"]
    for last in (copying("failed"), copying("aborted"), copying("success", "c-2")):
        store, _ = fake_store(found, copying("pending", code=202), last)
        with pytest.raises(StoreError) as caught:
            store.copy("a", "b")
        assert (caught.value.operation, caught.value.uri) == ("copy", "az://acme/box/b")
    _, _, fields = parsed(client.sent[1])
    assert fields["x-ms-copy-source"] == "http://acme.localhost/box/a"
    assert fields["x-ms-source-if-match"] == '"0x1"'
