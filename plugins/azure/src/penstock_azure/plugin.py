"""What penstock-azure offers: the scheme ``az``, and ``https`` for the URLs of Azure's own hosts."""

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

__all__ = ["CAPABILITIES", "MAX_BLOCKS", "AzureOptions", "parse", "parse_url", "penstock_store_types"]

_MIB = 1024**2

#: Blocks of one blob.
MAX_BLOCKS = 50_000

#: No ``ordered``: accounts with a hierarchical namespace list directory by directory, which is not byte order.
CAPABILITIES = Capabilities(
    create=True,
    if_match=True,
    metadata=True,
    copy=True,
    delete_batch=256,
    max_put=5000 * _MIB,
    min_part=1,
    max_part=4000 * _MIB,
)

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}\Z")
_CONTAINER = re.compile(r"(?:(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$root|\$web|\$logs|\$blobchangefeed)\Z")
_ENDPOINT = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?\Z")
_HOST = re.compile(
    r"([a-z0-9]{3,24})(-secondary)?(?:\.z[0-9]{1,2})?"
    r"\.blob\.(?:core\.windows\.net|core\.usgovcloudapi\.net|core\.chinacloudapi\.cn|storage\.azure\.net)\Z"
)
_SIGNED = re.compile(r"[?&]sig=")


@attrs.frozen(kw_only=True)
class AzureOptions:
    """Options of ``az://``."""

    account: str = option("", help="storage account; the URI names it", query=False)
    container: str = option("", help="container; the URI names it", query=False)
    endpoint: str | None = option(
        None,
        help="URL of the blob service; none: https://ACCOUNT.blob.core.windows.net, or the connection string's. "
        "For emulators (an IP address or a name without dots) the account is appended to the path",
        env=("AZURE_STORAGE_ENDPOINT", "AZURE_BLOB_ENDPOINT_URL"),
    )
    credential: Literal["auto", "key", "sas", "connection_string", "default", "anonymous"] = option(
        "auto",
        help="how requests are authorized: by the account's key, a shared access signature, what the connection "
        "string has, azure-identity's default chain, or not at all; auto: the connection string if there is one, "
        "else the key, else the signature, else the default chain",
    )
    connection_string: str | None = option(
        None, help="connection string of the account", env=("AZURE_STORAGE_CONNECTION_STRING",), secret=True
    )
    account_key: str | None = option(
        None, help="key of the account", env=("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"), secret=True
    )
    sas_token: str | None = option(
        None,
        help="shared access signature, as it stands after a URL's ?",
        env=("AZURE_STORAGE_SAS_TOKEN",),
        secret=True,
    )
    checksum: Literal["none", "md5", "crc64"] = option(
        "none",
        help="md5: sent with each put and part, verified by the service, kept with whole puts, and verified by gets "
        "of whole objects that have one and of ranges up to 4 MiB; crc64: the same, but never kept, so that only "
        "ranges up to 4 MiB are verified by gets; needs penstock-azure[crc64]",
    )
    delete_snapshots: bool = option(
        False, help="delete takes an object's snapshots too; without it an object that has some is not deleted"
    )
    part_concurrency: int = option(4, help="parts of one writer that are sent at the same time")
    connect_timeout: float = option(10.0, help="longest wait for a connection", unit="seconds")
    read_timeout: float = option(60.0, help="longest silence of the service", unit="seconds")
    operation_timeout: float | None = option(None, help="longest exchange, from first byte to last", unit="seconds")
    ca_bundle: str | None = option(
        None,
        help="file of the certificates that are trusted; none: the system's",
        env=("AZURE_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
    )
    proxy: str | None = option(
        None,
        help="http://host:port, user:password@ before it; empty: none; unset: what HTTPS_PROXY, HTTP_PROXY and "
        "NO_PROXY say",
        secret=True,
    )

    def __attrs_post_init__(self) -> None:
        _check(self)


def _check(options: AzureOptions) -> None:
    if options.endpoint is not None and not _ENDPOINT.match(options.endpoint):
        raise UsageError("az: an endpoint is http://host:port or https://host:port, perhaps with a path")
    if options.part_concurrency < 1:
        raise UsageError("az: part_concurrency is at least 1")
    for name in ("connect_timeout", "read_timeout", "operation_timeout"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise UsageError(f"az: {name} is more than 0 seconds")


def parse(url: StoreURL) -> Address:
    """Split ``az://account/container/key``. Raises InvalidURIError."""
    account = url.authority
    if not _ACCOUNT.match(account):
        raise InvalidURIError(
            f"{str(url)!r}: write az://account/container/key; an account is 3 to 24 lower-case letters and digits"
        )
    return _address(url, f"az://{account}/", {"account": account})


def parse_url(url: StoreURL) -> Address:
    """Split ``https://ACCOUNT.blob.core.windows.net/container/key``. Raises InvalidURIError for any other host.

    Like every key, the one in it is opaque text: nothing in it is percent-decoded.
    """
    match = _HOST.match(url.authority)
    if match is None:
        # What stands before an @ may be a password.
        host = url.authority.rpartition("@")[2]
        raise InvalidURIError(
            f"'https://{host}/…': only https://ACCOUNT.blob.core.windows.net (or another of Azure's clouds) can stand "
            "here; for another host write az://account/container/key with the option endpoint, "
            "for an S3 endpoint s3+https://host/bucket/key"
        )
    if "sig" in url.query or _SIGNED.search(url.path):
        raise InvalidURIError(
            f"'https://{url.authority}/…': a shared access signature can't stand in a URI; pass what follows the ? "
            "as the option sas_token, or set AZURE_STORAGE_SAS_TOKEN"
        )
    base = f"https://{url.authority}/"
    return _address(url, base, {"account": match[1], "endpoint": f"https://{url.authority}"})


def _address(url: StoreURL, base: str, options: dict[str, str]) -> Address:
    container, slash, key = url.path.removeprefix("/").partition("/")
    if not container:
        if slash:
            raise InvalidURIError(f"{str(url)!r} has an empty container; write {base}container/key")
        return Address(base, "", options, bucket="")
    if not _CONTAINER.match(container):
        raise InvalidURIError(
            f"{str(url)!r}: {container!r} is no container; its name is 3 to 63 lower-case letters, digits and "
            "single hyphens, neither first nor last"
        )
    return Address(f"{base}{container}/", key, options | {"container": container}, bucket=container)


def _open(options: AzureOptions, threads: int) -> ObjectStore:
    if not options.container:
        raise InvalidURIError(
            f"'az://{options.account}' names no container; write az://{options.account}/container/key"
        )
    from penstock_azure.store import AzureStore

    return AzureStore(options)


def _service(options: AzureOptions) -> StoreService:
    from penstock_azure.service import AzureService

    return AzureService(options)


def _kind(scheme: str) -> StoreType:
    return StoreType(
        schemes=(scheme,),
        summary="Azure Blob Storage" if scheme == "az" else "Azure Blob Storage by the URLs of its hosts",
        options=AzureOptions,
        parse=parse if scheme == "az" else parse_url,
        open=_open,
        service=_service,
        capabilities=CAPABILITIES,
        form="az://account/container/key" if scheme == "az" else "https://ACCOUNT.blob.core.windows.net/container/key",
    )


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    """The Azure backend, once for each scheme, as the schemes have different URIs."""
    return (_kind("az"), _kind("https"))
