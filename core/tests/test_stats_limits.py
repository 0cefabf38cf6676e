"""The verdict on what limited a run, and what the kernel says of disks and links."""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stats.limits import KINDS, Signals, find_limit
from penstock.stats.machine import DeviceUse, MachineMeter, device_of

#: Ten seconds of eight lanes that wait for the storage, on half of one processor in two processes.
CALM = Signals(
    seconds=10.0, lanes=8, busy_s=79.0, workers=[2.5, 2.5], usable=2, host_share=0.3, done=1000.0, offered=None
)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({}, "storage", "a higher concurrency"),
        ({"link": DeviceUse("eth0", 0.95, 1.19e9)}, "network", "eth0 carried 95% of what its link can"),
        ({"disk": DeviceUse("nvme0n1", 0.99, 3.1e9)}, "disk", "nvme0n1 was busy 99%"),
        ({"workers": [9.6, 9.7]}, "client", "1.9 of 2 processors"),
        ({"workers": [9.6], "usable": 4}, "interpreter", "write processes: 4"),
        ({"workers": [9.6, 9.6], "usable": 16}, "interpreter", "write processes: 16"),
        ({"workers": [9.6], "usable": 4, "private": "mem"}, "interpreter", "objects of mem:// live in one process"),
        ({"busy_s": 20.0, "private": "mem"}, "client", "of the time; use larger objects."),
        ({"verifying_s": 30.0, "private": "mem"}, "verification", "write verify: size."),
        ({"generating_s": 30.0}, "generator", "38% of its lanes' time"),
        ({"verifying_s": 30.0}, "verification", "write verify: size"),
        ({"host_share": 0.97}, "client", "0.5 of them with the client"),
        ({"host_share": 0.97, "starved_s": 8.0}, "client", "0.5 of them with the client"),
        ({"host_share": 0.97, "starved_s": 1.0}, "storage", "a higher concurrency"),
        ({"host_share": 0.97, "starved_s": 3.9, "workers": [5.5]}, "client", "0.6 of them with the client"),
        ({"host_share": 0.97, "starved_s": 0.0, "disk": DeviceUse("sda", 0.99, 4e7)}, "disk", "sda was busy 99%"),
        ({"busy_s": 20.0}, "client", "only 25% of the time"),
        ({"offered": 1000.0, "done": 995.0}, "none", "was kept"),
        ({"offered": 2000.0, "missed": 90_000}, "storage", "90.0 k operations were never begun"),
        ({"offered": 2000.0, "busy_s": 20.0}, "rate", "neither storage nor processors"),
        ({"offered": 2000.0, "workers": [9.6, 9.7]}, "client", "1.9 of 2 processors"),
        ({"offered": 1000.0, "workers": [9.6, 9.7]}, "none", "was kept"),
    ],
)
def test_each_limit_is_named(changes, kind, words):
    verdict = find_limit(attrs.evolve(CALM, **changes))
    assert verdict.kind == kind
    assert words in verdict.text
    assert "\n" not in verdict.text


def test_nothing_measured_has_no_verdict():
    assert find_limit(attrs.evolve(CALM, seconds=0.0)) is None
    assert find_limit(attrs.evolve(CALM, lanes=0)) is None


times = st.floats(0, 1e6)
uses = st.none() | st.builds(DeviceUse, st.just("sda"), st.floats(0, 1), times)


@given(
    st.builds(
        Signals,
        seconds=st.floats(0.001, 1e5),
        lanes=st.integers(1, 5000),
        busy_s=times,
        workers=st.lists(times, max_size=9),
        usable=st.integers(1, 512),
        host_share=st.none() | st.floats(0, 1),
        starved_s=st.none() | st.floats(0, 80),
        generating_s=times,
        verifying_s=times,
        offered=st.none() | st.floats(0.01, 1e7),
        done=times,
        missed=st.integers(0, 10**9),
        disk=uses,
        link=uses,
    )
)
def test_there_is_always_one_verdict_in_one_line(signals):
    verdict = find_limit(signals)
    assert verdict.kind in KINDS
    assert verdict.text.endswith(".")
    assert "\n" not in verdict.text


DISK = "   8       0 sda {} 0 {} 0 {} 0 {} 0 0 {} 0 0 0 0 0 0 0\n"


def test_disks_are_measured_from_one_reading_to_the_next(tmp_path):
    disks, network = tmp_path / "diskstats", tmp_path / "net"
    (network / "eth0" / "statistics").mkdir(parents=True)
    (network / "lo" / "statistics").mkdir(parents=True)

    def write(reads, writes, busy_ms, received, sent):
        disks.write_text(DISK.format(1, reads, 1, writes, busy_ms) + "   7  0 loop0 0 0 0 0 0 0 0 0 0 0 0\n")
        for name in ("eth0", "lo"):
            (network / name / "statistics" / "rx_bytes").write_text(f"{received}\n")
            (network / name / "statistics" / "tx_bytes").write_text(f"{sent}\n")

    (network / "eth0" / "speed").write_text("1000\n")
    write(100, 100, 5000, 10**9, 10**9)
    meter = MachineMeter(0, disks=str(disks), network=str(network))
    write(100 + 4096, 100 + 4096, 6500, 10**9 + 250_000_000, 10**9 + 1000)
    assert meter.disks(2 * 10**9) == {"sda": DeviceUse("sda", 0.75, 8192 * 512 / 2)}
    assert meter.links(2 * 10**9) == {"eth0": DeviceUse("eth0", 1.0, 125_000_000)}


def test_a_system_that_tells_nothing_is_no_error(tmp_path):
    meter = MachineMeter(0, disks=str(tmp_path / "none"), network=str(tmp_path / "none"))
    assert meter.disks(10**9) == {}
    assert meter.links(10**9) == {}
    (tmp_path / "odd").write_text("x\n1 2 sda 3 4 5 6 7 8 9 ten 11 12 13\n")
    assert MachineMeter(0, disks=str(tmp_path / "odd"), network=str(tmp_path)).disks(10**9) == {}


def test_the_real_kernel_is_read():
    meter = MachineMeter(0)
    for use in (*meter.disks(10**9).values(), *meter.links(10**9).values()):
        assert 0 <= use.share <= 1


def test_the_disk_of_a_path_is_the_whole_one(tmp_path):
    sys = tmp_path / "sys"
    number = os.stat(tmp_path).st_dev
    partition = sys / "block" / "vda" / "vda1"
    partition.mkdir(parents=True)
    (sys / "dev").mkdir()
    (sys / "dev" / f"{os.major(number)}:{os.minor(number)}").symlink_to(partition)
    assert device_of(str(tmp_path), devices=str(sys / "dev")) == "vda1"
    (partition / "partition").write_text("1\n")
    assert device_of(str(tmp_path), devices=str(sys / "dev")) == "vda"
    assert device_of(str(tmp_path / "missing"), devices=str(sys / "dev")) is None
    assert device_of(str(tmp_path), devices=str(sys)) is None
