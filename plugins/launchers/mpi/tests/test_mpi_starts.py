"""Starts of the launcher: which hosts there are, several sessions of one job, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

HERE = socket.gethostname()


def test_starts_of_one_job(run_job, program, tmp_path):
    """One after the other, as find and autotune make them; those that are refused leave the ranks ready."""
    missing = str(tmp_path / "absent")
    starts = [
        {"per": "rank"},
        {"per": "rank", "scratch": missing},
        {"per": "rank", "workers": 9},
        {"per": "rank", "workers": 1},
        {},
        {"controller": "apart"},
        {"scratch": missing},
    ]
    done = run_job(3, *program("starts"), *map(json.dumps, starts))
    assert (done.returncode, done.stderr) == (0, "")
    each, no_scratch, many, one, nodes, apart, nowhere = json.loads(done.stdout)
    assert each["hosts"] == [f"{HERE}:1", f"{HERE}:2"]
    assert each["ranks"] == each["echo"] == [0, 1]
    assert each["channel"] == "local"
    for host in (1, 2):
        assert f"{HERE}:{host} could not start" in no_scratch["error"]
    assert missing in no_scratch["error"]
    assert missing in nowhere["error"]
    assert "9 hosts are asked for, and the job has 2" in many["error"]
    assert one["hosts"] == [f"{HERE}:1"]
    assert nodes["hosts"] == [HERE]
    assert nodes["cpus"] == [sorted(os.sched_getaffinity(0))]
    assert "leaves no host" in apart["error"]


def test_a_rank_of_another_version_is_refused(run_job, program, job_environment):
    job_environment["PENSTOCK_TEST_OTHERS"] = "2:old"
    done = run_job(3, *program("starts"), "{}")
    assert done.returncode == 0
    (told,) = json.loads(done.stdout)
    assert f"rank 2 on {HERE} has 0.0.9" in told["error"]
    assert "install the same version everywhere" in told["error"]


def test_a_rank_that_runs_something_else_is_missed(run_job, program, job_environment):
    job_environment["PENSTOCK_TEST_OTHERS"] = "1:mute"
    done = run_job(3, *program("starts"), '{"timeout": 1}')
    (told,) = json.loads(done.stdout)
    assert told["error"].startswith("rank 1 did not report within 1 s: every rank has to run the same penstock command")
    assert told["seconds"] < 30


def test_a_process_alone_is_told_to_use_mpirun(job_environment):
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "run", "absent.yaml", "--launcher", "mpi"],
        env=job_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "begin the command with mpirun -n 4" in done.stderr
