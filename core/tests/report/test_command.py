"""``penstock report``: results and logs by the command line, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.records import Op
from penstock.report import write_results
from penstock.report.pieces import number

HEADER = "idx\tthread\top\tclient_id\tn_objects\tbytes\tendpoint\tfile\terror\tstart\tfirst_byte\tend\tduration_ns\n"


def call(*arguments, code=0):
    done = CliRunner().invoke(main, ["report", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def results(tmp_path, synth):
    paths = [tmp_path / name for name in ("first", "second")]
    for place, path in enumerate(paths, 1):
        path.mkdir()
        outcome = synth.make_outcome((Op.GET, Op.PUT), seconds=4 * place, failing=0.02, name=path.name)
        write_results(path, outcome, config_text="a: 1\n", plan={"b": 2})
    return paths


@pytest.fixture
def log(tmp_path):
    lines = [HEADER]
    for place in range(40):
        error = "StoreError: no" if place == 7 else ""
        second = f"2026-01-31T12:00:{place // 10:02}.{place % 10}"
        known = (place, place % 2, "GET", f"c{place % 2}", 1, 0 if error else 4096, "mem://", "x/a", error)
        times = (f"{second}00000000Z", "", f"{second}02000000Z", 2_000_000)
        lines.append("\t".join(map(str, (*known, *times))) + "\n")
    path = tmp_path / "calls.tsv"
    path.write_text("".join(lines))
    return path


def test_one_result_is_drawn_as_its_run_drew_it(results):
    drawn = (results[0] / "report.html").read_text()
    (results[0] / "report.html").unlink()
    done = call(results[0])
    assert done.output == f"report: {results[0] / 'report.html'}\n"
    assert (results[0] / "report.html").read_text() == drawn
    call(results[0] / "result.json", "-o", "again.html")
    assert Path("again.html").read_text() == drawn
    assert call(results[0], "-o", "-").output == drawn


def test_many_results_are_drawn_side_by_side(results, synth):
    call(*results)
    html = Path("report.html").read_text()
    page = synth.Page(html)
    page.check_contained(html)
    for path in results:
        sums = json.loads((path / "result.json").read_text())["operations"]["GET"]
        (row,) = page.rows("GET", path.name)
        assert row[2] == number(sums["count"])
        assert row[7] == number(sums["service_us"]["p99"])
        assert row[-1] == number(sums["errors"])
    refused = call(*results, code=2)
    assert "report.html is there already; name the file to write with -o" in refused.output


def test_a_log_is_analysed(log, synth):
    call(log)
    html = Path("report.html").read_text()
    page = synth.Page(html)
    page.check_contained(html)
    (row,) = [row for row in page.rows("GET") if len(row) == 11]
    assert row[1] == "39"
    assert row[5] == number(2000.0)
    assert row[-1] == "1"
    assert "40 of 40 rows of 1 log count" in page.text
    assert "Window of 3.90 s" in page.text
    assert [row[2] for row in page.rows("c0", "GET") + page.rows("c1", "GET")] == ["20", "19"]
    assert page.rows("GET", "StoreError: no")
    call(log, "-o", "both.html", "--workers", 1)


def test_a_bad_row_is_told_with_its_line_or_left_out(log, synth):
    log.write_text(log.read_text() + "what\n")
    failed = call(log, "-o", "x.html", code=2)
    assert "42" in failed.output
    assert not Path("x.html").exists()
    call(log, "-o", "x.html", "--skip-bad-rows")
    assert "1 malformed row left out" in synth.Page(Path("x.html").read_text()).text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument"),
        (["{first}", "{log}"], "a report is of logs or of results, not of both"),
        (["{first}", "{first}/result.json"], "which is named already; name each result once"),
        (["{first}", "--workers", "2"], "are for operation logs; leave them out for results"),
        (["{first}", "-o", "{second}"], "is a directory; name a file in it with -o"),
        (["{first}", "-o", "absent/x.html"], "absent is no directory that can be written"),
        (["{log}", "-o", "{log}"], "is what the report is drawn from, and would be lost"),
        (["{here}"], "holds no result.json; name a result directory"),
        (["absent"], "absent does not exist; name a result directory or an operation log"),
    ],
)
def test_wrong_input_is_told_with_its_remedy(results, log, arguments, told):
    places = {"first": results[0], "second": results[1], "log": log, "here": Path.cwd()}
    before = log.read_bytes()
    done = call(*(text.format(**places) for text in arguments), code=2)
    assert told in done.output.replace("\n", " ")
    assert log.read_bytes() == before


def test_a_damaged_result_leaves_its_report(results):
    drawn = (results[0] / "report.html").read_text()
    (results[0] / "tallies.jsonl.zst").write_bytes(b"torn")
    assert "tallies.jsonl.zst is damaged" in call(results[0], code=2).output
    assert (results[0] / "report.html").read_text() == drawn
