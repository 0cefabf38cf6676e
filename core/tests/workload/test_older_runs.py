"""Files of the older tools run: the reference's three, ten more, and the two forms that the oldest tool knew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent / "older").glob("*.yaml"))
#: What keeps the reference's runs short; everything else is as they say.
SHORT = {
    "reference-a": ["prepare.ensure_objects[0].count=20", "prepare.post_prepare_delay=0"],
    "reference-b": [
        "prepare.ensure_objects[0].count=10",
        "prepare.ensure_objects[0].size=8192",
        "prepare.directory_structure={width: 2, depth: 2, files_per_dir: 3, size: 4096, dir_mask: 'd%d_w%d'}",
        "concurrency=8",
        "processes=2",
        "cleanup=true",
    ],
    "03-sizes": ["backend={}"],
    "reference-c": [
        "prepare.ensure_objects[0].count=30",
        "concurrency=4",
        "processes=1",
        "duration=60s",
        "distributed.agents[2].concurrency=2",
    ],
    "10-agents": ["processes=1", "distributed.agents[1].target=file://{directory}/other"],
}
#: How many agents they name: so many hosts are pretended.
ON_MANY_HOSTS = {"reference-c": 3, "10-agents": 2}
OPERATIONS = {
    "01-bucket-and-prefix": {"GET", "PUT"},
    "02-paced": {"GET", "STAT"},
    "03-sizes": {"PUT"},
    "04-tree": {"GET", "STAT", "LIST"},
    "05-directories": {"MKDIR", "RMDIR", "LIST"},
    "06-deletes": {"GET", "DELETE", "STAT"},
    "07-growing-pool": {"GET", "PUT"},
    "08-sharded": {"GET", "STAT"},
    "09-processes": {"GET"},
    "10-agents": {"GET"},
    "reference-a": {"GET", "PUT", "STAT"},
    "reference-b": {"GET"},
    "reference-c": {"GET", "PUT"},
}


def penstock(directory, *arguments):
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def carry_out(path, directory):
    """Run one file on a local directory; the process, and its result."""
    directory.mkdir()
    scheme = "direct" if "direct:" in path.read_text() else "file"
    sets = [f"target={scheme}://{directory}/data", "total_operations=200", *SHORT.get(path.stem, ())]
    overrides = [word for one in sets for word in ("--set", one.replace("{directory}", str(directory)))]
    if path.stem in ON_MANY_HOSTS:
        overrides += ["--launcher", "local", "--launcher-option", f"hosts={ON_MANY_HOSTS[path.stem]}"]
    finished = penstock(directory, "run", str(path), *overrides, "--json")
    return finished, json.loads(finished.stdout) if finished.stdout else None


def test_the_files_are_those_that_are_expected():
    assert [path.stem for path in FILES] == sorted(OPERATIONS)


@pytest.mark.parametrize("stem", sorted(OPERATIONS))
def test_an_older_file_runs_on_a_local_directory(tmp_path, stem):
    (path,) = (path for path in FILES if path.stem == stem)
    finished, result = carry_out(path, tmp_path / stem)
    assert finished.returncode == 0, finished.stderr
    assert result["status"] == "done"
    operations = result["operations"]
    assert set(operations) == OPERATIONS[stem]
    assert all(row["errors"] == 0 for row in operations.values())
    assert sum(row["count"] for row in operations.values()) == 200
    if stem == "02-paced":
        assert "io_rate.iops: became rate.ops_per_second" in finished.stderr
    assert not list((tmp_path / stem).glob("data/**/*")), "all of them ask for a cleanup"
    if stem in ON_MANY_HOSTS:
        assert [worker["rank"] for worker in result["workers"]] == list(range(ON_MANY_HOSTS[stem]))
        assert not list((tmp_path / stem).glob("other/**/*")), "of each host's own place, too"


def test_an_older_file_with_agents_runs_on_no_launcher_that_has_no_hosts(tmp_path):
    (path,) = (path for path in FILES if path.stem == "reference-c")
    target = ("--set", f"target=file://{tmp_path}/data")
    refused = penstock(tmp_path, "run", str(path), *target, "--launcher", "local")
    assert refused.returncode == 2
    assert "distributed.agents names 3 hosts, and the launcher local starts processes of this host" in refused.stderr
    assert "--launcher-option hosts=N" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_the_two_forms_of_the_oldest_tool_run_as_they_are(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.dat").write_bytes(b"x" * 4096)
    (tmp_path / "bucket.yaml").write_text(
        f"workload:\n  - {{op: get, uri: 'file://{tmp_path}/in/*', weight: 70}}\n"
        f"  - {{op: put, bucket: '{tmp_path}/out', prefix: 'bench/', object_size: 1024, weight: 30}}\n"
    )
    (tmp_path / "base.yaml").write_text(
        f"workload:\n  - {{op: get, uri: 'direct://{tmp_path}/in/*', weight: 60}}\n"
        f"  - {{op: put, base_uri: 'direct://{tmp_path}/out', prefix: 'results/', object_size: 4096, weight: 40}}\n"
    )
    for name, prefix in (("bucket", "bench"), ("base", "results")):
        finished = penstock(tmp_path, "run", f"{name}.yaml", "--set", "total_operations=100", "--json")
        assert finished.returncode == 0, finished.stderr
        operations = json.loads(finished.stdout)["operations"]
        assert sum(row["count"] for row in operations.values()) == 100
        assert len(list((tmp_path / "out" / prefix).iterdir())) == operations["PUT"]["count"]
