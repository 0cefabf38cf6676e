"""The kit for launchers, on rank 0 of a job whose other ranks serve. :mod:`test_mpi_kit` starts it, and has the laws of
whole runs, each of which is a job of its own.
"""

from __future__ import annotations

import pytest

from penstock.plugins import default_host
from penstock.testing.launchers import LauncherContract


class TestMpi(LauncherContract):
    name = "mpi"
    test_many_hosts_do_what_one_would = test_a_lost_worker = test_an_interrupt = None

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls):
        assert default_host().launcher_type("mpi").serve() is None, "this is not rank 0"
        return {"per": "rank"}
