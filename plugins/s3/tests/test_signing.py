"""Signatures: the same as botocore's for the same request, and the documentation's own examples."""

from __future__ import annotations

import hashlib
import hmac
import io
import threading
from datetime import UTC, datetime

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from botocore.utils import percent_encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidKeyError, UsageError
from penstock.http import Origin
from penstock_s3 import signing
from penstock_s3.credentials import Keys
from penstock_s3.resolving import Place
from penstock_s3.signing import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, Signer, encode_key, encode_query

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DOC_TIME = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp())


class Fixed:
    def __init__(self, keys=EXAMPLE):
        self.value = keys
        self.asked = 0

    def keys(self):
        self.asked += 1
        return self.value


def place(url="http://127.0.0.1:9000", prefix=b"/bucket/", region="us-east-1", service="s3", express=False):
    origin = Origin.parse(url)
    host = origin.authority.encode()
    return Place(origin=origin, host=host, prefix=prefix, region=region, service=service, express=express)


def signer(keys=EXAMPLE, *, sign_payloads=True, request_payer=False, **where):
    return Signer(place(**where), Fixed(keys), sign_payloads=sign_payloads, request_payer=request_payer)


class Clock:
    """The clock of both signers."""

    second = DOC_TIME

    def now_s(self):
        return self.second

    def datetime(self):
        return datetime.fromtimestamp(self.second, UTC)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(signing, "now_s", clock.now_s)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", clock.datetime)
    return clock


def parse(head: bytes):
    """Method, target and header fields of a head, which is checked to be one."""
    assert head.endswith(b"\r\n\r\n")
    first, *lines = head[:-4].decode().split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines)
    return method, target, fields


def signature(head: bytes) -> str:
    return parse(head)[2]["authorization"].rpartition("Signature=")[2]


def botocore_signs(head: bytes, keys: Keys, where: Place, body: bytes | None, signed_payload: bool) -> str:
    """The Authorization that botocore puts on the request of this head."""
    method, target, fields = parse(head)
    names = fields["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    own = {"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-s3session-token"}
    headers = {name: fields[name] for name in names if name not in own}
    request = AWSRequest(method=method, url=f"{where.origin}{target}", headers=headers, data=body)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": signed_payload})
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.token)
    if where.express:
        auth = botocore.auth.S3ExpressAuth(credentials, where.service, where.region, identity_cache=None)
    else:
        auth = botocore.auth.S3SigV4Auth(credentials, where.service, where.region)
    auth.add_auth(request)
    return request.headers["Authorization"]


keys_of_objects = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.text("abz09-._~/%+ ?#&=:@!$'()*,;[]\\\"<>^`{|}é\u4e2d\U0001f600\u0301\n\t", max_size=40),
    st.sampled_from(
        [".", "..", "a/../b", "./a", "//", "a//b", "/", "/a", "a/", "%2F", "%", "a%20b", "+", "~", "a\u00a0b"]
    ),
)
words = st.text("ABCXYZabcxyz0129/+=", min_size=1, max_size=40)
some_keys = st.builds(Keys, words, words, st.none() | words)
places = st.builds(
    place,
    url=st.sampled_from(
        ["http://127.0.0.1:9000", "https://s3.eu-west-1.amazonaws.com", "http://[::1]:80", "https://h:80"]
    ),
    prefix=st.sampled_from([b"/", b"/bucket/", b"/base/my.dotted.bucket/"]),
    region=st.sampled_from(["us-east-1", "eu-central-1", "garage", "minio-1"]),
    service=st.sampled_from(["s3", "s3-object-lambda"]),
)
query_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
queries = st.lists(st.tuples(query_words.filter(bool), query_words), max_size=5)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(
    str.strip
) | st.sampled_from(["two  spaces", "a\t b", "a , b"])
header_maps = st.dictionaries(
    st.from_regex(r"\Ax-amz-[a-z0-9-]{1,12}\Z").filter(lambda name: name not in ("x-amz-date", "x-amz-content-sha256"))
    | st.sampled_from(["content-type", "range", "if-none-match", "content-md5"]),
    header_values.filter(bool),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    key=keys_of_objects,
    query=queries,
    headers=header_maps,
    keys=some_keys,
    where=places,
    body=st.none() | st.binary(max_size=20),
    sign_payloads=st.booleans(),
    request_payer=st.booleans(),
)
def test_a_request_is_signed_as_botocore_signs_it(
    method, key, query, headers, keys, where, body, sign_payloads, request_payer
):
    one = Signer(where, Fixed(keys), sign_payloads=sign_payloads, request_payer=request_payer)
    head = one.head(
        method.encode(),
        encode_key(key),
        query=encode_query(query),
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        unsigned=b"if-match: x\r\n",
        length=None if body is None else len(body),
        payload=EMPTY_PAYLOAD if body is None else one.payload(body),
    )
    signed_payload = sign_payloads or body is None
    assert parse(head)[2]["authorization"] == botocore_signs(head, keys, where, body, signed_payload)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(key=keys_of_objects, keys=some_keys)
