"""What only this backend has: its requests, counted; ranges; conditions by generation; copies; addresses."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from contextlib import closing

import pytest
from gcs_server import Answer, Fault

from penstock import errors
from penstock.opening import open_store, resolve_object, resolve_store
from penstock.options import describe
from penstock.sinks import Collect, Discard, Into
from penstock_gcs import checksums
from penstock_gcs.plugin import GCSOptions

KIB = 1024
MIB = 1024 * KIB
BUCKET = "penstock-test"


def read(store, key, **how):
    sink = Collect()
    info = store.get(key, sink, **how)
    return bytes(sink.view()), info


class TestRequests:
    """Law 1: each call is a knowable number of requests."""

    @pytest.fixture
    def count(self, server):
        def counted(call, *arguments, **named):
            server.log.clear()
            result = call(*arguments, **named)
            return len(server.log), result

        return counted

    def test_objects(self, store, count):
        data = os.urandom(5000)
        assert count(store.put, "k", data)[0] == 1
        etag = store.stat("k").etag
        for named in ({}, {"metadata": {"a": "b"}}, {"content_type": "text/plain"}):
            assert count(store.put, "k", data, **named)[0] == 1
        assert count(store.put, "new", data, create=True)[0] == 1
        etag = store.stat("k").etag
        assert count(store.put, "k", data, if_match=etag)[0] == 1
        assert count(store.stat, "k")[0] == 1
        for named in ({}, {"start": 10}, {"length": 0}, {"start": 5, "length": 7}, {"start": 5000}, {"start": 9999}):
            requests, info = count(store.get, "k", Discard(), **named)
            assert (requests, info.size) == (1, 5000)

    def test_copies(self, store, count):
        store.put("k", b"data", metadata={"a": "1"})
        assert count(store.copy, "k", "copy")[0] == 1
        # What is kept of the object has to be known.
        assert count(store.copy, "k", "copy", metadata={"b": "2"})[0] == 2
        assert count(store.copy, "k", "k", metadata={"c": "3"})[0] == 2

    def test_a_large_copy_goes_on_where_the_service_stopped(self, store, server, count):
        data = os.urandom(5 * MIB)
        store.put("k", data, metadata={"a": "1"}, content_type="text/x")
        server.state.rewrite_limit = MIB
        requests, info = count(store.copy, "k", "copy")
        assert (requests, info.size, info.metadata, info.content_type) == (5, 5 * MIB, {"a": "1"}, "text/x")
        assert read(store, "copy")[0] == data

    def test_pages(self, store, count):
        for number in range(10):
            store.put(f"k{number}", b"")

        def pages(**named):
            return count(lambda: list(store.list_pages(**named)))[0]

        assert pages(page_size=5) == 2
        assert pages(page_size=4) == 3
        assert pages(start_after="k3", page_size=7) == 1
        assert pages(delimiter="k", page_size=5) == 1
        store.put("a/1", b"")
        store.put("a/2", b"")
        store.delete([f"k{number}" for number in range(1, 10)])
        # What rolls up with start_after is not asked for.
        assert pages(delimiter="/", start_after="a/1", page_size=1) == 1

    def test_deletes(self, store, count):
        keys = [f"k{number}" for number in range(250)]
        for key in keys:
            store.put(key, b"")
        assert count(store.delete, keys) == (3, [])
        assert count(store.delete, ["one"]) == (1, [])
        assert count(store.delete, []) == (0, [])
        assert list(store.list_pages()) == []

    @pytest.mark.parametrize(
        ("size", "requests"), [(0, 1), (MIB - 1, 1), (MIB, 1), (MIB + 1, 3), (3 * MIB, 4), (3 * MIB + 5, 5)]
    )
    def test_writers(self, store, count, server, size, requests):
        def write():
            writer = store.open_writer("k", part_size=MIB)
            for _ in range(size // 1000):
                writer.write(b"x" * 1000)
            writer.write(b"x" * (size % 1000))
            return writer.commit()

        counted, info = count(write)
        assert (counted, info.size) == (requests, size)
        assert server.state.violations == []


def test_five_thousand_keys_are_listed_and_deleted(store, server):
    many_keys(store, server, 5_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_keys_are_listed_and_deleted(store, server):
    fill(server, 100_000)
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, f"gs://{BUCKET}"], capture_output=True, text=True, check=True, timeout=600
    )
    seen, grown = map(int, done.stdout.split())
    assert seen == 100_000
    # A listing of all of them would be 60 MiB of JSON.
    assert grown < 16 * MIB
    assert len(server.requests("/o?")) == 100
    assert len(server.requests("/batch/")) == 1_000
    assert server.state.buckets[BUCKET].objects == {}


SWEEP = """
import resource, sys
from penstock.opening import open_store
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
store, seen, before = open_store(sys.argv[1]), 0, 0
for page in store.list_pages("many/"):
    assert store.delete([info.key for info in page.objects]) == []
    seen += len(page.objects)
    before = before or used()
