"""Runs on four hosts of a network that is hurt in mid-run. Each ends by itself within the test's time-out."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.oplog import read

pytestmark = pytest.mark.timeout(240)

#: What is hurt is hurt when the second interval is over, and is to be noticed within this many seconds.
HURT_AT = "  2.0 s  "
NOTICED = 10.0
SECONDS = 16


def others_are_whole(result, lost):
    """Every worker but the lost one measured to the end."""
    for worker in result["workers"]:
        if worker["rank"] != lost:
            assert worker["lost"] is None, worker
            assert worker["seconds"] == pytest.approx(SECONDS, abs=1)
            assert worker["operations"]["GET"]["count"] > SECONDS * 100 * 0.8


def is_degraded(run, result, lost):
    assert run.process.returncode == 1
    assert (result["status"], result["exit_code"]) == ("degraded", 1)
    (worker,) = [worker for worker in result["workers"] if worker["rank"] == lost]
    assert worker["lost"]
    assert worker["operations"]["GET"]["count"] > 0, "what it had measured is lost"
    report = (run.directory / "report.html").read_text()
    assert "egraded" in report
    assert worker["host"] in report
    others_are_whole(result, lost)


def test_clocks_that_differ(agents, start, figure):
    shifts = {0: 5.0, 1: -3.0, 2: 0.25, 3: 0.0}
    run = start(agents.start({number: f"{shift:+g}s" for number, shift in shifts.items()}), 5, op_log=True)
    result = run.end()
    assert (run.process.returncode, result["status"]) == (0, "done")
    skews = [abs(worker["clock"]["start_skew_us"]) / 1000 for worker in result["workers"]]
    errors = [abs(worker["clock"]["offset_us"] / 1000 - shifts[worker["rank"]] * 1000) for worker in result["workers"]]
    bounds = [worker["clock"]["uncertainty_us"] / 1000 for worker in result["workers"]]
    median = statistics.median(skews)
    figure(f"skew median {median:.2f} ms, largest {max(skews):.2f} ms; offsets wrong by {max(errors):.2f} ms at most")
    assert median <= 2.0
    assert all(error <= bound + 0.5 for error, bound in zip(errors, bounds, strict=True))
    in_true_order(run.directory / "op-log.tsv.zst", result)


def in_true_order(log: Path, result):
    """All hosts have one clock in truth, so corrected stamps lie within the run, in order, and the hosts take turns."""
    rows = [(row.start_ns, row.client_id) for row in read(log)]
    stamps = [stamp for stamp, _ in rows]
    assert stamps == sorted(stamps)
    assert len(rows) >= result["operations"]["GET"]["count"]
    assert stamps[-1] - stamps[0] < 20e9
    assert len({client for _, client in rows[: len(rows) // 10]}) == 4


def test_a_worker_is_killed(agents, start, figure):
    run = start(agents.start(), SECONDS)
    run.wait_for(HURT_AT)
    run.happens()
    os.kill(agents.worker(1), signal.SIGKILL)
    noticed = run.wait_for("worker 1 on", "was lost")
    figure(f"noticed after {noticed:.2f} s")
    assert noticed < NOTICED
    is_degraded(run, run.end(), 1)


def test_a_link_is_taken_down(agents, start, network, figure):
    run = start(agents.start(), SECONDS)
    run.wait_for(HURT_AT)
    run.happens()
    network.set_link(network.hosts[1], "down")
    try:
        noticed = run.wait_for("worker 1 on", "was lost")
        figure(f"noticed after {noticed:.2f} s")
        assert noticed < NOTICED
        is_degraded(run, run.end(), 1)
    finally:
        network.set_link(network.hosts[1], "up")


def test_the_controller_is_killed(agents, start, figure, tmp_path):
    addresses = agents.start()
    run = start(addresses, 300)
    run.wait_for(HURT_AT)
    workers = [os.pidfd_open(agents.worker(number)) for number in range(4)]
    run.happens()
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    for worker in workers:
        assert select.select([worker], [], [], 45)[0], "a worker goes on without a controller"
        os.close(worker)
    figure(f"all workers had ended after {time.monotonic() - run.happened:.2f} s")
    left = [path for scratch in agents.scratch for path in scratch.glob("*/host.json")]
    assert len(left) == 4
    collect(tmp_path / "collected", *agents.scratch)
    result = json.loads((tmp_path / "collected" / "result.json").read_text())
    assert result["status"] == "degraded"
    assert len(result["workers"]) == 4
    assert all(worker["operations"]["GET"]["count"] > 0 for worker in result["workers"])


def collect(where, *places):
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "collect", *map(str, places), "-o", str(where)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr


def test_a_link_of_200_ms(agents, start, network, delay, figure):
    addresses = agents.start().split(",")
    addresses[2] = delay(network.hosts[2], 0.2)
    run = start(",".join(addresses), SECONDS)
    result = run.end()
    assert run.process.returncode == 0
    worker = next(worker for worker in result["workers"] if addresses[2].partition(":")[0] in worker["host"])
    figure(f"its clock is known to ±{worker['clock']['uncertainty_us'] / 1000:.0f} ms, and said so")
    assert worker["clock"]["uncertainty_us"] > 150_000
    assert any(worker["host"] in note and "clock" in note for note in result["notes"]), result["notes"]
    others_are_whole(result, None)


def test_a_disk_is_full(agents, start, mount, figure):
    """It is in the scratch directory, where the op-log's parts are written; a full target is an error of operations."""
    mount(agents.scratch[1], "300m")
    run = start(agents.start(), SECONDS, op_log=True)
    run.wait_for(HURT_AT)
    run.happens()
    fill(agents.scratch[1] / "ballast")
    noticed = run.wait_for("worker 1 on", "No space left")
    figure(f"noticed after {noticed:.2f} s")
    assert noticed < NOTICED
    result = run.end()
    is_degraded(run, result, 1)


def test_a_disk_that_is_full_before(agents, start, mount):
    mount(agents.scratch[1], "1m")
    run = start(agents.start(), SECONDS, op_log=True)
    _, errors = run.process.communicate()
    assert run.process.returncode == 2
    (line,) = [line for line in errors.splitlines() if "1.00 MiB are free" in line]
    assert "10.77.0.11" in line
    assert "make room there" in errors


def fill(path):
    with open(path, "wb", buffering=0) as ballast, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(size))
