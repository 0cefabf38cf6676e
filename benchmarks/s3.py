# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "attrs", "trustme", "boto3", "s3dlio", "obstore", "s3torchconnectorclient", "minio", "awscrt", "s3fs>=2026",
#     "pyarrow",
# ]
# ///
"""S3: whole objects from and to nginx on the loopback: ``nox -s bench -- s3 [--quick]``.

Every get delivers the whole body to Python, every put sends bytes of the caller. Each client runs as its users would
run it at its best: its synchronous calls in threads, or tasks where that is its better side, with as many connections
as lanes, and with the payload hash and checksums off where it has such a switch (but for the rows named boto3 and
"penstock signed payload", which is its default without TLS).
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from remote import KIB, MIB, AsyncCall, Call, Case, Peer, Place, fill, grid, main
from rows import Floor, obstore_options, obstore_rows, penstock_rows, run_rows
from servers import nginx

BUCKET, REGION, KEY, SECRET = "bucket", "us-east-1", "AKIAIOSFODNN7EXAMPLE", "bench-secret"
SIZES = (4 * KIB, 64 * KIB, MIB, 8 * MIB)
CASES = [
    *grid(SIZES, (8, 1, 64)),
    *grid((256 * MIB,), (1,)),
    *grid(SIZES, (8,), tls=True),
    *grid((256 * MIB,), (1,), tls=True),
]
QUICK = [*grid((4 * KIB, 8 * MIB), (8,)), *grid((4 * KIB,), (8,), tls=True, kinds=("get",))]


@contextmanager
def server() -> Iterator[Callable[[Sequence[Case], bool], Place]]:
    with nginx() as web:

        def place(cases: Sequence[Case], tls: bool) -> Place:
            fill(web.root / BUCKET, cases)
            url = web.tls_url if tls else web.url
            uri, root = f"s3+{url}/{BUCKET}", str(web.root / BUCKET)
            return Place(url=url, uri=uri, ca=str(web.ca), options={"payload_signing": "unsigned"}, root=root)

        yield place


def environ(place: Place) -> Mapping[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": place.url,
        "AWS_CA_BUNDLE": place.ca,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # Trailing checksums would become a part of the object on a server that does not know them.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


def _host(place: Place) -> str:
    return place.url.partition("://")[2]


def head(case: Case, place: Place) -> bytes:
    """What a signed request of a lean client looks like."""
    length = f"Content-Length: {case.size}\r\n" if case.kind == "put" else ""
    return (
        f"{case.kind.upper()} /{BUCKET}/{case.names[0]} HTTP/1.1\r\nHost: {_host(place)}\r\n{length}"
        f"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: 20260101T000000Z\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={'0' * 64}\r\n\r\n"
    ).encode()


def boto3(case: Case, place: Place) -> Callable[[], Call]:
    """As it comes, but for the connections, of which it has 10."""
    for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
        os.environ.pop(name, None)
    return _boto3(case)


def boto3_tuned(case: Case, place: Place) -> Callable[[], Call]:
    return _boto3(case, s3={"payload_signing_enabled": False, "addressing_style": "path"})


def _boto3(case: Case, **options: Any) -> Callable[[], Call]:
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=case.lanes, **options))
    names, data = case.names, os.urandom(case.size)

    def get(number: int) -> int:
        return len(client.get_object(Bucket=BUCKET, Key=names[number])["Body"].read())

    def put(number: int) -> int:
        client.put_object(Bucket=BUCKET, Key=names[number], Body=data)
        return case.size

    return lambda: put if case.kind == "put" else get


def s3dlio(case: Case, place: Place) -> Callable[[], Call]:
    import s3dlio

    uris, data = [f"s3://{BUCKET}/{name}" for name in case.names], os.urandom(case.size)

    def put(number: int) -> int:
        s3dlio.put_bytes(uris[number], data)
        return case.size

    return lambda: put if case.kind == "put" else lambda number: len(s3dlio.get(uris[number]))


def s3dlio_into(case: Case, place: Place) -> Callable[[], AsyncCall]:
    import s3dlio

    uris = [f"s3://{BUCKET}/{name}" for name in case.names]

    def make() -> AsyncCall:
        buffer = bytearray(case.size)

        async def get(number: int) -> int:
            return await s3dlio.get_into_async(uris[number], buffer, expected_len=case.size)

        return get

    return make


def _obstore(place: Place) -> Any:
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        endpoint=place.url,
        region=REGION,
        access_key_id=KEY,
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
        unsigned_payload=True,
        client_options=obstore_options(place),
    )


def obstore_stream(case: Case, place: Place) -> Callable[[], Call]:
    """Its chunks as they come, not joined."""
    import obstore

    store, names = _obstore(place), case.names
    return lambda: lambda number: sum(len(chunk) for chunk in obstore.get(store, names[number]).stream())


def s3torchconnector(case: Case, place: Place) -> Callable[[], Call]:
    """The client beneath s3torchconnector, which is the same without torch."""
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

    client = MountpointS3Client(region=REGION, endpoint=place.url, force_path_style=True)
    names, data = case.names, os.urandom(case.size)

    def get(number: int) -> int:
        return len(b"".join(client.get_object(BUCKET, names[number])))

    def put(number: int) -> int:
        stream = client.put_object(BUCKET, names[number])
        stream.write(data)
        stream.close()
        return case.size

    return lambda: put if case.kind == "put" else get


def minio(case: Case, place: Place) -> Callable[[], Call]:
    import urllib3
    from minio import Minio

    pool = urllib3.PoolManager(maxsize=case.lanes, ca_certs=place.ca, cert_reqs="CERT_REQUIRED")
    client = Minio(
        _host(place),
        access_key=KEY,
        secret_key=SECRET,
        region=REGION,
        secure=place.url.startswith("https"),
        http_client=pool,
    )
    names, data = case.names, os.urandom(case.size)

    def get(number: int) -> int:
        answer = client.get_object(BUCKET, names[number])
        try:
            return len(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def put(number: int) -> int:
        client.put_object(BUCKET, names[number], io.BytesIO(data), case.size, part_size=max(case.size, 5 * MIB))
        return case.size

    return lambda: put if case.kind == "put" else get


def awscrt(case: Case, place: Place) -> Callable[[], Call]:
    from awscrt import auth, http
    from awscrt import io as crt_io
    from awscrt import s3 as crt

    group = crt_io.EventLoopGroup()
    bootstrap = crt_io.ClientBootstrap(group, crt_io.DefaultHostResolver(group))
    credentials = auth.AwsCredentialsProvider.new_static(KEY, SECRET)
    signing = crt.create_default_s3_signing_config(region=REGION, credential_provider=credentials)
    trust = crt_io.TlsContextOptions()
    trust.override_default_trust_store_from_path(None, place.ca)
    secure = place.url.startswith("https")
    client = crt.S3Client(
        bootstrap=bootstrap,
        region=REGION,
        signing_config=signing,
        tls_mode=crt.S3RequestTlsMode.ENABLED if secure else crt.S3RequestTlsMode.DISABLED,
        tls_connection_options=crt_io.ClientTlsContext(trust).new_connection_options() if secure else None,
        max_active_connections_override=case.lanes,
    )
    kind = crt.S3RequestType.PUT_OBJECT if case.kind == "put" else crt.S3RequestType.GET_OBJECT
    names, data = case.names, os.urandom(case.size)

    def make() -> Call:
        buffer, got = memoryview(bytearray(case.size)), 0

        def take(chunk: bytes, offset: int, **_: object) -> None:
            nonlocal got
            buffer[offset : offset + len(chunk)] = chunk
            got += len(chunk)

        def call(number: int) -> int:
            nonlocal got
            got = 0
            headers = http.HttpHeaders([("Host", _host(place))])
            if case.kind == "put":
                headers.add("Content-Length", str(case.size))
            request = http.HttpRequest(
                case.kind.upper(),
                f"/{BUCKET}/{names[number]}",
                headers,
                io.BytesIO(data) if case.kind == "put" else None,
            )
            on_body = take if case.kind == "get" else None
            client.make_request(type=kind, request=request, on_body=on_body).finished_future.result()
            return got if case.kind == "get" else case.size

        return call

    return make


def s3fs(case: Case, place: Place) -> Callable[[], AsyncCall]:
    from s3fs import S3FileSystem

    files = S3FileSystem(
        asynchronous=True,
        key=KEY,
        secret=SECRET,
        endpoint_url=place.url,
        client_kwargs={"region_name": REGION, "verify": place.ca},
        config_kwargs={"max_pool_connections": case.lanes, "s3": {"payload_signing_enabled": False}},
        loop=None,
        skip_instance_cache=True,
    )
    paths, data = [f"{BUCKET}/{name}" for name in case.names], os.urandom(case.size)
    opened = asyncio.Lock()

    async def get(number: int) -> int:
        async with opened:
            await files.set_session()
        return len(await files._cat_file(paths[number]))

    async def put(number: int) -> int:
        async with opened:
            await files.set_session()
        await files._pipe_file(paths[number], data)
        return case.size

    return lambda: put if case.kind == "put" else get


def pyarrow(case: Case, place: Place) -> Callable[[], Call]:
    import pyarrow
    from pyarrow.fs import S3FileSystem

    pyarrow.set_io_thread_count(max(8, case.lanes))
    scheme = place.url.partition("://")[0]
    files = S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        region=REGION,
        scheme=scheme,
        endpoint_override=_host(place),
        tls_ca_file_path=place.ca if scheme == "https" else None,
    )
    paths, data = [f"{BUCKET}/{name}" for name in case.names], os.urandom(case.size)

    def make() -> Call:
        buffer = bytearray(case.size)

        def get(number: int) -> int:
            with files.open_input_file(paths[number]) as file:
                return file.readinto(buffer)

        def put(number: int) -> int:
            with files.open_output_stream(paths[number]) as file:
                file.write(data)
            return case.size

        return put if case.kind == "put" else get

    return make


ROWS = [
    Floor(head=head),
    *penstock_rows("signed payload"),
    *run_rows(),
    *obstore_rows(_obstore),
    Peer(name="obstore stream", prepare=obstore_stream, module="obstore", kinds=("get",)),
    Peer(name="s3dlio", prepare=s3dlio, module="s3dlio"),
    Peer(name="s3dlio async into", prepare=s3dlio_into, module="s3dlio", kinds=("get",), asynchronous=True),
    Peer(name="s3torchconnector", prepare=s3torchconnector, module="s3torchconnectorclient", tls=False),
    Peer(name="awscrt", prepare=awscrt, module="awscrt"),
    Peer(name="minio", prepare=minio, module="minio"),
    Peer(name="pyarrow", prepare=pyarrow, module="pyarrow"),
    Peer(name="boto3", prepare=boto3, module="boto3"),
    Peer(name="boto3 tuned", prepare=boto3_tuned, module="boto3"),
    Peer(name="s3fs async", prepare=s3fs, module="s3fs", asynchronous=True),
]

if __name__ == "__main__":
    main("S3 on nginx", CASES, ROWS, quick=QUICK, server=server, environ=environ)
