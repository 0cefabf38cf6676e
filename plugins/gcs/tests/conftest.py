"""The servers that the tests talk to. Their modules lie beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# pytest's importlib mode puts no directory of tests on the path; spawned processes inherit this one.
sys.path.insert(0, str(Path(__file__).parent))

from gcs_server import GCSServer

BUCKET = "penstock-test"


@pytest.fixture
def server(monkeypatch):
    """A service with one empty bucket, named by the environment."""
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    with GCSServer() as server:
        server.state.create_bucket(BUCKET)
        monkeypatch.setenv("GCS_ENDPOINT_URL", server.endpoint)
        yield server
