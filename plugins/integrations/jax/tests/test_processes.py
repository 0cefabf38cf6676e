"""Several processes that save one tree together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from penstock.testing.servers import free_port

SCRIPT = Path(__file__).with_name("process_script.py")


def test_two_processes_save_together_and_both_hear_of_a_failure(tmp_path):
    port = str(free_port())
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    environment = {**os.environ, **flags}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), port, f"file://{tmp_path}/run/"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        done = [process.communicate(timeout=110) for process in running]
    finally:
        for process in running:
            process.kill()
    for (out, err), process in zip(done, running, strict=True):
        assert (out.strip().splitlines()[-1:], process.returncode) == (["all right"], 0), err[-3000:]
