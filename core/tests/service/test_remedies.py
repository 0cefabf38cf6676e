"""What to do about a failure: each rule is met by an error that calls for it."""

from __future__ import annotations

import errno
import shlex
import socket
import ssl

import pytest

from penstock.client import remedies
from penstock.client.remedies import health_command, is_unreachable, remedy
from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChecksumMismatchError,
    CredentialsError,
    LengthMismatchError,
    NotAnObjectError,
    ObjectNotFoundError,
    StorageFullError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
    UsageError,
)


def verification(number):
    error = ssl.SSLCertVerificationError("no")
    error.verify_code = number
    return over(error)


def tls(reason):
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return over(error)


def over(cause, kind=StoreConnectionError):
    error = kind("no connection")
    error.__cause__ = cause
    return error


def filled(words):
    """Words with their commands, for an error whose URI is not known."""
    return words.replace("{plugins}", "penstock plugins show acme").replace("{mb}", "penstock mb")


CASES = [
    (StoreError("x", status=403, code="RequestTimeTooSkewed"), remedies.CLOCK),
    (AccessDeniedError("x", code="RequestTimeTooSkewed"), remedies.CLOCK),
    (StoreError("x", status=400, code="AuthorizationHeaderMalformed"), remedies.REGION),
    (StoreError("x", status=301), remedies.REGION),
    (ObjectNotFoundError("x", code="NoSuchBucket"), remedies.BUCKET),
    (ObjectNotFoundError("x", code="ContainerNotFound", operation="get"), remedies.BUCKET),
    (ObjectNotFoundError("x", operation="list_pages"), remedies.BUCKET),
    (ObjectNotFoundError("The specified bucket does not exist", operation="get"), remedies.BUCKET),
    (ObjectNotFoundError("x", operation="stat", uri="mem://b/?region=x"), remedies.OPTIONS),
    (StoreConnectionError("x", status=407), remedies.PROXY),
    (verification(10), remedies.EXPIRED),
    (verification(9), remedies.NOT_YET),
    (verification(62), remedies.WRONG_HOST),
    (verification(64), remedies.WRONG_HOST),
    (verification(18), remedies.AUTHORITY),
    (verification(19), remedies.AUTHORITY),
    (verification(20), remedies.AUTHORITY),
    (verification(23), remedies.CERTIFICATE),
    (over(ssl.SSLCertVerificationError("as an SDK makes it")), remedies.CERTIFICATE),
    (tls("WRONG_VERSION_NUMBER"), remedies.NOT_TLS),
    (over(ssl.SSLWantReadError("x")), remedies.TIMEOUT),
    (tls("TLSV1_ALERT_PROTOCOL_VERSION"), remedies.TLS),
    (over(socket.gaierror(socket.EAI_NONAME, "x")), remedies.NAME),
    (over(ConnectionRefusedError(errno.ECONNREFUSED, "x")), remedies.REFUSED),
    (over(OSError(errno.EHOSTUNREACH, "x")), remedies.ROUTE),
    (over(TimeoutError("x"), StoreTimeoutError), remedies.TIMEOUT),
    (StoreTimeoutError("x"), remedies.TIMEOUT),
    (CredentialsError("x"), remedies.KEY),
    (AccessDeniedError("x", status=403, code="AuthorizationFailure"), remedies.KEY),
    (AccessDeniedError("x", status=403), remedies.KEY),
    (AccessDeniedError("x", status=403, code="AccessDenied"), remedies.RIGHT),
    (AccessDeniedError("x"), remedies.RIGHT),
    (ThrottledError("x"), remedies.THROTTLED),
    (StorageFullError("x"), remedies.FULL),
    (ChecksumMismatchError("x"), remedies.CORRUPT),
    (LengthMismatchError("x"), remedies.CORRUPT),
    (StoreConnectionError("x"), remedies.BROKEN),
]


@pytest.mark.parametrize(("error", "words"), CASES)
def test_each_error_has_its_remedy(error, words):
    assert remedy(error, scheme="acme") == filled(words)


@pytest.mark.parametrize(
    ("uri", "plugins"),
    [("mem://b/k", "penstock plugins show mem"), ("k", "penstock plugins"), (None, "penstock plugins")],
)
def test_what_shows_the_options_is_of_the_error_s_own_scheme(uri, plugins):
    assert f"`{plugins}`" in remedy(CredentialsError("x", uri=uri))


def test_what_makes_the_bucket_names_it(cloud):
    missing = ObjectNotFoundError("x", uri="cloud://h:1/new/a/b", code="NoSuchBucket")
    assert remedy(missing).endswith("`penstock mb cloud://h:1/new/`")


def test_every_rule_is_met():
    rules = {rule.words for rule in (*remedies._OWN, *remedies._BENEATH, *remedies._CLASS)}
    assert {words for _, words in CASES} == rules


@pytest.mark.parametrize(
    "error",
    [
        ObjectNotFoundError("x", operation="get"),
        NotAnObjectError("x"),
        AlreadyExistsError("x"),
        StoreError("x", status=500),
        UsageError("x"),
        KeyError("x"),
    ],
)
def test_nothing_is_said_where_nothing_is_known(error):
    assert remedy(error) is None


def test_what_lies_beneath_an_sdk_s_error_counts():
    try:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "x")
        except OSError as error:
            raise RuntimeError("the SDK") from error
    except RuntimeError as error:
        # As within an except block: no cause, but a context.
        failure = StoreConnectionError("x")
        failure.__context__ = error
    assert remedy(failure) == remedies.REFUSED
    failure.__suppress_context__ = True
    assert remedy(failure) == remedies.BROKEN


def test_a_loop_of_causes_ends():
    first, second = StoreConnectionError("x"), RuntimeError("y")
    first.__cause__, second.__cause__ = second, first
    assert remedy(first) == remedies.BROKEN


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://bucket", "s3://bucket"),
        ("s3+http://h:1/b/a b/c", "'s3+http://h:1/b/a b/'"),
    ],
)
def test_the_command_that_checks_a_place(uri, place):
    assert health_command(uri) == f"penstock health {place}"
    assert len(shlex.split(health_command(uri))) == 3


@pytest.mark.parametrize("uri", ["a/key", "", "cloud://h:1", "cloud://h:1/"])
def test_of_what_is_no_place_there_is_nothing_to_check(cloud, uri):
    assert health_command(uri) is None


def test_the_command_shows_no_password():
    assert "hunter2" not in health_command("s3://me:hunter2@h/b/k")


def test_what_a_check_would_tell_more_of():
    kinds = [StoreConnectionError, StoreTimeoutError, CredentialsError]
    assert all(is_unreachable(kind("x")) for kind in kinds)
    assert not any(is_unreachable(kind("x")) for kind in (AccessDeniedError, ObjectNotFoundError, StoreError))
    # There is no bucket to check.
    assert not is_unreachable(CredentialsError("x", operation="list_buckets"))
