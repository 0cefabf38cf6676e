"""The service around the containers: who the caller is, containers, and uploads that nobody finished.

Containers are azure-storage-blob's work: these are rare calls. The uploads are requests of ours.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.errors import AccessDeniedError, InvalidURIError, StoreError
from penstock.http.dialing import choose_proxy
from penstock.service import BucketInfo, Endpoint, UploadInfo
from penstock_azure.container import Container
from penstock_azure.errors import error_of, translating
from penstock_azure.listing import listings
from penstock_azure.plugin import AzureOptions
from penstock_azure.signing import VERSION

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient, ContainerClient

__all__ = ["AzureService", "caller_of"]

#: The id of every unfinished upload: of a key there is one at most.
_UPLOAD = "uncommitted"
_PAGE = 5000
_EMPTY_LIST = b'<?xml version="1.0" encoding="utf-8"?><BlockList></BlockList>'


class AzureService:
    """A :class:`~penstock.service.StoreService`."""

    def __init__(self, options: AzureOptions) -> None:
        self._options = options
        self._container = Container.of(options)
        self._lock = threading.Lock()
        self._sdk: BlobServiceClient | None = None
        self._identity: Any = None

    def endpoint(self) -> Endpoint:
        origin = self._container.account.origin
        proxy = choose_proxy(origin, self._options.proxy)
        return Endpoint(
            host=origin.host,
            port=origin.port,
            tls=origin.tls,
            proxy=f"http://{proxy.host}:{proxy.port}" if proxy else None,
            ca_bundle=self._options.ca_bundle,
        )

    def authenticate(self) -> str:
        query = (("restype", "container"),) if self._container.name else (("comp", "list"), ("maxresults", "1"))
        try:
            self._container.exchange("authenticate", "GET", None, query=query).close()
        except AccessDeniedError as error:
            # Without a status it is no answer: there are no credentials to tell of.
            if error.status is not None:
                error.message = f"the request of {self._caller()} was refused: {error.message}"
            raise
        return self._caller()

    def _caller(self) -> str:
        """Who the last request was from; its token, if it had one, is still at hand."""
        account = self._container.account
        if account.kind == "anonymous":
            return f"nobody (anonymous requests to the account {account.name})"
        if account.kind == "default":
            signed = self._container.signer.sign("", "", "", "")
            return f"{caller_of(signed)} (a token of azure-identity's default chain)"
        by = "its key" if account.kind == "key" else "a shared access signature"
        return f"the account {account.name} by {by} (from {account.source})"

    def list_buckets(self) -> Iterator[BucketInfo]:
        with translating("list_buckets", self._container.base):
            for page in self._client().list_containers().by_page():
                for found in page:
                    yield BucketInfo(
                        name=found.name,
                        uri=f"az://{self._options.account}/{found.name}/",
                        created_ns=round(found.last_modified.timestamp()) * 10**9 if found.last_modified else None,
                    )

    def create_bucket(self) -> None:
        with translating("create_bucket", self._container.base):
            self._bucket().create_container()

    def delete_bucket(self) -> None:
        # Azure removes a container with all that is in it; the contract wants it empty.
        for listing in listings(self._container, "", "", 1, "", "delete_bucket"):
            if listing.objects or listing.prefixes:
                raise StoreError(
                    "the container is not empty; delete its objects first",
                    uri=self._container.base,
                    operation="delete_bucket",
                )
        with translating("delete_bucket", self._container.base):
            self._bucket().delete_container()

    def list_uploads(self, prefix: str = "", /) -> Iterator[UploadInfo]:
        """Objects that were never committed. Blocks on top of an object that exists are not among them: no listing
        tells of those, and the next write of the key, or a week, ends them. Each entry without bytes costs a request.
        """
        self._require_container()
        for listing in listings(self._container, prefix, "", _PAGE, "uncommittedblobs", "list_uploads"):
            for found in listing.objects:
                if not found.size and self._is_uncommitted(found.key):
                    yield UploadInfo(key=found.key, id=_UPLOAD, started_ns=found.modified_ns)

    def abort_upload(self, upload: UploadInfo, /) -> None:
        """An empty list of blocks is committed, which drops them, only if the key has no object; then that empty
        object is deleted, only if it is still that one. For the moment between the two it can be seen. An object that
        exists is never touched, whatever unfinished blocks lie on top of it.
        """
        self._require_container()
        answer = self._container.exchange(
            "abort_upload",
            "PUT",
            upload.key,
            query=(("comp", "blocklist"),),
            content_type="application/xml",
            if_none_match="*",
            body=_EMPTY_LIST,
            replay=False,
            expect=(201, 409, 412),
        )
        if answer.status != 201:
            error = error_of(answer, "abort_upload", self._container.uri(upload.key))
            if error.code in ("BlobAlreadyExists", "ConditionNotMet"):
                return
            raise error
        answer.close()
        etag = answer.header("etag") or ""
        self._container.exchange("abort_upload", "DELETE", upload.key, if_match=etag, expect=(202, 404, 412)).close()

    def close(self) -> None:
        self._container.close()
        with self._lock:
            held = [self._sdk, self._identity]
            self._sdk = self._identity = None
        for one in held:
            if one is not None and hasattr(one, "close"):
                one.close()

    def _is_uncommitted(self, key: str) -> bool:
        answer = self._container.exchange("list_uploads", "HEAD", key, expect=(200, 404))
        return answer.status == 404

    def _require_container(self) -> None:
        if not self._container.name:
            raise InvalidURIError(
                f"{self._container.base!r} names no container; write az://{self._options.account}/container"
            )

    def _bucket(self) -> ContainerClient:
        self._require_container()
        return self._client().get_container_client(self._container.name)

    def _client(self) -> BlobServiceClient:
        with self._lock:
            if self._sdk is None:
                self._identity = _sdk_credential(self._container)
                self._sdk = _sdk_client(self._container, self._options, self._identity)
            return self._sdk


def _sdk_client(container: Container, options: AzureOptions, credential: Any) -> BlobServiceClient:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobServiceClient

    proxy = choose_proxy(container.account.origin, options.proxy)
    settings: dict[str, Any] = {
        "retry_total": 0,
        "api_version": VERSION,
        "logging_enable": False,
        "connection_timeout": options.connect_timeout,
        "read_timeout": options.read_timeout,
        "connection_verify": options.ca_bundle or True,
    }
    if proxy is not None:
        url = options.proxy or f"http://{proxy.host}:{proxy.port}"
        settings["proxies"] = {"http": url, "https": url}
    # What the environment says was decided above; the library must not decide otherwise.
    transport = RequestsTransport(use_env_settings=False, **settings)
    return BlobServiceClient(container.account.url, credential=credential, transport=transport, **settings)


def _sdk_credential(container: Container) -> Any:
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential

    account = container.account
    if account.kind == "key":
        return AzureNamedKeyCredential(account.name, account.secret)
    if account.kind == "sas":
        return AzureSasCredential(account.secret)
    if account.kind == "default":
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()
    return None


def caller_of(fields: str) -> str:
    """Who a bearer token is of, as its own claims say, unverified: a name to show, not a decision."""
    token = fields.rpartition("Bearer ")[2].strip()
    with_claims = functools.partial(_claim, _claims(token))
    return (
        with_claims("upn")
        or with_claims("preferred_username")
        or with_claims("appid")
        or with_claims("oid")
        or "a caller"
    )


def _claims(token: str) -> dict[str, Any]:
    try:
        body = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}


def _claim(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""
