"""Errors: each code its class, each failure one clear message, and no secret in any."""

from __future__ import annotations

import datetime
import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest
import trustme
from s3_recorder import Reply, answering, error

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChecksumMismatchError,
    CredentialsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageFullError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
    UnsupportedOperationError,
)
from penstock.opening import open_store, resolve_store
from penstock.sinks import Collect
from penstock_s3 import signing

SECRET = "plantedSecretMarker0123456789abcdefghijk"
TOKEN = "plantedTokenMarker0123456789"
PART = 5 * 1024 * 1024

CODES = [
    (404, "NoSuchKey", ObjectNotFoundError, False, "no such object"),
    (404, "NoSuchBucket", ObjectNotFoundError, False, "the bucket does not exist"),
    (403, "AccessDenied", AccessDeniedError, False, "access denied"),
    (403, "InvalidAccessKeyId", CredentialsError, False, "does not know this access key"),
    (403, "SignatureDoesNotMatch", CredentialsError, False, "secret key is wrong"),
    (400, "ExpiredToken", CredentialsError, False, "expired"),
    (403, "RequestTimeTooSkewed", CredentialsError, False, "set this machine's clock"),
    (503, "SlowDown", ThrottledError, True, "slow down"),
    (503, "ServiceUnavailable", ThrottledError, True, "unavailable"),
    (500, "InternalError", StoreError, True, "failed inside"),
    (400, "RequestTimeout", StoreTimeoutError, True, "in vain"),
    (412, "PreconditionFailed", PreconditionFailedError, False, "another one"),
    (409, "OperationAborted", StoreError, True, "repeat"),
    (400, "EntityTooLarge", StoreError, False, "through a writer"),
    (400, "BadDigest", ChecksumMismatchError, True, "not the ones that were sent"),
    (400, "XAmzContentChecksumMismatch", ChecksumMismatchError, True, "not the ones"),
    (400, "AuthorizationHeaderMalformed", CredentialsError, False, "region="),
    (507, "QuotaExceeded", StorageFullError, False, "quota"),
    (501, "NotImplemented", UnsupportedOperationError, False, "said by the service"),
    (418, "NeverHeardOf", StoreError, False, "said by the service"),
    (503, "NeverHeardOf", ThrottledError, True, "said by the service"),
]


def opened(endpoint, **options):
    given = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": SECRET, "region": "us-east-1"} | options
    return closing(open_store(f"s3+{endpoint}/bucket/", options={k: v for k, v in given.items() if v is not None}))


def clean(text):
    return SECRET not in text and TOKEN not in text and "Signature=" not in text


@pytest.mark.parametrize(("status", "code", "kind", "retryable", "says"), CODES)
def test_a_code_is_its_class(status, code, kind, retryable, says):
    reply = error(status, code, "said by the service", x_amz_request_id="R1", retry_after="7")
    with answering(lambda request: reply) as server, opened(server.endpoint, session_token=TOKEN) as store:
        with pytest.raises(StoreError) as caught:
            store.get("some/key", Collect())
        failed = caught.value
        assert type(failed) is kind
        assert (failed.status, failed.code, failed.request_id, failed.retry_after) == (status, code, "R1", 7.0)
        assert failed.retryable is retryable
        assert (failed.operation, failed.uri) == ("get", f"s3+{server.endpoint}/bucket/some/key")
        assert says in failed.message
        assert clean(str(failed) + repr(failed))
        assert str(pickle.loads(pickle.dumps(failed))) == str(failed)
        assert len(server.requests) == 1, "a backend repeats nothing"


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, StoreError, False),
        (401, CredentialsError, False),
        (403, AccessDeniedError, False),
        (404, ObjectNotFoundError, False),
        (409, StoreError, False),
        (412, PreconditionFailedError, False),
        (429, ThrottledError, True),
        (500, StoreError, True),
        (503, ThrottledError, True),
    ],
)
def test_an_answer_without_a_body_goes_by_its_status(status, kind, retryable):
    with answering(lambda request: Reply(status)) as server, opened(server.endpoint) as store:
        with pytest.raises(StoreError) as caught:
            store.stat("key")
        assert type(caught.value) is kind
        assert caught.value.retryable is retryable
        assert caught.value.code is None


