"""Runs that check what they read."""

from __future__ import annotations

import json

import pytest

OVERWRITING = """
target: file://{path}/target
duration: none
total_operations: 3000
concurrency: 4
processes: 2
seed: 11
verify: {mode}
reuse_puts: true
cleanup: true
prepare:
  ensure_objects:
    - {{path: data/, count: 60, size: {{uniform: {{min: 0, max: 300000}}}}, name: "o-{{:04d}}", compress_factor: 2}}
    - {{path: more/, count: 20, size: 2MiB, fill: random, dedup_factor: 2, dedup_across_objects: true}}
workload:
  - {{op: get, path: "data/*", weight: 40}}
  - {{op: get, path: "**", weight: 10, range: {{size: 3000, offset: random}}}}
  - {{op: get, path: "own/*", weight: 10}}
  - {{op: put, path: "data/o-{{:04d}}", size: {{uniform: {{min: 0, max: 90000}}}}, fill: random, weight: 3}}
  - {{op: put, path: own/, size: 20KiB, multipart: {{part_size: 6000}}, weight: 5}}
"""


@pytest.mark.parametrize("mode", ["size", "checksum", "content"])
def test_what_is_overwritten_while_it_is_read_is_never_called_wrong(penstock, tmp_path, mode):
    finished = penstock("run", str(penstock.write(OVERWRITING.format(path=tmp_path, mode=mode))))
    result = finished.result
    assert finished.code == 0, finished.err
    assert result["totals"]["ALL"]["errors"] == 0, result["errors"]
    counts = result["verification"]
    reads = sum(result["operations"][name]["count"] for name in ("GET", "GET_RANGE"))
    assert (counts["mode"], counts["reads"], counts["not_checked"]) == (mode, reads, 0)
    assert reads > 1000
    assert counts["bytes"] == result["totals"]["GET"]["bytes"]
    assert 0 < counts["cpu_seconds"] < result["client"]["cpu_seconds"]
    assert 0 < counts["client_cpu_share"] < 1
    assert f"verify {mode}: {reads:,} reads" in finished.out
    assert f"verify {mode}: {reads:,} reads" in (finished.results / "report.html").read_text()


EACH_ONCE = """
target: file://{path}/target
duration: none
concurrency: 2
processes: 2
verify: {mode}
on_error: {{max_total_errors: none}}
op_log: true
prepare: {{ensure_objects: [{{path: data/, count: 40, size: 100000, name: "o-{{:04d}}"}}]}}
workload: [{{op: get, path: "data/*", selection: each_once}}]
"""


def test_each_corruption_on_the_disk_is_found_counted_and_logged(penstock, tmp_path):
    workload = str(penstock.write(EACH_ONCE.format(path=tmp_path, mode="content")))
    assert penstock("run", workload).code == 0
    folder = tmp_path / "target" / "data"
    for number in range(0, 40, 4):
        path = folder / f"o-{number:04d}"
        with path.open("r+b") as file:
            file.seek(2_500 * number)
            byte = file.read(1)[0]
            file.seek(2_500 * number)
            file.write(bytes([byte ^ 0x10]))
    (folder / "o-0001").write_bytes((folder / "o-0002").read_bytes())
    for mode in ("content", "checksum"):
        finished = penstock("run", str(penstock.write(EACH_ONCE.format(path=tmp_path, mode=mode))))
        result = finished.result
        counts = result["verification"]
        assert (counts["reads"], counts["corrupt"], counts["stale"], counts["torn"]) == (40, 11, 0, 0)
        assert result["totals"]["ALL"]["errors"] == 11
        assert result["totals"]["ALL"]["count"] == 29
        assert all("ChecksumMismatchError: not what was written" in entry["text"] for entry in result["errors"])
        assert any("force_overwrite" in note for note in result["notes"])
        assert f"verify {mode}: 40 reads, 3.81 MiB: 11 corrupt" in finished.out
    # What was cut off is made anew by the preparation, which looks at sizes.
    finished = penstock("run", str(penstock.write(EACH_ONCE.format(path=tmp_path, mode="size"))))
    assert finished.result["verification"]["wrong_size"] == 0


REPLACED = """
target: mem://replaced/
duration: none
concurrency: 1
verify: {mode}
on_error: {{max_total_errors: none}}
faults: {{rules: [{{stale: true, operations: [get]}}]}}
prepare: {{ensure_objects: [{{path: data/, count: 20, size: 3000, name: "o-{{:04d}}", {format}}}]}}
stages:
  - {{name: write, total_operations: 20, workload: [{{op: put, path: "data/o-{{:04d}}", size: 3000, {format}}}]}}
  - {{name: read, workload: [{{op: get, path: "data/*", selection: each_once}}]}}
"""


@pytest.mark.parametrize(("kind", "mode"), [("npz", "checksum"), ("hdf5", "content")])
def test_objects_of_a_format_that_were_replaced_and_come_as_before_are_found(penstock, tmp_path, kind, mode):
    """Versions of them have most of their bytes in common."""
    finished = penstock("run", str(penstock.write(REPLACED.format(mode=mode, format=f"format: {kind}"))))
    assert finished.code == 0, finished.err
    counts = json.loads((finished.results / "stage-2-read" / "result.json").read_text())["verification"]
    assert (counts["reads"], counts["stale"], counts["corrupt"], counts["torn"]) == (20, 20, 0, 0)


def test_objects_that_nobody_knows_are_named(penstock, tmp_path):
    folder = tmp_path / "target" / "data"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"strange-{number}").write_bytes(bytes(1000))
    text = EACH_ONCE.format(path=tmp_path, mode="content").replace("count: 40", "count: 1").replace("data/, ", "x/, ")
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 0, finished.err
    counts = finished.result["verification"]
    assert (counts["reads"], counts["not_checked"]) == (0, 5)
    assert counts["example_key"].startswith("data/strange-") or "strange-" in counts["example_key"]
    assert "5 reads were not checked" in finished.out


def test_what_can_not_be_checked_is_refused_before_anything_is_made(penstock, tmp_path):
    text = EACH_ONCE.format(path=tmp_path, mode="everything")
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 2
    assert "verify: write off or size or checksum or content" in finished.err
    assert not (tmp_path / "target").exists()
