"""The service around the bucket: google-cloud-storage for buckets, the store's own connections for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    StoreError,
    UnsupportedOperationError,
    UsageError,
)
from penstock.http import Origin
from penstock.service import BucketInfo, Endpoint, UploadInfo
from penstock_gcs.errors import translating
from penstock_gcs.plugin import GCSOptions
from penstock_gcs.tokens import session
from penstock_gcs.wire import Wire

if TYPE_CHECKING:
    from google.cloud.storage import Client

__all__ = ["GCSService"]

_NO_UPLOADS = (
    "Cloud Storage lists no unfinished resumable uploads: nothing of one is visible or counted as storage, "
    "and it expires after a week by itself"
)


class GCSService:
    """A :class:`~penstock.service.StoreService`."""

    def __init__(self, options: GCSOptions) -> None:
        self._options = options
        self._wire = Wire(options)
        self._client: Client | None = None

    def endpoint(self) -> Endpoint:
        origin = Origin.parse(self._options.origin_url())
        return Endpoint(
            host=origin.host,
            port=origin.port,
            tls=origin.tls,
            proxy=_without_password(self._options.proxy),
            ca_bundle=self._options.ca_bundle,
        )

    def authenticate(self) -> str:
        """Asks for one page of one entry: of the bucket's listing, or of the project's buckets."""
        wire, bucket = self._wire, self._options.bucket
        target = b"/storage/v1%b?maxResults=1&fields=kind" % wire.objects
        if not bucket:
            target = f"/storage/v1/b?maxResults=1&fields=kind&project={self._project()}".encode()
        try:
            wire.call(b"GET", target, wire.base, "authenticate").close()
        except AccessDeniedError as error:
            # Without a status it is no answer: there are no credentials to tell of.
            if error.status is not None:
                error.message = f"the request of {wire.tokens.describe()} was refused: {error.message}"
            raise
        return wire.tokens.describe()

    def list_buckets(self) -> Iterator[BucketInfo]:
        project = self._project()
        with translating("gs://", "list_buckets"):
            pages = self._sdk().list_buckets(project=project, retry=None, timeout=self._timeout).pages
        while True:
            with translating("gs://", "list_buckets"):
                page = next(pages, None)
            if page is None:
                return
            for bucket in page:
                created = bucket.time_created
                nanoseconds = None if created is None else round(created.timestamp() * 1e6) * 1000
                yield BucketInfo(
                    name=bucket.name, uri=f"gs://{bucket.name}/", created_ns=nanoseconds, region=bucket.location
                )

    def create_bucket(self) -> None:
        project = self._project()
        with translating(self._wire.base, "create_bucket"):
            self._sdk().create_bucket(
                self._options.bucket,
                project=project,
                location=self._options.location,
                retry=None,
                timeout=self._timeout,
            )

    def delete_bucket(self) -> None:
        try:
            with translating(self._wire.base, "delete_bucket"):
                bucket = self._sdk().bucket(self._options.bucket, user_project=self._options.user_project)
                bucket.delete(retry=None, timeout=self._timeout)
        except AlreadyExistsError as error:
            # The service's word for it is "conflict", as when a name is taken.
            raise StoreError(
                f"{error.message}; delete what is in it first",
                uri=self._wire.base,
                operation="delete_bucket",
                status=error.status,
                code=error.code,
            ) from error

    def list_uploads(self, prefix: str = "", /) -> Iterator[UploadInfo]:
        raise UnsupportedOperationError(_NO_UPLOADS, uri=self._wire.base, operation="list_uploads")

    def abort_upload(self, upload: UploadInfo, /) -> None:
        raise UnsupportedOperationError(_NO_UPLOADS, uri=self._wire.base, operation="abort_upload")

    def close(self) -> None:
        self._wire.close()
        opened, self._client = self._client, None
        if opened is not None:
            opened.close()

    @property
    def _timeout(self) -> tuple[float, float]:
        return self._options.connect_timeout, self._options.read_timeout

    def _project(self) -> str:
        if not self._options.project:
            raise UsageError(
                "gs: buckets belong to a project, and none is named; set GOOGLE_CLOUD_PROJECT or the option project"
            )
        return self._options.project

    def _sdk(self) -> Any:
        if self._client is None:
            from google.cloud.storage import Client

            credentials = self._wire.tokens.credentials()
            self._client = Client(
                project=self._options.project,
                credentials=credentials,
                _http=session(self._options, credentials),
                client_options={"api_endpoint": self._options.origin_url()},
            )
        return self._client


def _without_password(proxy: str | None) -> str | None:
    if not proxy:
        return None
    url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
