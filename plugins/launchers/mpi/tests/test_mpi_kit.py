"""The kit for launchers, with four hosts."""

from __future__ import annotations

import os
import signal
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from penstock.testing.launchers.running import RunLaws

HOSTS = 4


def test_the_kit_passes_on_rank_0(run_job, program, tmp_path):
    """The kit speaks to workers from one process, and that has to be rank 0 of a job."""
    report = tmp_path / "kit.xml"
    (kit,) = program("kit")[1:]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", kit]
    done = run_job(1, *pytest, ":", "-n", str(HOSTS), sys.executable, "-m", "penstock_mpi")
    assert done.returncode == 0, done.stdout + done.stderr
    suite = ElementTree.parse(report).getroot()[0]
    counts = {name: int(suite.get(name)) for name in ("errors", "failures", "skipped")}
    assert counts == {"errors": 0, "failures": 0, "skipped": 0}
    assert {case.get("classname").rpartition(".")[2] for case in suite.iter("testcase")} == {"TestMpi"}
    assert int(suite.get("tests")) >= 20


class TestRunsOverMpi(RunLaws):
    """The laws of whole runs: the command is what mpirun starts."""

    name = "mpi"

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls):
        return {"per": "rank"}

    @pytest.fixture
    def command(self, mpirun, job_environment, monkeypatch):
        for name, value in job_environment.items():
            monkeypatch.setenv(name, value)
        return [*mpirun, "-n", str(HOSTS + 1), sys.executable, "-m", "penstock"]

    def interrupt(self, pid):
        """Rank 0's process is told: what mpirun leaves its ranks on Ctrl-C is too short for a result."""
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"OMPI_COMM_WORLD_RANK=0" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                os.kill(int(child), signal.SIGINT)
