"""Our server, with google-cloud-storage as its client: what the SDK takes for Cloud Storage, our tests may too."""

from __future__ import annotations

import io
import os

import pytest
from gcs_server import Answer, Fault
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

MIB = 1024 * 1024
BUCKET = "penstock-test"


@pytest.fixture
def client(server):
    with_endpoint = {"api_endpoint": server.endpoint}
    client = storage.Client(project="test", credentials=AnonymousCredentials(), client_options=with_endpoint)
    yield client
    client.close()


@pytest.fixture
def bucket(client):
    return client.bucket(BUCKET)


def test_buckets(client, server):
    client.create_bucket("another-bucket", location="EU")
    assert [(found.name, found.location) for found in client.list_buckets(page_size=1)] == [
        ("another-bucket", "EU"),
        (BUCKET, "US"),
    ]
    with pytest.raises(exceptions.Conflict):
        client.create_bucket("another-bucket")
    client.bucket("another-bucket").blob("x").upload_from_string("x")
    with pytest.raises(exceptions.Conflict):
        client.bucket("another-bucket").delete()
    client.bucket("another-bucket").delete(force=True)
    with pytest.raises(exceptions.NotFound):
        client.get_bucket("another-bucket")
    with pytest.raises(exceptions.BadRequest):
        client.create_bucket("x")


@pytest.mark.parametrize("size", [0, 1, 5000, 3 * MIB])
def test_a_round_trip(bucket, size):
    data = os.urandom(size)
    blob = bucket.blob("dir/a b+c%2Fd?e#é")
    blob.metadata = {"Owner": "sömeone", "note": "x"}
    blob.upload_from_string(data, content_type="text/x-test", checksum="crc32c")
    found = bucket.get_blob("dir/a b+c%2Fd?e#é")
    assert (found.size, found.content_type, found.metadata) == (size, "text/x-test", {"Owner": "sömeone", "note": "x"})
    assert found.download_as_bytes(checksum="crc32c") == data
    assert found.download_as_bytes(checksum="md5") == data
    assert (found.crc32c, found.md5_hash, found.generation) == (blob.crc32c, blob.md5_hash, blob.generation)


def test_ranges(bucket):
    data = os.urandom(1000)
    blob = bucket.blob("range")
    blob.upload_from_string(data)
    assert blob.download_as_bytes(start=10, end=19) == data[10:20]
    assert blob.download_as_bytes(start=990, end=5000) == data[990:]
    assert blob.download_as_bytes(start=-5) == data[-5:]
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=1000)


def test_generations_and_preconditions(bucket):
    blob = bucket.blob("versioned")
    blob.upload_from_string(b"one", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"two", if_generation_match=0)
    blob.upload_from_string(b"two", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=first)
    assert blob.download_as_bytes(if_generation_match=blob.generation) == b"two"
    with pytest.raises(exceptions.NotModified):
        blob.reload(if_generation_not_match=blob.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)
    blob.delete(if_generation_match=blob.generation)
    for call in (blob.delete, blob.reload, blob.download_as_bytes):
        with pytest.raises(exceptions.NotFound):
            call()
    with pytest.raises(exceptions.NotFound):
        bucket.client.bucket("no-such-bucket").blob("x").upload_from_string(b"x")


def test_metadata_is_patched_and_replaced(bucket):
    blob = bucket.blob("facts")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string(b"x", content_type="text/plain")
    generation = blob.generation
    blob.metadata = {"b": None, "c": "3"}
    blob.patch()
    assert (blob.metadata, blob.metageneration, blob.generation) == ({"a": "1", "c": "3"}, 2, generation)
    blob.metadata = {"only": "this"}
    blob.update()
    assert bucket.get_blob("facts").metadata == {"only": "this"}
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_metageneration_match=1)


def test_resumable_uploads(bucket, server):
    data = os.urandom(3 * MIB + 17)
    blob = bucket.blob("resumed", chunk_size=MIB)
    blob.metadata = {"k": "v"}
    blob.upload_from_file(io.BytesIO(data), checksum="crc32c")
    assert bucket.get_blob("resumed").metadata == {"k": "v"}
    assert blob.download_as_bytes() == data
    assert len(server.requests("upload_id")) == 4
    assert server.state.violations == []
    assert server.state.open_sessions() == []


