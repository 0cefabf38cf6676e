"""One cluster of four nodes for all tests."""

from __future__ import annotations

import secrets
import tempfile

import pytest

_HEALTH = {"health_check_period_ms": 1000, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 3}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """No processes of pytest's own: each would start a cluster."""
    return 0


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    """The file with the cluster's token."""
    path = tmp_path_factory.mktemp("ray") / "token"
    path.write_text(secrets.token_hex(32))
    return path


@pytest.fixture(scope="session")
def cluster(token):
    """A cluster that asks for the token, of four nodes on this machine."""
    node = {"num_cpus": 2, "object_store_memory": 80 * 1024 * 1024}
    # What Ray and the hosts on it leave goes with this directory; the names of sockets in it have to be short.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as where,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", where)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        head = {**node, "include_dashboard": False, "_system_config": _HEALTH}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(3):
                cluster.add_node(**node, wait=False)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()
