"""Every broken store, format and launcher is caught by the kit, in every run, and the healthy ones pass it in the same
harness.
"""

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
HEALTHY_FORMATS = ("TestFrames",)
LEAST_FORMATS = 85
HEALTHY_LAUNCHERS = ("TestStagehand",)
LEAST_LAUNCHERS = 75
_PROGRAM = "import sys; from mutants.harness import run; run(*sys.argv[1:])"


def environment():
    path = os.pathsep.join([str(HERE), str(HERE / "third_party" / "acme" / "src")])
    # What the outer run says about pytest is not for the inner one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MUTANTS_"))}
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """For each class of stores, formats and launchers the first failure (test, phase, text) or None."""
    folder = tmp_path_factory.mktemp("mutants")
    stores, formats, launchers = {}, {}, {}
    jobs = [*((stores, str(part), str(PARTS), "over_mutants.py") for part in range(PARTS))]
    jobs.append((formats, "0", "1", "over_formats.py"))
    jobs.append((launchers, "0", "1", "over_launchers.py"))
    with ThreadPoolExecutor(PARTS) as pool:
        for (found, *_), answer in zip(jobs, pool.map(lambda job: run(folder, *job[1:]), jobs), strict=True):
            found |= {name: failure for name, (failure, _) in answer.items()}
    return {"stores": stores, "formats": formats, "launchers": launchers}


def run(folder, part, parts, over):
    answer = folder / f"{over}-{part}.json"
    command = [sys.executable, "-c", _PROGRAM, part, parts, str(answer), over]
    done = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, check=False)
    assert answer.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(answer.read_text())


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "names", "least"),
    [
        ("stores", HEALTHY, LEAST),
        ("formats", HEALTHY_FORMATS, LEAST_FORMATS),
        ("launchers", HEALTHY_LAUNCHERS, LEAST_LAUNCHERS),
    ],
)
def test_the_kit_kills_every_mutant_and_no_healthy_one(kind, names, least, answers):
    failures = dict(answers[kind])
    healthy = {name: failures.pop(name) for name in names}
    assert not any(healthy.values()), "a healthy one failed the kit"
    survivors = sorted(name for name, failure in failures.items() if failure is None)
    assert not survivors, "the kit let broken ones pass"
    # A mutant that only breaks its fixture would prove nothing.
    unproved = {name: failure for name, failure in failures.items() if failure[1] != "call"}
    assert not unproved, "mutants died outside a law"
    assert len(failures) >= least, "mutants went missing"
