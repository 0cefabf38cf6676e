"""Containers, the caller, and uploads that nobody finished."""

from __future__ import annotations

from contextlib import closing

import certifi
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure_servers import VARIABLES

from penstock import errors
from penstock.client.buckets import create_bucket, delete_bucket, list_buckets
from penstock.opening import open_store, resolve_object
from penstock.service import Endpoint, UploadInfo
from penstock.sinks import Collect
from penstock.testing.tools import listed, noise

KIB = 1024
MARKER = "bWFya2VyLW9mLWEtc2VjcmV0"


def service_of(uri, **options):
    target = resolve_object(uri, options=options or None)
    return closing(target.kind.service(target.resolved.options))


@pytest.fixture
def service(container):
    with service_of(container) as service:
        yield service


@pytest.fixture
def blobs(server, container):
    """The SDK's view of the container."""
    return server.sdk().get_container_client(container.rstrip("/").rpartition("/")[2])


def abandon(store, key, parts=3):
    """Leave the parts of a writer behind, as a killed process does."""
    writer = store.open_writer(key, part_size=KIB)
    writer.write(noise(parts * KIB + 1))
    writer._parts.finish()


def test_containers_come_and_go(on_azurite):
    uri = f"az://{on_azurite.account}/made-here/"
    create_bucket(uri)
    with pytest.raises(errors.AlreadyExistsError) as caught:
        create_bucket(uri)
    assert (caught.value.operation, caught.value.code) == ("create_bucket", "ContainerAlreadyExists")
    assert uri in [bucket.uri for bucket in list_buckets(f"az://{on_azurite.account}")]
    with closing(open_store(uri)) as store:
        store.put("k", b"x")
        with service_of(uri) as service, pytest.raises(errors.StoreError, match="not empty") as refused:
            service.delete_bucket()
        assert refused.value.operation == "delete_bucket"
        store.get("k", Collect())
        store.delete(["k"])
    delete_bucket(uri)
    with service_of(uri) as service, pytest.raises(errors.ObjectNotFoundError) as gone:
        service.delete_bucket()
    assert (gone.value.operation, gone.value.code) == ("delete_bucket", "ContainerNotFound")
    assert uri not in [bucket.uri for bucket in list_buckets(f"az://{on_azurite.account}")]


def test_a_container_has_a_time(container, on_azurite):
    (found,) = [bucket for bucket in list_buckets(f"az://{on_azurite.account}") if bucket.uri == container]
    assert found.created_ns > 10**18


def test_where_requests_go(container, server, monkeypatch):
    for name in ("AZURE_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    port = int(server.endpoint.rpartition(":")[2])
    with service_of(container) as service:
        assert service.endpoint() == Endpoint(host="127.0.0.1", port=port, tls=False)
    proxied = {"proxy": f"http://user:{MARKER}@proxy:3128", "ca_bundle": certifi.where(), "account_key": MARKER}
    with service_of("https://acme.blob.core.windows.net/box/", **proxied) as service:
        endpoint = service.endpoint()
    assert (endpoint.host, endpoint.port, endpoint.tls) == ("acme.blob.core.windows.net", 443, True)
    assert (endpoint.proxy, endpoint.ca_bundle) == ("http://proxy:3128", certifi.where())


def test_who_the_caller_is(container, server):
    with service_of(container) as service:
        assert service.authenticate() == f"the account {server.account} by its key (from account_key)"
    with service_of(f"az://{server.account}") as service:
        assert service.authenticate().startswith("the account")
    with service_of(container, account_key=MARKER) as service:
        with pytest.raises(errors.AccessDeniedError) as caught:
            service.authenticate()
        assert MARKER not in str(caught.value)
        assert f"the request of the account {server.account} by its key (from account_key) was" in str(caught.value)
    with service_of(f"az://{server.account}/absent-box/") as service, pytest.raises(errors.ObjectNotFoundError) as gone:
        service.authenticate()
    assert gone.value.operation == "authenticate"
    refused = pytest.raises(errors.AccessDeniedError, match="of nobody")
    with service_of(container, credential="anonymous") as service, refused:
        service.authenticate()


@pytest.mark.parametrize("uri", ["az://acme/", "az://acme/box/"])
@pytest.mark.parametrize("given", [{"credential": "key"}, {"account_key": "no base64!"}])
def test_missing_credentials_are_a_failure_of_that_account(uri, given, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.CredentialsError) as caught, service_of(uri, **given):
        pass
    assert caught.value.uri == uri


def test_abandoned_parts_are_listed_and_removed(store, service, blobs):
    store.put("whole", b"x")
    store.put("empty", b"")
    for key in ("a/killed", "b/killed"):
        abandon(store, key)
    assert sorted(listed(store)) == ["empty", "whole"]
    found = list(service.list_uploads())
    assert [upload.key for upload in found] == ["a/killed", "b/killed"]
    assert all(upload.started_ns > 10**18 for upload in found)
    assert [upload.key for upload in service.list_uploads("b/")] == ["b/killed"]
    for upload in found:
        service.abort_upload(upload)
        service.abort_upload(upload)
    assert list(service.list_uploads()) == []
    assert sorted(blob.name for blob in blobs.list_blobs(include=["uncommittedblobs"])) == ["empty", "whole"]
    with pytest.raises(ResourceNotFoundError):
        blobs.get_blob_client("a/killed").get_block_list("all")


def test_an_object_with_unfinished_parts_on_top_is_never_touched(store, service, blobs):
    data = noise(3 * KIB)
    writer = store.open_writer("k", part_size=KIB)
    writer.write(data)
    before = writer.commit()
    abandon(store, "k")
    assert list(service.list_uploads()) == []
    service.abort_upload(UploadInfo(key="k", id="uncommitted"))
    after = store.stat("k")
    assert (after.etag, after.size) == (before.etag, 3 * KIB)
    sink = Collect()
    store.get("k", sink)
    assert bytes(sink.view()) == data
    committed, uncommitted = blobs.get_blob_client("k").get_block_list("all")
    assert (len(committed), len(uncommitted)) == (3, 4)
    store.put("k", b"new")
    assert store.stat("k").size == 3


def test_an_object_that_comes_while_its_upload_is_aborted_stays(store, service, monkeypatch):
    abandon(store, "k")
    (upload,) = service.list_uploads()
    plain = service._container.exchange

    def late(operation, verb, key, **more):
        if verb == "DELETE":
            store.put("k", b"somebody else's")
        return plain(operation, verb, key, **more)

    monkeypatch.setattr(service._container, "exchange", late)
    service.abort_upload(upload)
    sink = Collect()
    store.get("k", sink)
    assert bytes(sink.view()) == b"somebody else's"


def test_a_service_without_a_container_has_no_uploads(on_azurite):
    with service_of(f"az://{on_azurite.account}") as service:
        for call in (lambda: list(service.list_uploads()), service.create_bucket, service.delete_bucket):
            with pytest.raises((errors.InvalidURIError, errors.StoreError)):
                call()


def test_closing_twice_is_harmless(container):
    with service_of(container) as service:
        list(service.list_buckets())
        service.close()
