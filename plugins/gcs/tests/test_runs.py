"""The command on this backend, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BUCKET = "penstock-test"

WORKLOAD = """
target: gs://penstock-test/run
duration: 3s
warmup: 500ms
concurrency: 64
processes: 2
workload:
  - {op: get, path: "small/*", weight: 60}
  - {op: get, path: "large/*", weight: 5}
  - {op: get, path: "large/*", range: {size: 64KiB, offset: random}, weight: 5}
  - {op: put, path: new/, size: 16KiB, weight: 15}
  - {op: put, path: streamed/, size: 1MiB, multipart: {part_size: 256KiB}, weight: 2}
  - {op: stat, path: "small/*", weight: 5}
  - {op: list, path: small/, weight: 1}
  - {op: delete, path: "new/*", weight: 3}
prepare:
  ensure_objects:
    - {path: small, count: 500, size: 4KiB}
    - {path: large, count: 8, size: 1MiB}
    - {path: new, count: 200, size: 16KiB}
cleanup: true
"""


@pytest.fixture
def penstock(tmp_path):
    def run(*arguments, stdin=""):
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=dict(os.environ), input=stdin, capture_output=True, text=True, timeout=100
        )

    return run


def test_a_workload_of_64_lanes_in_2_processes_has_no_error(server, penstock, tmp_path):
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    done = penstock("run", "workload.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = tmp_path.glob("penstock-*/result.json")
    totals = json.loads(Path(result).read_text())["totals"]
    assert totals["ALL"]["errors"] == 0
    assert totals["ALL"]["count"] > 500
    assert server.state.violations == []
    assert server.state.open_sessions() == []
    assert server.state.buckets[BUCKET].objects == {}


def test_tokens_that_expire_within_a_run_are_no_error(guarded, penstock, credentials, environment, tmp_path):
    guarded.identity.lifetime = 3
    account = guarded.identity.service_account(guarded.endpoint)
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials(account))
    workload = WORKLOAD.replace("penstock-test/run", "penstock-test/run?anonymous=false")
    (tmp_path / "workload.yaml").write_text(workload.replace("duration: 3s", "duration: 6s"))
    done = penstock("run", "workload.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = tmp_path.glob("penstock-*/result.json")
    assert json.loads(Path(result).read_text())["totals"]["ALL"]["errors"] == 0
    # Three processes, of which two run for longer than two tokens live.
    assert len(guarded.identity.issued) >= 5
    for path in [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.log"), *tmp_path.rglob("*.html")]:
        if path.name != "credentials.json":
            assert "ya29." not in path.read_text()


def test_buckets_from_the_command_line(server, penstock, environment):
    environment.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    assert penstock("mb", "gs://made-here").returncode == 0
    assert "gs://made-here/" in penstock("ls", "gs://").stdout
    health = penstock("health", "gs://made-here/")
    assert health.returncode == 0, health.stdout + health.stderr
    assert penstock("rb", "gs://made-here").returncode == 0
    refused = penstock("rb", "gs://made-here")
    assert (refused.returncode, "does not exist" in refused.stderr) == (1, True)


def test_objects_from_the_command_line(server, penstock):
    assert penstock("put", "-", f"gs://{BUCKET}/dir/a b?.txt", stdin="some text").returncode == 0
    listed = penstock("ls", f"gcs://{BUCKET}/dir/")
    assert f"gs://{BUCKET}/dir/a b?.txt" in listed.stdout, listed.stderr
    assert penstock("cat", f"gs://{BUCKET}/dir/a b?.txt").stdout == "some text"
    assert penstock("rm", f"gs://{BUCKET}/dir/a b?.txt").returncode == 0
    missing = penstock("cat", f"gs://{BUCKET}/dir/a b?.txt")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "No such object" in missing.stderr


def test_listing_plugins_imports_no_sdk(environment):
    code = (
        "import sys\nfrom penstock.opening import resolve_store\nresolve_store('gs://bkt')\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('google', 'requests')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
