"""What the service reports and what the network does: one class, one message, no secret."""

from __future__ import annotations

import json
import pickle
import socket
import ssl
import threading
from contextlib import closing, contextmanager

import pytest
import trustme
from gcs_server import Answer, Fault

from penstock import errors
from penstock.opening import open_store, resolve_store
from penstock.sinks import Discard
from penstock_gcs.errors import reason_error

BUCKET = "penstock-test"


def body(code, reason, message="The message", *, details=False):
    found = {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}
    if details:
        found = {"code": code, "message": message, "status": "X", "details": [{"@type": "t"}, {"reason": reason}]}
    return json.dumps({"error": found}).encode()


@pytest.mark.parametrize(
    ("status", "reason", "kind", "retryable"),
    [
        (404, "notFound", errors.ObjectNotFoundError, False),
        (412, "conditionNotMet", errors.PreconditionFailedError, False),
        (403, "forbidden", errors.AccessDeniedError, False),
        (403, "insufficientPermissions", errors.AccessDeniedError, False),
        (403, "accountDisabled", errors.AccessDeniedError, False),
        (403, "retentionPolicyNotMet", errors.AccessDeniedError, False),
        (401, "authError", errors.CredentialsError, False),
        (401, "required", errors.CredentialsError, False),
        (403, "quotaExceeded", errors.StorageFullError, False),
        (403, "rateLimitExceeded", errors.ThrottledError, True),
        (403, "userRateLimitExceeded", errors.ThrottledError, True),
        (429, "rateLimitExceeded", errors.ThrottledError, True),
        (503, "backendError", errors.StoreError, True),
        (500, "internalError", errors.StoreError, True),
        (409, "conflict", errors.AlreadyExistsError, False),
        (400, "invalid", errors.StoreError, False),
        (400, "never seen before", errors.StoreError, False),
        (429, "never seen before", errors.ThrottledError, True),
        (408, "never seen before", errors.StoreTimeoutError, True),
        (418, "never seen before", errors.StoreError, False),
    ],
)
@pytest.mark.parametrize("details", [False, True])
def test_reasons(status, reason, kind, retryable, details):
    error = reason_error(status, body(status, reason, details=details), "gs://b/k", "get", "id")
    assert (type(error), error.retryable, error.status, error.code) == (kind, retryable, status, error.code)
    assert error.code in (reason, "authError")
    assert str(error).startswith("get gs://b/k: The message")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.retryable) == (str(error), retryable)


@pytest.mark.parametrize(
    ("status", "raw", "shown"),
    [
        (404, b"No such object: b/k\r\n\x00", "No such object: b/k"),
        (403, b"", "the service refused the request; grant the caller a role"),
        (502, b"<html><title>Bad Gateway</title></html>", "Bad Gateway"),
        (500, b'{"error": "not an object"}', '{"error": "not an object"}'),
        (500, b"{", "{"),
        (500, "\udcffé".encode("utf-8", "surrogateescape"), "é"),
        (400, b"x" * 10_000, "x" * 400),
    ],
)
def test_bodies_of_any_kind(status, raw, shown):
    error = reason_error(status, raw, "gs://b/k", "get")
    assert shown in str(error)
    assert len(str(error)) < 700
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("accessNotConfigured", "enable the Cloud Storage API"),
        ("accountDisabled", "billing"),
        ("forbidden", "roles/storage.objectUser"),
        ("insufficientPermissions", "scope"),
    ],
)
def test_remedies(reason, remedy):
    assert remedy in str(reason_error(403, body(403, reason), "gs://b/k", "get"))


def test_a_throttled_request_says_how_long_to_wait(store, server):
    answer = Answer(429, body(429, "rateLimitExceeded"), {"retry-after": "7"})
    server.faults = [Fault(lambda r: True, "answer", answer=answer)]
    with pytest.raises(errors.ThrottledError) as caught:
        store.put("k", b"x")
    assert (caught.value.retry_after, caught.value.retryable) == (7.0, True)


def test_the_service_is_asked_once_whatever_it_says(store, server):
    """Law 7: a backend never retries."""
    for status in (429, 500, 503):
        for call in (
            lambda: store.put("k", b"x"),
            lambda: store.get("k", Discard()),
            lambda: store.stat("k"),
            lambda: store.delete(["k"]),
            lambda: store.delete(["k", "l"]),
            lambda: store.copy("k", "l"),
            lambda: list(store.list_pages()),
        ):
            server.log.clear()
            server.faults = [Fault(lambda r: True, "answer", answer=Answer(status, body(status, "backendError")))]
            with pytest.raises(errors.StoreError) as caught:
                call()
            assert (caught.value.retryable, len(server.log)) == (True, 1)
            assert caught.value.request_id.startswith("ABC-request-")


@pytest.mark.parametrize("answer", [b"", b"no json", b"[]"])
def test_answers_that_are_no_json(store, server, answer):
    for call in (
        lambda: store.put("k", b"x"),
        lambda: store.stat("k"),
        lambda: store.copy("k", "l"),
        lambda: list(store.list_pages()),
    ):
        server.faults = [Fault(lambda r: True, "answer", answer=Answer(200, answer))]
        with pytest.raises(errors.StoreConnectionError, match="JSON") as caught:
            call()
        assert caught.value.operation is not None
        assert caught.value.uri.startswith(f"gs://{BUCKET}/")


