"""Whole runs of the command under mpirun, and the loss of a host in mid-run."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

WORKLOAD = """
target: {target}
duration: {seconds}s
concurrency: 2
processes: 1
rate: {{ops_per_second: 400}}
op_log: true
workload:
  - {{op: get, path: o/*}}
prepare:
  ensure_objects:
    - {{path: o, count: 20, size: 1KiB}}
"""
#: More than a test takes, which loses in mid-run what it loses.
LONG = 60
MID_RUN = "  2.0 s  "


@pytest.fixture
def command(tmp_path, job_environment):
    """``penstock run`` of a workload of so many seconds, each rank but 0 a host."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "data").mkdir()
    job_environment |= {"PENSTOCK_MPI_PER": "rank", "PENSTOCK_MPI_SCRATCH": str(tmp_path / "scratch")}

    def make(seconds: int) -> list[str]:
        text = WORKLOAD.format(target=(tmp_path / "data").as_uri(), seconds=seconds)
        (tmp_path / "w.yaml").write_text(text)
        return [sys.executable, "-m", "penstock", "run", "w.yaml", "--launcher", "mpi", "--results-dir", "results"]

    return make


@pytest.fixture
def results(tmp_path):
    """The one result directory, and what its result.json says."""

    def read() -> tuple[Path, dict[str, object]]:
        (directory,) = (tmp_path / "results").iterdir()
        return directory, json.loads((directory / "result.json").read_text())

    return read


def ranks_of(job) -> dict[int, int]:
    """The process ids of a job's ranks, which are children of mpirun."""
    found = {}
    for pid in children(job.pid):
        for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = line.partition(b"=")
            if name == b"OMPI_COMM_WORLD_RANK":
                found[int(value)] = pid
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def wait_for(tmp_path):
    """Until the run has shown a text; the session's time-out is the limit."""

    def wait(job, text: str) -> None:
        pause = threading.Event()
        while not any(text in log.read_text() for log in tmp_path.glob("results/*/console.log")):
            assert job.poll() is None, f"it ended too early: {job.communicate()}"
            pause.wait(0.05)

    return wait


def states(tmp_path) -> list[Path]:
    """What hosts have left of their last state."""
    return sorted((tmp_path / "scratch").glob("*/host.json"))


@pytest.mark.slow
def test_one_result_of_all_ranks(run_job, command, results, tmp_path):
    done = run_job(4, *command(2))
    assert done.returncode == 0, done.stdout + done.stderr
    directory, result = results()
    assert done.stdout.count("report: ") == 1
    assert result["status"] == "done"
    workers = result["workers"]
    assert [worker["rank"] for worker in workers] == [0, 1, 2]
    assert len({worker["host"] for worker in workers}) == 3
    counts = [worker["operations"]["GET"]["count"] for worker in workers]
    assert sum(counts) == result["operations"]["GET"]["count"]
    assert min(counts) > 0
    assert all(worker["clock"]["uncertainty_us"] > 0 for worker in workers)
    assert (directory / "op-log.tsv.zst").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("who", [pytest.param("worker", marks=pytest.mark.slow), "rank"])
def test_the_others_go_on_when_one_is_lost(who, start, command, wait_for, results):
    """A worker is no MPI process, so its death is no matter of the library; that of a rank is one for ULFM."""
    job = start(4, *command(LONG), ulfm=who == "rank")
    wait_for(job, MID_RUN)
    ranks = ranks_of(job)
    (worker,) = children(ranks[2])
    os.kill(worker if who == "worker" else ranks[2], signal.SIGKILL)
    wait_for(job, "worker 1 on " + socket.gethostname() + ":2 was lost")
    os.kill(ranks[0], signal.SIGINT)
    _, errors = job.communicate(timeout=60)
    _, result = results()
    assert "Traceback" not in errors
    assert job.returncode in (1, 130)
    lost = {worker["rank"]: worker["lost"] for worker in result["workers"]}
    assert (lost[0], lost[2]) == (None, None)
    cause = {"worker": "killed by SIGKILL (the kernel may have been out of memory)", "rank": "its MPI process has died"}
    assert lost[1] == cause[who]
    assert all(worker["operations"]["GET"]["count"] for worker in result["workers"])


def test_without_ulfm_a_result_is_made_of_what_hosts_kept(start, command, wait_for, job_environment, tmp_path):
    job = start(4, *command(LONG))
    wait_for(job, MID_RUN)
    ranks = ranks_of(job)
    workers = [child for rank in (1, 2, 3) for child in children(ranks[rank])]
    os.kill(ranks[2], signal.SIGKILL)
    job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGKILL
    for worker in workers:
        wait_for_end(worker)
    assert len(states(tmp_path)) == 3
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "collect", "scratch", "-o", "collected"],
        env=job_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    result = json.loads((tmp_path / "collected" / "result.json").read_text())
    assert result["status"] == "degraded"
    assert [worker["rank"] for worker in result["workers"]] == [0, 1, 2]
    assert all(worker["operations"]["GET"]["count"] for worker in result["workers"])


@pytest.mark.slow
def test_hosts_end_with_their_controller(start, command, wait_for, tmp_path):
    job = start(4, *command(LONG), ulfm=True)
    wait_for(job, MID_RUN)
    ranks = ranks_of(job)
    workers = [child for rank in (1, 2, 3) for child in children(ranks[rank])]
    os.kill(ranks[0], signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1
    assert errors.count("the controller is gone: its MPI process has died") == 3
    for worker in workers:
        wait_for_end(worker)
    assert len(states(tmp_path)) == 3


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended; the session's time-out is the limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [])
    os.close(descriptor)
