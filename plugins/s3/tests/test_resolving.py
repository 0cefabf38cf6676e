"""Where requests go: what boto3 itself would do with the same options and files, without a network."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from penstock.errors import UnsupportedOperationError, UsageError
from penstock.http import Origin
from penstock_s3.plugin import S3Options
from penstock_s3.resolving import make_client, make_session, make_settings, resolve, signs_payloads

ARN = "arn:aws:s3:us-west-2:123456789012:accesspoint"
OUTPOST = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/ap"
LAMBDA = "arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/ap"
KEYS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "secret"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # What the place is found by must not ask anybody for credentials.
    monkeypatch.setattr("botocore.credentials.CredentialResolver.load_credentials", _no_credentials)
    return tmp_path


def _no_credentials(self):
    raise AssertionError("credentials were sought")


def find(*, region_after_redirect=None, **options):
    options = S3Options(**options)
    return resolve(options, make_session(options), region=region_after_redirect)


@pytest.mark.parametrize(
    ("options", "origin", "prefix", "region"),
    [
        ({"bucket": "my-bucket"}, "https://my-bucket.s3.amazonaws.com", "/", "us-east-1"),
        (
            {"bucket": "2024-data", "region": "eu-west-1"},
            "https://2024-data.s3.eu-west-1.amazonaws.com",
            "/",
            "eu-west-1",
        ),
        (
            {"bucket": "my.dotted.bucket", "region": "eu-west-1"},
            "https://s3.eu-west-1.amazonaws.com",
            "/my.dotted.bucket/",
            "eu-west-1",
        ),
        ({"bucket": "Old_Bucket"}, "https://s3.amazonaws.com", "/Old_Bucket/", "us-east-1"),
        ({"bucket": "my-bucket", "addressing": "path"}, "https://s3.amazonaws.com", "/my-bucket/", "us-east-1"),
        (
            {"bucket": "my-bucket", "region": "cn-north-1"},
            "https://my-bucket.s3.cn-north-1.amazonaws.com.cn",
            "/",
            "cn-north-1",
        ),
        (
            {"bucket": "ap-1234567890abcdefghijkl-s3alias"},
            "https://ap-1234567890abcdefghijkl-s3alias.s3.amazonaws.com",
            "/",
            "us-east-1",
        ),
        (
            {"bucket": "my-bucket", "endpoint": "http://localhost:9000"},
            "http://localhost:9000",
            "/my-bucket/",
            "us-east-1",
        ),
        (
            {"bucket": "my-bucket", "endpoint": "http://h:9000", "addressing": "virtual"},
            "http://my-bucket.h:9000",
            "/",
            "us-east-1",
        ),
        ({"bucket": "my-bucket", "endpoint": "https://h", "region": "garage"}, "https://h", "/my-bucket/", "garage"),
        ({"bucket": "my-bucket", "endpoint": "https://h/base"}, "https://h", "/base/my-bucket/", "us-east-1"),
        ({"bucket": "my-bucket", "endpoint": "http://[::1]:9000"}, "http://[::1]:9000", "/my-bucket/", "us-east-1"),
        ({"bucket": "", "endpoint": "http://h:9000"}, "http://h:9000", "/", "us-east-1"),
        ({"bucket": "", "region": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com", "/", "eu-west-1"),
        ({"bucket": f"{ARN}/ap"}, "https://ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "/", "us-west-2"),
        (
            {"bucket": f"{ARN}:ap", "region": "eu-west-1"},
            "https://ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com",
            "/",
            "us-west-2",
        ),
    ],
)
def test_places(options, origin, prefix, region):
    place = find(**options)
    assert (place.origin, place.prefix.decode(), place.region) == (Origin.parse(origin), prefix, region)
    assert place.host.decode() == urlsplit(origin).netloc
    assert (place.service, place.express, place.bucket) == ("s3", False, options["bucket"])


def test_outposts_and_object_lambdas():
    place = find(bucket=OUTPOST)
    assert place.host == b"ap-123456789012.op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com"
    assert (place.service, place.region) == ("s3-outposts", "us-west-2")
    place = find(bucket=LAMBDA)
    assert place.host == b"ap-123456789012.s3-object-lambda.us-west-2.amazonaws.com"
    assert (place.service, place.region) == ("s3-object-lambda", "us-west-2")


def test_directory_buckets():
    place = find(bucket="b--use1-az4--x-s3")
    assert place.host == b"b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com"
    assert (place.prefix, place.region, place.service, place.express) == (b"/", "us-east-1", "s3express", True)


def test_directory_buckets_without_sessions(monkeypatch):
    monkeypatch.setenv("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH", "true")
    place = find(bucket="b--use1-az4--x-s3")
    assert (place.service, place.express) == ("s3express", False)


def test_multi_region_access_points_are_refused():
    with pytest.raises(UnsupportedOperationError, match="SigV4A"):
        find(bucket="arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap")


@pytest.mark.parametrize(
    ("config", "host"),
    [
        ("s3 =\n  use_accelerate_endpoint = true\n", "my-bucket.s3-accelerate.amazonaws.com"),
        ("use_dualstack_endpoint = true\nregion = eu-west-1\n", "my-bucket.s3.dualstack.eu-west-1.amazonaws.com"),
        ("use_fips_endpoint = true\nregion = us-west-2\n", "my-bucket.s3-fips.us-west-2.amazonaws.com"),
        ("s3 =\n  addressing_style = path\n", "s3.amazonaws.com"),
        ("endpoint_url = http://filed:9000\n", "filed:9000"),
        ("services = mine\n[services mine]\ns3 =\n  endpoint_url = http://served:9000\n", "served:9000"),
        ("region = ap-south-1\n", "my-bucket.s3.ap-south-1.amazonaws.com"),
    ],
)
def test_the_configuration_file_counts(home, config, host):
    (home / "config").write_text(f"[default]\n{config}")
    assert find(bucket="my-bucket").host.decode() == host


def test_a_profile_counts(home):
    (home / "config").write_text("[profile work]\nregion = eu-west-3\nca_bundle = /etc/work.pem\n")
    options = S3Options(bucket="my-bucket", profile="work")
    session = make_session(options)
    assert resolve(options, session).region == "eu-west-3"
    assert make_settings(options, session).ca_bundle == "/etc/work.pem"


def test_sessions_share_botocores_models_but_not_their_directories(home):
    (home / "config").write_text(f"[profile other]\ndata_path = {home}\n")
    one = make_session(S3Options(bucket="b"))._session.get_component("data_loader")
    paths = list(one.search_paths)
    assert all(make_session(S3Options(bucket="b"))._session.get_component("data_loader") is one for _ in range(3))
    other = make_session(S3Options(bucket="b", profile="other"))._session.get_component("data_loader")
    assert other is not one
    assert str(home) in other.search_paths
    assert one.search_paths == paths


def test_configured_endpoints_can_be_ignored(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://ignored:9000")
    options = {"bucket": "my-bucket", "endpoint": "http://ignored:9000"}
    assert find(**options).host == b"ignored:9000"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert find(**options).host == b"my-bucket.s3.amazonaws.com"
    assert find(bucket="my-bucket", endpoint="http://explicit:9000").host == b"explicit:9000"


def test_another_region_after_a_redirect():
    place = find(bucket="my-bucket", region="eu-west-1", region_after_redirect="ap-northeast-1")
    assert place.region == "ap-northeast-1"
    assert place.host == b"my-bucket.s3.ap-northeast-1.amazonaws.com"
    place = find(bucket="my-bucket", endpoint="http://h:9000", region_after_redirect="garage")
    assert (place.region, place.host) == ("garage", b"h:9000")


def test_what_boto3_refuses_is_a_usage_error(home):
    with pytest.raises(UsageError, match="no such"):
        find(bucket="b", region="no such")
    (home / "config").write_text("[default]\ns3 =\n  use_accelerate_endpoint = true\n")
    with pytest.raises(UsageError, match=r"[Aa]ccelerate"):
        find(bucket=f"{ARN}/ap")
    (home / "config").write_text("[default\n")
    with pytest.raises(UsageError, match="config"):
        find(bucket="b")


SEEN = [
    {"bucket": "my-bucket", "region": "eu-west-1"},
    {"bucket": "my.dotted.bucket"},
    {"bucket": "my-bucket", "endpoint": "http://localhost:9000"},
    {"bucket": "my-bucket", "endpoint": "https://h/base", "addressing": "virtual"},
    {"bucket": f"{ARN}/ap"},
    {"bucket": OUTPOST},
    {"bucket": LAMBDA},
    {"bucket": "", "endpoint": "http://h:9000"},
]


@pytest.mark.parametrize("options", SEEN)
def test_the_control_plane_goes_to_the_same_place(options):
    options = S3Options(**options, **KEYS)
    session = make_session(options)
    place = resolve(options, session)
    client, sent = make_client(options, session), []

    def refuse(request, **_):
        sent.append(request)
        return AWSResponse(request.url, 403, {}, _Raw())

    client.meta.events.register("before-send.s3", refuse)
    operation, arguments = (
        ("get_object", {"Bucket": options.bucket, "Key": "a/b"}) if options.bucket else ("list_buckets", {})
    )
    with pytest.raises(ClientError):
        getattr(client, operation)(**arguments)
    assert len(sent) == 1, "one attempt"
    url = urlsplit(sent[0].url)
    assert f"{url.scheme}://{url.netloc}" == str(place.origin)
    assert url.path == place.prefix.decode() + ("a/b" if options.bucket else "")
    scope = sent[0].headers["Authorization"].decode().partition("Credential=")[2].partition(",")[0].split("/")
    if place.service != "s3-outposts":  # signed by boto3 with its other kind, which names no region
        assert scope[2:4] == [place.region, place.service]


def test_the_control_plane_pays_too():
    options = S3Options(bucket="my-bucket", request_payer=True, **KEYS)
    client, sent = make_client(options, make_session(options)), []

    def refuse(request, **_):
        sent.append(request.headers)
        return AWSResponse(request.url, 403, {}, _Raw())

    client.meta.events.register("before-send.s3", refuse)
    with pytest.raises(ClientError):
        client.list_multipart_uploads(Bucket="my-bucket")
    assert sent[0]["x-amz-request-payer"] == b"requester"
    assert b"x-amz-request-payer" in sent[0]["Authorization"]


class _Raw:
    def stream(self, *_, **__):
        yield b""


def test_the_clients_settings_are_ours():
    options = S3Options(
        bucket="b",
        connect_timeout=1.5,
        read_timeout=2.5,
        operation_timeout=9.0,
        ca_bundle="/etc/ca.pem",
        proxy="http://p:1",
        **KEYS,
    )
    session = make_session(options)
    config = make_client(options, session).meta.config
    assert (config.connect_timeout, config.read_timeout) == (1.5, 2.5)
    assert config.retries["total_max_attempts"] == 1
    assert config.proxies == {"http": "http://p:1", "https": "http://p:1"}
    assert (config.request_checksum_calculation, config.response_checksum_validation) == ("when_required",) * 2
    settings = make_settings(options, session)
    assert (settings.connect_timeout, settings.read_timeout, settings.operation_timeout) == (1.5, 2.5, 9.0)
    assert (settings.ca_bundle, settings.proxy) == ("/etc/ca.pem", "http://p:1")


def test_no_proxy_is_none_at_all(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://wrong:1")
    options = S3Options(bucket="b", proxy="", **KEYS)
    session = make_session(options)
    assert make_client(options, session).meta.config.proxies == {}
    assert make_settings(options, session).proxy == ""


def test_an_anonymous_client_seeks_no_credentials():
    options = S3Options(bucket="my-bucket", anonymous=True)
    session = make_session(options)
    assert make_client(options, session).meta.config.signature_version is UNSIGNED
    assert resolve(options, session).host == b"my-bucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("signing", "endpoint", "expected"),
    [
        ("auto", "http://h", True),
        ("auto", "https://h", False),
        ("signed", "https://h", True),
        ("unsigned", "http://h", False),
    ],
)
def test_payloads_are_signed_where_nothing_else_protects_them(signing, endpoint, expected):
    options = S3Options(bucket="b", endpoint=endpoint, payload_signing=signing)
    assert signs_payloads(options, find(bucket="b", endpoint=endpoint)) is expected
