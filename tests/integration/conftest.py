"""Whole runs, by the command line, as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest


@attrs.frozen
class Finished:
    """A run that has ended."""

    code: int
    out: str
    err: str
    results: Path | None

    @property
    def result(self) -> dict[str, Any]:
        assert self.results is not None, self.err
        return json.loads((self.results / "result.json").read_text())


@attrs.define
class Running:
    """A run that goes on."""

    process: subprocess.Popen[str]
    directory: Path

    def workers(self) -> list[int]:
        """Process ids of its workers, by their command lines."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if "penstock.engine.worker" in _command(pid)]

    def wait_for_rows(self) -> None:
        """Wait until something was measured."""
        self.wait_for("ops/s")

    def wait_for(self, text: str) -> None:
        """Wait until the run has said this."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            logs = list(self.directory.glob("penstock-*/console.log"))
            if logs and text in logs[0].read_text():
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        raise AssertionError(f"{text!r} did not come within a minute")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self, seconds: float = 60) -> Finished:
        out, err = self.process.communicate(timeout=seconds)
        found = sorted(self.directory.glob("penstock-*"))
        return Finished(self.process.returncode, out, err, found[-1] if found else None)


class Penstock:
    """Runs the command in a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[str]] = []

    def write(self, text: str, name: str = "workload.yaml") -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.started.append(process)
        return Running(process, self.directory)

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Finished:
        return self.start(*arguments, env=env).finish(100)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture
def penstock(tmp_path):
    command = Penstock(tmp_path)
    yield command
    command.close()


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture
def small_tmpfs(tmp_path):
    """A file system of 4 MiB; the tests run as root."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def remount_read_only():
    def remount(path: Path) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)

    return remount
