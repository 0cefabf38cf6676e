"""gcp-storage-emulator, named by STORAGE_EMULATOR_HOST as its users do it.

It is no place for the conformance kit: it serves one connection at a time and has no conditions, so most of the
kit's clauses would fail for it. What works is shown here, and each of its faults is named by a test that fails when
it is gone.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from contextlib import closing

import pytest

from penstock import errors
from penstock.opening import open_store
from penstock.sinks import Collect, Discard
from penstock.testing.servers import free_port, serving

KIB = 1024
BUCKET = "penstock-test"


@pytest.fixture(scope="module")
def emulator():
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]

    def ready():
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200

    with serving([*command, "--in-memory", "-q", "--default-bucket", BUCKET], ready):
        yield url


@pytest.fixture
def store(emulator, environment):
    environment.setenv("STORAGE_EMULATOR_HOST", emulator)
    with closing(open_store(f"gs://{BUCKET}")) as store:
        yield store
        for page in store.list_pages():
            assert store.delete([info.key for info in page.objects]) == []


def read(store, key, **how):
    sink = Collect()
    return store.get(key, sink, **how).size, bytes(sink.view())


def test_objects(store):
    data = os.urandom(300_000)
    put = store.put("dir/a b+c", data, metadata={"Owner": "someone"}, content_type="text/x")
    found = store.stat("dir/a b+c")
    assert (put.etag, found.metadata, found.content_type) == (found.etag, {"Owner": "someone"}, "text/x")
    assert read(store, "dir/a b+c") == (300_000, data)
    assert read(store, "dir/a b+c", start=7, length=100_000) == (300_000, data[7:100_007])
    assert read(store, "dir/a b+c", start=299_000) == (300_000, data[299_000:])
    assert read(store, "dir/a b+c", length=0) == (300_000, b"")
    for call in (lambda: store.stat("absent"), lambda: store.get("absent", Discard())):
        with pytest.raises(errors.ObjectNotFoundError):
            call()


def test_copies_listings_and_deletes(store):
    for key in ("a/1", "a/2", "b"):
        store.put(key, key.encode(), metadata={"k": "v"})
    assert store.copy("b", "c").metadata == {"k": "v"}
    assert [info.key for page in store.list_pages() for info in page.objects] == ["a/1", "a/2", "b", "c"]
    (page,) = store.list_pages(delimiter="/")
    assert ([info.key for info in page.objects], page.prefixes) == (["b", "c"], ["a/"])
    assert [info.key for page in store.list_pages(start_after="a/2") for info in page.objects] == ["b", "c"]
    assert store.delete(["a/1", "absent", "b"]) == []
    assert store.delete(["c"]) == []
    assert [info.key for page in store.list_pages() for info in page.objects] == ["a/2"]


@pytest.mark.parametrize("size", [0, 100, 256 * KIB, 700_000, 1024 * KIB])
def test_writers(store, size):
    data = os.urandom(size)
    writer = store.open_writer("streamed", part_size=256 * KIB)
    for at in range(0, size, 100_000):
        writer.write(data[at : at + 100_000])
    assert writer.commit().size == size
    assert read(store, "streamed") == (size, data)
    writer = store.open_writer("aborted", part_size=256 * KIB)
    writer.write(bytes(600 * KIB))
    writer.abort()
    assert [info.key for page in store.list_pages() for info in page.objects] == ["streamed"]


class TestFaultsOfTheEmulator:
    def test_conditions_are_ignored(self, store):
        store.put("k", b"one")
        store.put("k", b"two", create=True)
        store.put("k", b"three", if_match="1234")
        assert read(store, "k") == (5, b"three")

    def test_the_page_size_is_ignored(self, store):
        for number in range(3):
            store.put(f"k{number}", b"")
        assert [len(page.objects) for page in store.list_pages(page_size=1)] == [3]

    def test_a_range_beyond_the_end_is_answered_with_nonsense(self, store):
        store.put("k", b"0123456789")
        with pytest.raises(errors.StoreError, match="the service sends others"):
            store.get("k", Discard(), start=99)

    def test_a_patch_keeps_names_that_are_set_to_null(self, store):
        store.put("k", b"data", metadata={"k": "v"})
        assert store.copy("k", "k", metadata={"x": "y"}).metadata == {"k": None, "x": "y"}

    def test_media_answers_name_no_generation(self, store):
        store.put("k", b"data")
        assert store.get("k", Discard()).etag is None
