"""Tallies against a naive count in plain Python; error tables; the CPU meter and the facts of the host."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.records import WARMUP, Op, RecordBuffer, Recorder, record_dtype
from penstock.stats.buckets import BOUNDS, LABELS, bucket_of
from penstock.stats.errors import OTHER, ErrorTable
from penstock.stats.system import CpuMeter, environment
from penstock.stats.tally import FAMILIES, Cell, Tally, family_of

sizes = st.one_of(st.integers(0, 100_000), st.sampled_from([*BOUNDS, *(bound + 1 for bound in BOUNDS), 1 << 40]))
records = st.fixed_dictionaries(
    {
        "op": st.sampled_from([int(op) for op in Op]),
        "start": st.integers(1, 10**15),
        "latency": st.integers(0, 10**10),
        "first": st.one_of(st.none(), st.integers(0, 10**9)),
        "wait": st.one_of(st.none(), st.integers(0, 10**9)),
        "nbytes": sizes,
        "n_objects": st.integers(0, 2**32 - 1),
        "error": st.sampled_from([0, 0, 0, 1, 7]),
        "attempts": st.integers(1, 9),
        "flags": st.sampled_from([0, 0, 0, WARMUP]),
    }
)


def rows_of(items):
    rows = np.zeros(len(items), record_dtype())
    for row, item in zip(rows, items, strict=True):
        for name in ("op", "start", "nbytes", "n_objects", "error", "attempts", "flags"):
            row[name] = item[name]
        row["end"] = item["start"] + item["latency"]
        row["first"] = 0 if item["first"] is None else item["start"] + item["first"]
        row["due"] = 0 if item["wait"] is None else max(1, item["start"] - item["wait"])
    return rows


def tally_of(items):
    tally = Tally()
    tally.add(rows_of(items))
    return tally


def naive_bucket(nbytes):
    return next((place for place, bound in enumerate(BOUNDS) if nbytes <= bound), len(BOUNDS))


def naive(items):
    cells = defaultdict(lambda: defaultdict(list))
    for item, row in zip(items, rows_of(items).tolist(), strict=True):
        start, first, end, due, nbytes = row[:5]
        if item["flags"] & WARMUP:
            continue
        name = Op(item["op"]).name
        cell = cells[name, 0 if item["error"] else naive_bucket(nbytes)]
        cell["retries"].append(item["attempts"] - 1)
        if due:
            cell["lag"].append(start - due)
        if item["error"]:
            cell["errors"].append(1)
            continue
        cell["nbytes"].append(nbytes)
        cell["objects"].append(item["n_objects"])
        cell["service"].append(end - start)
        if first and name in ("GET", "GET_RANGE"):
            cell["first_byte"].append(first - start)
        if due:
            cell["response"].append(end - due)
    return cells


@given(st.lists(records, max_size=40))
def test_tally_is_the_naive_count(items):
    tally, expected = tally_of(items), naive(items)
    assert set(tally.cells) == set(expected)
    for key, lists in expected.items():
        cell = tally.cells[key]
        assert cell.count == len(lists["service"])
        for name in ("errors", "nbytes", "objects", "retries"):
            assert getattr(cell, name) == sum(lists[name])
        for name in ("service", "first_byte", "response", "lag"):
            histogram = getattr(cell, name)
            assert (histogram.count, histogram.total) == (len(lists[name]), sum(lists[name]))
            assert histogram.maximum == max(lists[name], default=0)
    warming = [item for item in items if item["flags"] & WARMUP]
    assert (tally.warmup, tally.warmup_errors) == (len(warming), sum(item["error"] > 0 for item in warming))


@given(st.lists(st.lists(records, max_size=15), max_size=4))
def test_merging_tallies_is_adding_all_rows(parts):
    merged, added = Tally(), Tally()
    for part in parts:
        merged.merge(tally_of(part))
        merged.compact()
        added.add(rows_of(part))
    assert merged == added == tally_of([item for part in parts for item in part])


@given(st.lists(records, max_size=30))
def test_messages_are_exact(items):
    tally = tally_of(items)
    assert Tally.from_message(json.loads(json.dumps(tally.to_message()))) == tally


@given(st.lists(records, max_size=30))
def test_roll_ups_add_up(items):
    tally = tally_of(items)
    families = [tally.roll_up(family) for family in FAMILIES]
    operations = [tally.operation(name) for name in tally.operations()]
    for sums in (families, operations):
        total = Cell()
        for cell in sums:
            total.merge(cell)
        assert total == tally.roll_up("ALL")
    assert (tally.count, tally.errors, tally.nbytes) == tuple(
        getattr(tally.roll_up("ALL"), name) for name in ("count", "errors", "nbytes")
    )


def test_a_tally_is_not_changed_by_what_it_was_merged_into():
    one = tally_of([{**dict.fromkeys(("first", "wait")), "op": 1, "start": 5, "latency": 9, "nbytes": 1,
                     "n_objects": 1, "error": 0, "attempts": 1, "flags": 0}])  # fmt: skip
    before = one.to_message()
    total = Tally()
    total.merge(one)
    total.merge(one)
    assert one.to_message() == before
    assert total.count == 2


def test_families_hold_every_operation_once():
    assert sorted(name for members in FAMILIES.values() for name in members) == sorted(op.name for op in Op)
    assert [family_of(name) for name in ("GET_RANGE", "PUT", "LIST", "COPY")] == ["GET", "PUT", "META", "META"]


@pytest.mark.parametrize(("operation", "bucket"), [("HEAD", 0), ("GET", 9), ("GET", -1)])
def test_messages_with_unknown_cells_are_refused(operation, bucket):
    message = {
        "warmup": 0,
        "warmup_errors": 0,
        "cells": [{"operation": operation, "bucket": bucket, **Cell().to_message()}],
    }
    with pytest.raises(ValueError, match=operation):
        Tally.from_message(message)


def test_bucket_bounds_are_inclusive():
    edges = [0, 1, 8192, 8193, 65_536, 65_537, 524_288, 4 << 20, 32 << 20, 256 << 20, 2 << 30, (2 << 30) + 1]
    labels = [LABELS[bucket] for bucket in bucket_of(edges)]
    assert labels == [
        "zero", "1B-8KiB", "1B-8KiB", "8KiB-64KiB", "8KiB-64KiB", "64KiB-512KiB", "64KiB-512KiB", "512KiB-4MiB",
        "4MiB-32MiB", "32MiB-256MiB", "256MiB-2GiB", ">2GiB",
    ]  # fmt: skip


def error_table(calls, *, limit=1000):
    buffer = RecordBuffer(len(calls) + 1)
    recorder = Recorder(0, lambda filled: buffer)
    for op, key, text, flags in calls:
        recorder.add(op, key, 1, 0, 2, 0, error=text, flags=flags)
    table = ErrorTable(limit)
    table.add(buffer, 0, 1)
    table.add(buffer, 1, buffer.count)
    return table


def test_errors_are_counted_by_operation_and_text():
    table = error_table(
        [
            (Op.GET, "data/1", "ObjectNotFoundError: no object data/1", 0),
            (Op.GET, "data/2", "", 0),
            (Op.GET, "data/3", "ObjectNotFoundError: no object data/3", 0),
            (Op.PUT, "data/3", "ThrottledError: slow down", 0),
            (Op.PUT, "data/4", "ThrottledError: slow down", WARMUP),
        ]
    )
    found = [(entry.operation, entry.text, entry.count, entry.example) for entry in table.most_frequent()]
    assert found == [
        ("GET", "ObjectNotFoundError: no object <key>", 2, "data/1"),
        ("PUT", "ThrottledError: slow down", 1, "data/3"),
    ]
    assert table.count == 3


def test_the_table_is_bounded_and_counts_the_rest():
    table = error_table([(Op.GET, "some/key", f"Error: {number}", 0) for number in range(20)], limit=5)
    entries = table.most_frequent()
    assert (entries[0].text, entries[0].count) == (OTHER, 15)
    assert len(entries) == 6
    assert table.count == 20


def test_error_tables_merge_and_travel():
    one = error_table([(Op.GET, "a/key", "E: x", 0), (Op.GET, "b/key", "E: y", 0)])
    two = error_table([(Op.GET, "c/key", "E: y", 0)])
    one.merge(ErrorTable.from_message(json.loads(json.dumps(two.to_message()))))
    assert [(entry.text, entry.count, entry.example) for entry in one.most_frequent()] == [
        ("E: y", 2, "b/key"),
        ("E: x", 1, "a/key"),
    ]
    assert two.count == 1


STAT = """cpu  {0} 10 50 800 40 0 0 0 0 0
cpu0 {1} 10 25 100 20 0 0 0 0 0
cpu1 0 0 25 700 20 0 0 0 0 0
intr 1
"""


def test_cpu_shares_are_of_the_time_between_readings(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text(STAT.format(100, 100))
    meter = CpuMeter(0, stat_path=str(stat))
    stat.write_text(
        "cpu  130 20 70 840 90 5 5 10 0 0\ncpu0 130 20 45 100 20 5 5 10 0 0\ncpu1 0 0 25 740 70 0 0 0 0 0\nintr 2\n"
    )
    usage = meter.read(10**9)
    # 170 ticks passed: 30 + 10 user, 20 + 5 + 5 system, 40 idle, 50 waiting, 10 stolen.
    assert usage.user == pytest.approx(100 * 40 / 170)
    assert usage.system == pytest.approx(100 * 30 / 170)
    assert usage.iowait == pytest.approx(100 * 50 / 170)
    assert usage.cores == (100, 0)
    assert usage.busiest == 100
    assert usage.process >= 0


def test_a_system_without_proc_still_gives_the_process(tmp_path):
    usage = CpuMeter(0, stat_path=str(tmp_path / "none")).read(10**9)
    assert (usage.user, usage.cores) == (0, ())


def test_environment_is_json_and_holds_no_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame-4711")
    text = json.dumps(environment(str(tmp_path)))
    facts = json.loads(text)
    assert "open-sesame-4711" not in text
    assert facts["packages"]["penstock"]
    assert facts["cpus_usable"] >= 1
    assert facts["memory_bytes"] > 1 << 20
    assert str(tmp_path).startswith(facts["file_system"]["mount_point"])