@pytest.mark.parametrize(
    "body", [b"<html>gateway</html>", b"no xml <", b'<!DOCTYPE a [<!ENTITY b "c">]><Error>&b;</Error>', b"\xff"]
)
def test_a_body_that_is_no_error_of_s3_goes_by_its_status(body):
    with (
        answering(lambda request: Reply(503, body)) as server,
        opened(server.endpoint) as store,
        pytest.raises(ThrottledError),
    ):
        store.get("key", Collect())


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_conditions_decide_what_a_refusal_means(code):
    status = 412 if code == "PreconditionFailed" else 409
    with answering(lambda request: error(status, code)) as server, opened(server.endpoint) as store:
        with pytest.raises(AlreadyExistsError):
            store.put("key", b"", create=True)
        with pytest.raises(PreconditionFailedError):
            store.put("key", b"", if_match="etag")


def test_a_missing_object_is_not_the_one_that_if_match_names():
    with answering(lambda request: error(404, "NoSuchKey")) as server, opened(server.endpoint) as store:
        with pytest.raises(PreconditionFailedError, match="there is no object"):
            store.put("key", b"", if_match="etag")
        with pytest.raises(ObjectNotFoundError):
            store.get("key", Collect(), if_match="etag")


def test_a_wrong_region_names_the_right_one():
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>"
    with (
        answering(lambda request: Reply(400, body)) as server,
        opened(server.endpoint) as store,
        pytest.raises(CredentialsError, match="write region=eu-west-3"),
    ):
        store.get("key", Collect())


def test_errors_within_a_success_are_errors():
    body = b"\n  <?xml version='1.0'?><Error><Code>InternalError</Code><Message>late</Message></Error>"
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"

    def answer(request):
        if "uploads" in request.query:
            return Reply(200, begun)
        if request.method == "HEAD":
            return Reply(200, b"", {"ETag": '"e"'}, 3)
        if "partNumber" in request.query:
            return Reply(200, b"", {"ETag": '"e"'})
        return Reply(200, body)

    with answering(answer) as server, opened(server.endpoint) as store:
        for operation, call in (
            ("copy", lambda: store.copy("one", "two")),
            ("delete", lambda: store.delete(["one", "two"])),
            ("list_pages", lambda: list(store.list_pages())),
        ):
            with pytest.raises(StoreError, match="failed inside") as caught:
                call()
            assert caught.value.operation == operation
            assert caught.value.retryable
        writer = store.open_writer("key", part_size=PART)
        writer.write(bytes(PART))
        with pytest.raises(StoreError, match="failed inside") as caught:
            writer.commit()
        assert caught.value.operation == "commit"
        writer.abort()


def test_keys_that_a_batch_did_not_delete_are_named():
    body = (
        b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Error><Key>a &amp; b</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        b"<Error><Key>gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
    )
    with answering(lambda request: Reply(200, body)) as server, opened(server.endpoint) as store:
        (failed,) = store.delete(["a & b", "gone", "fine"])
        assert type(failed) is AccessDeniedError
        assert failed.uri.endswith("/bucket/a & b")
        assert failed.operation == "delete"


def test_one_key_that_may_not_be_deleted_is_returned_and_a_missing_bucket_raises():
    with answering(lambda request: error(403, "AccessDenied")) as server, opened(server.endpoint) as store:
        (failed,) = store.delete(["key"])
        assert type(failed) is AccessDeniedError
    with (
        answering(lambda request: error(404, "NoSuchBucket")) as server,
        opened(server.endpoint) as store,
        pytest.raises(ObjectNotFoundError, match="the bucket does not exist"),
    ):
        store.delete(["key"])


# What follows is what a user meets, on a server that checks signatures.


@pytest.fixture
def bucket(server):
    return f"s3+{server.endpoint}/penstock/"


def told(uri, options, kind, *says):
    with closing(open_store(uri, options=options)) as store, pytest.raises(StoreError) as caught:
        store.get("key", Collect())
    assert isinstance(caught.value, kind), repr(caught.value)
    text = str(caught.value)
    assert all(word in text for word in says), text
    assert clean(text)
    return caught.value


def test_a_wrong_secret(bucket, options):
    told(bucket, options | {"secret_access_key": SECRET}, CredentialsError, "secret key is wrong")


def test_an_unknown_access_key(bucket, options):
    told(bucket, options | {"access_key_id": "unknown"}, CredentialsError, "does not know this access key")