def test_an_answer_that_is_cut_short_is_an_error_after_what_came(store, server):
    store.put("k", b"x" * 100_000)
    server.faults = [Fault(lambda r: True, "cut", nbytes=70_000)]
    sink = Discard()
    with pytest.raises(errors.StoreConnectionError) as caught:
        store.get("k", sink)
    assert (sink.nbytes, caught.value.uri, caught.value.operation) == (70_000, f"gs://{BUCKET}/k", "get")


def every_call(store):
    return (
        ("put", lambda: store.put("k", b"x")),
        ("get", lambda: store.get("k", Discard())),
        ("stat", lambda: store.stat("k")),
        ("delete", lambda: store.delete(["k"])),
        ("list_pages", lambda: list(store.list_pages())),
        ("commit", lambda: store.open_writer("k", part_size=1).commit()),
    )


def each_fails(uri, kind, message, **options):
    with closing(open_store(uri, options=options)) as store:
        for operation, call in every_call(store):
            with pytest.raises(kind, match=message) as caught:
                call()
            assert (type(caught.value), caught.value.operation) == (kind, operation)
            assert "\n" not in str(caught.value)
            assert "PLANTED" not in f"{caught.value}{caught.value!r}"
            if operation == "get":
                assert caught.value.retryable is (kind is errors.StoreConnectionError and "refused" in message)


def test_a_bucket_that_is_not_there(server):
    with closing(open_store("gs://no-such-bucket")) as store:
        for _, call in every_call(store):
            with pytest.raises(errors.ObjectNotFoundError, match="bucket does not exist"):
                call()


def test_nobody_listens(environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    each_fails(f"gs://bkt?endpoint=http://127.0.0.1:{port}", errors.StoreConnectionError, "[Cc]onnection refused")


def test_a_host_that_does_not_exist(environment):
    each_fails("gs://bkt?endpoint=http://no-such-host.invalid:1", errors.StoreConnectionError, "no-such-host.invalid")


@contextmanager
def over_tls(context):
    """Accepts, shakes hands, and answers nothing: it is the handshake that is looked at."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True):
                    pass
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("trusted", [False, True])
def test_certificates_are_verified(environment, tmp_path, trusted):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example" if trusted else "127.0.0.1").configure_cert(context)
    options = {"anonymous": True}
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        options["ca_bundle"] = str(tmp_path / "ca.pem")
    with over_tls(context) as port:
        each_fails(f"gs://bkt?endpoint=https://127.0.0.1:{port}", errors.StoreConnectionError, "certificate", **options)


class TestService:
    @pytest.fixture
    def service(self, server, environment):
        environment.setenv("GOOGLE_CLOUD_PROJECT", "my-project")

        def make(bucket, **options):
            target = resolve_store(f"gs://{bucket}", options=options)
            return target.kind.service(target.resolved.options)

        return make

    def test_buckets(self, service):
        with closing(service("")) as found:
            assert [(bucket.name, bucket.uri, bucket.region) for bucket in found.list_buckets()] == [
                (BUCKET, f"gs://{BUCKET}/", "US")
            ]
            assert all(bucket.created_ns > 10**18 for bucket in found.list_buckets())
            assert found.authenticate() == "anonymous"
        with closing(service("another-one", location="EU")) as found:
            found.create_bucket()
            with pytest.raises(errors.AlreadyExistsError, match="you already own it"):
                found.create_bucket()
            with closing(open_store("gs://another-one")) as store:
                store.put("k", b"x")
                with pytest.raises(errors.StoreError, match="not empty; delete what is in it first") as caught:
                    found.delete_bucket()
                assert type(caught.value) is errors.StoreError
                store.delete(["k"])
            found.delete_bucket()
            with pytest.raises(errors.ObjectNotFoundError):
                found.delete_bucket()
            with pytest.raises(errors.ObjectNotFoundError):
                found.authenticate()

    def test_buckets_of_an_emulator_without_a_scheme(self, service, server, environment):
        environment.delenv("GCS_ENDPOINT_URL")
        environment.setenv("STORAGE_EMULATOR_HOST", server.endpoint.removeprefix("http://"))
        with closing(service("")) as found:
            assert [bucket.name for bucket in found.list_buckets()] == [BUCKET]

    def test_the_endpoint(self, service, server):
        with closing(service(BUCKET, proxy="http://user:PLANTED@proxy:3128")) as found:
            endpoint = found.endpoint()
        assert (endpoint.host, endpoint.tls, endpoint.proxy) == ("127.0.0.1", False, "http://proxy:3128")
        assert server.log == []

    def test_buckets_belong_to_a_project(self, service, environment):
        environment.delenv("GOOGLE_CLOUD_PROJECT")
        with closing(service("")) as found:
            for call in (lambda: list(found.list_buckets()), found.create_bucket, found.authenticate):
                with pytest.raises(errors.UsageError, match="GOOGLE_CLOUD_PROJECT"):
                    call()

    def test_uploads_can_not_be_listed(self, service):
        with closing(service(BUCKET)) as found, pytest.raises(errors.UnsupportedOperationError, match="after a week"):
            found.list_uploads()

    def test_the_sdk_asks_once_too(self, service, server):
        with closing(service("")) as found:
            for status in (429, 503):
                server.log.clear()
                server.faults = [Fault(lambda r: True, "answer", answer=Answer(status, body(status, "backendError")))]
                with pytest.raises(errors.StoreError) as caught:
                    list(found.list_buckets())
                assert (caught.value.retryable, len(server.log)) == (True, 1)

    def test_nobody_listens(self, service):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with (
            closing(service("", endpoint=f"http://127.0.0.1:{port}")) as found,
            pytest.raises(errors.StoreConnectionError, match="refused"),
        ):
            list(found.list_buckets())
