"""What limits a run is said to be the network, or the disk, where one is made slow."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(240)

HERE = Path(__file__).parent
MBITS = 20
MIB = 1 << 20


def finished(directory: Path) -> dict:
    (result,) = directory.glob("penstock-*/result.json")
    return json.loads(result.read_text())


@pytest.fixture
def cable():
    spec = importlib.util.spec_from_file_location("cable", HERE / "cable.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NETWORK = """
target: s3+http://10.78.0.2:8000/bucket/
duration: 5s
concurrency: 8
processes: 1
prepare: {{skip_verification: true, ensure_objects: [{{path: d/, count: 4, size: {size}, name: "o-{{}}-{size}"}}]}}
workload: [{{op: get, path: d/*}}]
"""


def test_a_link_that_is_full(network, cable, tmp_path, figure):
    client, server = network.controller.namespace, network.hosts[0]
    (tmp_path / "w.yaml").write_text(NETWORK.format(size=64 * 1024))
    environment = os.environ | {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1"}
    with ExitStack() as stack:
        stack.enter_context(cable.laid((client, "10.78.0.1"), (server.namespace, "10.78.0.2"), MBITS))
        serving = server.popen(sys.executable, str(HERE / "cable.py"), "10.78.0.2", "8000", stdout=subprocess.PIPE)
        stack.callback(serving.communicate)
        stack.callback(serving.terminate)
        assert serving.stdout is not None
        assert serving.stdout.readline() == "listening\n"
        run = network.controller.popen(
            *(sys.executable, "-m", "penstock", "run", "w.yaml", "--quiet"),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = run.communicate(timeout=100)
    assert run.returncode == 0, out + err
    result = finished(tmp_path)
    figure(result["verdict"])
    assert result["limit"] == "network"
    assert "use a faster link or more hosts" in " ".join(out.split())
    # The rate is the cable's.
    assert 0.85 * MBITS < result["totals"]["GET"]["mib_per_sec"] * MIB * 8 / 1e6 <= MBITS


DISK = """
target: direct://{where}/
duration: 4s
concurrency: 4
processes: 1
prepare: {{ensure_objects: [{{path: d/, count: 60, size: 4MiB}}]}}
workload: [{{op: get, path: d/*}}]
"""
BYTES_PER_SECOND = 40 * MIB


@contextmanager
def device(image: Path, where: Path):
    """A file system on a disk of its own, which is a file; mounted."""

    def call(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    with image.open("wb") as file:
        file.truncate(400 * MIB)
    name = call("losetup", "--direct-io=on", "--show", "--find", str(image))
    try:
        call("mkfs.ext4", "-q", name)
        where.mkdir()
        call("mount", name, str(where))
        try:
            yield Path(name).name
        finally:
            call("umount", str(where))
    finally:
        call("losetup", "--detach", name)


@contextmanager
def slow(image: Path):
    """A control group whose reads from the disk that holds the image go at a limited rate; its list of processes."""
    number = image.stat().st_dev
    disk = f"{os.major(number)}:{os.minor(number)}"
    old = Path("/sys/fs/cgroup/blkio")
    group = (old if old.exists() else Path("/sys/fs/cgroup")) / f"penstock-{os.getpid()}"
    if not old.exists():
        (group.parent / "cgroup.subtree_control").write_text("+io")
    group.mkdir()
    try:
        if old.exists():
            (group / "blkio.throttle.read_bps_device").write_text(f"{disk} {BYTES_PER_SECOND}")
        else:
            (group / "io.max").write_text(f"{disk} rbps={BYTES_PER_SECOND}")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def test_a_disk_that_is_busy(tmp_path, figure):
    image, where = tmp_path / "image", tmp_path / "disk"
    (tmp_path / "w.yaml").write_text(DISK.format(where=where))
    run = (sys.executable, "-m", "penstock", "run", "w.yaml", "--quiet")
    with device(image, where) as name, slow(image) as processes:
        joined = ("sh", "-c", f'echo $$ > {processes}; exec "$@"', "sh", *run)
        done = subprocess.run(joined, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    result = finished(tmp_path)
    figure(result["verdict"])
    assert result["limit"] == "disk"
    assert f"{name} was busy" in result["verdict"]
    assert "use a faster disk" in " ".join(done.stdout.split())
    assert 0.8 * BYTES_PER_SECOND < result["totals"]["GET"]["mib_per_sec"] * MIB < 1.2 * BYTES_PER_SECOND
