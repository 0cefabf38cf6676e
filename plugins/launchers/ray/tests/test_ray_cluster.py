"""What only a Ray cluster has: its token, its nodes, and what they have installed."""

from __future__ import annotations

import os
import sys
import time

import anyio
import pytest
from penstock_ray.launcher import RayLauncher
from penstock_ray.plugin import RayOptions

from penstock.errors import RunError, WorkerLostError
from penstock.launchers import PROBE, LaunchSpec

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "penstock_ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def options(cluster, token):
    return {"address": cluster.address, "token_file": str(token), "node_timeout": 5.0}


def refused(workers=1, **options):
    """Why a start fails."""

    async def start():
        launcher = RayLauncher(RayOptions(**options))
        with pytest.raises(RunError) as caught:
            await launcher.start(workers, LaunchSpec(worker=PROBE))
        await launcher.stop()
        return str(caught.value)

    before = dict(os.environ)
    said = anyio.run(start)
    assert dict(os.environ) == before
    return said


def test_a_wrong_token_is_refused(options, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    said = refused(**{**options, "token_file": str(wrong)})
    assert "refused our token" in said
    assert "token_file" in said
    assert "0000" not in said


def test_no_token_is_refused_before_anybody_is_asked(options, monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "there is no token" in refused(address=options["address"])
    assert "can't be read" in refused(address=options["address"], token_file=str(tmp_path / "none"))
    (tmp_path / "empty").touch()
    assert "is empty" in refused(address=options["address"], token_file=str(tmp_path / "empty"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "head"])
def test_an_address_where_no_cluster_is(options, address):
    said = refused(**{**options, "address": address})
    assert address in said


def test_nodes_that_can_not_be_used_are_named(options):
    launcher = RayLauncher(RayOptions(**options))
    mine = ".".join(map(str, sys.version_info[:3]))
    assert launcher._wrong({"python": mine, "mode": "token"}) == ""
    assert "asks for no token" in launcher._wrong({"python": mine, "mode": ""})
    assert "Python 3.4.1" in launcher._wrong({"python": "3.4.1", "mode": "token"})


def test_a_node_without_the_package_is_named(cluster, options, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 1024 * 1024, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        said = refused(5, **options)
    finally:
        cluster.remove_node(node, allow_graceful=False)
    assert said.count("pip install penstock-ray==") == 1, said
    assert f"-{node.node_id[:8]}:" in said, said


@pytest.mark.slow
def test_a_node_that_dies_takes_its_worker_alone(cluster, options):
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 1024 * 1024)

    async def run():
        launcher = RayLauncher(RayOptions(**options))
        handles = await launcher.start(5, LaunchSpec(worker=PROBE))
        (dying,) = [handle for handle in handles if handle.host.endswith(node.node_id[:8])]
        await anyio.to_thread.run_sync(lambda: cluster.remove_node(node, allow_graceful=False))
        with anyio.fail_after(20), pytest.raises(WorkerLostError) as caught:
            await dying.call("rest", {})
        for handle in handles:
            if handle is not dying:
                assert await handle.call("echo", {"still": "there"}) == {"still": "there"}
        await launcher.stop()
        return caught.value

    lost = anyio.run(run)
    assert "actor" in lost.cause
    assert lost.host.endswith(node.node_id[:8])


@pytest.mark.slow
def test_a_cluster_of_our_own_is_ended_and_no_other_one(cluster, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)

    async def run():
        launcher = RayLauncher(RayOptions(address="local"))
        (handle,) = await launcher.start(None, LaunchSpec(worker=PROBE))
        import ray

        address = ray.get_runtime_context().gcs_address
        assert (await handle.call("echo", {"a": 1}), launcher.channel) == ({"a": 1}, "protected")
        await launcher.stop()
        return address, handle.pid

    address, pid = anyio.run(run)
    assert address != cluster.address
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")
    assert cluster.remaining_processes_alive()
    with pytest.raises(OSError, match="failed"):
        anyio.run(anyio.connect_tcp, *address.split(":"))
