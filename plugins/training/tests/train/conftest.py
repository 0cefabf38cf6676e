"""Workloads of tests: DLIO's three files, plans made of text, and a clock that waits for nobody."""

import shutil
import textwrap
from pathlib import Path

import pytest

from penstock_training.train.plan import resolve
from penstock_training.train.reading import load, loads

WORKLOADS = Path(__file__).parent / "workloads"


@pytest.fixture
def workloads(tmp_path, monkeypatch):
    """A directory of its own with the three files in it, and the current one."""
    for path in WORKLOADS.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read():
    """The workload of a text, or of a path."""

    def make(text, *overrides, environ=None):
        if isinstance(text, Path):
            return load(str(text), overrides=overrides, environ=environ or {})
        return loads(textwrap.dedent(text), label="w.yaml", overrides=overrides, environ=environ or {})

    return make


@pytest.fixture
def plan(read):
    """The plan of a text, or of a path."""

    def make(text, *overrides, ranks=1, environ=None):
        return resolve(read(text, *overrides, environ=environ), ranks=ranks)

    return make


class Clock:
    """Nanoseconds that pass when somebody sleeps, and not otherwise."""

    def __init__(self):
        self.now = 10**9

    def read(self):
        return self.now

    def sleep(self, seconds):
        self.now += round(seconds * 1e9)


@pytest.fixture
def clock():
    return Clock()
