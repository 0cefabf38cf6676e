# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "trustme", "google-cloud-storage", "google-crc32c", "obstore"]
# ///
"""Google Cloud Storage: whole objects from and to nginx on the loopback: ``nox -s bench -- gcs [--quick]``.

google-cloud-storage and penstock speak the JSON API, obstore the XML one. Nobody signs anything; obstore wants a
token, which it sends. What is downloaded
comes with its CRC-32C, which the rows named so check. s3dlio's wheel has no Cloud Storage.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from remote import KIB, MIB, Call, Case, Peer, Place, content, fill, grid, main
from rows import Floor, obstore_options, obstore_rows, penstock_rows, run_rows
from servers import nginx

BUCKET = "bucket"
SIZES = (4 * KIB, 64 * KIB, MIB, 8 * MIB)
CASES = [*grid(SIZES, (8, 1, 64)), *grid((256 * MIB,), (1,), kinds=("get",)), *grid(SIZES, (8,), tls=True)]
QUICK = grid((4 * KIB, 8 * MIB), (8,))


@contextmanager
def server() -> Iterator[Callable[[Sequence[Case], bool], Place]]:
    import google_crc32c

    sums = {size: b64encode(google_crc32c.Checksum(content(size)).digest()).decode() for size in (*SIZES, 256 * MIB)}
    with nginx(crc32c=sums) as web:

        def place(cases: Sequence[Case], tls: bool) -> Place:
            fill(web.root / BUCKET, cases)
            url = web.tls_url if tls else web.url
            options = {"anonymous": "true", "verify": "false"}
            return Place(url=url, uri=f"gs://{BUCKET}", ca=str(web.ca), options=options, root=str(web.root / BUCKET))

        yield place


def environ(place: Place) -> Mapping[str, str]:
    return {
        "STORAGE_EMULATOR_HOST": place.url,
        "GCS_ENDPOINT_URL": place.url,
        "REQUESTS_CA_BUNDLE": place.ca,
        "SSL_CERT_FILE": place.ca,
        "GOOGLE_CLOUD_PROJECT": "bench",
    }


def head(case: Case, place: Place) -> bytes:
    """The least that a get or an upload of the JSON API needs."""
    host, name = place.url.partition("://")[2], case.names[0].replace("/", "%2F")
    if case.kind == "get":
        target, length = f"/download/storage/v1/b/{BUCKET}/o/{name}?alt=media", ""
    else:
        target = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
        length = f"Content-Type: application/octet-stream\r\nContent-Length: {case.size}\r\n"
    method = "GET" if case.kind == "get" else "POST"
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode()


def _google(case: Case, place: Place, checksum: str | None) -> Callable[[], Call]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    client = storage.Client(
        project="bench", credentials=AnonymousCredentials(), client_options={"api_endpoint": place.url}
    )
    adapter = HTTPAdapter(pool_connections=case.lanes, pool_maxsize=case.lanes)
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    bucket, names, data = client.bucket(BUCKET), case.names, os.urandom(case.size)

    def get(number: int) -> int:
        return len(bucket.blob(names[number]).download_as_bytes(raw_download=True, checksum=checksum))

    def put(number: int) -> int:
        bucket.blob(names[number]).upload_from_string(data, "application/octet-stream", checksum=checksum)
        return case.size

    return lambda: put if case.kind == "put" else get


def google(case: Case, place: Place) -> Callable[[], Call]:
    return _google(case, place, None)


def google_crc(case: Case, place: Place) -> Callable[[], Call]:
    return _google(case, place, "crc32c")


def _obstore(place: Place) -> Any:
    from obstore.store import GCSStore

    return GCSStore(BUCKET, base_url=place.url, bearer_token="token", client_options=obstore_options(place))


ROWS = [
    Floor(head=head),
    *penstock_rows("crc32c", kinds=("get", "put")),
    *run_rows(),
    *obstore_rows(_obstore),
    Peer(name="google-cloud-storage", prepare=google, module="google.cloud.storage"),
    Peer(name="google-cloud-storage crc32c", prepare=google_crc, module="google.cloud.storage"),
]

if __name__ == "__main__":
    main("Cloud Storage on nginx", CASES, ROWS, quick=QUICK, server=server, environ=environ)
