"""What a file says to hosts in confidence is in nothing that a run prints or keeps."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from penstock.workload.config import dump, loads, restore
from penstock.workload.hiding import hide

MARKER = "marker-3f9a71"
FILE = f"""
target: file://HERE/data/
total_operations: 40
processes: 1
concurrency: 2
op_log: true
results_dir: HERE/results
prepare: {{ensure_objects: [{{count: 5, size: 10}}]}}
workload: [{{op: get, path: '*'}}]
launcher: {{name: local, hosts: 2}}
distributed: {{agents: [{{env: {{AWS_SECRET_ACCESS_KEY: {MARKER}}}}}, {{env: {{PENSTOCK_X: ok}}}}]}}
"""
S3 = f"""
target: s3://bucket/
workload: [{{op: get, path: '*'}}]
backend: {{s3: {{secret_access_key: {MARKER}, region: eu-west-1}}}}
"""


def test_secrets_are_hidden_in_texts_about_a_configuration():
    for text in (FILE.replace("HERE", "/x"), S3):
        config = loads(text, label="w.yaml", environ={})
        assert MARKER in json.dumps(dump(config))
        assert restore(dump(config)) == config
        assert MARKER not in json.dumps(dump(config, secrets=False))
        hidden = hide(config, text)
        assert MARKER not in hidden
        assert hidden == text.replace(MARKER, "(hidden)")
    assert "region: eu-west-1" in hide(loads(S3, label="w", environ={}), S3)


def test_a_short_value_is_no_secret_and_hides_nothing_else():
    config = loads(FILE.replace("HERE", "/x").replace(MARKER, "ok"), label="w.yaml", environ={})
    assert hide(config, "look at the ok book") == "look at the ok book"


@pytest.mark.parametrize("command", ["run", "preflight"])
def test_nothing_that_is_printed_or_kept_holds_a_secret(tmp_path, command):
    (tmp_path / "results").mkdir()
    (tmp_path / "w.yaml").write_text(FILE.replace("HERE", str(tmp_path)))
    override = f"distributed.agents[1].env.PENSTOCK_X={MARKER[::-1]}"
    line = [sys.executable, "-m", "penstock", command, str(tmp_path / "w.yaml"), "--set", override]
    done = subprocess.run(line, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "w.yaml"}
    for secret in (MARKER, MARKER[::-1]):
        told = [str(path) for path, data in kept.items() if secret.encode() in data]
        assert told == []
        assert secret.encode() not in done.stdout + done.stderr
    if command == "run":
        (config,) = (tmp_path / "results").glob("*/config.yaml")
        assert yaml.safe_load(config.read_text())["distributed"]["agents"][0]["env"] == {
            "AWS_SECRET_ACCESS_KEY": "(hidden)"
        }
        result = json.loads((config.parent / "result.json").read_text())
        assert "PENSTOCK_X=(hidden)" in result["command_line"]
