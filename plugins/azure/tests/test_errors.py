"""What answers and the SDK's exceptions come to, and that no secret is in them."""

from __future__ import annotations

import pickle
import socket
from contextlib import closing
from types import SimpleNamespace

import pytest
from azure.core import exceptions as azure
from azure_fakes import KEY, FakeAnswer, fake_store

from penstock import errors
from penstock.opening import open_store
from penstock.sinks import Discard
from penstock_azure.errors import CODES, error_of, translating

MARKER = "bWFya2VyLW9mLWEtc2VjcmV0"


def xml(code, message="The story.", detail=""):
    detail = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    text = f"<Error><Code>{code}</Code><Message>{message}\nRequestId:1\nTime:2</Message>{detail}</Error>"
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?>{text}'.encode()


def refusal(status, code, message="The story.", detail="", **headers):
    return FakeAnswer(status, {"x-ms-error-code": code, "x-ms-request-id": "r-1"} | headers, xml(code, message, detail))


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (404, "BlobNotFound", errors.ObjectNotFoundError, False),
        (404, "ContainerNotFound", errors.ObjectNotFoundError, False),
        (403, "AuthenticationFailed", errors.CredentialsError, False),
        (403, "AuthorizationFailure", errors.AccessDeniedError, False),
        (403, "AuthorizationPermissionMismatch", errors.AccessDeniedError, False),
        (403, "InsufficientAccountPermissions", errors.AccessDeniedError, False),
        (403, "AccountIsDisabled", errors.AccessDeniedError, False),
        (409, "BlobAlreadyExists", errors.AlreadyExistsError, False),
        (409, "BlobArchived", errors.StoreError, False),
        (409, "SnapshotsPresent", errors.StoreError, False),
        (412, "ConditionNotMet", errors.PreconditionFailedError, False),
        (412, "LeaseIdMissing", errors.AccessDeniedError, False),
        (400, "Md5Mismatch", errors.ChecksumMismatchError, True),
        (400, "InvalidBlockList", errors.StoreError, False),
        (413, "RequestBodyTooLarge", errors.LengthMismatchError, False),
        (500, "InternalError", errors.StoreError, True),
        (500, "OperationTimedOut", errors.StoreTimeoutError, True),
        (503, "ServerBusy", errors.ThrottledError, True),
        (409, "NobodyKnowsThis", errors.AlreadyExistsError, False),
        (418, "NobodyKnowsThis", errors.StoreError, False),
        (502, "", errors.StoreError, True),
    ],
)
def test_codes(status, code, kind, retryable):
    store, _ = fake_store(refusal(status, code))
    with pytest.raises(errors.StoreError) as caught:
        store.get("dir/key", Discard())
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code or "", error.request_id, error.retryable) == (status, code, "r-1", retryable)
    assert (error.uri, error.operation) == ("az://acme/box/dir/key", "get")
    assert "The story" in str(error)
    assert "RequestId" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, str(error))


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_more_than_the_service(code):
    meaning = CODES[code]
    error = error_of(refusal(400, code), "put", "az://acme/box/key")
    assert type(error) is meaning.error
    assert meaning.remedy in error.message
    if meaning.retryable is not None:
        assert error.retryable is meaning.retryable


def test_a_taken_key_is_taken_whatever_the_code():
    for status, code in ((409, "BlobAlreadyExists"), (412, "ConditionNotMet"), (403, "UnauthorizedBlobOverwrite")):
        store, _ = fake_store(refusal(status, code))
        with pytest.raises(errors.AlreadyExistsError):
            store.put("key", b"", create=True)
    store, _ = fake_store(refusal(412, "ConditionNotMet"))
    with pytest.raises(errors.PreconditionFailedError):
        store.put("key", b"", if_match="x")


def test_answers_without_a_body_are_told_in_words():
    store, _ = fake_store(FakeAnswer(404, {"x-ms-error-code": "ContainerNotFound"}))
    with pytest.raises(errors.ObjectNotFoundError, match="the container does not exist"):
        store.stat("key")
    store, _ = fake_store(FakeAnswer(403))
    with pytest.raises(errors.AccessDeniedError, match="refuses access"):
        store.stat("key")


def test_what_was_signed_is_not_shown():
    detail = f"The MAC signature found in the HTTP request '{MARKER}' is not the same as any computed signature."
    store, _ = fake_store(refusal(403, "AuthenticationFailed", "Make sure …", detail))
    with pytest.raises(errors.CredentialsError, match="is the account key right") as caught:
        store.get("key", Discard())
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(
    "detail",
    [
        "Request date header too old: 'Sat, 21 Nov 2026 15:00:00 GMT'",
        "Signature not valid in the specified time frame: Start [a] - Expiry [b] - Current [c]",
    ],
)
def test_what_the_clock_has_to_do_with_it_is_shown(detail):
    store, _ = fake_store(refusal(403, "AuthenticationFailed", "Make sure …", detail))
    with pytest.raises(errors.CredentialsError) as caught:
        store.get("key", Discard())
    assert detail in str(caught.value)


