"""What the kernel counts while a disk and a link are really made to work, and the verdict from it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from penstock.clocks import monotonic_ns
from penstock.engine.run import execute
from penstock.report.live import open_view
from penstock.stats.limits import Signals, find_limit
from penstock.stats.machine import MachineMeter, device_of
from penstock.workload.config import Loaded, loads

MIB = 1 << 20
WAITING = {"seconds": 10.0, "lanes": 8, "busy_s": 79.0, "workers": [2.5, 2.5], "usable": 2, "host_share": 0.3}


def stream(nbytes):
    """Send bytes through the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()

    def take():
        while far.recv(MIB):
            pass

    taking = threading.Thread(target=take)
    taking.start()
    with near:
        for _ in range(nbytes // MIB):
            near.sendall(bytes(MIB))
    taking.join()
    far.close()


def test_a_link_that_is_full_is_the_limit(tmp_path):
    # The loopback has no speed of its own, so it is told one; what went through it is what the kernel counts.
    link = tmp_path / "lo"
    link.mkdir()
    (link / "statistics").symlink_to("/sys/class/net/lo/statistics")
    (link / "speed").write_text("10\n")
    begin = monotonic_ns()
    meter = MachineMeter(begin, network=str(tmp_path))
    stream(32 * MIB)
    now = monotonic_ns()
    use = meter.links(now)["lo"]
    assert use.bytes_per_second * (now - begin) / 1e9 >= 32 * MIB
    # 10 Mbit/s are 1.25 MB/s: what the loopback carries in any case fills it.
    assert use.share == pytest.approx(min(1.0, use.bytes_per_second * 8 / 10e6))
    assert find_limit(Signals(**WAITING, done=100.0, link=use)).kind == "network"


def synced(directory, threads, nbytes):
    """Write so many bytes from each thread, in pieces that have to reach the disk."""

    def write(number):
        with open(directory / f"f{number}", "wb", buffering=0) as file:
            for _ in range(nbytes // MIB):
                file.write(os.urandom(MIB))
                os.fdatasync(file.fileno())

    writing = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for each in writing:
        each.start()
    for each in writing:
        each.join()


def on_disk():
    """A directory on a real disk, if there is one here: temporary ones may be in memory."""
    places = (os.environ.get("TMPDIR", "/var/tmp"), str(Path(__file__).parent), "/var/tmp", "/")
    return next((place for place in places if device_of(place) is not None and os.access(place, os.W_OK)), None)


def test_what_reaches_a_disk_is_what_the_kernel_counts(tmp_path_factory):
    place = on_disk()
    if place is None:
        # Where every directory is in memory no disk is ever the limit.
        assert device_of(str(tmp_path_factory.getbasetemp())) is None
        return
    disk = device_of(place)
    directory = Path(place, f"penstock-test-{os.getpid()}")
    directory.mkdir()
    try:
        begin = monotonic_ns()
        meter = MachineMeter(begin)
        synced(directory, 2, 8 * MIB)
        now = monotonic_ns()
        use = meter.disks(now)[disk]
        assert use.bytes_per_second * (now - begin) / 1e9 >= 16 * MIB
        assert 0 < use.share <= 1
        # So busy as it was, it is the limit from 90 % on, and not below.
        expected = "disk" if use.share >= 0.9 else "storage"
        assert find_limit(Signals(**WAITING, done=100.0, disk=use)).kind == expected
    finally:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


def test_a_store_that_is_slow_is_the_limit(tmp_path):
    text = (
        f"target: mem://slow/\nprocesses: 1\nconcurrency: 4\nduration: 1s\nresults_dir: {tmp_path}\n"
        "faults: {rules: [{service: {concurrency: 2, seconds: 20ms}, operations: [get]}]}\n"
        "prepare: {ensure_objects: [{path: d/, count: 4, size: 1KiB}]}\nworkload: [{op: get, path: d/*}]\n"
    )
    loaded = Loaded(loads(text, label="w.yaml", environ={}), text, "slow")
    outcome = execute(loaded, command_line="test", view=lambda directory: open_view(None, quiet=True)).outcome
    # Where other programs keep all processors busy meanwhile, the verdict says that of the host.
    assert outcome.limit == "storage" or outcome.verdict.startswith("This host limits"), outcome.verdict