def test_resumable_uploads_survive_faults(bucket, server):
    data = os.urandom(4 * MIB)
    unavailable = Answer(503, b"{}", {"content-type": "application/json"})
    for fault in (
        Fault(lambda r: "bytes 1048576-" in r.headers.get("content-range", ""), "answer", answer=unavailable),
        Fault(lambda r: "bytes 2097152-" in r.headers.get("content-range", ""), "lose"),
        Fault(lambda r: "bytes 3145728-" in r.headers.get("content-range", ""), "keep", nbytes=MIB // 2),
    ):
        server.faults = [fault]
        blob = bucket.blob("hurt", chunk_size=MIB)
        blob.upload_from_file(io.BytesIO(data))
        assert fault.times == 0
        assert blob.download_as_bytes() == data


def test_a_resumable_upload_checks_its_conditions_at_both_ends(bucket, server):
    blob = bucket.blob("late", chunk_size=MIB)
    url = blob.create_resumable_upload_session(if_generation_match=0)
    bucket.blob("late").upload_from_string(b"first")
    session = bucket.client._http
    answer = session.put(url, data=b"second", headers={"content-range": "bytes 0-5/6"})
    assert answer.status_code == 412
    with pytest.raises(exceptions.PreconditionFailed):
        blob.create_resumable_upload_session(if_generation_match=0)
    assert session.delete(url).status_code == 499
    assert session.put(url, headers={"content-range": "bytes */*"}).status_code == 499
    assert bucket.blob("late").download_as_bytes() == b"first"


def test_parts_are_of_256_kib_or_are_noted(bucket, server):
    session = bucket.client._http
    url = bucket.blob("odd").create_resumable_upload_session()
    answer = session.put(url, data=bytes(300_000), headers={"content-range": "bytes 0-299999/*"}, allow_redirects=False)
    assert (answer.status_code, answer.headers["range"]) == (308, "bytes=0-262143")
    assert len(server.state.violations) == 1


def test_a_wrong_checksum_is_refused(bucket):
    blob = bucket.blob("wrong")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(exceptions.BadRequest, match="CRC32C"):
        blob.upload_from_string(b"data", checksum=None)
    assert bucket.get_blob("wrong") is None


def test_listing(bucket, client):
    for name in ("a/1", "a/2", "a/b/3", "b", "é/x", "\uffee", "\U0001f600"):
        bucket.blob(name).upload_from_string(name)
    names = [blob.name for blob in client.list_blobs(BUCKET, page_size=2)]
    assert names == sorted(names, key=str.encode)
    assert len(names) == 7
    found = client.list_blobs(BUCKET, delimiter="/", page_size=1)
    assert [blob.name for blob in found] == ["b", "\uffee", "\U0001f600"]
    assert found.prefixes == {"a/", "é/"}
    found = client.list_blobs(BUCKET, prefix="a/", delimiter="/")
    assert ([blob.name for blob in found], found.prefixes) == (["a/1", "a/2"], {"a/b/"})
    assert [blob.name for blob in client.list_blobs(BUCKET, start_offset="a/2", end_offset="b")] == ["a/2", "a/b/3"]
    assert [blob.name for blob in client.list_blobs(BUCKET, fields="items(name),nextPageToken")] == names


def test_batches(bucket, client, server):
    names = [f"b/{number} %/é" for number in range(20)]
    for name in names:
        bucket.blob(name).upload_from_string(b"x")
    missing = []
    bucket.delete_blobs([*names, "absent"], on_error=missing.append)
    assert missing == ["absent"]
    server.log.clear()
    for name in names:
        bucket.blob(name).upload_from_string(b"x")
    with client.batch():
        for name in names:
            bucket.blob(name).delete()
    assert server.requests()[-1] == ("POST", "/batch/storage/v1")
    assert list(client.list_blobs(BUCKET)) == []
    with pytest.raises(exceptions.NotFound), client.batch():
        bucket.blob("absent").delete()


def test_compose_copy_and_rewrite(bucket, server):
    one, two, whole = bucket.blob("one"), bucket.blob("two"), bucket.blob("whole")
    one.upload_from_string(b"one")
    two.metadata = {"k": "v"}
    two.upload_from_string(b"two" * MIB, content_type="text/two")
    whole.compose([one, two])
    assert whole.download_as_bytes() == b"one" + b"two" * MIB
    assert (whole.component_count, whole.md5_hash) == (2, None)
    copied = bucket.copy_blob(two, bucket, "copied")
    assert (copied.metadata, copied.content_type) == ({"k": "v"}, "text/two")
    server.state.rewrite_limit = MIB
    target = bucket.blob("rewritten")
    token, calls = None, 0
    while calls == 0 or token:
        token, done, size = target.rewrite(two, token=token)
        calls += 1
    assert (calls, done, size) == (3, 3 * MIB, 3 * MIB)
    target.reload()
    assert (target.metadata, target.content_type) == ({"k": "v"}, "text/two")
    with pytest.raises(exceptions.NotFound):
        target.rewrite(bucket.blob("absent"))
    with pytest.raises(exceptions.PreconditionFailed):
        target.rewrite(two, if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        target.rewrite(two, if_source_generation_match=1)


@pytest.mark.parametrize("name", ["two\nlines", ".", "..", "x" * 1025])
def test_names_that_the_service_refuses(bucket, name):
    with pytest.raises(exceptions.BadRequest):
        bucket.blob(name).upload_from_string(b"x")


def test_requester_pays(client, bucket, server):
    bucket.blob("paid").upload_from_string(b"x")
    server.state.buckets[BUCKET].requester_pays = True
    with pytest.raises(exceptions.BadRequest, match="requester pays"):
        bucket.blob("paid").download_as_bytes()
    paid = client.bucket(BUCKET, user_project="payer").blob("paid")
    assert paid.download_as_bytes() == b"x"