def test_the_service_says_when_to_come_again():
    answer = refusal(503, "ServerBusy")
    answer.retry_after = 7.0
    store, _ = fake_store(answer)
    with pytest.raises(errors.ThrottledError) as caught:
        store.put("key", b"")
    assert caught.value.retry_after == 7.0


def test_a_failure_of_the_transport_is_located():
    store, client = fake_store()

    def fail(head, body=None, *, replay=True):
        raise errors.StoreTimeoutError("no answer") from TimeoutError("slow")

    client.send = fail
    calls = {
        "get": lambda: store.get("key", Discard()),
        "put": lambda: store.put("key", b""),
        "stat": lambda: store.stat("key"),
        "copy": lambda: store.copy("key", "other"),
        "delete": lambda: store.delete(["key"]),
    }
    for operation, call in calls.items():
        with pytest.raises(errors.StoreTimeoutError) as caught:
            call()
        assert (caught.value.operation, caught.value.uri) == (operation, "az://acme/box/key")
        assert isinstance(caught.value.__cause__, TimeoutError)


def test_an_account_that_nobody_knows_is_perhaps_misspelt(monkeypatch):
    def unknown(*arguments, **more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    options = {"account_key": KEY, "proxy": ""}
    with closing(open_store("az://mistpye/box/", options=options)) as store:
        with pytest.raises(errors.StoreConnectionError, match="is the account 'mistpye' spelled right") as caught:
            store.get("key", Discard())
        assert (caught.value.uri, caught.value.operation) == ("az://mistpye/box/key", "get")
        assert isinstance(caught.value.__cause__, socket.gaierror)
        assert not caught.value.retryable


def test_a_failure_within_a_body_is_located_and_a_sinks_is_its_own():
    class Broken(FakeAnswer):
        def into(self, sink):
            raise errors.StoreConnectionError("cut")

    store, _ = fake_store(Broken(200))
    with pytest.raises(errors.StoreConnectionError) as caught:
        store.get("key", Discard())
    assert (caught.value.uri, caught.value.operation) == ("az://acme/box/key", "get")

    class Full(Discard):
        def write(self, data, /):
            raise ZeroDivisionError

    store, _ = fake_store(FakeAnswer(200, {}, b"x"))
    with pytest.raises(ZeroDivisionError):
        store.get("key", Full())


def sdk_error(kind, status, code, message):
    response = SimpleNamespace(status_code=status, reason="", headers={"x-ms-request-id": "r-2"})
    error = kind(message=message, response=response)
    error.error_code = code
    return error


@pytest.mark.parametrize(
    ("raised", "kind", "retryable"),
    [
        (sdk_error(azure.ResourceNotFoundError, 404, "ContainerNotFound", "gone"), errors.ObjectNotFoundError, False),
        (sdk_error(azure.ResourceExistsError, 409, "ContainerAlreadyExists", "x"), errors.AlreadyExistsError, False),
        (sdk_error(azure.ResourceExistsError, 409, "ContainerBeingDeleted", "x"), errors.StoreError, True),
        (sdk_error(azure.ClientAuthenticationError, 403, "AuthenticationFailed", "x"), errors.CredentialsError, False),
        (sdk_error(azure.HttpResponseError, 503, "ServerBusy", "x"), errors.ThrottledError, True),
        (azure.ServiceRequestError("refused"), errors.StoreConnectionError, True),
        (azure.ServiceResponseTimeoutError("slow"), errors.StoreTimeoutError, True),
        (azure.ClientAuthenticationError("DefaultAzureCredential failed\nand more"), errors.CredentialsError, False),
        (azure.AzureError("odd"), errors.StoreError, False),
    ],
)
def test_what_the_sdk_raises(raised, kind, retryable):
    with pytest.raises(errors.StoreError) as caught, translating("create_bucket", "az://acme/box/"):
        raise raised
    error = caught.value
    assert (type(error), error.retryable, error.__cause__) == (kind, retryable, raised)
    assert (error.operation, error.uri) == ("create_bucket", "az://acme/box/")
    assert "\n" not in str(error)


def test_keys_are_in_no_repr():
    store, client = fake_store()
    for thing in (store, store._container, store._container.account, store._container.signer, client):
        assert KEY not in repr(thing)