print(seen, used() - before)
"""


def fill(server, number):
    for index in range(number):
        server.state.store(BUCKET, {"name": f"many/{index:06}"}, b"", {})
    server.log.clear()


def many_keys(store, server, number):
    fill(server, number)
    seen = 0
    for page in store.list_pages("many/"):
        assert [info.key for info in page.objects] == [f"many/{seen + n:06}" for n in range(len(page.objects))]
        assert store.delete([info.key for info in page.objects]) == []
        seen += len(page.objects)
    assert seen == number
    assert len(server.requests("/o?")) == number // 1000
    assert len(server.requests("/batch/")) == number // 100
    assert list(store.list_pages()) == []


def test_one_etag_everywhere_and_a_new_one_for_new_bytes(store):
    put = store.put("k", b"one")
    _, got = read(store, "k")
    (page,) = store.list_pages()
    ranged = store.get("k", Discard(), start=1)
    assert put.etag == store.stat("k").etag == got.etag == page.objects[0].etag == ranged.etag == put.version
    assert put.etag.isdecimal()
    copied = store.copy("k", "copy")
    assert copied.etag == store.stat("copy").etag != put.etag
    assert store.put("k", b"one").etag != put.etag


def test_metadata_in_place_keeps_the_bytes_and_the_type(store):
    first = store.put("k", b"data", metadata={"a": "1", "b": "2"}, content_type="text/x-y")
    info = store.copy("k", "k", metadata={"b": "3", "C": "ü"})
    assert (info.metadata, info.content_type, info.etag) == ({"b": "3", "C": "ü"}, "text/x-y", first.etag)
    assert store.copy("k", "k", metadata={}).metadata == {}
    copied = store.copy("k", "other", metadata={"x": "y"})
    assert (copied.metadata, copied.content_type, copied.size) == ({"x": "y"}, "text/x-y", 4)
    with pytest.raises(errors.ObjectNotFoundError):
        store.copy("absent", "absent", metadata={"a": "b"})


def test_metadata_that_changes_meanwhile_is_a_retryable_failure(store, server):
    store.put("k", b"data")
    server.faults = [Fault(lambda r: r.method == "PATCH", "answer", answer=Answer(412, b"{}"))]
    with pytest.raises(errors.PreconditionFailedError) as caught:
        store.copy("k", "k", metadata={"a": "b"})
    assert caught.value.retryable


@pytest.mark.parametrize("how", [{}, {"start": 2}, {"length": 0}, {"start": 100}])
def test_conditional_reads(store, how):
    etag = store.put("k", b"some bytes").etag
    store.get("k", Discard(), if_match=etag, **how)
    for other in ("1234", "no generation", "", "0"):
        sink = Discard()
        with pytest.raises(errors.PreconditionFailedError) as caught:
            store.get("k", sink, if_match=other, **how)
        assert (caught.value.operation, caught.value.status, sink.nbytes) == ("get", 412, 0)
    with pytest.raises(errors.ObjectNotFoundError):
        store.get("absent", Discard(), if_match=etag, **how)


def test_a_condition_that_is_no_generation_never_creates(store):
    for etag in ("0", "-1", "", "x&ifGenerationMatch=0"):
        with pytest.raises(errors.PreconditionFailedError):
            store.put("absent", b"x", if_match=etag)
    assert list(store.list_pages()) == []


@pytest.mark.parametrize("condition", ["create", "if_match"])
def test_a_conditional_put_whose_answer_was_lost_is_not_sent_again(store, server, condition):
    """The second sending would meet what the first one stored and tell of a conflict that is none."""
    etag = store.put("there", b"old").etag
    key, named = ("new", {"create": True}) if condition == "create" else ("there", {"if_match": etag})
    server.faults = [Fault(lambda r: r.method == "POST", "lose")]
    with pytest.raises(errors.StoreConnectionError) as caught:
        store.put(key, b"x", **named)
    assert caught.value.retryable
    assert read(store, key)[0] == b"x"


def test_a_put_on_a_connection_that_the_service_has_closed_is_sent_again(store, server):
    store.put("k", b"old")
    server.faults = [Fault(lambda r: r.method == "POST", "drop")]
    assert store.put("k", b"new").size == 3
    assert read(store, "k")[0] == b"new"


def test_objects_with_a_gzip_encoding_come_as_they_are_stored(store, server):
    data = gzip.compress(b"text " * 1000)
    server.state.store(BUCKET, {"name": "z", "contentEncoding": "gzip", "contentType": "text/plain"}, data, {})
    assert read(store, "z")[0] == data
    assert read(store, "z", start=3, length=9)[0] == data[3:12]
    store.stat("z")
    # The service compresses JSON for those who ask, and nobody here undoes that.
    assert [request.headers.get("accept-encoding") for request in server.log] == ["gzip", "gzip", None]


@pytest.mark.parametrize("how", [{}, {"start": 1, "length": 3}])
def test_bytes_that_were_compressed_on_the_way_are_refused(store, server, how):
    store.put("k", b"0123456789")
    headers = {"content-encoding": "gzip", "x-goog-stored-content-encoding": "identity"}
    if how:
        headers["content-range"] = "bytes 1-3/10"
    server.faults = [Fault(lambda r: r.method == "GET", "answer", answer=Answer(206 if how else 200, b"abc", headers))]
    sink = Discard()
    with pytest.raises(errors.StoreError, match="encoded as gzip"):
        store.get("k", sink, **how)
    assert sink.nbytes == 0


def test_a_range_answered_with_the_whole_object(store, server):
    """Some emulators ignore Range."""
    store.put("k", b"0123456789")
    server.faults = [
        Fault(
            lambda r: "range" in r.headers,
            "answer",
            times=3,
            answer=Answer(200, b"0123456789", {"x-goog-generation": "7"}),
        )
    ]
    sink = Collect()
    assert store.get("k", sink, length=50).size == 10
    assert bytes(sink.view()) == b"0123456789"
    for how in ({"start": 3}, {"length": 5}):
        with pytest.raises(errors.StoreError, match="the service sends others"):
            store.get("k", Discard(), **how)


def test_a_range_beyond_the_end_of_a_server_that_does_not_say_the_size(store, server):
    store.put("k", b"0123456789")
    server.faults = [Fault(lambda r: "range" in r.headers, "answer", answer=Answer(416, b"beyond"))]
    assert store.get("k", Discard(), start=99).size == 10


class TestChecksums:
    def test_bytes_that_changed_on_the_way_are_seen(self, server):
        for size in (10, 300_000):
            data = os.urandom(size)
            with closing(open_store(f"gs://{BUCKET}")) as store:
                info = store.put("k", data)
                assert info.checksum == f"crc32c:{checksums.crc32c(data):08x}"
                server.faults = [Fault(lambda r: r.method == "GET", "spoil")]
                with pytest.raises(errors.ChecksumMismatchError, match="CRC-32C"):
                    store.get("k", Discard())
                assert read(store, "k") == (data, read(store, "k")[1])
            with closing(open_store(f"gs://{BUCKET}?verify=no")) as store:
                server.faults = [Fault(lambda r: r.method == "GET", "spoil")]
                assert read(store, "k")[0] != data

    def test_bytes_that_change_on_the_way_up_are_refused(self, store, server, monkeypatch):
        def change(request):
            if request.method == "POST":
                request.body = request.body.replace(b"payload", b"paYload")
            return False

        server.faults = [Fault(change, "drop")]
        with pytest.raises(errors.ChecksumMismatchError, match="match calculated") as caught:
            store.put("k", b"the payload")
        assert caught.value.retryable
        assert list(store.list_pages()) == []

    def test_a_writer_sends_and_compares_the_checksum(self, store, server):
        def change(request):
            if request.headers.get("content-range", "").startswith("bytes 0-"):
                request.body = b"X" + request.body[1:]
            return False

        server.faults = [Fault(change, "drop")]
        writer = store.open_writer("k", part_size=256 * KIB)
        writer.write(b"x" * (600 * KIB))
        with pytest.raises(errors.ChecksumMismatchError):
            writer.commit()
        writer.abort()
        assert list(store.list_pages()) == []

    def test_a_service_that_stores_another_size_is_found_out(self, store, server):
        wrong = Answer(200, b'{"size":"3","generation":"1"}')
        server.faults = [Fault(lambda r: r.method == "POST", "answer", answer=wrong)]
        with pytest.raises(errors.LengthMismatchError, match="4 bytes were sent and 3 were stored"):
            store.put("k", b"data")

    @pytest.mark.parametrize("size", [0, 1, 4096, 256 * KIB, 256 * KIB + 1, MIB, MIB + 777])
    def test_any_buffer(self, size):
        data = os.urandom(size)
        expected = checksums.crc32c(data)
        for buffer in (bytearray(data), memoryview(data), memoryview(bytearray(data)), memoryview(b"x" + data)[1:]):
            assert checksums.crc32c(buffer) == expected
        half = size // 2
        assert checksums.crc32c(data[half:], checksums.crc32c(data[:half])) == expected
        assert checksums.from_base64(checksums.to_base64(expected)) == expected

    @pytest.mark.parametrize("text", [None, "", "AAA", "AAAA", "not base64", "AAAAAAAA"])
    def test_what_is_no_checksum(self, text):
        assert checksums.from_base64(text) is None

    def test_the_known_value(self):
        assert checksums.crc32c(b"123456789") == 0xE3069283


def test_a_get_into_memory_that_is_too_small_says_so(store):
    store.put("k", b"x" * 100_000)
    with pytest.raises(errors.LengthMismatchError):
        store.get("k", Into(bytearray(99_999)))
    buffer = bytearray(100_000)
    store.get("k", Into(buffer))
    assert buffer == b"x" * 100_000
    buffer.append(0)


@pytest.mark.parametrize("key", ["a\nb", "a\rb", ".", ".."])
def test_names_that_the_service_does_not_take_are_refused_at_once(store, server, key):
    server.log.clear()
    for write in (
        lambda: store.put(key, b""),
        lambda: store.open_writer(key, part_size=MIB),
        lambda: store.copy("a", key),
    ):
        with pytest.raises(errors.InvalidKeyError):
            write()
    assert server.log == []
    with pytest.raises((errors.InvalidKeyError, errors.ObjectNotFoundError)):
        store.stat(key)
    assert store.delete([key, "absent"]) == []


class TestAddresses:
    def test_objects(self):
        for scheme in ("gs", "gcs"):
            address = resolve_object(f"{scheme}://my-bucket/dir//k?x#y%20 é").address
            assert (address.base, address.key, address.bucket) == ("gs://my-bucket/", "dir//k?x#y%20 é", "my-bucket")
        assert resolve_object("gs://2024-data/x").address.bucket == "2024-data"
        assert resolve_object("gs://my.dotted_bucket").address.key == ""

    def test_the_service(self):
        assert resolve_object("gs://").address.bucket == ""
        with pytest.raises(errors.InvalidURIError, match="names no bucket; write gs://bucket/"):
            open_store("gs://")

    @pytest.mark.parametrize(
        "uri", ["gs:///key", "gs://B/x", "gs://host:80/x", "gs://u@b/x", "gs://ab/x", "gs://a%20b"]
    )
    def test_what_is_no_bucket(self, uri):
        with pytest.raises(errors.InvalidURIError, match="gs://"):
            resolve_object(uri)

    def test_options_of_a_uri(self, environment):
        options = resolve_store("gs://bkt/a?endpoint=http://h:1/&verify=no&anonymous=false").resolved.options
        assert (options.origin_url(), options.verify, options.sends_no_credentials()) == ("http://h:1", False, False)

    def test_emulators_by_environment(self, environment):
        environment.setenv("STORAGE_EMULATOR_HOST", "localhost:9023")
        options = resolve_store("gs://bkt").resolved.options
        assert (options.origin_url(), options.sends_no_credentials()) == ("http://localhost:9023", True)
        environment.setenv("GCS_ENDPOINT_URL", "https://storage.example")
        options = resolve_store("gs://bkt").resolved.options
        assert (options.origin_url(), options.sends_no_credentials()) == ("https://storage.example", False)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"endpoint": "ftp://h"},
            {"endpoint": "http://"},
            {"endpoint": "http://u:p@h"},
            {"endpoint": "http://h/storage/v1"},
            {"endpoint": "http://h:port"},
            {"anonymous": True, "credentials_file": "x"},
            {"read_timeout": 0},
            {"project": "a\r\nb"},
            {"user_project": "a b"},
        ],
    )
    def test_options_that_can_not_be(self, wrong):
        with pytest.raises(errors.UsageError):
            open_store("gs://bkt", options=wrong)

    def test_every_option_is_explained(self):
        assert all(field.help for field in describe(GCSOptions))


def test_requester_pays(server):
    server.state.store(BUCKET, {"name": "k"}, b"data", {})
    server.state.buckets[BUCKET].requester_pays = True
    with (
        closing(open_store(f"gs://{BUCKET}")) as store,
        pytest.raises(errors.AccessDeniedError, match="user_project"),
    ):
        store.get("k", Discard())
    with closing(open_store(f"gs://{BUCKET}?user_project=payer")) as store:
        assert read(store, "k")[0] == b"data"
        store.put("l", b"")
        writer = store.open_writer("m", part_size=256 * KIB)
        writer.write(bytes(600 * KIB))
        writer.commit()
        store.copy("k", "n")
        assert len(next(store.list_pages()).objects) == 4
        assert store.delete(["k", "l", "m", "n"]) == []


def test_a_prefix_that_no_key_can_have(store):
    for named in ({"prefix": "\ud800"}, {"start_after": "\ud800"}):
        with pytest.raises(errors.InvalidKeyError):
            list(store.list_pages(named.pop("prefix", ""), **named))


def test_listing_goes_on_behind_a_delimiter_of_any_kind(store):
    keys = ["a--b", "a-b", "a--c/x", "b\ud7ffx", "b\ud7ffy", "b\ue000", "c\U0010ffffx", "c\U0010ffff\U0010ffff"]
    for key in keys:
        store.put(key, b"")
    for delimiter in ("-", "--", "/", "\ud7ff", "\U0010ffff"):
        (whole,) = store.list_pages(delimiter=delimiter)
        names = sorted([info.key for info in whole.objects] + list(whole.prefixes), key=str.encode)
        for number, after in enumerate(names):
            found = list(store.list_pages(delimiter=delimiter, start_after=after))
            got = [name for page in found for name in [*(info.key for info in page.objects), *page.prefixes]]
            assert sorted(got, key=str.encode) == names[number + 1 :]


def test_batches_report_each_key(store, server):
    for key in ("a", "b é/%", "c", "d"):
        store.put(key, b"")
    body = b'{"error":{"code":403,"message":"No rights on it","errors":[{"reason":"forbidden"}]}}'
    busy = b'{"error":{"code":429,"message":"Slow down","errors":[{"reason":"rateLimitExceeded"}]}}'
    server.faults = [
        Fault(lambda r: r.method == "DELETE" and r.path.endswith("/a"), "answer", answer=Answer(403, body)),
        Fault(lambda r: r.method == "DELETE" and r.path.endswith("/c"), "answer", answer=Answer(429, busy)),
    ]
    denied, throttled = store.delete(["a", "b é/%", "c", "absent", "d", "d"])
    assert (type(denied), denied.uri) == (errors.AccessDeniedError, f"gs://{BUCKET}/a")
    assert (type(throttled), throttled.uri, throttled.retryable) == (errors.ThrottledError, f"gs://{BUCKET}/c", True)
    assert [info.key for page in store.list_pages() for info in page.objects] == ["a", "c"]


def test_a_batch_that_is_cut_short_is_no_success(store, server):
    def shorten(request):
        return request.path == "/batch/storage/v1"

    server.faults = [
        Fault(shorten, "answer", answer=Answer(200, b"--b--", {"content-type": "multipart/mixed; boundary=b"}))
    ]
    with pytest.raises(errors.StoreConnectionError, match="0 of 2 keys"):
        store.delete(["a", "b"])


def test_deleting_in_a_bucket_that_is_not_there_is_a_failure(server):
    with closing(open_store("gs://no-such-bucket")) as store:
        for keys in (["a"], ["a", "b"]):
            with pytest.raises(errors.ObjectNotFoundError, match="bucket does not exist"):
                store.delete(keys)
