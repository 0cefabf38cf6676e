"""The pages of reports: their figures are those of the results, and every picture stands for its data."""

from __future__ import annotations

import itertools
import json
import re
from importlib.resources import files

import attrs
import numpy as np
import pytest

from penstock.analysis.comparing import compare
from penstock.analysis.comparing_values import Run, Side, Stretch
from penstock.errors import UsageError
from penstock.records import Op
from penstock.report.compared import render_comparison
from penstock.report.html import render_html
from penstock.report.job import Job, LegOutcome
from penstock.report.jobpage import render_job
from penstock.report.jobs import summarise_job
from penstock.report.outcome import Interval, Planned, Replayed
from penstock.report.pieces import number
from penstock.report.results import Result
from penstock.report.several import MOST_RESULTS, render_several
from penstock.report.summary import summarise
from penstock.stats.tally import Tally

SMALL = 2 * 1024 * 1024


def result_of(outcome, directory):
    return Result(directory=directory, outcome=outcome, config_text="workload: []\n", plan={})


def test_a_run_shows_its_endpoints_and_clients(tmp_path, synth):
    rng = np.random.default_rng(5)
    endpoints = {f"http://10.0.0.{host}:9000": synth.rows_of(rng, (Op.GET,), 500) for host in (1, 2)}
    slow = endpoints["http://10.0.0.2:9000"]
    slow["end"] += 9_000_000
    tallies = {name: synth.tally_of(rows) for name, rows in endpoints.items()}
    text = synth.written(tmp_path, synth.make_outcome((Op.GET,), seconds=5, endpoints=tallies))
    page, result = synth.Page(text["report.html"]), json.loads(text["result.json"])
    header, *lines = [line.split("\t") for line in text["endpoint_stats.tsv"].splitlines()]
    assert len(lines) == 2
    for line in lines:
        row = dict(zip(header, line, strict=True))
        sums = result["endpoints"][row["endpoint"]]["operations"]["GET"]
        assert int(row["count"]) == sums["count"] == 500
        assert float(row["p99_us"]) == pytest.approx(sums["service_us"]["p99"])
        (shown,) = page.rows(row["endpoint"], "GET")
        assert shown[2] == number(500)
        assert shown[7] == number(sums["service_us"]["p99"])
    assert re.search(r"http://10\.0\.0\.2:9000 is slower than the others: the p99 of GET is from", page.text)
    assert len(page.rows("worker 3 on client-1", "GET")) == 1


def test_one_worker_and_no_endpoints_make_no_such_tables(tmp_path, synth):
    text = synth.written(tmp_path, synth.make_outcome((Op.GET,), seconds=2, workers=1))
    assert "endpoint_stats.tsv" not in text
    assert "By client" not in text["report.html"]


def test_one_interval_makes_no_line_and_says_so(tmp_path, synth):
    html = synth.written(tmp_path, synth.make_outcome((Op.GET,), seconds=1, failing=0.1, planned=True))["report.html"]
    page = synth.Page(html)
    assert set(page.charts()) == {"distribution"}
    assert "Everything falls into one interval" in page.text


def test_recorded_and_replayed_stand_side_by_side(tmp_path, synth):
    rows = synth.rows_of(np.random.default_rng(2), (Op.GET, Op.STAT), 2000)
    recorded = synth.tally_of(rows)
    faster = rows.copy()
    faster["end"] = faster["start"] + (faster["end"] - faster["start"]) // 4
    replay = Replayed(
        log="captured.tsv.zst", speed=0.5, recorded=recorded, recorded_seconds=1.0, counts={"left_out": 3},
        settings={"target": "mem://x/"},
    )  # fmt: skip
    outcome = synth.make_outcome(
        seconds=0, totals=synth.tally_of(faster), measured_seconds=2.0, replay=replay, planned=False
    )
    text = synth.written(tmp_path, outcome)
    page, result = synth.Page(text["report.html"]), json.loads(text["result.json"])
    then, now = result["replay"]["recorded"]["GET"], result["operations"]["GET"]
    (row,) = [row for row in page.rows("GET") if len(row) == 14]
    assert row[1:3] == [number(then["count"]), number(now["count"])]
    assert row[11:13] == [number(then["service_us"]["p99"]), number(now["service_us"]["p99"])]
    assert float(row[13]) == pytest.approx(-75, abs=0.3)
    assert "at 0.5 times the recorded speed; recorded in 1.00 s, replayed in 2.00 s" in page.text
    assert page.rows("left out") == [["left out", "3"]]
    chart = page.charts()["replay-GET"]
    assert [line["label"] for line in chart["lines"]] == ["recorded", "replayed"]
    ratio = [mine / theirs for theirs, mine in zip(*(line["values"] for line in chart["lines"]), strict=True) if mine]
    assert ratio == pytest.approx([0.25] * len(ratio), rel=0.01)


