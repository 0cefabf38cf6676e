"""What only Azure has, on a real server: requests counted, blocks, signatures, copies, checksums."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import trustme
from azure.storage.blob import (
    ContentSettings,
    generate_container_sas,
)
from azure_servers import VARIABLES, azurite

from penstock import errors
from penstock.client.buckets import open_service
from penstock.opening import open_store
from penstock.sinks import Collect, Discard
from penstock.testing.proxy import Plan, Way
from penstock.testing.tools import listed, noise
from penstock_azure import credentials

KIB = 1024
MIB = 1024 * KIB
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


def lines(proxy):
    """Verb and target of each request that came, without the account and the container."""
    found = []
    for head in proxy.heads:
        verb, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        path, mark, query = target.partition("?")
        found.append(f"{verb} {'/'.join(path.split('/')[3:])}{mark}{query}")
    proxy.heads.clear()
    return found


def sdk_of(server, container):
    return server.sdk().get_container_client(container.rstrip("/").rpartition("/")[2])


def test_each_call_is_the_requests_that_the_contract_says(watched, proxy):
    watched.put("k", b"0123456789")
    assert lines(proxy) == ["PUT k"]
    watched.put("k2", b"", create=True)
    assert lines(proxy) == ["PUT k2"]
    watched.get("k", Discard())
    watched.get("k", Discard(), start=3, length=2)
    watched.get("k", Discard(), start=3)
    watched.get("k", Discard(), start=10)
    watched.get("k", Discard(), start=10**12, length=5)
    watched.get("k2", Discard(), length=5)
    assert lines(proxy) == ["GET k"] * 5 + ["GET k2"]
    watched.get("k", Discard(), length=0)
    watched.stat("k")
    assert lines(proxy) == ["HEAD k"] * 2
    assert listed(watched) == ["k", "k2"]
    assert lines(proxy) == ["GET ?comp=list&maxresults=1000&restype=container"]
    watched.copy("k", "k3")
    assert lines(proxy) == ["HEAD k", "PUT k3"]
    watched.copy("k", "k", metadata={"a": "b"})
    assert lines(proxy) == ["HEAD k", "PUT k?comp=metadata"]
    watched.copy("k", "k")
    assert lines(proxy) == ["HEAD k"]
    watched.delete(["k"])
    watched.delete(["k"])
    assert lines(proxy) == ["DELETE k"] * 2
    watched.delete([f"absent-{number}" for number in range(513)])
    assert lines(proxy) == ["POST ?comp=batch&restype=container"] * 3
    watched.delete([])
    assert lines(proxy) == []
    assert proxy.connections == 1


def test_a_writer_is_one_request_per_part_and_one_for_the_list(watched, proxy):
    writer = watched.open_writer("k", part_size=KIB)
    assert lines(proxy) == []
    writer.write(noise(3 * KIB + 1))
    writer.commit()
    sent = lines(proxy)
    assert sent[-1] == "PUT k?comp=blocklist"
    assert len(sent) == 5
    ids = {line.partition("blockid=")[2].partition("&")[0] for line in sent[:-1]}
    assert len(ids) == 4
    assert {len(block) for block in ids} == {28}
    assert all(block.isalnum() for block in ids)
    writer = watched.open_writer("k", part_size=KIB)
    writer.write(noise(KIB - 1))
    writer.commit()
    assert lines(proxy) == ["PUT k"]
    writer = watched.open_writer("k", part_size=KIB)
    writer.abort()
    assert lines(proxy) == []


def test_an_empty_chunked_answer_keeps_the_connection(monkeypatch):
    # So Azure itself answers puts; Azurite sends a length.
    connections = []
    answer = b'HTTP/1.1 201 Created\r\nETag: "0x1"\r\nTransfer-Encoding: chunked\r\n\r\n'

    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            stream = connection.makefile("rb")
            while head := stream.readline():
                length = 0
                while (line := stream.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                stream.read(length)
                # The last answer ends within its body, of which there is nothing to miss.
                connection.sendall(answer + (b"" if b"/last " in head else b"0\r\n\r\n"))
                if b"/last " in head:
                    connection.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        options = {"endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}", "account_key": "a2V5", "proxy": ""}
        with closing(open_store("az://acme/box/", options=options)) as store:
            for _ in range(3):
                store.put("k", b"x" * 100)
            writer = store.open_writer("k", part_size=10)
            writer.write(b"x" * 10)
            writer.commit()
            assert len(connections) == 1
            assert store.put("last", b"x").etag == "0x1"
        listener.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


def test_a_failing_get_with_a_condition_looks_whether_the_object_is_there(watched, proxy):
    watched.put("k", b"x")
    proxy.heads.clear()
    with pytest.raises(errors.PreconditionFailedError):
        watched.get("k", Discard(), if_match="another")
    with pytest.raises(errors.ObjectNotFoundError):
        watched.get("absent", Discard(), if_match="another")
    assert lines(proxy) == ["GET k", "HEAD k", "GET absent", "HEAD absent"]


def put_many(store, count):
    keys = [f"many/{number:06}" for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    return keys


def test_many_keys_are_few_requests(watched, proxy):
    keys = put_many(watched, 1_300)
    proxy.heads.clear()
    for page_size, most in ((1_000, 2), (500, 3), (5_000, 1), (10**6, 1)):
        assert sorted(listed(watched, page_size=page_size)) == keys
        assert len(lines(proxy)) == most
    assert list(watched.delete(keys)) == []
    assert len(lines(proxy)) == 6
    assert listed(watched) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_thousand_keys(watched, proxy):
    keys = put_many(watched, 5_000)
    proxy.heads.clear()
    assert sorted(listed(watched)) == keys
    assert len(lines(proxy)) == 5
    assert list(watched.delete(keys)) == []
    assert len(lines(proxy)) == 20
    assert listed(watched) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_keys_are_listed(watched, proxy):
    keys = put_many(watched, 100_000)
    proxy.heads.clear()
    number = 0
    for page in watched.list_pages("many/", page_size=5_000):
        for info in page.objects:
            assert info.key == keys[number]
            number += 1
    assert number == len(keys)
    assert len(lines(proxy)) == 20
    # Deleting them would take Azurite hours; see its faults.


def test_what_others_wrote_is_described(store, container, server):
    settings = ContentSettings(content_type="text/csv")
    sdk_of(server, container).upload_blob("theirs", b"a,b", metadata={"Owner": "x"}, content_settings=settings)
    info = store.stat("theirs")
    assert (info.size, info.content_type, dict(info.metadata)) == (3, "text/csv", {"owner": "x"})
    (page,) = store.list_pages()
    assert (page.objects[0].etag, page.objects[0].modified_ns) == (info.etag, info.modified_ns)
    assert page.objects[0].content_type == "text/csv"


def test_what_we_wrote_is_whole_to_others(store, container, server):
    sdk = sdk_of(server, container)
    data = noise(100_000)
    store.put("put", data, metadata={"owner": "me", "a_b": "1", "a1": "2"}, content_type="text/plain")
    writer = store.open_writer("written", part_size=30_000, metadata={"owner": "me"}, content_type="text/plain")
    writer.write(data)
    writer.commit()
    for name in ("put", "written"):
        blob = sdk.get_blob_client(name)
        assert blob.download_blob().readall() == data
        found = blob.get_blob_properties()
        assert found.metadata["owner"] == "me"
        assert found.content_settings.content_type == "text/plain"
        assert found.blob_type == "BlockBlob"


def test_copies_carry_or_replace_metadata(store):
    store.put("source", b"x" * 1000, metadata={"a": "1", "b": "2"}, content_type="text/plain")
    cases = [(None, {"a": "1", "b": "2"}), ({"c": "3"}, {"c": "3"}), ({}, {})]
    for metadata, expected in cases:
        info = store.copy("source", "target", metadata=metadata)
        found = store.stat("target")
        assert dict(found.metadata or {}) == expected == dict(info.metadata or {})
        assert (info.size, info.etag, found.content_type) == (1000, found.etag, "text/plain")
    for metadata in ({"c": "3"}, {}):
        before = store.stat("source")
        info = store.copy("source", "source", metadata=metadata)
        found = store.stat("source")
        assert dict(found.metadata or {}) == metadata == dict(info.metadata or {})
        assert (found.size, found.content_type, found.etag) == (1000, "text/plain", info.etag)
        assert info.etag != before.etag
    with pytest.raises(errors.ObjectNotFoundError) as caught:
        store.copy("absent", "absent", metadata={"a": "1"})
    assert caught.value.operation == "copy"


def test_an_aborted_or_dropped_writer_leaves_nothing_visible(store, container, server):
    store.put("old", b"old")
    for key in ("new", "old"):
        writer = store.open_writer(key, part_size=KIB)
        writer.write(noise(5 * KIB))
        writer.abort()
        writer = store.open_writer(key, part_size=KIB)
        writer.write(noise(5 * KIB))
        del writer
    assert [blob.name for blob in sdk_of(server, container).list_blobs()] == ["old"]
    sink = Collect()
    store.get("old", sink)
    assert bytes(sink.view()) == b"old"
    finished = store.open_writer("k", part_size=KIB)
    finished.abort()
    with pytest.raises(errors.StoreError, match="the writer is finished"):
        finished.commit()


def test_a_commit_may_be_repeated(store):
    writer = store.open_writer("k", part_size=KIB)
    writer.write(noise(2 * KIB + 5))
    blocks = writer._parts.finish()
    first = writer._upload.commit(blocks, 2 * KIB + 5)
    second = writer.commit()
    assert (first.size, second.size) == (2 * KIB + 5, 2 * KIB + 5)
    sink = Collect()
    store.get("k", sink)
    assert bytes(sink.view()) == noise(2 * KIB + 5)


def test_too_many_parts_are_refused_in_time(store, monkeypatch):
    monkeypatch.setattr("penstock_azure.writer.MAX_BLOCKS", 3)
    writer = store.open_writer("k", part_size=10)
    writer.write(b"x" * 30)
    with pytest.raises(errors.LengthMismatchError, match="write larger parts"):
        writer.write(b"x")
    writer.abort()
    with pytest.raises(errors.UsageError, match="on Azure they have 1 to 4194304000 bytes"):
        store.open_writer("k", part_size=5000 * MIB)


def test_md5(container, server):
    data = noise(3 * MIB)
    reads = [("k", 0, None), ("k", 5, 100), ("parts", 0, None), ("parts", 7, MIB), ("empty", 0, None)]
    with closing(open_store(container, options={"checksum": "md5"})) as store:
        store.put("k", data)
        writer = store.open_writer("parts", part_size=MIB)
        writer.write(data)
        writer.commit()
        store.put("empty", b"")
        for key, start, length in reads:
            sink = Collect()
            store.get(key, sink, start=start, length=length)
            expected = b"" if key == "empty" else data[start : None if length is None else start + length]
            assert bytes(sink.view()) == expected
    kept = sdk_of(server, container).get_blob_client("k").get_blob_properties().content_settings.content_md5
    assert bytes(kept) == hashlib.md5(data).digest()


def test_a_body_that_changes_on_its_way_is_refused(container, proxy):
    options = {"checksum": "md5", "endpoint": f"http://127.0.0.1:{proxy.port}"}
    with closing(open_store(container, options=options)) as store:
        proxy.then(Plan(up=Way(corrupt=5_000)))
        with pytest.raises(errors.StoreError, match=r"(?i)md5") as caught:
            store.put("k", noise(10_000))
        assert caught.value.code in ("Md5Mismatch", "InvalidOperation")
        proxy.drop()
        store.put("k", noise(10_000))
        proxy.drop()
        proxy.then(Plan(down=Way(corrupt=5_000)))
        with pytest.raises(errors.ChecksumMismatchError) as caught:
            store.get("k", Discard())
        assert (caught.value.uri, caught.value.operation) == (f"{container}k", "get")


def sas_of(server, container, permission, expiry=FUTURE, start=None):
    name = container.rstrip("/").rpartition("/")[2]
    return generate_container_sas(server.account, name, server.key, permission=permission, expiry=expiry, start=start)


def test_a_shared_access_signature_does_everything(container, server, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", sas_of(server, container, "rcwdl"))
    with closing(open_store(container)) as store:
        store.put("a b/é", b"x", create=True)
        store.copy("a b/é", "copy")
        writer = store.open_writer("w", part_size=KIB)
        writer.write(noise(3 * KIB))
        writer.commit()
        store.get("w", Discard(), start=5)
        assert listed(store) == ["a b/é", "copy", "w"]
        assert list(store.delete(["a b/é", "copy"])) == []
        assert list(store.delete(["w"])) == []
        assert listed(store) == []


def test_a_connection_string_does_everything(container, server, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.delenv("AZURE_STORAGE_ENDPOINT")
    endpoint = f"{server.endpoint}/{server.account}"
    string = f"AccountName={server.account};AccountKey={server.key};BlobEndpoint={endpoint};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", string)
    with closing(open_store(container)) as store:
        store.put("k", b"x")
        assert listed(store) == ["k"]


def test_reading_needs_no_more_than_reading(container, server):
    token = sas_of(server, container, "r")
    with closing(open_store(container)) as owner:
        owner.put("k", b"x")
    with closing(open_store(container, options={"credential": "sas", "sas_token": token})) as store:
        store.get("k", Discard())
        store.stat("k")
        with pytest.raises(errors.AccessDeniedError) as caught:
            store.put("k", b"y")
        assert "sig=" not in str(caught.value)


def test_snapshots(container, server):
    sdk = sdk_of(server, container)
    with closing(open_store(container)) as store:
        for key in ("one", "two", "three"):
            store.put(key, b"x")
        for key in ("one", "two"):
            sdk.get_blob_client(key).create_snapshot()
        (refused,) = store.delete(["one"])
        assert (refused.code, refused.uri) == ("SnapshotsPresent", f"{container}one")
        assert "delete_snapshots" in str(refused)
        refused = store.delete(["one", "three", "two"])
        assert [error.uri for error in refused] == [f"{container}one", f"{container}two"]
        assert {error.code for error in refused} == {"SnapshotsPresent"}
        assert sorted(listed(store)) == ["one", "two"]
    with closing(open_store(container, options={"delete_snapshots": True})) as store:
        assert list(store.delete(["one"])) == []
        store.put("one", b"x")
        assert list(store.delete(["one", "two"])) == []
        assert listed(store) == []


def test_a_block_of_another_length_is_explained(store, container, server):
    sdk_of(server, container).get_blob_client("k").stage_block("a", b"x")
    writer = store.open_writer("k", part_size=10)
    writer.write(b"x" * 5)
    writer.write(b"x" * 5)
    with pytest.raises(errors.StoreError, match="penstock rm --incomplete removes them"):
        writer.commit()
    writer.abort()


STREAM = """
import resource, sys, hashlib
from penstock.opening import open_store
from penstock.sinks import Discard

