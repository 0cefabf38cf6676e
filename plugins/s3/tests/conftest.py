"""The servers of these tests, started when the first test wants one, and what each of them does wrong.

``PENSTOCK_TEST_URL_S3`` names a real bucket or a prefix in one, with boto3's own credentials; then the contract is
tested there, below a prefix of its own that is removed, instead of on the servers of this machine.
``PENSTOCK_TEST_S3_SERVER`` chooses one of those: ``seaweedfs``, ``moto`` or ``ceph`` (Debian's, not started unless
it is named).
"""

from __future__ import annotations

import itertools
import os
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from s3_faults import FAULTS, left_out
from s3_servers import SERVERS, Server, client_of

_prefixes = itertools.count()
_BUCKET = "penstock"


@pytest.fixture(scope="session", autouse=True)
def environment():
    """Nothing of the user's own configuration, and no question to a metadata service."""
    real = bool(os.environ.get("PENSTOCK_TEST_URL_S3"))
    with pytest.MonkeyPatch.context() as patch:
        if not real:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            patch.setenv("AWS_CONFIG_FILE", os.devnull)
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
        yield


def _server(name: str):
    @pytest.fixture(scope="session", name=name)
    def fixture(tmp_path_factory, environment):
        with SERVERS[name](tmp_path_factory.mktemp(name)) as server:
            client_of(server).create_bucket(Bucket=_BUCKET)
            _used.add(server.name)
            yield server

    return fixture


seaweedfs = _server("seaweedfs")
moto = _server("moto")
ceph = _server("ceph")


@pytest.fixture
def server(request) -> Server:
    """The server that the test's class names, SeaweedFS where none does."""
    found: Server = request.getfixturevalue(getattr(request.cls, "server_name", None) or "seaweedfs")
    return found


@pytest.fixture
def options(server) -> dict[str, object]:
    return {"access_key_id": server.access_key, "secret_access_key": server.secret_key, "region": server.region}


@pytest.fixture
def place(server) -> str:
    """A URI of the test's own, empty, on its server."""
    return f"{bucket_uri(server)}t{next(_prefixes)}-{uuid.uuid4().hex[:8]}/"


def bucket_uri(server: Server, bucket: str = _BUCKET) -> str:
    return f"s3+{server.endpoint}/{bucket}/"


_used: set[str] = set()
_NAMES = {"seaweedfs": "SeaweedFS", "moto": "moto", "ceph": "Ceph"}


def pytest_collection_modifyitems(config, items):
    """Leave out what a server can't show; the summary names it."""
    wrong = [item for item in items if left_out(_NAMES.get(getattr(item.cls, "server_name", ""), ""), item.name)]
    items[:] = [item for item in items if item not in wrong]
    config.hook.pytest_deselected(items=wrong)


def pytest_sessionfinish(session):
    """Where several processes run the tests, tell the one that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["used"] = sorted(_used)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _used.update(getattr(node, "workeroutput", {}).get("used", ()))


def pytest_terminal_summary(terminalreporter):
    """What the servers of this session do otherwise than S3, by name: none of it is hidden."""
    for server in sorted(_used & set(FAULTS)):
        terminalreporter.section(f"what {server} does otherwise than S3", sep="-")
        for name, fault in FAULTS[server].items():
            terminalreporter.write_line(f"  {name}: {fault.what}")
            if fault.instead:
                terminalreporter.write_line(f"    so: {fault.instead}")
            for test in fault.costs:
                terminalreporter.write_line(f"    left out: {test}")
