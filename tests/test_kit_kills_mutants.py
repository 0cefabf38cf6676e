"""Every broken store is caught by the kit, in every run, and the healthy ones pass it in the same harness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PARTS = 2
HEALTHY = ("TestPlain", "TestTree", "TestBare", "TestShared")
LEAST = 175
_PROGRAM = "import sys; from mutants.harness import run; run(sys.argv[1], sys.argv[2], sys.argv[3])"


def environment():
    path = os.pathsep.join([str(HERE), str(HERE / "third_party" / "acme" / "src")])
    # What the outer run says about pytest is not for the inner one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MUTANTS_"))}
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """For each store's class the first failure (test, phase, text) or None, and the seconds it took."""
    folder = tmp_path_factory.mktemp("mutants")
    found = {}
    with ThreadPoolExecutor(PARTS) as pool:
        for answer in pool.map(lambda part: run(part, folder), range(PARTS)):
            found |= answer
    return found


def run(part, folder):
    answer = folder / f"{part}.json"
    command = [sys.executable, "-c", _PROGRAM, str(part), str(PARTS), str(answer)]
    done = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, check=False)
    assert answer.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(answer.read_text())


@pytest.mark.timeout(900)
def test_the_kit_kills_every_mutant_and_no_healthy_store(verdicts):
    failures = {name: failure for name, (failure, _) in verdicts.items()}
    healthy = {name: failures.pop(name) for name in HEALTHY}
    assert not any(healthy.values()), "a healthy store failed the kit"
    survivors = sorted(name for name, failure in failures.items() if failure is None)
    assert not survivors, "the kit let broken stores pass"
    # A mutant that only breaks its fixture would prove nothing.
    unproved = {name: failure for name, failure in failures.items() if failure[1] != "call"}
    assert not unproved, "mutants died outside a law"
    assert len(failures) >= LEAST, "mutants went missing"
