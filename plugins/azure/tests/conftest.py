"""The service that the tests speak to: Azurite, or the container that PENSTOCK_TEST_URL_AZURE names."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from azure_servers import AZURITE, FAULTS, VARIABLES, Server, azurite

from penstock.opening import open_store
from penstock.testing.proxy import FaultProxy

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Server:
    """Azurite, for the session."""
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def on_azurite(server, monkeypatch) -> Server:
    """The session's Azurite, which the environment leads to."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def container(on_azurite) -> str:
    """The URI of a new, empty container on Azurite."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    on_azurite.sdk().create_container(name)
    return f"az://{on_azurite.account}/{name}/"


@pytest.fixture
def store(container):
    """A store over a new container."""
    with closing(open_store(container, threads=8)) as store:
        yield store


@pytest.fixture
def proxy(server):
    """A proxy before Azurite, which sees every request."""
    with FaultProxy(urlsplit(server.endpoint).port) as proxy:
        yield proxy


@pytest.fixture
def watched(container, proxy):
    """A store over a new container, through the proxy."""
    with closing(open_store(container, options={"endpoint": f"http://127.0.0.1:{proxy.port}"})) as store:
        yield store


def pytest_terminal_summary(terminalreporter):
    """What the emulator can't show is said, never skipped in silence."""
    if os.environ.get("PENSTOCK_TEST_URL_AZURE"):
        return
    terminalreporter.section(f"faults of Azurite {AZURITE}")
    for name, text in FAULTS.items():
        terminalreporter.write_line(f"{name}: {text}")
