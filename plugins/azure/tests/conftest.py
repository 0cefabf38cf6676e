"""The service that the tests speak to: Azurite, or the container that PENSTOCK_TEST_URL_AZURE names."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers import AZURITE, FAULTS, Server, azurite

_VARIABLES = (
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_BLOB_ENDPOINT_URL",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Server:
    """Azurite, for the session."""
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def container(server, monkeypatch) -> str:
    """The URI of a new, empty container on Azurite, which the environment leads to."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"test-{os.getpid()}-{next(_numbers)}"
    server.sdk().create_container(name)
    return f"az://{server.account}/{name}/"


def pytest_terminal_summary(terminalreporter):
    """What the emulator can't show is said, never skipped in silence."""
    if os.environ.get("PENSTOCK_TEST_URL_AZURE"):
        return
    terminalreporter.section(f"faults of Azurite {AZURITE}")
    for name, text in FAULTS.items():
        terminalreporter.write_line(f"{name}: {text}")
    if not FAULTS:
        terminalreporter.write_line("none")
