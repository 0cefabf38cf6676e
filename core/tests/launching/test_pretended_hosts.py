"""Hosts that the local launcher pretends on this machine."""

from __future__ import annotations

import anyio
import pytest

from penstock.engine.local import LocalLauncher
from penstock.errors import RunError, UsageError
from penstock.launchers import HOST_WORKER, PROBE, LaunchSpec
from penstock.options import resolve
from penstock.plugins import default_host


def opened(**options):
    kind = default_host().launcher_type("local")
    return kind.open(resolve(kind.options, explicit=options, scheme="local").options)


def test_workers_are_hosts_where_they_are_asked_for():
    assert not opened().hosts
    assert opened(hosts="3").hosts
    assert opened().channel == opened(hosts="3").channel == "local"


def test_fewer_than_one_host_is_refused():
    with pytest.raises(UsageError, match="pretend at least one"):
        opened(hosts="0")


@pytest.mark.parametrize(
    ("spec", "workers", "said"),
    [
        (LaunchSpec(worker=HOST_WORKER), 3, "3 workers on 2 pretended hosts; give the local launcher hosts: 3"),
        (LaunchSpec(worker="os"), 2, "host-0 does not run 'os'"),
        (LaunchSpec(worker=HOST_WORKER, environment={"LD_PRELOAD": "x"}), 2, "host-0 lets nobody set 'LD_PRELOAD'"),
    ],
)
def test_what_a_host_would_refuse_a_pretended_one_does_too(spec, workers, said):
    with pytest.raises(RunError, match=said):
        anyio.run(LocalLauncher(2).start, workers, spec)


def test_each_has_its_own_clock_if_a_test_says_so():
    async def run():
        launcher = LocalLauncher(2, environments=[{}, {"PENSTOCK_CLOCK_SHIFT": "+3600s"}])
        first, second = await launcher.start(None, LaunchSpec(worker=PROBE))
        try:
            shown = [(await worker.call("clock", {}))["wall_ns"] for worker in (first, second)]
        finally:
            await launcher.stop()
        return (shown[1] - shown[0]) / 1e9

    assert 3600 <= anyio.run(run) < 3660