class Digest(Discard):
    def __init__(self):
        super().__init__()
        self.hash = hashlib.md5()
    def write(self, data, /):
        self.hash.update(data)
    def reserve(self, nbytes, /):
        if not hasattr(self, "memory"):
            self.memory = memoryview(bytearray(262144))
        return self.memory[:nbytes]
    def commit(self, nbytes, /):
        self.hash.update(self.memory[:nbytes])

store = open_store(sys.argv[1], threads=1)
store.put("warm", b"x" * 100000)
store.get("warm", Discard())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
piece, expected = bytes(range(256)) * 1024, hashlib.md5()
writer = store.open_writer("big", part_size=2 << 20)
for number in range(256):
    body = number.to_bytes(4, "big") + piece[4:]
    expected.update(body)
    writer.write(body)
print(writer.commit().size)
sink = Digest()
store.get("big", sink)
assert sink.hash.digest() == expected.digest()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_stream_is_held_in_bounded_memory(container):
    done = subprocess.run(
        [sys.executable, "-c", STREAM, container], capture_output=True, text=True, check=True, timeout=100
    )
    size, grown = map(int, done.stdout.split())
    assert size == 64 * MIB
    # Five parts of 2 MiB, each perhaps on a huge page more, and what threads and the interpreter take.
    assert grown < 40