def test_a_directory_bucket_is_signed_as_botocore_signs_it(key, keys):
    keys = Keys(keys.access_key_id, keys.secret_access_key, keys.token or "token")
    where = place(
        "https://b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", b"/", service="s3express", express=True
    )
    head = Signer(where, Fixed(keys), sign_payloads=False).head(b"GET", encode_key(key))
    fields = parse(head)[2]
    assert fields["x-amz-s3session-token"] == keys.token
    assert "x-amz-security-token" not in fields
    assert fields["authorization"] == botocore_signs(head, keys, where, None, True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(keys_of_objects)
def test_keys_are_encoded_once_as_botocore_encodes_them(key):
    assert encode_key(key).decode() == percent_encode(key, safe="/~")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(queries)
def test_queries_are_canonical(query):
    request = AWSRequest(method="GET", url=f"http://h/?{encode_query(query).decode()}")
    canonical = botocore.auth.SigV4Auth(None, "s3", "r").canonical_query_string(request)
    assert encode_query(query).decode() == canonical


def test_a_key_without_utf8_is_refused():
    with pytest.raises(InvalidKeyError, match="UTF-8"):
        encode_key("a\ud800")


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\n", b"\0"])
def test_a_header_that_holds_a_lines_end_is_refused(value):
    for source in (Fixed(), None):
        one = Signer(place(), source, sign_payloads=False)
        with pytest.raises(UsageError, match="x-amz-meta-a"):
            one.head(b"PUT", b"k", headers=[(b"x-amz-meta-a", value)], length=0)


def test_a_header_given_twice_is_refused():
    with pytest.raises(UsageError, match="x-amz-meta-a twice"):
        signer().head(b"PUT", b"k", headers=[(b"x-amz-meta-a", b"1"), (b"x-amz-meta-a", b"2")], length=0)


def doc_signer():
    return signer(url="https://examplebucket.s3.amazonaws.com", prefix=b"/")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            {"method": b"GET", "key": b"test.txt", "headers": [(b"range", b"bytes=0-9")]},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            {"method": b"GET", "key": b"", "query": b"lifecycle="},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            {"method": b"GET", "key": b"", "query": encode_query([("prefix", "J"), ("max-keys", "2")])},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_documented_examples_come_out(request_, expected):
    request_ = dict(request_)
    assert signature(doc_signer().head(request_.pop("method"), request_.pop("key"), **request_)) == expected


def test_the_documented_trailer_comes_out():
    head, body = signer(url="https://s3.amazonaws.com", prefix=b"/examplebucket/").framed(
        b"PUT",
        b"chunkObject.txt",
        [b"a" * 65536, b"a" * 1024],
        (b"x-amz-checksum-crc32c", b"sOO8/Q=="),
        headers=[(b"x-amz-storage-class", b"REDUCED_REDUNDANCY")],
    )
    assert signature(head) == "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    sent = b"".join(body)
    assert sent == (
        b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
        + b"a" * 65536
        + b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
        + b"a" * 1024
        + b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
        b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
        b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    )
    fields = parse(head)[2]
    assert fields["content-length"] == str(len(sent))
    assert fields["x-amz-decoded-content-length"] == "66560"
    assert fields["content-encoding"] == "aws-chunked"


def hmac_chain(key: Keys, region: str, kind: str, last: str, *hashes: str) -> str:
    secret = f"AWS4{key.secret_access_key}".encode()
    for word in ("20130524", region, "s3", "aws4_request"):
        secret = hmac.new(secret, word.encode(), "sha256").digest()
    scope = f"20130524/{region}/s3/aws4_request"
    text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", "20130524T000000Z", scope, last, *hashes))
    return hmac.new(secret, text.encode(), "sha256").hexdigest()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.lists(st.binary(max_size=50), max_size=4), cut=st.integers(1, 20), keys=some_keys)
def test_chunks_are_signed_one_after_the_other(body, cut, keys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "_CHUNK", cut)
        head, frames = signer(keys).framed(b"PUT", b"k", body, (b"x-amz-checksum-crc32", b"AAAAAA=="))
    rest, last, data = b"".join(frames), signature(head), b""
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size, _, found = line.decode().partition(";chunk-signature=")
        chunk, rest = rest[: int(size, 16)], rest[int(size, 16) :]
        digest = hashlib.sha256(chunk).hexdigest()
        last = hmac_chain(keys, "us-east-1", "PAYLOAD", last, EMPTY_PAYLOAD.decode(), digest)
        assert found == last
        data += chunk
        if not chunk:
            break
        assert len(chunk) <= cut
        assert rest.startswith(b"\r\n")
        rest = rest[2:]
    assert data == b"".join(body)
    digest = hashlib.sha256(b"x-amz-checksum-crc32:AAAAAA==\n").hexdigest()
    last = hmac_chain(keys, "us-east-1", "TRAILER", last, digest)
    assert rest == b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:%b\r\n\r\n" % last.encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.lists(st.binary(max_size=50), max_size=4), cut=st.integers(1, 20), anonymous=st.booleans())
