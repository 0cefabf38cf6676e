"""What a run says of itself, held against what the server has logged of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


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
