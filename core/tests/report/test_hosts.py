"""The result of a run on several hosts: a row and a directory for each, their clocks, and who was lost."""

from __future__ import annotations

import json

import attrs
import pytest

from penstock.report.crew import WorkerClock
from penstock.report.files import worker_directory
from penstock.report.hosts import WORKER_COLUMNS
from penstock.report.outcome import WorkerOutcome
from penstock.report.results import read_result
from penstock.report.tallies import read_tallies
from penstock.stats.tally import ALL, Tally


def table(text):
    lines = text.splitlines()
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


@pytest.fixture(scope="module")
def outcome(synth):
    return synth.make_hosts(4, lost=(2,), slow=(3,))


@pytest.fixture(scope="module")
def directory(tmp_path_factory, synth, outcome):
    place = tmp_path_factory.mktemp("result")
    synth.written(place, outcome)
    return place


def test_workers_tsv_has_a_row_for_each(directory, outcome):
    rows = table((directory / "workers.tsv").read_text())
    assert tuple(rows[0]) == WORKER_COLUMNS
    assert [row["rank"] for row in rows] == ["0", "1", "2", "3"]
    for row, worker in zip(rows, outcome.workers, strict=True):
        cell, seconds = worker.tally.roll_up(ALL), 10.0 if worker.rank == 2 else 20.0
        assert int(row["count"]) == cell.count
        assert float(row["ops_per_sec"]) == pytest.approx(cell.count / seconds, abs=1e-3)
        assert float(row["bytes_per_sec"]) == pytest.approx(cell.nbytes / seconds, abs=1e-3)
        assert float(row["p99_us"]) == pytest.approx(cell.service.percentile(99) / 1000)
        assert float(row["clock_offset_us"]) == 1500 * (worker.rank - 1) + 4
        assert float(row["clock_uncertainty_us"]) == 90
        assert float(row["start_skew_us"]) == 150 * worker.rank - 300
        assert row["cpu_seconds"] == ("4" if worker.rank == 2 else "8")
    assert [(row["state"], row["cause"]) for row in rows] == [
        ("done", ""), ("done", "process 5 (pid 9): exit code 1"), ("lost", "killed by SIGKILL"), ("done", ""),
    ]  # fmt: skip


def test_each_worker_has_its_own_tables(directory, outcome):
    for worker in outcome.workers:
        place = directory / "workers" / str(worker.rank)
        assert sorted(path.name for path in place.iterdir()) == [
            "facts.json", "histograms.hlog", "perf_log.tsv", "results.tsv", "tallies.jsonl.zst",
        ]  # fmt: skip
        facts = json.loads((place / "facts.json").read_text())
        assert facts["schema"] == "penstock.worker/1"
        assert (facts["rank"], facts["host"], facts["lost"]) == (worker.rank, worker.host, worker.lost)
        assert facts["facts"] == {"python": "3.11.7", "plugins": {"s3": "0.1.0"}}
        assert facts["totals"]["ALL"]["count"] == worker.tally.count
        rows = table((place / "results.tsv").read_text())
        assert sum(int(row["count"]) for row in rows if row["size_bucket"] != "ALL") == worker.tally.count
        log = [row for row in table((place / "perf_log.tsv").read_text()) if row["operation"] == ALL]
        assert len(log) == (10 if worker.lost else 20)
        assert sum(int(row["count"]) for row in log) == worker.tally.count
        assert {(row["client_cpu_pct"], row["cpu_user_pct"], row["active_workers"]) for row in log} == {
            ("40", "40", "1")
        }
        assert (place / "histograms.hlog").read_text().count("Tag=STAT,0.000,") == 1
        tallies = read_tallies(place / "tallies.jsonl.zst")
        assert tallies.totals == worker.tally
        assert tallies.workers[0].series == worker.series
    errors = json.loads((directory / "workers" / "0" / "facts.json").read_text())["errors"]
    assert [(each["text"], each["count"]) for each in errors] == [("ThrottledError: slow down", 1)]


def test_the_merged_tables_are_the_sum_of_the_workers(directory, outcome):
    total = Tally()
    for worker in outcome.workers:
        total.merge(worker.tally)
    assert total == outcome.totals
    merged = {row["operation"] + row["size_bucket"]: row for row in table((directory / "results.tsv").read_text())}
    for key, row in merged.items():
        parts = [
            int(each["count"])
            for rank in range(4)
            for each in table((directory / "workers" / str(rank) / "results.tsv").read_text())
            if each["operation"] + each["size_bucket"] == key
        ]
        assert int(row["count"]) == sum(parts)


def test_result_json_tells_of_clocks_and_the_lost(directory):
    result = json.loads((directory / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("degraded", 1)
    assert result["clock"] == {
        "workers": 4,
        "offset_us": {"min": -1496.0, "max": 3004.0},
        "uncertainty_us": 90.0,
        "drift_us": 4.0,
        "start_skew_us": {"median": 150.0, "min": -300.0, "max": 150.0, "spread": 450.0},
    }
    assert [worker["lost"] for worker in result["workers"]] == [None, None, "killed by SIGKILL", None]
    worker = result["workers"][3]
    assert (worker["processes"], worker["cpus"], worker["seconds"]) == (4, 8, 20.0)
    assert worker["clock"]["offset_us"] == 3004.0
    assert [reading["probes"] for reading in worker["clock"]["readings"]] == [15, 15]


def test_a_result_of_hosts_is_read_back(directory, outcome):
    again = read_result(directory).outcome
    assert again.totals == outcome.totals
    for found, worker in zip(again.workers, outcome.workers, strict=True):
        assert attrs.evolve(found, errors=None) == attrs.evolve(worker, errors=None)
        assert found.errors.to_message() == worker.errors.to_message()


def test_workers_that_are_processes_leave_no_directories(tmp_path, synth):
    text = synth.written(tmp_path, synth.make_outcome(seconds=2))
    assert not (tmp_path / "workers").exists()
    assert "workers.tsv" not in text
    result = json.loads(text["result.json"])
    assert result["clock"] is None
    assert set(result["workers"][0]) == {"rank", "host", "pid", "lanes", "lost", "cpu_seconds", "operations"}


def test_what_is_not_known_stays_empty(tmp_path, synth):
    worker = WorkerOutcome(rank=0, host="a\tb", pid=1, lanes=2, tally=Tally(), processes=1, clock=WorkerClock())
    outcome = attrs.evolve(synth.make_outcome(seconds=2), workers=[worker])
    text = synth.written(tmp_path, outcome)
    (row,) = table(text["workers.tsv"])
    assert row["host"] == "a\\tb"
    empty = {name for name, value in row.items() if value == ""}
    assert empty == {
        "address", "mean_us", "p50_us", "p99_us", "max_us", "cpu_seconds", "clock_offset_us", "clock_uncertainty_us",
        "start_skew_us", "cause",
    }  # fmt: skip
    assert json.loads(text["result.json"])["clock"] is None
    assert worker_directory(tmp_path, 7).is_dir()
