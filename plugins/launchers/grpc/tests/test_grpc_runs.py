"""A run on three hosts, with TLS, a token and a credential that is handed on, of which one is killed: what it comes
to, and where nothing secret may be.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest

_PATIENCE = 100
_WORKLOAD = """
name: three
target: {data}
duration: 3s
concurrency: 2
rate: {{ops_per_second: 300}}
prepare:
  ensure_objects:
    - {{path: objs/, count: 24, size: 4KiB}}
workload:
  - {{op: get, path: "objs/*"}}
distributed:
  forward_env: [AWS_SECRET_ACCESS_KEY]
"""


@attrs.frozen
class Done:
    """What is left of the run."""

    code: int
    output: str
    result: dict
    where: Path
    lost: str
    words: frozenset[str]
    marker: str
    processes: str


def _run(where, agents, environ, victim):
    command = [sys.executable, "-m", "penstock", "-vv", "run", "w.yaml", "--launcher", "grpc", "--op-log", "log.tsv"]
    command += ["--agents", ",".join(agent.address for agent in agents)]
    said, seen = [], set()
    with subprocess.Popen(
        command, cwd=where, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        guard = threading.Timer(_PATIENCE, process.kill)
        guard.start()
        for line in process.stdout:
            said.append(line)
            seen |= _command_lines()
            if " s  GET " in line and victim.process.poll() is None:
                victim.tell(signal.SIGKILL)
                victim.ended()
        process.wait()
        guard.cancel()
    return process.returncode, "".join(said), seen


def _command_lines():
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def done(lasting_agents, pki, token, token_file, tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    (where / "data").mkdir()
    (where / "scratch").mkdir()
    (where / "w.yaml").write_text(_WORKLOAD.format(data=where / "data"))
    way = ("--tls-cert", pki.cert, "--tls-key", pki.key, "--scratch", str(where / "scratch"))
    started = lasting_agents.start_all(3, *way, environ={"PENSTOCK_AGENT_TOKEN": token})
    marker = f"MARKER{secrets.token_hex(16)}"
    environ = {
        **os.environ,
        "AWS_SECRET_ACCESS_KEY": marker,
        "PENSTOCK_AGENT_TOKEN_FILE": token_file,
        "PENSTOCK_AGENT_TLS_CA": pki.ca,
    }
    code, output, seen = _run(where, started, environ, started[2])
    for agent in started[:2]:
        agent.tell()
        agent.ended()
    directories = list(where.glob("penstock-2*"))
    assert len(directories) == 1, output
    logs = "".join(agent.said() for agent in started)
    (where / "agents.log").write_text(logs)
    return Done(
        code=code,
        output=output,
        result=json.loads((directories[0] / "result.json").read_text()),
        where=where,
        lost=started[2].address,
        words=frozenset(word for line in seen for word in line.split()),
        marker=marker,
        processes="\n".join(seen),
    )


def test_a_host_that_is_lost_degrades_the_run(done):
    assert done.code == 1, done.output
    assert done.result["status"] == "degraded"
    lost = {worker["host"]: worker["lost"] for worker in done.result["workers"]}
    assert len(lost) == 3
    assert lost.pop(done.lost).startswith("the connection to its agent broke (")
    assert set(lost.values()) == {None}
    assert f"on {done.lost} was lost: the connection to its agent broke" in done.output


def test_what_the_others_measured_is_complete(done):
    counts = {worker["host"]: worker["operations"]["GET"] for worker in done.result["workers"]}
    total = done.result["operations"]["GET"]["count"]
    assert total == sum(each["count"] for each in counts.values())
    assert all(each["errors"] == 0 for each in counts.values())
    assert all(each["count"] > counts[done.lost]["count"] for host, each in counts.items() if host != done.lost)
    rows = (done.where / "log.tsv").read_text().splitlines()
    assert len([row for row in rows if "\tGET\t" in row]) >= total - counts[done.lost]["count"]


def test_no_secret_is_left_anywhere(done, token):
    secret = (token.encode(), done.marker.encode())
    files = [path for path in done.where.rglob("*") if path.is_file()]
    assert {"result.json", "report.html", "console.log", "agents.log", "log.tsv"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert not any(word in content for word in secret), path
    assert token not in done.output
    assert done.marker not in done.output


def test_no_secret_stands_in_a_process_list(done, token):
    assert any("penstock.engine" in word for word in done.words), "no worker was seen at all"
    assert token not in done.processes
    assert done.marker not in done.processes


def test_the_log_of_an_agent_tells_of_the_session(done):
    said = (done.where / "agents.log").read_text()
    assert said.count("session_begins") == 3
    assert said.count("protection='TLS and token'") == 3


def test_a_host_without_the_backend_is_refused_before_anything_is_done(agents, token_file, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "w.yaml").write_text(_WORKLOAD.format(data=tmp_path / "data").partition("distributed:")[0])
    good = agents.start("--token-file", token_file)
    bad = agents.start("--token-file", token_file, environ={"PENSTOCK_DISABLE_PLUGINS": "file"})
    command = [sys.executable, "-m", "penstock", "run", "w.yaml", "--launcher", "grpc", "--agents"]
    done = subprocess.run(
        [*command, f"{good.address},{bad.address}"],
        cwd=tmp_path,
        env={**os.environ, "PENSTOCK_AGENT_TOKEN_FILE": token_file},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.split()[1:2] == ["error"]]
    assert {line.split()[0] for line in errors} == {bad.address}
    assert "penstock-file" in done.stderr
    assert list((tmp_path / "data").iterdir()) == []
