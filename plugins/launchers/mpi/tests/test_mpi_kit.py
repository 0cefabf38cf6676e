"""The kit for launchers, with four hosts."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

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
