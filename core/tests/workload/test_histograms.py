"""Sizes as an op-log has them."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.workload import hashing, sizes
from penstock.workload.config import dump, load, loads, restore
from penstock.workload.histograms import Bin, Histogram, counted

KEY = hashing.derive(1, "test")
HEADER = "idx\tthread\top\tclient_id\tn_objects\tbytes\tendpoint\tfile\terror\tstart\tfirst_byte\tend\tduration_ns\n"
TIMES = "2026-01-01T00:00:00Z\t\t2026-01-01T00:00:00Z\t5"


def write_log(path, rows):
    """``rows`` are (op, bytes, error)."""
    lines = [f"{n}\t0\t{op}\tc\t1\t{size}\tmem://b\tk\t{error}\t{TIMES}\n" for n, (op, size, error) in enumerate(rows)]
    path.write_text(HEADER + "".join(lines))
    return str(path)


def test_sizes_are_drawn_as_often_as_they_were_recorded(tmp_path):
    rows = [("PUT", 10, "")] * 6 + [("PUT", 2000, "")] * 3 + [("PUT", 0, "")] + [("PUT", 77, "timeout"), ("GET", 5, "")]
    log = write_log(tmp_path / "log.tsv", rows)
    histogram = counted(Histogram(op_log=log))
    assert [(one.min, one.max, one.count) for one in histogram.bins] == [(0, 0, 1), (10, 10, 6), (2000, 2000, 3)]
    drawn = Counter(sizes.draw(histogram, KEY, np.arange(10_000, dtype=np.int64)).tolist())
    assert set(drawn) == {0, 10, 2000}
    assert drawn[10] == pytest.approx(6000, abs=200)
    assert drawn[0] == pytest.approx(1000, abs=120)
    assert sizes.mean(histogram) == pytest.approx(606)
    assert sizes.largest(histogram) == 2000
    assert counted(Histogram(op_log=log, op="get")).bins == (Bin(min=5, max=5, count=1),)


def test_very_many_sizes_become_ranges_that_keep_every_count(tmp_path):
    rows = [("PUT", size, "") for size in range(0, 300_000, 37)]
    histogram = counted(Histogram(op_log=write_log(tmp_path / "log.tsv", rows)))
    assert len(histogram.bins) <= 1024
    assert sum(one.count for one in histogram.bins) == len(rows)
    assert all(one.max - one.min <= one.min / 31 for one in histogram.bins)
    assert all(one.max < other.min for one, other in zip(histogram.bins, histogram.bins[1:], strict=False))
    assert sizes.mean(histogram) == pytest.approx(150_000, rel=0.02)


@given(
    bins=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**20), st.integers(0, 9)), min_size=1, max_size=20),
    seed=st.integers(0, 5),
)
def test_every_draw_lies_in_a_bin_that_was_counted(bins, seed):
    spec = tuple(Bin(min=low, max=low + width, count=count) for low, width, count in bins)
    if not any(one.count for one in spec):
        return
    histogram = Histogram(bins=spec)
    for size in sizes.draw(histogram, seed, np.arange(200, dtype=np.int64)).tolist():
        assert any(one.min <= size <= one.max and one.count for one in spec)
    assert pickle.loads(pickle.dumps(histogram)) == histogram


def test_a_log_lies_beside_the_file_that_names_it_and_the_plan_needs_it_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    log = tmp_path / "sub" / "log.tsv"
    write_log(log, [("PUT", 4096, "")])
    workload = tmp_path / "sub" / "w.yaml"
    workload.write_text("target: mem://b\nworkload: [{op: put, path: n/, size: {histogram: log.tsv}}]\n")
    config = load("sub/w.yaml", environ={}).config
    assert config.workload[0].size.op_log == "sub/log.tsv"
    here = load("sub/w.yaml", overrides=["workload[0].size={histogram: {op_log: sub/log.tsv}}"], environ={}).config
    assert here == config
    log.unlink()
    plan = json.loads(json.dumps(dump(config)))
    assert restore(plan) == config
    assert loads(json.dumps(plan), label="plan.json", environ={}).workload[0].size.bins == config.workload[0].size.bins


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [("GET", 5, ""), ("GET", 6, ""), ("STAT", 0, ""), ("PUT", 1, "timeout")],
            "it has 2 GET, 1 STAT, 1 failed PUT",
        ),
        ([], "it has nothing"),
    ],
)
def test_a_log_without_such_sizes_is_refused_with_what_it_has(tmp_path, rows, problem):
    log = write_log(tmp_path / "log.tsv", rows)
    text = f"target: mem://b\nworkload:\n  - {{op: put, path: n/, size: {{histogram: {{op_log: {log}}}}}}}\n"
    with pytest.raises(ConfigError) as caught:
        loads(text, label="w.yaml", environ={})
    (found,) = caught.value.problems
    assert found.startswith("w.yaml:3:43: workload[0].size.histogram.op: ")
    assert f"has no PUT to take sizes from; {problem}" in found
