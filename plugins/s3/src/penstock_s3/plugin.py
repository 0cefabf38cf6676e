"""What penstock-s3 offers: the schemes ``s3``, ``s3+http`` and ``s3+https``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.errors import InvalidURIError, UsageError
from penstock.hookspecs import hookimpl
from penstock.options import option
from penstock.service import StoreService
from penstock.store import Address, Capabilities, ObjectStore, StoreType
from penstock.urls import StoreURL

__all__ = ["CAPABILITIES", "S3Options", "parse", "penstock_store_types"]

_GIB = 1024**3
_MIB = 1024**2

#: What every bucket can do, but a directory bucket, whose listings have no order.
CAPABILITIES = Capabilities(
    create=True,
    if_match=True,
    metadata=True,
    copy=True,
    ordered=True,
    delete_batch=1000,
    max_put=5 * _GIB,
    min_part=5 * _MIB,
    max_part=5 * _GIB,
)

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})\Z")
_ENDPOINT = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?(?:/[^?#@]*)?\Z")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")
# The resource of an access point's ARN holds slashes or colons; its last part ends the bucket.
_ARN = re.compile(
    r"arn:aws[a-z0-9-]*:s3(?:-outposts|-object-lambda)?:[a-z0-9-]*:[0-9]{12}:"
    r"(?:outpost[/:][A-Za-z0-9-]+[/:])?accesspoint[/:][A-Za-z0-9.-]+(?=/|\Z)"
)
_NO_USERINFO = "a URI holds no user and password; pass access_key_id and secret_access_key, or use a profile"


@attrs.frozen(kw_only=True)
class S3Options:
    """Options of ``s3://`` and its variants. What is None here is left to boto3: its files, variables and defaults."""

    bucket: str = option("", help="bucket, access-point alias or access-point ARN; the URI names it", query=False)
    root: str | None = option(
        None, help="how URIs of this endpoint begin, up to the bucket; a URI with an endpoint names it", query=False
    )
    endpoint: str | None = option(
        None,
        help="URL of the service, http://host:port or https://host:port; none: AWS, or the configuration file's",
        env=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    )
    region: str | None = option(
        None,
        help="region that requests are signed for; none: the profile's, else us-east-1",
        env=("AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    profile: str | None = option(
        None, help="profile of the shared configuration and credentials files", env=("AWS_PROFILE",)
    )
    access_key_id: str | None = option(None, help="access key; none: boto3's chain of providers", secret=True)
    secret_access_key: str | None = option(None, help="secret of access_key_id", secret=True)
    session_token: str | None = option(None, help="token of temporary keys", secret=True)
    anonymous: bool = option(False, help="send requests without a signature, for public buckets")
    addressing: Literal["auto", "path", "virtual"] = option(
        "auto",
        help="where the bucket stands: path (host/bucket/key), virtual (bucket.host/key), auto (what boto3 resolves)",
    )
    payload_signing: Literal["auto", "signed", "unsigned"] = option(
        "auto",
        help="signed: the signature covers the SHA-256 of each body sent; unsigned: it covers the head alone; "
        "auto: unsigned over TLS, signed over plain http",
    )
    checksum: Literal["none", "crc32", "crc32c", "crc64nvme", "sha256"] = option(
        "none", help="checksum sent with every put and part, which the service verifies and keeps"
    )
    checksum_location: Literal["header", "trailer"] = option(
        "header", help="where a checksum stands: in the request's head, or behind the body (aws-chunked)"
    )
    verify_reads: bool = option(
        False, help="ask for the stored checksum and compare it when a get delivers the whole object"
    )
    request_payer: bool = option(False, help="pay for requests to a requester-pays bucket")
    connect_timeout: float = option(10.0, help="longest wait for a connection", unit="seconds")
    read_timeout: float = option(60.0, help="longest silence while sending or receiving", unit="seconds")
    operation_timeout: float | None = option(None, help="longest duration of one request", unit="seconds")
    ca_bundle: str | None = option(
        None, help="file of the certificates to trust; none: the system's", env=("AWS_CA_BUNDLE",)
    )
    proxy: str | None = option(
        None, help="http://[user:password@]host:port; none: HTTPS_PROXY, HTTP_PROXY and NO_PROXY", query=False
    )
    part_concurrency: int = option(4, help="parts of one writer, or of one copy, in flight at once")

    def __attrs_post_init__(self) -> None:
        _check(self)


def _check(options: S3Options) -> None:
    if (options.access_key_id is None) != (options.secret_access_key is None):
        raise UsageError("s3: access_key_id and secret_access_key go together; give both, or neither for boto3's chain")
    if options.session_token is not None and options.access_key_id is None:
        raise UsageError("s3: session_token belongs to an access_key_id; give that and its secret too")
    if options.anonymous and (options.access_key_id is not None or options.request_payer):
        raise UsageError("s3: an anonymous request has no access key and nobody who pays; leave out anonymous=true")
    if options.checksum == "none" and options.checksum_location == "trailer":
        raise UsageError("s3: checksum_location=trailer needs a checksum, such as checksum=crc64nvme")
    if options.part_concurrency < 1:
        raise UsageError("s3: part_concurrency is at least 1")
    for name in ("connect_timeout", "read_timeout", "operation_timeout"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise UsageError(f"s3: {name} is more than 0 seconds")
    if options.endpoint is not None and not _ENDPOINT.match(options.endpoint):
        raise UsageError("s3: an endpoint is http://host:port or https://host:port, without user and password")


def parse(url: StoreURL) -> Address:
    """``s3://bucket/key``; ``s3+http(s)://host:port/bucket/key``; ``s3://host:port/bucket/key``, only with a port.

    The first segment is the bucket whatever it looks like, unless it ends in ``:port``. With no bucket the URI
    names the service. Raises InvalidURIError.
    """
    base, path, implied = f"{url.scheme}://", f"{url.authority}{url.path}", {}
    variant = url.scheme.partition("+")[2]
    if variant or _HOST_PORT.match(url.authority):
        base, path = f"{base}{url.authority}/", url.path.removeprefix("/")
        implied = {"endpoint": _endpoint(url, variant), "root": base}
    bucket, key = _split(url, path)
    if bucket:
        base = f"{base}{bucket}/"
    return Address(base, key, {"bucket": bucket, **implied}, bucket)


def _endpoint(url: StoreURL, variant: str) -> str:
    match = _HOST.match(url.authority)
    if "@" in url.authority:
        raise InvalidURIError(f"{url.scheme}://…: {_NO_USERINFO}")
    if match is None:
        raise InvalidURIError(f"{url.scheme}://…: no host; write {url.scheme}://host:port/bucket/key")
    if match[1] is not None and not 0 < int(match[1]) < 65536:
        raise InvalidURIError(f"{url}: a port is a number from 1 to 65535")
    return f"{variant or ('https' if match[1] == '443' else 'http')}://{url.authority}"


def _split(url: StoreURL, path: str) -> tuple[str, str]:
    arn = _ARN.match(path)
    bucket, slash, key = (arn[0], "", path[arn.end() + 1 :]) if arn else path.partition("/")
    if not bucket and (slash or key):
        raise InvalidURIError(f"{url}: no bucket; write {url.scheme}://bucket/key")
    if bucket and not arn and not _BUCKET.match(bucket):
        raise InvalidURIError(f"{_shown(url)}: {_problem(bucket)}")
    return bucket, key


def _problem(bucket: str) -> str:
    if "@" in bucket:
        return _NO_USERINFO
    if bucket.startswith("arn:"):
        return "of ARNs only those of access points can be opened: arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"
    return f"{bucket!r} is no name of a bucket: letters, digits, and . - _ within"


def _shown(url: StoreURL) -> str:
    head, at, tail = str(url).rpartition("@")
    return f"{url.scheme}://…@{tail}" if at and head else str(url)


def _open(options: S3Options, threads: int) -> ObjectStore:
    if not options.bucket:
        raise InvalidURIError("the URI names no bucket; write s3://bucket/…")
    from penstock_s3.store import S3Store

    return S3Store(options, threads)


def _service(options: S3Options) -> StoreService:
    from penstock_s3.service import S3Service

    return S3Service(options)


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    """The S3 backend."""
    return (
        StoreType(
            schemes=("s3", "s3+http", "s3+https"),
            summary="Amazon S3 and stores that speak its protocol",
            options=S3Options,
            parse=parse,
            open=_open,
            service=_service,
            capabilities=CAPABILITIES,
            form="s3://bucket/key, s3+http://host:port/bucket/key",
        ),
    )
