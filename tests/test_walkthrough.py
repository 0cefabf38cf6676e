"""The walk-through of the README, command by command, and what each of them leaves behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.oplog import read

#: The first test runs every command; a guard against a hang, not a measure.
pytestmark = pytest.mark.timeout(600)

README = Path(__file__).parent.parent / "README.md"
TITLE = "## From a program to a verdict\n"
#: Commands that end with another status when what they look for is there.
MAY_FIND = {"compare": {0, 4}}


def section() -> str:
    text = README.read_text(encoding="utf-8")
    assert text.count(TITLE) == 1
    return re.split(r"^## ", text.partition(TITLE)[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section(), re.DOTALL | re.MULTILINE)


def run(command: str, place: Path) -> subprocess.CompletedProcess[str]:
    scripts = os.path.dirname(sys.executable)
    environment = {"PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}", "HOME": str(place)}
    return subprocess.run(
        shlex.split(command), cwd=place, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Where everything was run, and what each command printed, by its words."""
    place = tmp_path_factory.mktemp("walk")
    (job,) = blocks("python")
    assert job.startswith("# job.py\n")
    (place / "job.py").write_text(job, encoding="utf-8")
    printed = {}
    for command in [line for block in blocks("sh") for line in block.splitlines()]:
        done = run(command, place)
        allowed = MAY_FIND.get(command.split()[1], {0})
        assert done.returncode in allowed, f"{command}\n{done.stdout}\n{done.stderr}"
        assert (done.returncode == 4) == ("FAILED: " in done.stdout)
        printed[command] = done.stdout
    return place, printed


def of(walked, *words):
    """What the commands that have these words printed."""
    return [text for command, text in walked[1].items() if set(words) <= set(command.split())]


def rows(place: Path, name: str) -> list[tuple[str, ...]]:
    with read(place / name) as log:
        return [row.texts() for row in log]


def test_the_log_holds_every_call_of_the_job(walked):
    found = rows(walked[0], "log.tsv.zst")
    counts = {name: sum(row[2] == name for row in found) for name in {row[2] for row in found}}
    assert counts == {
        "PUT": 800, "GET": 808, "GET_RANGE": 800, "STAT": 800, "COPY": 8, "LIST": 8, "DELETE": 8,
    }  # fmt: skip
    assert sum(bool(row[8]) for row in found) == 8
    assert {row[6] for row in found} == {"file://", "mem://"}
    starts = [row[9] for row in found]
    assert starts == sorted(starts)


def test_the_analysis_counts_the_same(walked):
    (text,) = of(walked, "analyze")
    (row,) = (line for line in text.splitlines() if re.match(r"ALL +all ", line))
    assert row.split()[2:4] == ["3,224", "8"]
    assert "errors: 8 calls failed" in text
    page = (walked[0] / "log.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert (walked[0] / "log.xlsx").read_bytes().startswith(b"PK")


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl.zst", "log.parquet", "again.tsv.zst", "sorted.tsv.zst"])
def test_no_cell_is_changed_by_a_conversion(walked, name):
    assert rows(walked[0], name) == rows(walked[0], "log.tsv.zst")


@pytest.mark.parametrize(("name", "speed"), [("once.tsv.zst", 1), ("half.tsv.zst", 0.5), ("ten.tsv.zst", 10)])
def test_every_call_is_replayed(walked, name, speed):
    recorded, replayed = rows(walked[0], "log.tsv.zst"), rows(walked[0], name)
    assert sorted(row[2] for row in replayed) == sorted(row[2] for row in recorded)
    assert len(list((walked[0] / "replays").iterdir())) == 3
    # None starts before it is due; how late it may be is for an idle machine to say.
    lengths = []
    for log in (walked[0] / "log.tsv.zst", walked[0] / name):
        with read(log) as found:
            starts = [row.start_ns for row in found]
        lengths.append(max(starts) - min(starts))
    assert lengths[1] >= lengths[0] / speed - 1_000_000_000


def test_the_comparisons_end_in_a_sentence(walked):
    texts = of(walked, "compare")
    assert len(texts) == 2
    for text in texts:
        lines = text.splitlines()
        assert lines[0].startswith("A  ")
        assert re.match(r"(B is (worse|better) than A|No difference|There are too few data)", lines[-1])
        assert sum(line == "GET" for line in lines) == 1
    verdict = json.loads((walked[0] / "verdict.json").read_text(encoding="utf-8"))
    assert texts[0].splitlines()[-1] == verdict["sentence"]