def test_an_unsigned_trailer_is_framed_as_botocore_frames_it(body, cut, anonymous):
    data = b"".join(body)
    trailer = (b"x-amz-checksum-crc32", Crc32Checksum().handle(data).encode())
    one = Signer(place("https://h"), None if anonymous else Fixed(), sign_payloads=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "_CHUNK", cut)
        head, frames = one.framed(b"PUT", b"k", [data], trailer)
    sent = b"".join(frames)
    wrapper = AwsChunkedWrapper(
        io.BytesIO(data), checksum_cls=Crc32Checksum, checksum_name=trailer[0].decode(), chunk_size=cut
    )
    assert sent == wrapper.read()
    fields = parse(head)[2]
    assert fields["content-length"] == str(len(sent))
    assert fields["x-amz-content-sha256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert ("authorization" in fields) is not anonymous
    if not anonymous:
        assert {"content-encoding", "x-amz-trailer", "x-amz-decoded-content-length"} <= set(
            fields["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        )


def test_framed_bodies_are_views():
    data = bytearray(3 * 1024 * 1024 + 5)
    _, frames = signer(sign_payloads=False).framed(b"PUT", b"k", [data], (b"x-amz-checksum-crc32", b"AAAAAA=="))
    views = [frame for frame in frames if isinstance(frame, memoryview)]
    assert [len(view) for view in views] == [1 << 20] * 3 + [5]
    assert all(view.obj is data for view in views)


def test_payloads_that_are_not_signed_are_not_hashed():
    assert signer(sign_payloads=False).payload(b"a") == UNSIGNED_PAYLOAD
    assert signer().payload() == EMPTY_PAYLOAD
    assert signer().payload(b"a", memoryview(b"bc")).decode() == hashlib.sha256(b"abc").hexdigest()


def test_anonymous_requests_carry_no_signature():
    head = Signer(place(), None, sign_payloads=True, request_payer=False).head(
        b"PUT",
        b"a%20b",
        query=b"partNumber=1",
        length=3,
        unsigned=b"content-type: t\r\n",
        headers=[(b"x-amz-meta-a", b"1")],
    )
    method, target, fields = parse(head)
    assert (method, target) == ("PUT", "/bucket/a%20b?partNumber=1")
    assert fields == {
        "host": "127.0.0.1:9000",
        "accept-encoding": "identity",
        "user-agent": "penstock-s3",
        "x-amz-meta-a": "1",
        "content-length": "3",
        "content-type": "t",
    }


def test_the_requester_pays_when_told():
    fields = parse(signer(request_payer=True).head(b"GET", b"k"))[2]
    assert fields["x-amz-request-payer"] == "requester"
    assert "x-amz-request-payer" in fields["authorization"]


def test_keys_are_asked_for_once_a_second_and_new_ones_used(clock):
    source = Fixed()
    one = Signer(place(), source, sign_payloads=False)
    heads = {one.head(b"GET", b"k") for _ in range(5)}
    assert (len(heads), source.asked) == (1, 1)
    source.value = Keys("NEW", "secret", "token")
    assert one.head(b"GET", b"k") in heads
    clock.second += 1
    fields = parse(one.head(b"GET", b"k"))[2]
    assert source.asked == 2
    assert fields["x-amz-date"] == "20130524T000001Z"
    assert fields["x-amz-security-token"] == "token"
    assert "Credential=NEW/20130524/" in fields["authorization"]
    clock.second += 86400
    assert "Credential=NEW/20130525/" in parse(one.head(b"GET", b"k"))[2]["authorization"]


def test_threads_sign_rightly_while_the_second_changes(clock, monkeypatch):
    ticks = iter(range(DOC_TIME * 7, DOC_TIME * 8))
    monkeypatch.setattr(signing, "now_s", lambda: next(ticks) // 7)
    one, found = signer(sign_payloads=False), []

    def work(number):
        found.extend([one.head(b"GET", b"k%d" % number) for _ in range(200)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1600
    for head in found[::10]:
        stamp = datetime.strptime(parse(head)[2]["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        clock.second = int(stamp.timestamp())
        assert parse(head)[2]["authorization"] == botocore_signs(head, EXAMPLE, place(), None, True)
