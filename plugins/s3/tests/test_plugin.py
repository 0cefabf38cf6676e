"""URIs and options of the S3 backend."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import penstock
from penstock.cli import main
from penstock.errors import InvalidURIError, UnknownOptionError, UsageError
from penstock.opening import resolve_object, resolve_store
from penstock.options import describe, resolve
from penstock.urls import parse_object
from penstock_s3.plugin import CAPABILITIES, S3Options, parse, penstock_store_types
from penstock_s3.wire import base_uri

ARN = "arn:aws:s3:us-west-2:123456789012:accesspoint"
OUTPOST = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYMARKER"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def read(uri):
    address = parse(parse_object(uri))
    assert address.options["bucket"] == address.bucket
    # Messages of the store name keys as the URI did.
    assert base_uri(S3Options(**address.options)) == address.base
    return address.base, address.bucket, address.key, address.options.get("endpoint")


@pytest.mark.parametrize(
    ("uri", "base", "bucket", "key", "endpoint"),
    [
        ("s3://bucket/key", "s3://bucket/", "bucket", "key", None),
        ("s3://bucket", "s3://bucket/", "bucket", "", None),
        ("s3://bucket/", "s3://bucket/", "bucket", "", None),
        ("s3://2024-data/a/b", "s3://2024-data/", "2024-data", "a/b", None),
        ("s3://minio-backups/a", "s3://minio-backups/", "minio-backups", "a", None),
        ("s3://my.dotted.bucket/a", "s3://my.dotted.bucket/", "my.dotted.bucket", "a", None),
        ("s3://localhost/a", "s3://localhost/", "localhost", "a", None),
        ("s3://127.0.0.1/a", "s3://127.0.0.1/", "127.0.0.1", "a", None),
        ("s3://Old_Bucket/a", "s3://Old_Bucket/", "Old_Bucket", "a", None),
        ("s3://base--use1-az4--x-s3/a", "s3://base--use1-az4--x-s3/", "base--use1-az4--x-s3", "a", None),
        ("s3://b/a%2Fb?c#d//e/../f", "s3://b/", "b", "a%2Fb?c#d//e/../f", None),
        ("s3://b//a", "s3://b/", "b", "/a", None),
        ("s3://", "s3://", "", "", None),
        ("s3://h:9000/b/k", "s3://h:9000/b/", "b", "k", "http://h:9000"),
        ("s3://h:443/b/k", "s3://h:443/b/", "b", "k", "https://h:443"),
        ("s3://127.0.0.1:9000/b//k", "s3://127.0.0.1:9000/b/", "b", "/k", "http://127.0.0.1:9000"),
        ("s3://[::1]:9000/b/k", "s3://[::1]:9000/b/", "b", "k", "http://[::1]:9000"),
        ("s3://h:9000", "s3://h:9000/", "", "", "http://h:9000"),
        ("s3://h:9000/", "s3://h:9000/", "", "", "http://h:9000"),
        ("s3+http://h/b/k", "s3+http://h/b/", "b", "k", "http://h"),
        ("s3+http://h:443/b/k", "s3+http://h:443/b/", "b", "k", "http://h:443"),
        ("s3+https://s3.example.com/b/k/", "s3+https://s3.example.com/b/", "b", "k/", "https://s3.example.com"),
        ("s3+https://[fd00::1]/b", "s3+https://[fd00::1]/b/", "b", "", "https://[fd00::1]"),
        ("s3+http://h:9000/b:1", None, None, None, None),
        (f"s3://{ARN}/ap/a/b", f"s3://{ARN}/ap/", f"{ARN}/ap", "a/b", None),
        (f"s3://{ARN}:ap/a/b", f"s3://{ARN}:ap/", f"{ARN}:ap", "a/b", None),
        (f"s3://{ARN}/ap", f"s3://{ARN}/ap/", f"{ARN}/ap", "", None),
        (f"s3://{OUTPOST}/ap/k", f"s3://{OUTPOST}/ap/", f"{OUTPOST}/ap", "k", None),
        (f"s3+http://h:1/{ARN}/ap/k", f"s3+http://h:1/{ARN}/ap/", f"{ARN}/ap", "k", "http://h:1"),
    ],
)
def test_uris_are_read(uri, base, bucket, key, endpoint):
    if base is None:
        with pytest.raises(InvalidURIError):
            read(uri)
    else:
        assert read(uri) == (base, bucket, key, endpoint)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3:///key", "no bucket"),
        ("s3+http://h//key", "no bucket"),
        ("s3+http:///b/k", "no host"),
        ("s3://h:99999/b/k", "65535"),
        ("s3://h:0/b/k", "65535"),
        ("s3://bück/k", "no name of a bucket"),
        ("s3://-b/k", "no name of a bucket"),
        ("s3://b?region=x/k", "no name of a bucket"),
        ("s3://arn:aws:s3:::bucket/k", "access points"),
        (f"s3://{ARN}/a_p/k", "access points"),
        (f"s3://key:{SECRET}@bucket/k", "access_key_id"),
        (f"s3+http://key:{SECRET}@host:9000/bucket/k", "access_key_id"),
    ],
)
def test_what_is_no_uri_says_what_to_write(uri, says):
    with pytest.raises(InvalidURIError, match=says) as caught:
        read(uri)
    assert SECRET not in str(caught.value)


@given(
    st.from_regex(r"\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z"),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    st.sampled_from(["s3://", "s3+http://h:9000/", "s3+https://[::1]/", "s3://10.0.0.1:9000/"]),
)
def test_the_first_segment_is_the_bucket_and_the_rest_the_key(bucket, key, front):
    base, found, rest, _ = read(f"{front}{bucket}/{key}")
    assert (base, found, rest) == (f"{front}{bucket}/", bucket, key)
    assert base + rest == f"{front}{bucket}/{key}"


def test_uris_of_different_endpoints_are_different_stores():
    uris = ["s3://b/k", "s3://h:9000/b/k", "s3://h:9001/b/k", "s3+https://h:9000/b/k", "s3://c/k"]
    targets = [resolve_object(uri) for uri in uris]
    assert len({target.resolved.options for target in targets}) == len(uris)
    assert len({target.address.base for target in targets}) == len(uris)


def test_a_store_without_a_bucket_is_refused():
    for uri in ("s3://", "s3+http://h:1/"):
        with pytest.raises(InvalidURIError, match="names no bucket; write s3://bucket/"):
            resolve_store(uri).open()


def test_options_come_from_the_uri_and_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://general:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    options = resolve_store("s3://b?checksum=crc32c&connect_timeout=3s").resolved.options
    assert (options.endpoint, options.region) == ("http://general:1", "eu-west-1")
    assert (options.checksum, options.connect_timeout) == ("crc32c", 3.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://special:1")
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    options = resolve_store("s3://b").resolved.options
    assert (options.endpoint, options.region) == ("http://special:1", "eu-west-2")
    assert resolve_store("s3+http://h:9/b").resolved.options.endpoint == "http://h:9"
    assert resolve_store("s3://b", options={"endpoint": "https://given"}).resolved.options.endpoint == "https://given"


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"access_key_id": "a"}, "go together"),
        ({"secret_access_key": SECRET}, "go together"),
        ({"session_token": SECRET}, "belongs to"),
        ({"anonymous": True, "access_key_id": "a", "secret_access_key": SECRET}, "anonymous"),
        ({"anonymous": True, "request_payer": True}, "anonymous"),
        ({"checksum_location": "trailer"}, "needs a checksum"),
        ({"part_concurrency": 0}, "part_concurrency"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"read_timeout": 0}, "read_timeout"),
        ({"operation_timeout": 0}, "operation_timeout"),
        ({"endpoint": "localhost:9000"}, "endpoint"),
        ({"endpoint": f"http://user:{SECRET}@localhost"}, "endpoint"),
        ({"addressing": "dns"}, "path, virtual"),
        ({"checksum": "md5"}, "crc64nvme"),
    ],
)
def test_options_that_make_no_sense_are_refused(given_, says):
    with pytest.raises(UsageError, match=says) as caught:
        resolve(S3Options, explicit=given_, uri={"bucket": "b"}, scheme="s3")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["secret_access_key", "session_token", "access_key_id", "proxy", "bucket"])
def test_secrets_stand_in_no_uri(name):
    with pytest.raises(UsageError, match="can't stand in a URI"):
        resolve_store(f"s3://b?{name}={SECRET}")


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(UnknownOptionError, match="did you mean endpoint"):
        resolve_store("s3://b?endpint=http://h")


def test_options_pickle_and_show_no_secret():
    options = S3Options(bucket="b", access_key_id="a", secret_access_key=SECRET, session_token=SECRET)
    assert pickle.loads(pickle.dumps(options)) == options
    assert SECRET not in repr(options)


def test_show_prints_the_options_with_their_origins():
    env = {"AWS_REGION": "eu-north-1", "AWS_SECRET_ACCESS_KEY": SECRET}
    shown = CliRunner().invoke(main, ["plugins", "show", "s3"], env=env)
    assert shown.exit_code == 0, shown.output
    for name in ("endpoint", "region", "checksum_location", "part_concurrency", "$AWS_REGION", "eu-north-1"):
        assert name in shown.output
    assert SECRET not in shown.output


def test_each_scheme_is_an_entry():
    (kind,) = penstock_store_types()
    assert kind.schemes == ("s3", "s3+http", "s3+https")
    assert kind.capabilities == CAPABILITIES
    for scheme in kind.schemes:
        assert resolve_object(f"{scheme}://host/bucket/key").kind.schemes == kind.schemes


def test_describing_the_plugin_imports_no_sdk():
    script = "import sys, penstock_s3.plugin; print(*(n for n in ('boto3', 'botocore', 'awscrt') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_the_readme_tells_of_every_option_and_its_default():
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    rows = [line.split(" | ") for line in readme.splitlines() if line.startswith("| `")]
    told = {name.strip("`| "): row[1].strip("` ") for row in rows for name in row[0].split(", ")}
    for field in describe(S3Options):
        if field.name not in ("bucket", "root"):
            assert told.get(field.name) == field.default, field.name
        for variable in field.env:
            assert variable in readme


def test_the_readmes_pool_runs():
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (code,) = [
        found for found in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "ThreadPoolExecutor" in found
    ]
    for name, data in (("a", b"12"), ("b", b"345")):
        penstock.put(f"mem://readme/{name}", data)
    names: dict[str, object] = {}
    exec(code.replace("s3://my-bucket/data/", "mem://readme/"), names)
    assert names["total"] == 5
