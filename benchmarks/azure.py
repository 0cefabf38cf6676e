# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "trustme", "azure-storage-blob", "obstore"]
# ///
"""Azure Blob Storage: whole objects from and to nginx on the loopback: ``nox -s bench -- azure [--quick]``.

All sign with the account's key, which nginx does not look at. Gets of azure-storage-blob ask for a range, for which
nginx takes a way around, so that its rates are lower than they could be; its CPU is not. s3dlio's wheel has no Azure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from remote import KIB, MIB, Call, Case, Peer, Place, fill, grid, main
from rows import Floor, obstore_options, obstore_rows, penstock_rows, run_rows
from servers import AZURE_ACCOUNT, AZURE_KEY, nginx

CONTAINER = "bench"
SIZES = (4 * KIB, 64 * KIB, MIB, 8 * MIB)
CASES = [*grid(SIZES, (8, 1, 64)), *grid(SIZES, (8,), tls=True)]
QUICK = grid((4 * KIB, 8 * MIB), (8,))


@contextmanager
def server() -> Iterator[Callable[[Sequence[Case], bool], Place]]:
    with nginx() as web:

        def place(cases: Sequence[Case], tls: bool) -> Place:
            root = web.root / AZURE_ACCOUNT / CONTAINER
            fill(root, cases)
            url = web.tls_url if tls else web.url
            return Place(url=url, uri=f"az://{AZURE_ACCOUNT}/{CONTAINER}", ca=str(web.ca), root=str(root))

        yield place


def environ(place: Place) -> Mapping[str, str]:
    return {"AZURE_STORAGE_ENDPOINT": place.url, "AZURE_STORAGE_KEY": AZURE_KEY, "REQUESTS_CA_BUNDLE": place.ca}


def head(case: Case, place: Place) -> bytes:
    """What a request signed with the account's key looks like."""
    body = f"Content-Length: {case.size}\r\nx-ms-blob-type: BlockBlob\r\n" if case.kind == "put" else ""
    return (
        f"{case.kind.upper()} /{AZURE_ACCOUNT}/{CONTAINER}/{case.names[0]} HTTP/1.1\r\n"
        f"Host: {place.url.partition('://')[2]}\r\n{body}x-ms-version: 2025-01-05\r\n"
        f"x-ms-date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        f"Authorization: SharedKey {AZURE_ACCOUNT}:{'0' * 43}=\r\n\r\n"
    ).encode()


def _sdk(url: str, lanes: int) -> Any:
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobServiceClient

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_connections=lanes, pool_maxsize=lanes))
    # In blocks of 4 KiB, its default, it reads six times slower.
    transport = RequestsTransport(session=session, session_owner=False, connection_data_block_size=MIB)
    return BlobServiceClient(url, credential=AZURE_KEY, transport=transport)


def azure_storage_blob(case: Case, place: Place) -> Callable[[], Call]:
    container = _sdk(f"{place.url}/{AZURE_ACCOUNT}", case.lanes).get_container_client(CONTAINER)
    names, data = case.names, os.urandom(case.size)

    def get(number: int) -> int:
        return len(container.download_blob(names[number]).readall())

    def put(number: int) -> int:
        container.upload_blob(names[number], data, overwrite=True)
        return case.size

    return lambda: put if case.kind == "put" else get


def _obstore(place: Place) -> Any:
    from obstore.store import AzureStore

    return AzureStore(
        CONTAINER,
        account_name=AZURE_ACCOUNT,
        account_key=AZURE_KEY,
        endpoint=f"{place.url}/{AZURE_ACCOUNT}",
        client_options=obstore_options(place),
    )


ROWS = [
    Floor(head=head),
    *penstock_rows(),
    *run_rows(),
    *obstore_rows(_obstore),
    Peer(name="azure-storage-blob", prepare=azure_storage_blob, module="azure.storage.blob"),
]

if __name__ == "__main__":
    main("Azure on nginx", CASES, ROWS, quick=QUICK, server=server, environ=environ)
