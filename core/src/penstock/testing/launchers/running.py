"""Law 8: whole runs, by the command line."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from penstock import oplog
from penstock.stats.histogram import Histogram
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Stage
from penstock.testing.tools import broken

__all__ = ["RunLaws"]

_SAME = "law 8 (the hosts carry out the plan that one host would with as many processes)"
_MERGED = "law 8 (what is merged is what all measured)"
_LOST = "law 8 (a run that loses a worker says so, and has what the others measured)"
_ENDED = "law 8 (an interrupted run reports, and leaves nothing)"
_SECRET = "law 8 (no secret is shown or kept)"  # noqa: S105
_HOST = b"penstock.engine.host"
_FORWARDED = "AWS_SECRET_ACCESS_KEY"
_OPERATIONS = 1200
_POLL_S = 0.02
_PENSTOCK = (sys.executable, "-m", "penstock")
#: How long a run may take before it hangs, in seconds.
_RUN_S = 100.0

_PLAN = """
target: {target}
duration: 60s
total_operations: {operations}
concurrency: {lanes}
processes: {processes}
seed: 11
op_log: true
workload:
  - {{op: put, path: a/, size: {{type: uniform, min: 1, max: 5000}}, weight: 3}}
  - {{op: put, path: b/, size: 2KiB, weight: 1}}
