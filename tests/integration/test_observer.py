"""What a run says of itself, held against what the server has logged of it; and that the server ends with who asks."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 60.0


def test_nginx_has_logged_the_operations_and_bytes_that_the_run_reports():
    command = [sys.executable, str(ROOT / "benchmarks" / "observer.py"), "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    figures = {
        name: (float(ours.replace(",", "")), float(theirs.replace(",", ""))) for name, ours, theirs, *_ in rows[1:]
    }
    # The two clocks are the benchmark's matter.
    figures.pop("seconds")
    assert set(figures) == {f"{op} {what}" for op in ("GET", "PUT", "STAT") for what in ("count", "bytes")}, done.stderr
    for name, (ours, theirs) in figures.items():
        assert abs(ours - theirs) <= 0.01 * theirs, (name, ours, theirs)
    assert figures["GET count"][0] > 100


def test_a_benchmark_that_is_ended_leaves_no_server():
    command = [sys.executable, str(ROOT / "benchmarks" / "observer.py"), "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as benchmark:
        pid, directory = server_of(benchmark.pid)
        server = os.pidfd_open(pid)
        benchmark.send_signal(signal.SIGTERM)
        assert benchmark.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert select.select([server], [], [], PATIENCE_S)[0]
        os.close(server)
        assert not directory.exists()


def server_of(parent):
    """The process id of the nginx that a process has started, and the directory that it was given."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            # nginx writes its own over what it was started with.
            config = [part for word in words for part in word.split() if part.endswith("/nginx.conf")]
            if "nginx" in words[0] and config:
                return int(child), Path(config[0]).parent
        time.sleep(0.02)
    raise AssertionError("no server was started")
