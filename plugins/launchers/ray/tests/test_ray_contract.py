"""The conformance kit over a Ray cluster."""

from __future__ import annotations

import pytest

from penstock.testing.launchers import LauncherContract


class TestRay(LauncherContract):
    name = "ray"

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, cluster, token):
        return {"address": cluster.address, "token_file": str(token), "node_timeout": "1s"}

    @pytest.mark.slow
    def test_an_interrupt(self, stage, target, command, arguments, tmp_path):
        super().test_an_interrupt(stage, target, command, arguments, tmp_path)