"""
_LONG = """
target: {target}
duration: 60s
total_operations: {operations}
rate: {{ops_per_second: {rate}}}
concurrency: 2
processes: 1
live_interval: 200ms
workload: [{{op: put, path: a/, size: 1000}}]
distributed: {{forward_env: [{forwarded}]}}
"""


@attrs.frozen
class _Run:
    """A run of the command that goes on. ``marker`` is a secret that its hosts were given."""

    process: subprocess.Popen[str]
    directory: Path
    marker: str
    said: list[str]

    @classmethod
    def start(cls, directory: Path, text: str, command: Sequence[str], arguments: Sequence[str]) -> _Run:
        # What hosts of this machine keep, as one does that is lost, goes with the test's directory.
        temporary = directory.with_name(f"{directory.name}-tmp")
        for made in (directory, temporary):
            made.mkdir()
        (directory / "run.yaml").write_text(text)
        marker = f"kit{secrets.token_hex(12)}"
        process = subprocess.Popen(  # noqa: S603  (our own command)
            [*command, "run", "run.yaml", *arguments],
            cwd=directory,
            env={**os.environ, "TMPDIR": str(temporary), _FORWARDED: marker},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return cls(process, directory, marker, [])

    def wait_for_rows(self) -> None:
        """Wait until it says that something was measured."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if " p99 " in line:
                return
        pytest.fail(f"the run ended before anything was measured:\n{''.join(self.said)}")

    def finish(self) -> dict[str, Any]:
        """Its result, once it has ended."""
        try:
            out, _ = self.process.communicate(timeout=_RUN_S)
        finally:
            self.process.kill()
            self.process.wait()
        self.said.append(out)
        found = list(self.directory.glob("penstock-*/result.json"))
        if not found:
            pytest.fail(f"the run left no result (exit code {self.process.returncode}):\n{self.output}")
        result: dict[str, Any] = json.loads(found[0].read_text())
        return result

    @property
    def output(self) -> str:
        return "".join(self.said)

    @property
    def log(self) -> Path:
        """Its op-log."""
        return next(self.directory.glob("penstock-*/op-log*"))

    def hosts(self) -> list[int]:
        """Process ids of its hosts' workers: the parents of those who were given the secret."""
        given = [pid for pid in _processes() if self.marker in _read(pid, "environ")]
        parents = {int(pid) for each in given for pid in re.findall(r"^PPid:\t(\d+)", _read(each, "status"), re.M)}
        return sorted(pid for pid in parents if _HOST in _raw(pid, "cmdline"))

    def left(self) -> list[int]:
        """Whoever has the secret, but for the command."""
        return [pid for pid in _processes() if pid != self.process.pid and self.marker in _read(pid, "environ")]

    def shown(self) -> list[str]:
        """Where anybody on the machine can read the secret."""
        return [
            _read(pid, "cmdline").replace("\0", " ") for pid in _processes() if self.marker in _read(pid, "cmdline")
        ]

    def kept(self) -> list[str]:
        """Files of the run that hold the secret, and its output where it does."""
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        found = [str(path) for path in files if self.marker.encode() in _plain(path)]
        return found + (["its output"] if self.marker in self.output else [])


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _raw(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _read(pid: int, name: str) -> str:
    return _raw(pid, name).decode(errors="replace")


def _plain(path: Path) -> bytes:
    """What a file holds, decompressed."""
    if path.suffix != ".zst":
        return path.read_bytes()
    import zstandard

    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
        return bytes(stream.read())


class RunLaws(LauncherLaws):
    """Laws of ``penstock run`` on the launcher's hosts."""

    @pytest.fixture
    def target(self, tmp_path: Path) -> str:
        """Storage that all hosts reach; by default a directory, for which penstock has a backend of its own."""
        return str(tmp_path / "target")

    @pytest.fixture
    def arguments(self, options: Mapping[str, Any]) -> list[str]:
        """What makes the command use the launcher."""
        chosen = [part for name, value in options.items() for part in ("--launcher-option", f"{name}={value}")]
        return ["--launcher", self.name, "--workers", str(self.workers), *chosen]

    @pytest.fixture
    def command(self) -> list[str]:
        """What starts ``penstock``. Override it where another program has to start it, as mpirun does."""
        return list(_PENSTOCK)

    def interrupt(self, pid: int) -> None:
        """Do to the command what Ctrl-C does. Override it where another program has started it."""
        os.kill(pid, signal.SIGINT)

    def test_many_hosts_do_what_one_would(
        self, stage: Stage, target: str, command: list[str], arguments: list[str], tmp_path: Path
    ) -> None:
        stage.clear()
        one = _PLAN.format(target=f"{target}/one", operations=_OPERATIONS, lanes=self.workers, processes=self.workers)
        many = _PLAN.format(target=f"{target}/many", operations=_OPERATIONS, lanes=1, processes=1)
        runs = [
            _Run.start(tmp_path / "many", many, command, arguments),
            _Run.start(tmp_path / "one", one, _PENSTOCK, ()),
        ]
        results = [run.finish() for run in runs]
        for run, result in zip(runs, results, strict=True):
            assert run.process.returncode == 0, run.output
            self._require_merged(run, result)
        alone, together = ([_counts(each["operations"]) for each in result["workers"]] for result in reversed(results))
        if alone != together or _counts(results[0]["totals"]) != _counts(results[1]["totals"]):
            what = f"the hosts did {together}, the processes of one host {alone}"
            raise broken(_SAME, what, "hand on plans as they are, and to each rank its own")

    def _require_merged(self, run: _Run, result: Mapping[str, Any]) -> None:
        """Counts and percentiles are those of the rows of all."""
        with oplog.read(run.log) as rows:
            times = [row.end_ns - row.start_ns for row in rows]
        told = result["totals"]["ALL"]
        assert told["count"] == len(times) == _OPERATIONS, f"{_MERGED}: {told['count']} of {len(times)} rows"
        histogram = Histogram()
        histogram.record(times)
        for percent in (50, 90, 99):
            due = histogram.percentile(percent) / 1e3
            if abs(told["service_us"][f"p{percent}"] - due) > 0.002:
                what = f"p{percent} is {told['service_us'][f'p{percent}']} µs, of the op-log {due} µs"
                raise broken(_MERGED, what, "carry snapshots as they are, each once")

    def test_a_lost_worker(
        self, stage: Stage, target: str, command: list[str], arguments: list[str], tmp_path: Path
    ) -> None:
        stage.clear()
        text = _LONG.format(target=target, operations=_OPERATIONS, rate=_OPERATIONS // 3, forwarded=_FORWARDED)
        run = _Run.start(tmp_path / "run", text, command, arguments)
        try:
            run.wait_for_rows()
            hosts = run.hosts()
            assert len(hosts) == self.workers, f"{_LOST}: {len(hosts)} workers got the variable that is forwarded"
            shown = run.shown()
            os.kill(hosts[0], signal.SIGKILL)
        finally:
            result = run.finish()
        lost = [worker for worker in result["workers"] if worker["lost"]]
        said = f"exit code {run.process.returncode}, status {result['status']}, lost {lost}"
        if run.process.returncode != 1 or result["status"] != "degraded" or len(lost) != 1:
            raise broken(_LOST, f"{said}\n{run.output}", "raise WorkerLostError once a worker's process is gone")
        assert lost[0]["host"] in run.output, f"{_LOST}: nothing is said of {lost[0]['host']}"
        counts = [worker["operations"]["PUT"]["count"] for worker in result["workers"] if not worker["lost"]]
        assert counts == [_OPERATIONS // self.workers] * (self.workers - 1), f"{_LOST}: the others did {counts}"
        if where := shown + run.kept():
            raise broken(_SECRET, f"it is found in {where}", "pass what is forwarded in frames alone")

    def test_an_interrupt(
        self, stage: Stage, target: str, command: list[str], arguments: list[str], tmp_path: Path
    ) -> None:
        stage.clear()
        text = _LONG.format(target=target, operations=100_000, rate=200, forwarded=_FORWARDED)
        run = _Run.start(tmp_path / "run", text, command, arguments)
        try:
            run.wait_for_rows()
            self.interrupt(run.process.pid)
        finally:
            result = run.finish()
        said = (run.process.returncode, result["status"])
        assert said == (130, "interrupted"), f"{_ENDED}: {said}\n{run.output}"
        assert result["totals"]["ALL"]["count"] > 0, f"{_ENDED}: nothing was kept"
        for _ in range(round(self.grace / _POLL_S)):
            if not run.left():
                return
            threading.Event().wait(_POLL_S)
        raise broken(_ENDED, f"there are still processes {run.left()}", "end in stop() whatever start() began")


def _counts(operations: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {name: (each["count"], each["errors"], each["bytes"]) for name, each in operations.items()}
