"""The kit over every launcher of this package; see tests/test_kit_kills_mutants.py.

It is no test module of its own: most of its tests have to fail.
"""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager

import pytest

from mutants import broken_launchers
from mutants.puppets import PUPPETS, Stagehand
from penstock.testing import ProcessLauncherContract
from penstock.testing.launchers.hosts import HostLaws, HostStartLaws
from penstock.testing.launchers.tools import Stage


class PatientStage(Stage):
    """The little patience that is right for a mutant that hangs is too little for a start on a busy machine."""

    def __init__(self, opener, spec, *, workers, patience, starting):
        super().__init__(opener, spec, workers=workers, patience=starting)
        self._later = patience

    @contextmanager
    def _come(self, spec, workers):
        with super()._come(spec, workers) as crew:
            crew.patience = self._later
            yield crew


class Contract(HostStartLaws, ProcessLauncherContract, HostLaws):
    """The kit's test class over one launcher: all but whole runs, as these launchers have no processes."""

    broken = Stagehand
    starting = ProcessLauncherContract.patience

    @pytest.fixture(scope="class")
    @classmethod
    def launcher(cls):
        return cls.broken

    @pytest.fixture(scope="class")
    @classmethod
    def stage(cls, launcher, spec):
        stage = PatientStage(launcher, spec, workers=cls.workers, patience=cls.patience, starting=cls.starting)
        yield stage
        stage.clear()

    def strike(self, handle):
        PUPPETS[handle.pid].die("killed by SIGKILL")

    def has_ended(self, handle):
        return PUPPETS[handle.pid].ended.wait(self.grace)


def contract_over(kind):
    given = {name: getattr(kind, name) for name in ("law", "patience", "grace") if hasattr(kind, name)}
    return type(f"Test{kind.__name__}", (Contract,), {"broken": kind, **given})


if "MUTANTS_PART" in os.environ:
    TestStagehand = contract_over(Stagehand)
    for _name, _kind in vars(broken_launchers).items():
        if inspect.isclass(_kind) and issubclass(_kind, Stagehand) and vars(_kind).get("whole", _kind is not Stagehand):
            globals()[f"Test{_name}"] = contract_over(_kind)
    del Contract, ProcessLauncherContract, HostLaws, HostStartLaws
