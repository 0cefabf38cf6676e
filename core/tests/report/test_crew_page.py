"""The workers' section of the report: for one worker and for hundreds, what it shows is what they did."""

from __future__ import annotations

import re

import attrs
import pytest

from penstock.report.crewfindings import clock_finding, lost_sentences, rate_finding, read_workers, skew_finding
from penstock.report.crewpage import crew_charts
from penstock.report.html import render_html
from penstock.report.summary import summarise


def page_of(synth, outcome):
    html = render_html(outcome, summarise(attrs.evolve(outcome, intervals=())), config_text="", plan={})
    page = synth.Page(html)
    page.check_contained(html)
    return html, page


def section_of(html):
    return re.search(r"<section><h2>Workers</h2>.*?</section>\n", html, re.DOTALL)[0]


@pytest.mark.parametrize("count", [1, 4, 64, 512])
def test_the_section_fits_any_number_of_workers(synth, count):
    lost = {4: (2,), 64: (7, 40), 512: (100, 400)}.get(count, ())
    outcome = synth.make_hosts(count, seconds=6, lost=lost, slow=(3,) if count > 4 else ())
    html, page = page_of(synth, outcome)
    section = section_of(html)
    assert "Operations by worker" in section
    bars = re.findall(r"<rect class='(span|odd|lost)'", section)
    assert len(bars) <= 4 * 128
    assert ("lost" in bars) == bool(lost)
    assert section.count("class='cross'") == 4 * len(lost)
    lines = {chart for chart in page.charts() if chart.startswith("workers_")}
    assert lines == ({"workers_rate", "workers_p99"} if count == 4 else set())
    assert section.count("of each worker over time") == (4 if count > 8 else 0)  # a title each, twice
    table = next(table for table in page.tables if table[0][0] == "Worker")
    assert len(table) - 1 == min(count, 200)
    shown = {int(row[0]) for row in table[1:]}
    assert set(lost) <= shown
    assert len(html) < 600_000


def test_what_is_drawn_is_what_each_worker_did(synth):
    outcome = synth.make_hosts(4, seconds=12, lost=(2,))
    _, page = page_of(synth, outcome)
    rate = page.charts()["workers_rate"]
    assert [line["label"] for line in rate["lines"]] == ["0 node-000", "1 node-001", "2 node-002", "3 node-003"]
    for line, worker in zip(rate["lines"], outcome.workers, strict=True):
        known = [value for value in line["values"] if value is not None]
        assert len(known) == (6 if worker.lost else 12)
        assert sum(known) == pytest.approx(worker.tally.count, rel=1e-3)
    (row,) = page.rows("2", "node-002")
    assert row[2] == "lost killed by SIGKILL"
    assert row[5:8] == ["6.00 s", "672", "112.0"]
    assert row[-3:] == ["+1.504", "90.00", "+0"]


def test_the_plane_shows_who_was_slow_and_when(synth):
    outcome = synth.make_hosts(16, seconds=10, slow=(5,), lost=(9,))
    html, _ = page_of(synth, outcome)
    plane = re.search(r"aria-label='Operations of each worker over time'>(.*?)</svg>", html)[1]
    cells = {}
    for depth, path in re.findall(r"<path class='h(\d)' d='([^']*)'", plane):
        for left, row, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h", path):
            cells |= {(int(row), column): int(depth) for column in range(int(left), int(left) + int(width))}
    assert {cells[5, column] > 0 for column in range(5, 10)} == {True}
    assert {cells[row, column] for row in (0, 1, 15) for column in range(10)} == {0}
    assert [(9, column) in cells for column in range(10)] == [True] * 5 + [False] * 5
    assert "1 of 16 workers was below 80 % of the median worker for a tenth of the time or more: 5 (50 %)" in html


def test_findings_name_who_stands_out(synth):
    even = synth.make_hosts(5, seconds=4)
    assert rate_finding(read_workers(even)).mark == "good"
    slow = synth.make_hosts(5, seconds=4, slow=(3,))
    told = rate_finding(read_workers(slow))
    assert told.mark == "warn"
    assert "worker 3 on node-003 did" in told.text
    together = skew_finding(slow.workers)
    assert together.mark == "good"
    assert "300 µs (worker 0) to +300 µs (worker 4)" in together.text
    assert "±90.0 µs" in together.text
    late = attrs.evolve(slow.workers[0].clock, start_skew_ns=90_000_000)
    late = [attrs.evolve(worker, clock=late) for worker in slow.workers]
    assert skew_finding(late).mark == "warn"
    rough = [attrs.evolve(each, uncertainty_ns=4_000_000) for each in slow.workers[0].clock.readings]
    rough = [attrs.evolve(each, clock=attrs.evolve(each.clock, readings=rough)) for each in slow.workers[:2]]
    assert skew_finding(rough[:1]) is None, "one began with nobody"
    assert skew_finding(rough).mark == clock_finding(rough).mark == "warn"
    assert clock_finding(slow.workers).mark == "plain"
    assert rate_finding(read_workers(synth.make_hosts(1, seconds=2))).mark == "plain"


def test_the_lost_are_named_as_far_as_there_is_room(synth):
    outcome = synth.make_hosts(40, seconds=2, lost=range(5, 35))
    told = lost_sentences(outcome)
    assert told[0] == "worker 1 on node-001 lost process 5 (pid 9): exit code 1"
    assert told[1] == "worker 5 on node-005 was lost after 1.00 s of the window: killed by SIGKILL"
    assert len(told) == 21
    assert told[-1] == "and 11 more, in workers.tsv"


def test_processes_of_one_host_are_shown_as_before(synth):
    outcome = synth.make_outcome(seconds=3)
    assert crew_charts(outcome) == []
    html, page = page_of(synth, outcome)
    assert "By client" in page.text
    assert "Operations by worker" not in html
