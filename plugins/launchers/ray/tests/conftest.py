"""One cluster of four nodes for all tests."""

from __future__ import annotations

import os
import secrets

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
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ.update(ours)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 80 * 1024 * 1024}
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False, "_system_config": _HEALTH}
    )
    try:
        for _ in range(3):
            cluster.add_node(**node, wait=False)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
        for name in ours:
            del os.environ[name]
