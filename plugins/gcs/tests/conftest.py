"""The servers that the tests talk to. Their modules lie beside this file."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

# pytest's importlib mode puts no directory of tests on the path; spawned processes inherit this one.
sys.path.insert(0, str(Path(__file__).parent))

from gcs_identity import Identity
from gcs_server import GCSServer

from penstock.opening import open_store

BUCKET = "penstock-test"


VARIABLES = (
    "STORAGE_EMULATOR_HOST",
    "GCS_ENDPOINT_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "REQUESTS_CA_BUNDLE",
)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """No credentials of whoever runs the tests, and no metadata server."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    return monkeypatch


@pytest.fixture
def server(environment):
    """A service with one empty bucket, named by the environment."""
    with GCSServer() as server:
        server.state.create_bucket(BUCKET)
        environment.setenv("GCS_ENDPOINT_URL", server.endpoint)
        yield server


@pytest.fixture
def store(server):
    with closing(open_store(f"gs://{BUCKET}")) as store:
        yield store


@pytest.fixture
def guarded(environment):
    """The same, with tokens and permissions that are checked."""
    with GCSServer(identity=Identity()) as server:
        server.state.create_bucket(BUCKET)
        environment.setenv("GCS_ENDPOINT_URL", server.endpoint)
        # Of some credentials google-auth takes Google's own endpoints, whatever their file says.
        accounts = f"{server.endpoint}/v1/projects/-/serviceAccounts/{{}}:generateAccessToken"
        environment.setattr("google.auth.iam._IAM_ENDPOINT", accounts)
        environment.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.endpoint}/token")
        yield server


@pytest.fixture
def credentials(tmp_path):
    """Writes a file of credentials and gives its path."""

    def write(found):
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(found))
        return str(path)

    return write
