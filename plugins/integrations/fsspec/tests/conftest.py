"""File systems to try things on: in memory, on files, and on a server that speaks S3."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import fsspec
import pytest

#: Where the S3 backend's tests keep the servers that they start.
sys.path.insert(0, str(Path(__file__).parents[3] / "s3" / "tests"))

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    from s3_servers import SERVERS, client_of

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        with SERVERS["moto"](tmp_path_factory.mktemp("moto")) as server:
            client_of(server).create_bucket(Bucket="tests")
            yield server


@pytest.fixture
def s3_options(s3_server):
    """Options of a store, or ``storage_options``, for the server."""
    return {
        "endpoint": s3_server.endpoint,
        "access_key_id": s3_server.access_key,
        "secret_access_key": s3_server.secret_key,
        "region": s3_server.region,
    }


class Base:
    """A place of one test: its file system, the path below which it may write, and what leads others to it."""

    def __init__(self, protocol: str, path: str, options: dict[str, object] | None = None) -> None:
        self.options = options or {}
        self.fs = fsspec.filesystem(protocol, **self.options)
        self.path = path
        self.uri = f"{protocol}://{path}"


@pytest.fixture
def mem():
    return Base("penstock+mem", f"test-fsspec-{next(_numbers)}/base")


@pytest.fixture
def files(tmp_path):
    return Base("penstock+file", str(tmp_path / "base"))


@pytest.fixture
def s3(s3_options):
    return Base("penstock+s3", f"tests/base-{next(_numbers)}", s3_options)


@pytest.fixture(params=["mem", "files"])
def base(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["mem", "files", "s3"])
def every_base(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def requests(monkeypatch):
    """The reads that stores in memory have answered: ``(key, start, length)`` each."""
    from penstock.memory import MemoryStore

    seen: list[tuple[str, int, int | None]] = []
    plain = MemoryStore.get

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        seen.append((key, start, length))
        return plain(self, key, sink, start=start, length=length, if_match=if_match)

    monkeypatch.setattr(MemoryStore, "get", get)
    return seen
