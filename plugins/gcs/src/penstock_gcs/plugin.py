"""What penstock-gcs offers: the scheme ``gs``, and ``gcs`` as another name of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs

from penstock.errors import InvalidURIError, UsageError
from penstock.hookspecs import hookimpl
from penstock.options import option
from penstock.service import StoreService
from penstock.store import Address, Capabilities, ObjectStore, StoreType
from penstock.urls import StoreURL

__all__ = ["CAPABILITIES", "ENDPOINT", "GCSOptions", "parse", "penstock_store_types"]

#: Where Cloud Storage is, unless an option or a variable says otherwise.
ENDPOINT = "https://storage.googleapis.com"

CAPABILITIES = Capabilities(
    create=True,
    if_match=True,
    metadata=True,
    copy=True,
    ordered=True,
    delete_batch=100,
    max_put=5 * 1024**4,
    min_part=256 * 1024,
)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")


@attrs.frozen(kw_only=True)
class GCSOptions:
    """Options of ``gs://``."""

    bucket: str = option("", help="the bucket; the URI names it", query=False)
    endpoint: str = option(
        ENDPOINT,
        help="URL of the service or of an emulator, http://host:port or https://host:port; without scheme: http",
        env=("GCS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"),
    )
    project: str | None = option(
        None,
        help="project whose buckets are listed and in which they are made",
        env=("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"),
    )
    location: str = option("US", help="region or multi-region of a bucket that is made")
    credentials_file: str | None = option(
        None,
        help="JSON file of credentials of any kind; none: google-auth's chain, which begins with "
        "GOOGLE_APPLICATION_CREDENTIALS",
        query=False,
    )
    anonymous: bool | None = option(
        None, help="send no credentials; none: so on plain http without a credentials_file, which is an emulator"
    )
    user_project: str | None = option(None, help="project that pays for requests to a requester-pays bucket")
    verify: bool = option(
        True, help="check the CRC-32C of whole-object reads, and have the service check that of what is written"
    )
    connect_timeout: float = option(10.0, help="longest wait for a connection", unit="seconds")
    read_timeout: float = option(60.0, help="longest silence while sending or receiving", unit="seconds")
    operation_timeout: float | None = option(None, help="longest duration of one request", unit="seconds")
    ca_bundle: str | None = option(
        None, help="file of the certificates to trust; none: the system's", env=("REQUESTS_CA_BUNDLE",)
    )
    proxy: str | None = option(
        None, help="http://[user:password@]host:port; none: HTTPS_PROXY, HTTP_PROXY and NO_PROXY", secret=True
    )

    def __attrs_post_init__(self) -> None:
        if self.anonymous and self.credentials_file is not None:
            raise UsageError("gs: anonymous requests have no credentials; leave out credentials_file or anonymous")
        for name in ("connect_timeout", "read_timeout", "operation_timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"gs: {name} is more than 0 seconds")
        for name in ("project", "user_project"):
            if not re.fullmatch(r"[A-Za-z0-9:.\-]*", getattr(self, name) or ""):
                raise UsageError(f"gs: {name} is a project's ID or number, such as my-project-123")
        self.origin_url()

    def origin_url(self) -> str:
        """``endpoint`` as ``scheme://host[:port]``. Raises UsageError when it is none."""
        text = self.endpoint if "://" in self.endpoint else f"http://{self.endpoint}"
        try:
            url = urlsplit(text)
            good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            good = False
        if not good or url.path.strip("/") or url.query or url.fragment or "@" in url.netloc:
            raise UsageError(
                "gs: an endpoint is http://host:port or https://host:port, without path, user and password"
            )
        return f"{url.scheme}://{url.netloc}"

    def sends_no_credentials(self) -> bool:
        """``anonymous``, or what it stands for when it is none."""
        if self.anonymous is not None:
            return self.anonymous
        return self.origin_url().startswith("http://") and self.credentials_file is None


def parse(url: StoreURL) -> Address:
    """``gs://bucket/key``; with no bucket the URI names the service. Printed as ``gs`` whatever the scheme was.

    Raises InvalidURIError for what can't be a bucket's name.
    """
    bucket = url.authority
    if not bucket:
        if url.path.strip("/"):
            raise InvalidURIError(f"{url}: no bucket; write gs://bucket{url.path}")
        return Address("gs://", "", {"bucket": ""}, "")
    if not _BUCKET.match(bucket):
        remedy = "3 to 222 of a-z, 0-9, -, _ and ., with a letter or digit at both ends"
        raise InvalidURIError(f"{url}: {bucket!r} is no bucket's name, which has {remedy}; write gs://bucket/key")
    return Address(f"gs://{bucket}/", url.path.removeprefix("/"), {"bucket": bucket}, bucket)


def _open(options: GCSOptions, threads: int) -> ObjectStore:
    if not options.bucket:
        raise InvalidURIError("gs:// names no bucket; write gs://bucket/key")
    from penstock_gcs.store import GCSStore

    return GCSStore(options)


def _service(options: GCSOptions) -> StoreService:
    from penstock_gcs.service import GCSService

    return GCSService(options)


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    """The Cloud Storage backend."""
    return (
        StoreType(
            schemes=("gs", "gcs"),
            summary="Google Cloud Storage",
            options=GCSOptions,
            parse=parse,
            open=_open,
            service=_service,
            capabilities=CAPABILITIES,
            form="gs://bucket/key",
        ),
    )
