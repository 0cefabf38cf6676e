"""Whole runs on each backend that needs no server."""

from __future__ import annotations

import csv
import io

import pytest

FILES = {
    "config.yaml",
    "plan.json",
    "result.json",
    "results.tsv",
    "perf_log.tsv",
    "histograms.hlog",
    "report.html",
    "console.log",
}

MIXED = """
target: {target}
duration: none
total_operations: 4000
warmup: 100ms
concurrency: 4
seed: 7
live_interval: 500ms
op_log: true
cleanup: true
prepare:
  ensure_objects:
    - {{path: data/, count: 200, size: {{uniform: {{min: 0, max: 20000}}}}}}
    - {{path: doomed/, count: 3000, size: 10}}
workload:
  - {{op: get, path: "data/*", weight: 50}}
  - {{op: get, path: "data/*", weight: 10, range: {{size: 512, offset: random}}}}
  - {{op: put, path: new/, size: {{lognormal: {{mean: 8KiB, std_dev: 8KiB, max: 64KiB}}}}, weight: 20}}
  - {{op: stat, path: "data/*", weight: 10}}
  - {{op: list, path: data/, weight: 2}}
  - {{op: delete, path: "doomed/*", weight: 1}}
  - {{op: copy, path: "data/*", to: copies/, weight: 5}}
  - {{op: mkdir, path: dirs/, weight: 4}}
  - {{op: rmdir, path: "dirs/*", weight: 4}}
"""


@pytest.mark.parametrize("scheme", ["file", "direct", "mem"])
def test_a_mixed_run_measures_every_operation_and_cleans_up(penstock, tmp_path, scheme):
    target = f"{scheme}://{tmp_path}/target"
    finished = penstock("run", str(penstock.write(MIXED.format(target=target))))
    assert finished.code == 0, finished.err
    assert {path.name for path in finished.results.iterdir()} >= FILES
    result = finished.result
    assert result["status"] == "done"
    operations = result["operations"]
    total = sum(row["count"] for row in operations.values())
    for name, weight in {"GET": 50, "GET_RANGE": 10, "PUT": 20, "STAT": 10, "LIST": 2, "COPY": 5}.items():
        share = operations[name]["count"] / total
        assert share == pytest.approx(weight / 106, rel=0.35), name
    for name in ("GET", "GET_RANGE", "PUT", "STAT", "LIST", "DELETE", "COPY", "MKDIR", "RMDIR"):
        assert operations[name]["count"] > 0, name
        assert operations[name]["errors"] == 0, name
    assert not list((tmp_path / "target").rglob("*"))


def test_the_op_log_holds_every_operation(penstock, tmp_path):
    finished = penstock("run", str(penstock.write(MIXED.format(target=f"file://{tmp_path}/t"))), "--set", "processes=2")
    assert finished.code == 0, finished.err
    head = penstock("oplog", "head", "-n", "10000000", "--tsv", str(finished.results / "op-log.tsv.zst"))
    rows = list(csv.DictReader(io.StringIO(head.out), delimiter="\t", quoting=csv.QUOTE_NONE))
    result = finished.result
    assert (
        len(rows)
        == sum(sum_["count"] + sum_["errors"] for sum_ in result["operations"].values())
        + result["warmup"]["operations"]
    )
    assert [int(row["idx"]) for row in rows] == list(range(len(rows)))
    assert result["op_log"]["dropped"] == 0
    assert result["op_log"]["written"] == result["op_log"]["accepted"] == len(rows)
    assert {row["client_id"].split("/")[0] for row in rows} == {"worker-0", "worker-1"}
    warming = [row for row in rows if row["client_id"].endswith("/warmup")]
    assert len(warming) == result["warmup"]["operations"] > 0
    assert {row["thread"] for row in rows} == {"0", "1", "2", "3"}
    assert all(row["file"].startswith(str(tmp_path)) for row in rows)


def test_the_same_seed_does_the_same_in_the_same_order(penstock, tmp_path):
    text = f"""
target: file://{tmp_path}/t
total_operations: 500
concurrency: 1
seed: 3
op_log: true
prepare: {{ensure_objects: [{{count: 100, size: 100}}]}}
workload: [{{op: get, path: "*", selection: zipf, weight: 3}}, {{op: stat, path: "*"}}]
"""
    seen = []
    for seed in (3, 3, 4):
        finished = penstock("run", str(penstock.write(text)), "--set", f"seed={seed}")
        assert finished.code == 0, finished.err
        out = penstock("oplog", "head", "-n", "1000", "--tsv", finished.result["op_log"]["path"]).out
        rows = list(csv.DictReader(io.StringIO(out), delimiter="\t"))
        assert len(rows) == 500
        seen.append([(row["op"], row["file"]) for row in rows])
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_each_once_reads_every_object_once_and_ends(penstock, tmp_path):
    text = f"""
target: file://{tmp_path}/t
duration: 60s
concurrency: 3
selection: each_once
prepare: {{ensure_objects: [{{count: 101, size: 10}}]}}
workload: [{{op: get, path: "**"}}]
"""
    finished = penstock("run", str(penstock.write(text)), "--set", "processes=2")
    assert finished.code == 0, finished.err
    assert finished.result["operations"]["GET"]["count"] == 101
    assert finished.result["window"]["seconds"] < 30


def test_preparation_resumes_and_makes_only_what_is_missing(penstock, tmp_path):
    text = f"""
target: file://{tmp_path}/t
total_operations: 10
prepare: {{ensure_objects: [{{count: 50, size: 1000}}]}}
workload: [{{op: get, path: "*"}}]
"""
    path = str(penstock.write(text))
    first = penstock("run", path)
    assert first.code == 0, first.err
    objects = sorted((tmp_path / "t").iterdir())
    assert len(objects) == 50
    objects[3].unlink()
    objects[7].write_bytes(b"too short")
    kept = objects[20].stat().st_mtime_ns
    second = penstock("run", path)
    phase = second.result["phases"][0]
    assert (phase["objects_made"], phase["objects_found"]) == (2, 48)
    assert objects[20].stat().st_mtime_ns == kept
    assert objects[7].stat().st_size == 1000


def test_cleanup_deletes_only_what_the_run_made(penstock, tmp_path):
    mine = tmp_path / "t" / "new" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("not yours")
    (tmp_path / "t" / "empty").mkdir()
    text = f"""
target: file://{tmp_path}/t
total_operations: 40
cleanup: true
prepare:
  ensure_objects: [{{path: deep/er, count: 5, size: 10}}]
  directory_structure: {{path: tree, width: 2, depth: 2, files_per_dir: 2, size: 10}}
workload: [{{op: put, path: new/, size: 10}}, {{op: get, path: "tree/**"}}]
"""
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 0, finished.err
    left = sorted(str(path.relative_to(tmp_path / "t")) for path in (tmp_path / "t").rglob("*"))
    assert left == ["empty", "new", "new/mine"]


def test_a_planned_rate_is_kept_by_any_number_of_processes(penstock, tmp_path):
    text = f"""
target: file://{tmp_path}/t
duration: 2s
concurrency: 8
rate: {{ops_per_second: 500, arrivals: uniform}}
prepare: {{ensure_objects: [{{count: 10, size: 10}}]}}
workload: [{{op: get, path: "*"}}]
"""
    for processes in (1, 2):
        finished = penstock("run", str(penstock.write(text)), "--set", f"processes={processes}")
        assert finished.code == 0, finished.err
        # An arrival that is late at the very end does not start any more.
        assert 985 <= finished.result["operations"]["GET"]["count"] <= 1000
