"""Buckets and unfinished uploads by URI."""

from __future__ import annotations

import time
from functools import partial

import anyio
import attrs
import pytest

import penstock
from penstock import aio
from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidURIError,
    ObjectNotFoundError,
    StoreConnectionError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.service import UploadInfo

TOP = "cloud://h:1/"
BUCKET = TOP + "b/"
HOUR = 3600 * 10**9


def upload(key, age_ns=None, number=1):
    return UploadInfo(key=key, id=f"id{number}", started_ns=None if age_ns is None else time.time_ns() - age_ns)


def test_a_bucket_is_made_listed_and_deleted(cloud):
    penstock.create_bucket(TOP + "new")
    assert [bucket.uri for bucket in penstock.list_buckets(TOP)] == [BUCKET, TOP + "new/"]
    assert [bucket.created_ns for bucket in penstock.list_buckets(BUCKET)] == [1_700_000_000 * 10**9, None]
    with pytest.raises(AlreadyExistsError):
        penstock.create_bucket(TOP + "new/")
    penstock.delete_bucket(TOP + "new")
    assert list(cloud.buckets) == ["b"]
    with pytest.raises(ObjectNotFoundError):
        penstock.delete_bucket(TOP + "new")


def test_a_bucket_with_objects_stays(cloud):
    penstock.put(BUCKET + "a", b"1")
    with pytest.raises(StoreError, match="not empty"):
        penstock.delete_bucket(BUCKET)
    assert penstock.get(BUCKET + "a") == b"1"


def test_a_service_that_would_remove_objects_too_is_not_asked(cloud):
    cloud.careless = True
    penstock.put(BUCKET + "a", b"1")
    with pytest.raises(StoreError, match="not empty"):
        penstock.delete_bucket(BUCKET)
    assert "wiped" not in cloud.calls
    penstock.delete(BUCKET + "a")
    penstock.delete_bucket(BUCKET)
    assert "wiped" in cloud.calls


@pytest.mark.parametrize(
    "call", [penstock.create_bucket, penstock.delete_bucket, penstock.list_uploads, penstock.get, penstock.count]
)
def test_a_service_is_no_bucket(cloud, call):
    with pytest.raises(InvalidURIError, match=r"cloud://h:1/ names no bucket; write cloud://host:port/bucket/key"):
        call(TOP)
    with pytest.raises(InvalidURIError):
        penstock.abort_uploads(TOP)
    with pytest.raises(InvalidURIError):
        penstock.connect(TOP)


@pytest.mark.parametrize("call", [penstock.create_bucket, penstock.delete_bucket])
def test_an_object_is_no_bucket(cloud, call):
    with pytest.raises(InvalidURIError, match="names more than a bucket; write cloud://h:1/b/"):
        call(BUCKET + "a")
    assert list(cloud.buckets) == ["b"]


@pytest.mark.parametrize("uri", ["mem://x/", "file:///tmp"])
def test_backends_without_a_service_say_so(uri):
    calls = [
        penstock.create_bucket,
        penstock.delete_bucket,
        penstock.list_buckets,
        penstock.list_uploads,
        penstock.abort_uploads,
        lambda uri: penstock.abort_upload(UploadInfo(key=uri, id="1")),
    ]
    for call in calls:
        with pytest.raises(UnsupportedOperationError, match="no buckets"):
            list(call(uri) or ())


def test_uploads_are_listed_by_prefix_with_whole_uris(cloud):
    cloud.uploads = [upload("a/x"), upload("a/y"), upload("ab"), upload("b")]
    assert [found.key for found in penstock.list_uploads(BUCKET + "a/")] == [BUCKET + "a/x", BUCKET + "a/y"]
    assert len(list(penstock.list_uploads(BUCKET + "a"))) == 3
    penstock.abort_upload(next(penstock.list_uploads(BUCKET)))
    assert [left.key for left in cloud.uploads] == ["a/y", "ab", "b"]


def test_only_what_is_old_enough_is_aborted(cloud):
    cloud.uploads = [upload("old", 25 * HOUR), upload("young", 23 * HOUR), upload("undated")]
    seen = []
    assert penstock.abort_uploads(BUCKET, dry_run=True) == penstock.UploadRemoval(1, 2)
    assert len(cloud.uploads) == 3
    done = penstock.abort_uploads(BUCKET, watch=lambda outcome: seen.append((outcome.upload.key, outcome.state)))
    assert (done.aborted, done.kept) == (1, 2)
    assert seen == [(BUCKET + "old", "aborted"), (BUCKET + "young", "young"), (BUCKET + "undated", "undated")]
    assert penstock.abort_uploads(BUCKET, older_than=22 * 3600).aborted == 1
    assert [left.key for left in cloud.uploads] == ["undated"]
    assert penstock.abort_uploads(BUCKET, older_than=0).aborted == 1
    assert cloud.uploads == []


def test_an_upload_that_stays_is_reported(cloud):
    cloud.uploads = [upload("a", 99 * HOUR), upload("b", 99 * HOUR)]
    cloud.failures["abort_upload"] = [AccessDeniedError("no"), StoreError("odd")]
    done = penstock.abort_uploads(BUCKET)
    assert [outcome.upload.key for outcome in done.failures] == [BUCKET + "a", BUCKET + "b"]
    with pytest.raises(AccessDeniedError):
        done.check()


@pytest.mark.parametrize(
    ("name", "call", "tries"),
    [
        ("list_buckets", lambda: list(penstock.list_buckets(TOP)), 5),
        ("list_uploads", lambda: list(penstock.list_uploads(BUCKET)), 5),
        ("abort_upload", lambda: penstock.abort_upload(upload(BUCKET + "a")), 5),
        ("create_bucket", lambda: penstock.create_bucket(TOP + "c"), 1),
        ("delete_bucket", lambda: penstock.delete_bucket(BUCKET), 1),
    ],
)
def test_only_what_may_be_repeated_is(cloud, name, call, tries):
    cloud.failures[name] = [StoreConnectionError("cut")]
    with pytest.raises(StoreConnectionError):
        call()
    assert cloud.calls.count(name) == tries


def test_a_listing_that_has_begun_is_not_begun_again(cloud, monkeypatch):
    begun = []

    def listing(self):
        begun.append(1)
        yield attrs.evolve(upload("a"))
        raise StoreConnectionError("cut")

    monkeypatch.setattr(
        "penstock.client.buckets.BucketService.list_buckets", lambda self: self._listed(partial(listing, self))
    )
    entries = penstock.list_buckets(TOP)
    assert next(entries).key == "a"
    with pytest.raises(StoreConnectionError):
        next(entries)
    assert len(begun) == 1


def test_the_coroutines(cloud):
    async def main():
        await aio.create_bucket(TOP + "c")
        assert [bucket.name async for bucket in aio.list_buckets(TOP)] == ["b", "c"]
        await aio.delete_bucket(TOP + "c")
        cloud.uploads = [upload("a", 25 * HOUR), upload("b", 25 * HOUR, 2)]
        first, _ = [found async for found in aio.list_uploads(BUCKET)]
        await aio.abort_upload(first)
        assert (await aio.abort_uploads(BUCKET)).aborted == 1

    anyio.run(main)
    assert (list(cloud.buckets), cloud.uploads) == (["b"], [])
