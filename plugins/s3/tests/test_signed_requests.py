"""Signed requests of every kind, judged by a server that checks signatures and checksums."""

from __future__ import annotations

import random
import sys
import threading
from contextlib import closing

import pytest

from penstock.http import HTTPClient
from penstock.opening import open_store
from penstock.sinks import Collect
from penstock_s3.checksums import checksum, header_name
from penstock_s3.plugin import S3Options
from penstock_s3.resolving import make_client, make_keys, make_session, make_settings, resolve, signs_payloads
from penstock_s3.signing import Signer, encode_key, encode_query

KEYS = ("plain/key", "a b+c%2F?#é~.bin", "x//y", "~", "=&;:@!$'()*,[]")
ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha256")


class Line:
    """A signer and a connection to the server's bucket."""

    def __init__(self, server, **more):
        options = S3Options(
            bucket="penstock",
            endpoint=server.endpoint,
            **{"access_key_id": server.access_key, "secret_access_key": server.secret_key} | more,
        )
        session = make_session(options)
        place = resolve(options, session)
        keys = make_keys(options, session, place, lambda: make_client(options, session))
        self.signer = Signer(place, keys, sign_payloads=signs_payloads(options, place))
        self.client = HTTPClient(place.origin, make_settings(options, session))
        self.close = self.client.close

    def send(self, method, key, *, body=None, **how):
        if body is not None:
            how |= {"length": len(body), "payload": self.signer.payload(body)}
        answer = self.client.send(self.signer.head(method, encode_key(key), **how), body)
        return answer.status, answer.read(1 << 24), answer

    def send_framed(self, key, body, trailer):
        answer = self.client.send(*self.signer.framed(b"PUT", encode_key(key), [body], trailer))
        return answer.status, answer.read()


@pytest.fixture(params=["signed", "unsigned"])
def line(request, seaweedfs):
    with closing(Line(seaweedfs, payload_signing=request.param)) as line:
        yield line


@pytest.mark.parametrize("key", KEYS)
def test_keys_and_headers(line, key):
    data = random.Random(1).randbytes(10_000)
    metadata = [(b"x-amz-meta-b", b"two  spaces"), (b"x-amz-meta-a", b"1")]
    assert line.send(b"PUT", key, body=data, headers=metadata, unsigned=b"content-type: text/x-t\r\n")[0] == 200
    status, found, answer = line.send(b"GET", key)
    assert (status, found) == (200, data)
    assert (answer.header("x-amz-meta-a"), answer.header("content-type")) == ("1", "text/x-t")
    assert line.send(b"GET", key, unsigned=b"range: bytes=10-19\r\n")[:2] == (206, data[10:20])
    query = encode_query([("prefix", key), ("list-type", "2"), ("encoding-type", "url")])
    status, found, _ = line.send(b"GET", "", query=query)
    assert (status, found.count(b"<Contents>")) == (200, 1)
    assert line.send(b"DELETE", key)[0] == 204
    assert line.send(b"GET", key)[0] == 404


@pytest.mark.parametrize("size", [0, 5, 2_500_000])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksums_in_the_head_and_behind_the_body(line, algorithm, size):
    data = random.Random(2).randbytes(size)
    value = checksum(algorithm, data).encode()
    pair = (header_name(algorithm), value)
    assert line.send(b"PUT", "head", body=data, headers=[pair])[0] == 200
    assert line.send_framed("behind", data, pair)[0] == 200
    for key in ("head", "behind"):
        status, found, answer = line.send(b"GET", key, headers=[(b"x-amz-checksum-mode", b"ENABLED")])
        assert (status, found) == (200, data)
        assert answer.header(pair[0].decode()) == value.decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_is_refused(line, algorithm):
    wrong = (header_name(algorithm), checksum(algorithm, b"other").encode())
    assert line.send(b"PUT", "wrong", body=b"data", headers=[wrong])[0] == 400
    status, said = line.send_framed("wrong", b"data", wrong)
    assert (status, b"SignatureDoesNotMatch" in said) == (400, False)
    assert line.send(b"GET", "wrong")[0] == 404


def test_a_wrong_secret_is_refused(seaweedfs):
    with closing(Line(seaweedfs, secret_access_key="other")) as line:
        for status, said, *_ in (line.send(b"GET", "k"), line.send_framed("k", b"d", (b"x-amz-checksum-crc32", b"x"))):
            assert (status, b"SignatureDoesNotMatch" in said) == (403, True)


def test_a_chunk_that_is_changed_behind_its_signature_is_refused(seaweedfs):
    trailer = (b"x-amz-checksum-crc32", checksum("crc32", b"evil").encode())
    with closing(Line(seaweedfs, payload_signing="signed")) as line:
        head, frames = line.signer.framed(b"PUT", b"changed", [b"data"], trailer)
        frames[1] = b"evil"
        answer = line.client.send(head, frames)
        assert answer.status >= 400  # SeaweedFS: 500
        answer.close()
        assert line.send(b"GET", "changed")[0] == 404


def test_a_store_goes_on_over_the_end_of_its_keys(seaweedfs, tmp_path, monkeypatch):
    runs, script = tmp_path / "runs", tmp_path / "process.py"
    script.write_text(
        "import datetime, json\n"
        f"open({str(runs)!r}, 'a').write('x')\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId={seaweedfs.access_key!r}, "
        f"SecretAccessKey={seaweedfs.secret_key!r}, Expiration=end.isoformat())))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[profile short]\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    failures, enough, data = [], threading.Event(), random.Random(3).randbytes(5000)

    def work(store):
        try:
            while not enough.is_set():
                sink = Collect()
                store.get("long", sink)
                assert sink.view() == data
                if len(runs.read_text()) >= 4:
                    enough.set()
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            failures.append(error)
            enough.set()

    with closing(open_store(f"s3+{seaweedfs.endpoint}/penstock/keys/", options={"profile": "short"})) as store:
        store.put("long", data)
        threads = [threading.Thread(target=work, args=(store,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        store.delete(["long"])
    assert failures == []
    # One by boto3 itself, for what its first answer gave it was so close to its end, and one for each renewal.
    assert len(runs.read_text()) in (4, 5)
