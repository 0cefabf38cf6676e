"""The kit for launchers over the one that core brings."""

from __future__ import annotations

import pytest

from penstock.testing.launchers import LauncherContract, ProcessLauncherContract


class TestLocal(ProcessLauncherContract):
    name = "local"


class TestPretendedHosts(LauncherContract):
    name = "local"

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls):
        return {"hosts": 4}

    @pytest.mark.slow
    def test_an_interrupt(self, stage, target, command, arguments, tmp_path):
        super().test_an_interrupt(stage, target, command, arguments, tmp_path)
