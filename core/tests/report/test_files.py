"""The result files and the HTML report, on outcomes built from synthetic records."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.records import Op
from penstock.report import results_directory
from penstock.report.charts import build_charts
from penstock.report.outcome import Interval, PhaseOutcome, Timeline
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

NASTY = "k/</script><script>alert(1)</script>&amp;'\"\t\udc80é"
TEN = (
    *(Op.GET, Op.GET_RANGE, Op.PUT, Op.LIST, Op.STAT),
    *(Op.DELETE, Op.DELETE_BATCH, Op.COPY, Op.MKDIR, Op.RMDIR),
)


def documented_fields():
    import penstock.report.summary as module

    return set(re.findall(r"\w+", module.__doc__))


def fields_of(value):
    if isinstance(value, dict):
        return set(value).union(*(fields_of(each) for each in value.values()))
    return set().union(*(fields_of(each) for each in value)) if isinstance(value, list) else set()


@pytest.mark.parametrize(
    ("fields", "nothing"),
    [
        ({"status": "failed"}, True),
        ({"status": "failed", "phases": [PhaseOutcome(name="prepare", seconds=1.0, failed=1)]}, True),
        ({"status": "failed", "phases": [PhaseOutcome(name="prepare", seconds=1.0, objects_found=1)]}, False),
        ({"status": "failed", "warmup_operations": 1}, False),
        ({"status": "interrupted"}, False),
        ({"status": "done"}, False),
    ],
)
def test_of_a_run_that_did_nothing_there_is_only_the_reason(tmp_path, fields, nothing, synth):
    known = {"totals": Tally(), "phases": [], "errors": ErrorTable(), "reason": "the key is wrong"}
    text = synth.written(tmp_path, synth.make_outcome(seconds=0, **(known | fields)))
    assert (sorted(text) == ["config.yaml", "plan.json", "result.json"]) == nothing
    assert ("report.html" in text) != nothing
    assert "the key is wrong" in text["result.json"]


def test_every_file_is_written_and_config_is_as_given(tmp_path, synth):
    text = synth.written(tmp_path, synth.make_outcome(seconds=2), config_text="# mine\nworkload: [] # \u00b5\n")
    assert sorted(text) == [
        "config.yaml", "histograms.hlog", "perf_log.tsv", "plan.json", "report.html", "result.json", "results.tsv",
        "tallies.jsonl.zst",
    ]  # fmt: skip
    assert text["config.yaml"] == "# mine\nworkload: [] # \u00b5\n"
    assert json.loads(text["plan.json"]) == {"concurrency": 64}


def test_result_json_holds_what_its_documentation_says(tmp_path, synth):
    outcome = synth.make_outcome(seconds=3, failing=0.2, planned=True, op_log={"path": "x", "accepted": 4})
    result = json.loads(synth.written(tmp_path, outcome)["result.json"])
    free = {"environment", "op_log"}
    found = fields_of({name: field for name, field in result.items() if name not in free})
    assert found - {op.name for op in Op} - {"ALL"} <= documented_fields()
    assert free < set(result)
    assert result["schema"] == "penstock.result/1"
    assert result["window"] == {
        "from": "2026-11-21T01:52:17.123456789Z", "to": "2026-11-21T01:52:20.123456789Z", "seconds": 3.0,
    }  # fmt: skip
    assert result["started"] == "2026-11-21T01:52:05.123456789Z"


def test_result_json_of_hosts_holds_what_its_documentation_says(tmp_path, synth):
    result = json.loads(synth.written(tmp_path, synth.make_hosts(3, seconds=2, lost=(1,)))["result.json"])
    op_logs = [worker.pop("op_log") for worker in result["workers"]]
    found = fields_of({name: field for name, field in result.items() if name != "environment"})
    assert found - {op.name for op in Op} - {"ALL"} <= documented_fields()
    assert all(op_logs)


def test_result_json_figures_are_the_records(tmp_path, synth):
    rows = synth.rows_of(np.random.default_rng(1), (Op.GET, Op.STAT), 3000, failing=0.1, planned=True)
    outcome = synth.make_outcome(
        seconds=0, totals=synth.tally_of(rows), measured_seconds=2.5, measured_from_ns=synth.STARTED, workers=1
    )
    result = json.loads(synth.written(tmp_path, outcome)["result.json"])
    good = rows[(rows["error"] == 0) & (rows["op"] == Op.GET)]
    latency = np.sort(good["end"] - good["start"]) / 1000
    get = result["operations"]["GET"]
    assert get["count"] == len(good)
    assert get["bytes"] == good["nbytes"].sum()
    assert get["mib_per_sec"] == pytest.approx(good["nbytes"].sum() / 2.5 / 1048576, abs=1e-3)
    assert get["ops_per_sec"] == pytest.approx(len(good) / 2.5, abs=1e-3)
    assert get["service_us"]["mean"] == pytest.approx(latency.mean(), abs=1e-3)
    assert get["service_us"]["p99"] == pytest.approx(np.percentile(latency, 99, method="inverted_cdf"), rel=1e-3)
    assert get["service_us"]["max"] == latency[-1]
    assert get["first_byte_us"]["p50"] == pytest.approx(get["service_us"]["p50"] / 2, rel=0.01)
    assert get["response_us"]["max"] == pytest.approx((good["end"] - good["due"]).max() / 1000)
    assert result["operations"]["STAT"]["first_byte_us"] is None
    assert result["totals"]["ALL"]["errors"] == np.count_nonzero(rows["error"])
    assert result["totals"]["META"]["count"] + get["count"] == result["totals"]["ALL"]["count"]


def test_client_cpu_is_per_call_and_per_gigabyte(tmp_path, synth):
    totals = synth.tally_of(synth.rows_of(np.random.default_rng(1), (Op.GET_RANGE,), 1000))
    outcome = synth.make_outcome(seconds=0, totals=totals, workers=2)
    client = json.loads(synth.written(tmp_path, outcome)["result.json"])["client"]
    assert client["cpu_seconds"] == pytest.approx(76.4)
    assert client["cpu_us_per_operation"] == pytest.approx(76_400)
    assert client["cpu_seconds_per_gb"] == pytest.approx(76.4 / (65_536_000 / 1e9))


def table(text):
    lines = text.splitlines()
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


def test_results_tsv_has_its_columns_buckets_and_families(tmp_path, synth):
    text = synth.written(tmp_path, synth.make_outcome((Op.GET, Op.GET_RANGE, Op.PUT, Op.LIST), seconds=3, failing=0.1))[
        "results.tsv"
    ]
    header = (
        "operation size_bucket bucket_idx mean_us p50_us p90_us p95_us p99_us p999_us max_us avg_bytes ops_per_sec"
        " throughput_mibps count errors"
    )
    assert text.splitlines()[0] == header.replace(" ", "\t")
    rows = table(text)
    numbers = [int(row["bucket_idx"]) for row in rows]
    assert numbers == sorted(numbers)
    families = {row["operation"]: row for row in rows if row["size_bucket"] == "ALL"}
    assert [(name, row["bucket_idx"]) for name, row in families.items()] == [
        ("META", "97"),
        ("GET", "98"),
        ("PUT", "99"),
    ]
    members = {"META": ("LIST",), "GET": ("GET", "GET_RANGE"), "PUT": ("PUT",)}
    for name, family in families.items():
        parts = [row for row in rows if row["operation"] in members[name] and row["size_bucket"] != "ALL"]
        for column in ("count", "errors"):
            assert int(family[column]) == sum(int(row[column]) for row in parts)
        assert float(family["throughput_mibps"]) == pytest.approx(
            sum(float(row["throughput_mibps"]) for row in parts), abs=0.01
        )


def test_perf_log_is_of_each_interval_alone(tmp_path, synth):
    outcome = synth.make_outcome(seconds=5, failing=0.2)
    rows = table(synth.written(tmp_path, outcome)["perf_log.tsv"])
    for interval in outcome.intervals:
        mine = {row["operation"]: row for row in rows if float(row["start_s"]) == interval.start_s}
        assert set(mine) == {"GET", "PUT", "ALL"}
        for name, row in mine.items():
            cell = interval.tally.roll_up(name)
            assert (int(row["count"]), int(row["errors"])) == (cell.count, cell.errors)
            assert float(row["p99_us"]) == pytest.approx(cell.service.percentile(99) / 1000)
            assert float(row["max_us"]) == pytest.approx(cell.service.maximum / 1000)
            assert float(row["client_cpu_pct"]) == pytest.approx(interval.client_cpu_pct, abs=1e-3)
    assert sum(int(row["errors"]) for row in rows if row["operation"] == "ALL") == outcome.totals.errors > 0


def test_the_standard_reader_reads_the_histogram_log(tmp_path, synth):
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    outcome = synth.make_outcome(seconds=4, planned=True)
    text = synth.written(tmp_path, outcome)["histograms.hlog"]
    assert text.splitlines()[1] == "#[Histogram log format version 1.3]"
    reader = HistogramLogReader(str(tmp_path / "histograms.hlog"), HdrHistogram(1, 3_600_000_000_000, 3))
    totals, starts = {}, set()
    while (histogram := reader.get_next_interval_histogram()) is not None:
        starts.add(round(histogram.get_start_time_stamp() / 1000 - outcome.measured_from_ns / 1e9))
        totals.setdefault(histogram.tag, HdrHistogram(1, 3_600_000_000_000, 3)).add(histogram)
    reader.close()
    assert set(totals) == {"GET", "PUT", "GET-first-byte", "GET-response", "PUT-response"}
    assert starts == {0, 1, 2, 3}
    for name in ("GET", "PUT"):
        service = outcome.totals.operation(name).service
        assert totals[name].get_total_count() == service.count
        index, counts = service.cells()
        assert np.array(totals[name].counts)[index].tolist() == counts.tolist()


def test_a_run_without_intervals_still_has_its_histograms(tmp_path, synth):
    totals = synth.tally_of(synth.rows_of(np.random.default_rng(1), (Op.PUT,), 50))
    text = synth.written(tmp_path, synth.make_outcome(seconds=0, totals=totals, measured_seconds=1.0))[
        "histograms.hlog"
    ]
    assert [line.split(",")[0] for line in text.splitlines() if line.startswith("Tag")] == ["Tag=PUT"]


def test_result_directories_never_collide(tmp_path, synth):
    now = datetime(2026, 11, 21, 1, 52, 5, tzinfo=UTC)
    paths = [results_directory(tmp_path / "new", "my run/..\u00e9", now) for _ in range(3)]
    stem = "penstock-20261121T015205Z-my_run"
    assert [path.name for path in paths] == [stem, f"{stem}-2", f"{stem}-3"]
    assert all(path.is_dir() for path in paths)
    assert results_directory(tmp_path, "../..", synth.STARTED).parent == tmp_path


SHAPES = {
    "one operation": {"ops": (Op.GET,), "seconds": 3},
    "ten operations": {"ops": TEN, "seconds": 3},
    "nothing": {"seconds": 0, "status": "failed", "reason": "no such target", "workers": 1},
    "one interval": {"seconds": 1},
    "errors only": {"ops": (Op.GET,), "seconds": 3, "failing": 1.0, "status": "errors", "exit_code": 3},
    "interrupted": {"seconds": 2, "status": "interrupted", "reason": "stopped"},
    "nasty names": {
        "seconds": 2,
        "failing": 0.5,
        "name": NASTY,
        "target": NASTY,
        "reason": NASTY,
        "notes": [NASTY],
        "verdict": NASTY,
        "command_line": NASTY,
        "environment": {NASTY: {NASTY: NASTY}},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_report_is_self_contained(tmp_path, shape, synth):
    fields = dict(SHAPES[shape])
    html = synth.written(
        tmp_path, synth.make_outcome(fields.pop("ops", (Op.GET, Op.PUT)), **fields), config_text=NASTY
    )["report.html"]
    page = synth.Page(html)
    page.check_contained(html)
    assert len(page.scripts) == (3 if shape != "nothing" else 0)
    assert len(html) < 200_000


def test_report_escapes_whatever_the_run_holds(tmp_path, synth):
    fields = SHAPES["nasty names"]
    page = synth.Page(
        synth.written(tmp_path, synth.make_outcome(**fields), config_text=NASTY, plan={NASTY: NASTY})["report.html"]
    )
    assert not any("alert" in script for script in page.scripts[1:])
    assert all(tag != "script" or set(attributes) <= {"type", "id"} for tag, attributes in page.elements)
    shown = NASTY.encode("utf-8", "backslashreplace").decode()
    assert page.text.count(shown) >= 7


def test_data_for_scripts_cannot_end_the_script():
    from penstock.report.page import embed

    text = embed({"label": "</script><!--&\u2028\udc80"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"label": "</script><!--&\u2028\udc80"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("done", ["Done"]),
        ("interrupted", ["Interrupted", "Partial result"]),
        ("failed", ["Failed", "Partial result"]),
        ("degraded", ["Degraded", "workers were lost"]),
        ("errors", ["Too many errors"]),
    ],
)
def test_report_says_how_the_run_ended(tmp_path, status, words, synth):
    text = synth.Page(
        synth.written(tmp_path, synth.make_outcome(seconds=1, status=status, reason="for a reason"))["report.html"]
    ).text
    assert all(word in text for word in words)
    assert ("for a reason" in text) == (status != "done")


def test_lost_workers_are_named(tmp_path, synth):
    outcome = synth.make_outcome(seconds=1)
    lost = attrs.evolve(outcome.workers[2], lost="killed by signal 9")
    text = synth.Page(
        synth.written(tmp_path, attrs.evolve(outcome, workers=[*outcome.workers[:2], lost]))["report.html"]
    ).text
    assert "1 of 3 workers lost" in text
    assert "killed by signal 9" in text


def test_a_long_run_stays_small_and_keeps_its_extremes(synth):
    rng = np.random.default_rng(2)
    few = [synth.tally_of(synth.rows_of(rng, (Op.GET, Op.PUT), 40)) for _ in range(5)]
    spike = synth.tally_of(synth.rows_of(rng, (Op.GET,), 4000))
    intervals = [
        Interval(start_s=float(second), seconds=1.0, tally=spike if second == 1234 else few[second % 5])
        for second in range(3600)
    ]
    outcome = synth.make_outcome(seconds=0, totals=synth.tally_of(synth.rows_of(rng, TEN, 500)), intervals=intervals)
    charts = {chart["id"]: chart for chart in build_charts(outcome)}
    rate = charts["rate"]
    assert len(rate["x"]) <= 1000
    get = next(line for line in rate["lines"] if line["label"] == "GET")
    assert max(get["high"]) == 4000
    assert max(get["values"]) < 1000
    assert min(low for low in get["low"]) == min(tally.operation("GET").count for tally in few)
    assert len(json.dumps(list(charts.values()), default=str)) < 600_000


def test_the_distribution_ends_at_the_maximum(synth):
    outcome = synth.make_outcome((Op.GET,), seconds=4)
    chart = next(chart for chart in build_charts(outcome) if chart["id"] == "distribution")
    (values,) = [[value for value in line["values"] if value is not None] for line in chart["lines"]]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(outcome.totals.operation("GET").service.maximum / 1000, rel=1e-3)
    middle = values[round(np.log10(2) * 40)]
    assert middle == pytest.approx(outcome.totals.operation("GET").service.percentile(50) / 1000, rel=0.02)


@given(st.integers(1, 60), st.integers(2, 9))
def test_a_timeline_is_bounded_and_loses_nothing(synth, count, limit):
    timeline = Timeline(limit)
    one = synth.tally_of(synth.rows_of(np.random.default_rng(1), (Op.STAT,), 3))
    for second in range(-2, count):
        tally = Tally()
        tally.merge(one)
        timeline.add(Interval(start_s=float(second), seconds=1.0, tally=tally, client_cpu_pct=float(second)))
    intervals = timeline.intervals()
    assert len(intervals) <= limit + 1
    assert sum(interval.tally.count for interval in intervals) == 3 * count
    assert intervals[0].start_s == 0
    for before, after in itertools.pairwise(intervals):
        assert before.start_s + before.seconds == after.start_s
    weighted = sum(interval.client_cpu_pct * interval.seconds for interval in intervals) / count
    assert weighted == pytest.approx((count - 1) / 2)


def test_a_timeline_stays_within_its_memory(synth):
    rng = np.random.default_rng(4)
    tallies = [synth.tally_of(synth.rows_of(rng, TEN, 400, second)) for second in range(64)]
    counts = [tally.count for tally in tallies]
    free, bound = Timeline(), Timeline(memory=400_000)
    for second, tally in enumerate(tallies):
        for timeline in (free, bound):
            copy = Tally()
            copy.merge(tally)
            timeline.add(Interval(start_s=float(second), seconds=1.0, tally=copy))
    assert [interval.tally.count for interval in free.intervals()] == counts
    kept = bound.intervals()
    assert 7 <= len(kept) < 64
    assert sum(interval.tally.memory for interval in kept) < 2 * 400_000
    assert sum(interval.tally.count for interval in kept) == sum(counts)
