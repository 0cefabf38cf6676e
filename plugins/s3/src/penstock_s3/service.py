"""The service around a bucket, spoken to by boto3: who asks, which buckets there are, what uploads were left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidURIError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.http.dialing import choose_proxy
from penstock.service import BucketInfo, Endpoint, UploadInfo
from penstock_s3.credentials import SessionKeys
from penstock_s3.errors import translating
from penstock_s3.plugin import S3Options
from penstock_s3.resolving import make_client, make_session, make_settings, resolve
from penstock_s3.wire import base_uri

__all__ = ["S3Service"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Buckets of this region are made without naming it; it alone takes a bucket that exists for a new one.
_CLASSIC = "us-east-1"
_DIRECTORY = "--x-s3"


class S3Service:
    """A :class:`~penstock.service.StoreService`. boto3's client is made at the first request."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._uri = base_uri(options)
        self._session = make_session(options)
        self._made: Any = None

    def endpoint(self) -> Endpoint:
        with translating(self._uri, "endpoint"):
            origin = resolve(self._options, self._session).origin
            settings = make_settings(self._options, self._session)
        proxy = choose_proxy(origin, settings.proxy)
        return Endpoint(
            host=origin.host,
            port=origin.port,
            tls=origin.tls,
            proxy=None if proxy is None else f"http://{proxy.host}:{proxy.port}",
            ca_bundle=settings.ca_bundle,
        )

    def authenticate(self) -> str:
        """The request lists one key, or without a bucket the buckets: the answer to a HEAD would hold no reason."""
        with translating(self._uri, "authenticate"):
            who = "anonymous" if self._options.anonymous else SessionKeys(self._session).describe()
        try:
            with translating(self._uri, "authenticate"):
                if self._options.bucket:
                    self._client.list_objects_v2(Bucket=self._options.bucket, MaxKeys=1)
                else:
                    self._client.list_buckets()
        except AccessDeniedError as error:
            error.message = f"{error.message}; the request was {_asked_by(who)}"
            raise
        return who

    def list_buckets(self) -> Iterator[BucketInfo]:
        base = base_uri(attrs.evolve(self._options, bucket=""))
        more: dict[str, str] = {}
        while True:
            with translating(base, "list_buckets"):
                page = self._client.list_buckets(**more)
            for bucket in page.get("Buckets", ()):
                name = bucket["Name"]
                yield BucketInfo(
                    name=name,
                    uri=f"{base}{name}/",
                    created_ns=_nanoseconds(bucket.get("CreationDate")),
                    region=bucket.get("BucketRegion"),
                )
            if not page.get("ContinuationToken"):
                return
            more = {"ContinuationToken": page["ContinuationToken"]}

    def create_bucket(self) -> None:
        """Make the bucket in the region of the options."""
        bucket = self._require_bucket()
        if bucket.endswith(_DIRECTORY):
            raise UnsupportedOperationError(
                "directory buckets are made for one zone; make it with: aws s3api create-bucket",
                uri=self._uri,
                operation="create_bucket",
            )
        with translating(self._uri, "create_bucket"):
            region = self._client.meta.region_name
            if region == _CLASSIC:
                self._refuse_own(bucket)
                self._client.create_bucket(Bucket=bucket)
            else:
                place = {"LocationConstraint": region}
                self._client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)

    def delete_bucket(self) -> None:
        bucket = self._require_bucket()
        with translating(self._uri, "delete_bucket"):
            self._client.delete_bucket(Bucket=bucket)

    def list_uploads(self, prefix: str = "", /) -> Iterator[UploadInfo]:
        bucket = self._require_bucket()
        markers: dict[str, str] = {}
        while True:
            with translating(self._uri, "list_uploads"):
                page = self._client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, **markers)
            for upload in page.get("Uploads", ()):
                # Some services take the prefix for a directory's name.
                if upload["Key"].startswith(prefix):
                    started = _nanoseconds(upload.get("Initiated"))
                    yield UploadInfo(key=upload["Key"], id=upload["UploadId"], started_ns=started)
            if not page.get("IsTruncated"):
                return
            markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}

    def abort_upload(self, upload: UploadInfo, /) -> None:
        bucket = self._require_bucket()
        try:
            with translating(self._uri + upload.key, "abort_upload"):
                self._client.abort_multipart_upload(Bucket=bucket, Key=upload.key, UploadId=upload.id)
        except StoreError as error:
            if error.status != 404 or error.code == "NoSuchBucket":
                raise

    def close(self) -> None:
        """Close boto3's connections."""
        if self._made is not None:
            self._made.close()

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = make_client(self._options, self._session)
        return self._made

    def _require_bucket(self) -> str:
        if not self._options.bucket:
            raise InvalidURIError(f"{self._uri} names no bucket; write {self._uri}bucket/")
        return self._options.bucket

    def _refuse_own(self, bucket: str) -> None:
        """Raise AlreadyExistsError for a bucket of the caller's own, which the region would make once more."""
        from botocore.exceptions import ClientError

        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError:
            return
        raise AlreadyExistsError("the bucket exists already", uri=self._uri, operation="create_bucket")


def _asked_by(who: str) -> str:
    return who if who == "anonymous" else f"signed with the access key {who}"


def _nanoseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    since = moment.astimezone(UTC) - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