def test_lag_and_what_was_missed_are_on_the_page(tmp_path, synth):
    outcome = synth.make_outcome(seconds=20, planned=True)
    text = synth.written(tmp_path, attrs.evolve(outcome, planned=Planned(operations=4100, missed=100)))
    page, result = synth.Page(text["report.html"]), json.loads(text["result.json"])
    lag = page.charts()["lag"]
    assert [line["label"] for line in lag["lines"]] == ["p50", "p99", "largest"]
    largest = max(fields["lag_us"]["max"] for fields in result["operations"].values())
    assert max(lag["lines"][2]["values"]) == pytest.approx(largest, rel=1e-3)
    assert "100 (2.44 %) were never begun" in page.text


def cells_of(html):
    """The cells of the first heat map, as (left, row, width)."""
    picture = re.search(r"<svg class='plane'.*?</svg>", html, re.DOTALL)[0]
    rows = int(re.search(r"viewBox='0 0 1000 (\d+)'", picture)[1])
    found = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", picture)
    return rows, [(int(left), int(row), int(width)) for left, row, width, _ in found]


def test_the_heat_map_has_a_cell_where_the_slow_calls_were(tmp_path, synth):
    rng = np.random.default_rng(3)
    intervals, totals = [], Tally()
    for second in range(20):
        rows = synth.rows_of(rng, (Op.GET,), 300)
        rows["end"] = rows["start"] + 1_000_000 * (100 if second == 15 else 1)
        intervals.append(Interval(start_s=float(second), seconds=1.0, tally=synth.tally_of(rows)))
        totals.merge(intervals[-1].tally)
    outcome = synth.make_outcome(seconds=0, totals=totals, intervals=intervals, measured_seconds=20.0, workers=1)
    html = synth.written(tmp_path, outcome)["report.html"]
    rows, cells = cells_of(html)
    assert sorted(cells) == sorted([(50 * second, 0 if second == 15 else rows - 1, 50) for second in range(20)])
    text = synth.Page(html).text
    assert "calls in a cell: 300" in text
    assert "100 % of these calls fall into a tenth of the time, most around 15.0 s" in text


def test_several_results_are_compared_in_one_table(tmp_path, synth):
    outcomes = [synth.make_outcome((Op.GET,), seconds=length, rate=rate) for length, rate in ((30, 100), (10, 300))]
    results = [
        result_of(attrs.evolve(outcome, name=name), tmp_path / name)
        for outcome, name in zip(outcomes, ("small", "large"), strict=True)
    ]
    html = render_several(results)
    page = synth.Page(html)
    page.check_contained(html)
    for result in results:
        total = result.outcome.totals.operation("GET")
        (row,) = page.rows("GET", result.outcome.name)
        assert row[2:4] == [number(total.count), number(total.count / result.outcome.measured_seconds)]
        assert row[7] == number(total.service.percentile(99) / 1000)
    assert "The highest rate is that of large, 300 ops/s, 200 % above small" in page.text
    rate = page.charts()["rate"]
    assert [line["label"] for line in rate["lines"]] == ["small", "large"]
    assert [sum(value is not None for value in line["values"]) for line in rate["lines"]] == [30, 10]
    assert set(filter(None, rate["lines"][1]["values"])) == {300}
    assert set(page.charts()) == {"rate", "throughput", "p50", "p99", "distribution-GET"}


def test_results_of_one_name_are_called_by_their_directories(tmp_path, synth):
    outcome = synth.make_outcome((Op.GET,), seconds=2)
    page = synth.Page(render_several([result_of(outcome, tmp_path / f"penstock-{place}") for place in "ab"]))
    assert [line["label"] for line in page.charts()["rate"]["lines"]] == ["a", "b"]
    with pytest.raises(UsageError, match=f"name at most {MOST_RESULTS}"):
        render_several([result_of(outcome, tmp_path)] * (MOST_RESULTS + 1))


def run_of(synth, seed, factor, *, failing=0.0):
    rng = np.random.default_rng(seed)
    stretches, whole = [], Tally()
    for _ in range(40):
        rows = synth.rows_of(rng, (Op.GET, Op.PUT), 400, failing=failing)
        rows["end"] = rows["start"] + (rows["end"] - rows["start"]) * factor
        stretches.append(Stretch(seconds=1.0, tally=synth.tally_of(rows)))
        whole.merge(stretches[-1].tally)
    return Run(name=f"run-{seed}</td>", begin_ns=synth.STARTED, seconds=40.0, tally=whole, stretches=stretches)