def test_bearer_tokens_over_tls(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))

    def encode(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now = datetime.now(UTC)
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
        "nbf": int((now - timedelta(hours=1)).timestamp()),
        "iat": int((now - timedelta(hours=1)).timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
        "upn": "someone@example.com",
    }
    token = f"{encode({'alg': 'RS256', 'typ': 'JWT'})}.{encode(claims)}.{encode('signature')}"
    issued = SimpleNamespace(token=token, expires_on=claims["exp"])
    credential = SimpleNamespace(get_token=lambda *scopes: issued, close=lambda: None)
    monkeypatch.setattr(
        credentials.TokenSource, "default", classmethod(lambda cls: credentials.TokenSource(credential))
    )
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    arguments = [f"--cert={tmp_path}/cert.pem", f"--key={tmp_path}/key.pem", "--oauth=basic"]
    with azurite(tmp_path, *arguments, scheme="https", context=context) as server:
        options = {"endpoint": server.endpoint, "ca_bundle": str(tmp_path / "ca.pem")}
        uri = f"az://{server.account}/box/"
        key = {"credential": "key", "account_key": server.key}
        with open_service(uri, options=options | key) as service:
            service.create_bucket()
        with closing(open_store(uri, options=options)) as store:
            store.put("k", noise(100_000))
            sink = Collect()
            store.get("k", sink)
            assert bytes(sink.view()) == noise(100_000)
            assert list(store.delete(["k", "absent"])) == []
        with closing(open_store(uri, options={"endpoint": server.endpoint})) as store:
            with pytest.raises(errors.StoreConnectionError, match="certificate") as caught:
                store.stat("k")
            assert not caught.value.retryable
        expired = SimpleNamespace(token=token.replace(".", ".x", 1), expires_on=claims["exp"])
        credential.get_token = lambda *scopes: expired
        with closing(open_store(uri, options=options)) as store, pytest.raises(errors.AccessDeniedError) as caught:
            store.stat("k")
        assert token not in str(caught.value)
