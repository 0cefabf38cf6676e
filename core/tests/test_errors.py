"""The error tree: its shape, its pickles, and what its texts never show."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import errors
from penstock.errors import ConfigError, PenstockError, StoreError, WorkerLostError, redact

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "redact"]
STORE_CLASSES = [kind for kind in CLASSES if issubclass(kind, StoreError)]

store_errors = st.builds(
    lambda kind, message, fields: kind(message, **fields),
    st.sampled_from(STORE_CLASSES),
    st.text(),
    st.fixed_dictionaries(
        {},
        optional={
            "uri": st.text(),
            "operation": st.sampled_from(["get", "put", "stat"]),
            "status": st.integers(0, 599),
            "code": st.text(),
            "request_id": st.text(),
            "retryable": st.booleans(),
            "retry_after": st.floats(0, 3600),
        },
    ),
)


@given(store_errors)
def test_a_store_error_pickles_with_all_its_fields(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error) | {"retryable": error.retryable}
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if not issubclass(kind, StoreError)])
def test_every_other_error_pickles_too(kind):
    arguments = {ConfigError: (["a:1:2: x", "b:3:4: y"],), WorkerLostError: (3, "host", "signal 9")}
    error = kind(*arguments.get(kind, ("text",)))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


def test_a_config_error_keeps_its_problems():
    assert ConfigError(["one", "two"]).problems == ("one", "two")
    assert str(ConfigError(["one", "two"])) == "one\ntwo"


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("UsageError", ValueError),
        ("FormatError", ValueError),
        ("OpLogError", ValueError),
        ("ObjectNotFoundError", FileNotFoundError),
        ("NotAnObjectError", FileNotFoundError),
        ("AlreadyExistsError", FileExistsError),
        ("AccessDeniedError", PermissionError),
        ("CredentialsError", PermissionError),
        ("StorageFullError", OSError),
        ("StoreTimeoutError", TimeoutError),
        ("StoreConnectionError", ConnectionError),
        ("LengthMismatchError", ValueError),
        ("ChecksumMismatchError", ValueError),
        ("UnsupportedOperationError", NotImplementedError),
    ],
)
def test_the_builtin_that_a_python_user_would_catch(name, builtin):
    with pytest.raises(builtin):
        raise getattr(errors, name)("x")


def test_what_may_be_repeated():
    assert {kind.__name__ for kind in STORE_CLASSES if kind("x").retryable} == {
        "ThrottledError",
        "StoreTimeoutError",
        "StoreConnectionError",
    }


def test_the_tree_of_the_docstring_is_the_tree():
    lines = [line for line in errors.__doc__.splitlines() if re.search(r"[├└]", line)]
    drawn = {re.search(r"(\w+Error)", line)[1]: re.search(r"\((\w+)\)", line) for line in lines}
    assert set(drawn) | {"PenstockError"} == {kind.__name__ for kind in CLASSES}
    for name, base in drawn.items():
        if base:
            assert base[1] in [kind.__name__ for kind in getattr(errors, name).__mro__]


def test_every_class_is_of_the_tree():
    assert all(issubclass(kind, PenstockError) for kind in CLASSES)


def test_the_text_of_a_store_error():
    error = StoreError("it broke", uri="s3://b/k", operation="get", status=500, code="InternalError", request_id="R1")
    assert str(error) == "get s3://b/k: it broke (status 500, code InternalError, request R1)"
    assert str(StoreError("it broke")) == "it broke"
    assert str(StoreError("it broke", uri="k")) == "k: it broke"


SECRETS = [
    "https://acc.blob.core.windows.net/c/k?sv=2024&sig=SECRET%2Fxyz%3D&se=1",
    "url: /b/k?X-Amz-Algorithm=AWS4&X-Amz-Signature=SECRETabc",
    "url: /b/k?X-Amz-Security-Token=SECRET//=&a=1",
    "url: /b/k?X-Amz-Credential=SECRETKEY%2F2024",
    "/b/k?x-goog-signature=SECRET",
    "AccountName=x;AccountKey=SECRET==;EndpointSuffix=y",
    "AWS_SECRET_ACCESS_KEY=SECRET",
    "aws_session_token='SECRET'".replace("'", ""),
    "password=SECRET",
    "https://user:SECRET@host/path",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_taken_out_of_every_text(text):
    error = StoreError(text, uri=text)
    assert "SECRET" in text
    assert "SECRET" not in str(error).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "SECRET" not in error.message.replace("AWS_SECRET_ACCESS_KEY", "")
    assert "SECRET" not in str(error.args).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "***" in str(error)


@pytest.mark.parametrize(
    "text", ["a=b", "dir/x=1/y", "size=4096 key=name", "design=new", "s3://b/mail@home", "see http://host:80/a?b=c"]
)
def test_other_text_is_left_alone(text):
    assert redact(text) == text


@given(st.text())
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)