def test_a_comparison_has_its_verdict_on_top_and_a_bar_for_each_change(synth):
    found = compare(Side(runs=[run_of(synth, 1, 1)]), Side(runs=[run_of(synth, 2, 3, failing=0.05)]))
    assert found.verdict == "worse"
    html = render_comparison(found)
    page = synth.Page(html)
    page.check_contained(html)
    assert found.sentence in page.text
    assert html.index(found.sentence.split(" (")[0]) < html.index("<table>")
    labels = re.findall(r"aria-label='([^']*)'><path class='zero'", html)
    assert len(labels) == len(found.changes)
    change = found.find("GET", None, "p99")
    (row,) = [row for row in page.rows("GET", "p99 µs") if len(row) == 8]
    assert row[3] == f"{change.change:+.0f}"
    assert row[5:] == ["worse", number(change.a), number(change.b)]
    assert "run-1</td>" in page.text
    rect = re.search(r"aria-label='GET p99: .*?<rect class='bad' x='(\d+)'", html)
    zero = re.search(r"aria-label='GET p99: .*?class='zero' d='M(\d+) ", html)
    assert int(rect[1]) > int(zero[1])
    assert [line["label"] for line in page.charts()["rate"]["lines"]] == ["A", "B"]
    errors, calls = found.b.tally.errors, found.b.tally.count + found.b.tally.errors
    assert f"{errors:,} of {calls:,} calls of B failed (" in page.text
    assert {"errors", "distribution-GET", "distribution-PUT"} <= set(page.charts())


def test_a_comparison_of_a_few_calls_says_so(synth):
    tally = synth.tally_of(synth.rows_of(np.random.default_rng(1), (Op.GET,), 5))
    runs = [Run(name=name, begin_ns=place, seconds=1.0, tally=tally, stretches=[]) for place, name in enumerate("ab")]
    page = synth.Page(render_comparison(compare(Side(runs=runs[:1]), Side(runs=runs[1:]))))
    assert "Too few data." in page.text
    assert page.rows("GET", "p99 µs")[0][4] == "\N{EN DASH}"


def test_a_million_operations_make_a_small_file(tmp_path, synth):
    rng = np.random.default_rng(8)
    ops = tuple(synth.LATENCIES)[:4]
    some = [synth.tally_of(synth.rows_of(rng, ops, 1200, second, failing=0.01, planned=True)) for second in range(20)]
    intervals = [Interval(start_s=float(second), seconds=1.0, tally=some[second % 20]) for second in range(900)]
    totals = Tally()
    for tally in some * 45:
        totals.merge(tally)
    assert totals.count + totals.errors > 1_000_000
    outcome = synth.make_outcome(
        seconds=0,
        totals=totals,
        intervals=intervals,
        measured_seconds=900.0,
        endpoints={f"http://10.0.0.{host}:9000": totals for host in range(64)},
        replay=Replayed(log="x", speed=1.0, recorded=totals, recorded_seconds=900.0),
    )
    # What result.json says of each interval is no part of the page.
    summary = summarise(attrs.evolve(outcome, intervals=()))
    html = render_html(outcome, summary, config_text="a: 1\n" * 10_000, plan={})
    assert len(html.encode()) < SMALL
    assert len(re.findall("class='plane'", html)) == 4
    synth.Page(html).check_contained(html)
    several = render_several([result_of(outcome, tmp_path / str(place)) for place in range(2)])
    assert len(several.encode()) < SMALL


def test_a_stage_that_is_repeated_is_a_line_that_is_broken(synth):
    def leg(stage, repeat):
        begin_ns = 10**18 + (2 * repeat + (stage == "read")) * 10**10
        outcome = synth.make_outcome(seconds=5, measured_seconds=5.0, measured_from_ns=begin_ns)
        label = f"repeat {repeat}, {stage}"
        return LegOutcome(label=label, stage=stage, repeat=repeat, directory=label, outcome=outcome)

    job = Job(
        name="two",
        version="1",
        command_line="penstock run",
        target="mem://a/",
        started_ns=10**18,
        ended_ns=10**18 + 10**11,
        status="done",
        legs=[leg(stage, repeat) for repeat in (1, 2) for stage in ("fill", "read")],
    )
    html = render_job(job, summarise_job(job), config_text="", plan={})
    page = synth.Page(html)
    page.check_contained(html)
    rate = page.charts()["rate"]
    assert rate["gaps"] == "broken"
    assert [line["label"] for line in rate["lines"]] == ["fill", "read"]
    for line in rate["lines"]:
        drawn = [value is not None for value in line["values"]]
        assert [there for there, _ in itertools.groupby(drawn) if there] == [True, True]


#: Machado et al. 2009, severity 1: what is left of linear red, green and blue.
SIMULATED = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def linear_of(colour):
    encoded = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("sight", SIMULATED)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_everybody_can_tell_the_lines_apart(sight, theme):
    css = files("penstock.report").joinpath("assets", "report.css").read_text()
    found = re.findall(r"--c(\d): (#[0-9a-f]{6});", css)
    colours = [colour for _, colour in found][7 * theme : 7 * theme + 7]
    assert len(found) == 14
    seen = [lab(np.array(SIMULATED[sight]) @ linear_of(colour)) for colour in colours]
    distances = {
        pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in itertools.combinations(range(7), 2)
    }
    nearest = min(distances, key=lambda pair: distances[pair])
    assert distances[nearest] > 15, (nearest, distances[nearest])
    page = re.findall(r"--card: (#[0-9a-f]{6});", css)[theme]
    luminances = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in map(linear_of, [page, *colours])]
    for each in luminances[1:]:
        high, low = max(each, luminances[0]), min(each, luminances[0])
        assert (high + 0.05) / (low + 0.05) > 2.5