def test_a_clock_that_is_twenty_minutes_off(bucket, options, monkeypatch):
    now = signing.now_s
    for minutes in (-20, 20):
        with monkeypatch.context() as patch:
            patch.setattr(signing, "now_s", lambda minutes=minutes: now() + minutes * 60)
            told(bucket, options, CredentialsError, "clock")


def test_a_missing_bucket(server, options):
    told(f"s3+{server.endpoint}/not-there/", options, ObjectNotFoundError, "the bucket does not exist")


def test_no_permission(server, bucket, options):
    key, secret = server.limited
    limited = options | {"access_key_id": key, "secret_access_key": secret}
    with closing(open_store(bucket, options=limited)) as store, pytest.raises(AccessDeniedError) as caught:
        store.put("key", b"x")
    assert not isinstance(caught.value, CredentialsError)
    assert secret not in str(caught.value)


def test_nobody_listens(options):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        endpoint = f"s3+http://127.0.0.1:{bound.getsockname()[1]}/bucket/"
        failed = told(endpoint, options, StoreConnectionError, "refused")
    assert failed.retryable


def test_a_host_that_does_not_exist(options):
    failed = told("s3+http://nowhere.invalid:9/bucket/", options, StoreConnectionError, "nowhere.invalid")
    assert not failed.retryable


@contextmanager
def tls_server(*, expired=False):
    """A TLS port whose certificate a new authority signed; gives port and authority."""
    authority = trustme.CA()
    ended = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = authority.issue_cert("127.0.0.1", **({"not_after": ended} if expired else {}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], authority
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("expired", [True, False])
def test_a_certificate_that_is_not_to_be_trusted(options, tmp_path, expired):
    with tls_server(expired=expired) as (port, authority):
        bundle = tmp_path / "ca.pem"
        (authority if expired else trustme.CA()).cert_pem.write_to_path(bundle)
        uri = f"s3+https://127.0.0.1:{port}/bucket/"
        failed = told(uri, options | {"ca_bundle": str(bundle)}, StoreConnectionError, "certificate")
        assert ("expired" in str(failed)) is expired
        assert not failed.retryable


@pytest.mark.parametrize("wrong", ["secret", "bucket"])
def test_the_command_says_it_in_one_message_and_fails(server, wrong):
    environment = os.environ | server.environment
    if wrong == "secret":
        environment["AWS_SECRET_ACCESS_KEY"] = SECRET
    name = "penstock" if wrong == "secret" else "not-there"
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "ls", f"s3://{name}/"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert ("secret key is wrong" if wrong == "secret" else "does not exist") in done.stderr
    assert "Traceback" not in done.stderr
    assert clean(done.stdout + done.stderr)
    assert server.secret_key not in done.stderr


def test_the_service_says_the_same(server, options):
    for uri, given, kind, word in (
        (f"s3+{server.endpoint}/penstock/", options | {"secret_access_key": SECRET}, CredentialsError, "secret key"),
        (f"s3+{server.endpoint}/not-there/", options, ObjectNotFoundError, "does not exist"),
    ):
        target = resolve_store(uri, options=given)
        with closing(target.kind.service(target.resolved.options)) as service:
            with pytest.raises(kind, match=word) as caught:
                service.authenticate()
            assert caught.value.__cause__ is not None
            assert clean(str(caught.value))
            caller = f"signed with the access key {server.access_key[:2]}… from options"
            assert (caller in str(caught.value)) == (kind is CredentialsError)


def test_an_endpoint_of_the_environment_is_not_in_what_is_printed(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with closing(open_store("s3://not-there/")) as store, pytest.raises(ObjectNotFoundError) as caught:
        store.get("k", Collect())
    assert caught.value.uri == "s3://not-there/k"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    target = resolve_store("s3://penstock/")
    caller = "signed with the access key te… from the environment"
    with (
        closing(target.kind.service(target.resolved.options)) as service,
        pytest.raises(CredentialsError, match=caller) as caught,
    ):
        service.authenticate()
    assert caught.value.uri == "s3://penstock/"
    target = resolve_store("s3://", options={"secret_access_key": server.secret_key, "access_key_id": "testkey"})
    with closing(target.kind.service(target.resolved.options)) as service:
        assert "s3://penstock/" in [bucket.uri for bucket in service.list_buckets()]
