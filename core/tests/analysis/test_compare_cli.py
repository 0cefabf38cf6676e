"""``penstock compare`` on result directories and logs: what it prints, its files, its exit status."""

from __future__ import annotations

import json

import numpy as np
import openpyxl
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.oplog import COLUMNS, Row
from penstock.report import write_results
from penstock.report.outcome import Interval, Outcome
from penstock.stats.tally import Tally

SECOND = 10**9
BEGIN = 1_800_000_000 * SECOND


def outcome(seed, *, scale=1.0, intervals=30, failed=0, operation="GET", begin=0, status="done"):
    generator = np.random.default_rng(seed)
    parts, totals = [], Tally()
    for place in range(intervals):
        tally = Tally()
        cell = tally.cell(operation, 5)
        cell.count, cell.nbytes = 300, 300 * (10 << 20)
        cell.service.record((5e6 * scale * np.exp(generator.normal(0, 0.4, 300))).astype(np.int64))
        if failed:
            tally.cell(operation, 0).errors = failed
        totals.merge(tally)
        parts.append(Interval(start_s=float(place), seconds=1.0, tally=tally))
    return Outcome(
        name="x", version="0.1.0", command_line="penstock run x.yaml", target="mem://x/", started_ns=BEGIN + begin,
        ended_ns=BEGIN + begin + intervals * SECOND, measured_from_ns=BEGIN + begin, measured_seconds=float(intervals),
        status=status, totals=totals, intervals=parts,
    )  # fmt: skip


@pytest.fixture
def result(tmp_path):
    def make(name, seed, *, plan=None, **further):
        place = tmp_path / name
        place.mkdir()
        write_results(place, outcome(seed, begin=seed, **further), config_text="", plan={"config": plan or {}})
        return str(place)

    return make


def write_log(path, seed, *, scale=1.0, seconds=20, rate=200, operation="GET"):
    generator = np.random.default_rng(seed)
    lines = ["\t".join(COLUMNS)]
    for place in range(seconds * rate):
        start = BEGIN + seed + place * SECOND // rate
        took = int(3e6 * scale * np.exp(generator.normal(0, 0.4)))
        row = Row(place, place % 4, operation, "", 1, 4096, "mem://", f"x/{place}", "", start, None, start + took, took)
        lines.append("\t".join(row.texts()))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def compare(*arguments):
    done = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_a_slower_result_is_found(result):
    done = compare(result("a", 1), result("b", 2, scale=1.12))
    assert done.exit_code == 0
    assert "B is worse than A: GET " in done.stdout.splitlines()[-1]
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("  p50"))
    assert row.endswith("  worse")
    assert "+1" in row
    assert "30 stretches of time of A" in done.stdout
    assert "what differs from run to run is not in the intervals" in done.stdout


def test_every_line_fits_eighty_columns_but_those_of_names(result):
    done = compare(result("a", 1), result("b", 2, scale=1.12, failed=2))
    table = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(table) == 10
    assert max(map(len, table)) <= 80


def test_alike(result):
    done = compare(result("a", 1), result("b", 2), "--fail-if", "p50 > +5%")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "No difference between A and B is shown.")


def test_a_condition_ends_with_status_four(result):
    a, b = result("a", 1), result("b", 2, scale=1.12, failed=1)
    done = compare(a, b, "--fail-if", "GET.p99 > +50%", "--fail-if", "p50 > +5%", "--fail-if", "errors > 0")
    assert done.exit_code == 4
    found = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(found) == 2
    assert found[0].startswith("FAILED: p50 > +5%: GET p50 +1")
    assert found[1] == "FAILED: errors > 0: GET errors of B is 30 calls"
    assert compare(a, b, "--fail-if", "GET.p99 > +50%").exit_code == 0
    # With standard output taken by data, what failed is said beside it.
    done = compare(a, b, "--fail-if", "p50 > +5%", "--json")
    assert done.exit_code == 4
    assert "failed: p50 > +5%: GET p50" in done.stderr
    conditions = json.loads(done.stdout)["conditions"]
    assert [(each["condition"], each["holds"]) for each in conditions] == [("p50 > +5%", True)]


def test_how_sure_a_condition_must_be(result):
    a, b = result("a", 1), result("b", 2, scale=1.12)
    p50 = json.loads(compare(a, b, "--json").stdout)["changes"]
    change = next(row for row in p50 if row["metric"] == "p50")
    between = f"p50 > +{(change['low'] + change['change']) / 2:.3f}%"
    codes = {mode: compare(a, b, "--fail-if", between, "--fail-when", mode).exit_code for mode in
             ("estimate", "shown", "certain")}  # fmt: skip
    assert codes == {"estimate": 4, "shown": 4, "certain": 0}


def test_an_undecided_condition_does_not_fail_but_is_said(result):
    done = compare(result("a", 1, intervals=3), result("b", 2, intervals=3, scale=2), "--fail-if", "p50 > +5%")
    assert done.exit_code == 0
    assert "undecided: p50 > +5%: GET p50 can't be judged: " in done.stdout
    assert "has 3 intervals, and at least 8 are needed" in done.stdout


def test_files_hold_the_same(result, tmp_path):
    a, b = result("a", 1), result("b", 2, scale=1.12)
    files = {name: tmp_path / f"c.{name}" for name in ("json", "tsv", "xlsx")}
    done = compare(a, b, "--json-file", files["json"], "--tsv", files["tsv"], "--xlsx", files["xlsx"])
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [f"written: {path}" for path in files.values()]
    document = json.loads(files["json"].read_text())
    assert document == json.loads(compare(a, b, "--json").stdout)
    assert (document["schema"], document["verdict"]) == ("penstock.comparison/1", "worse")
    assert document["runs"][0] | {"run": a, "count": 9000, "errors": 0, "seconds": 30.0} == document["runs"][0]
    assert files["tsv"].read_text() == compare(a, b, "--tsv", "-").stdout
    assert len(files["tsv"].read_text().splitlines()) == len(document["changes"]) + 1
    assert len(list(openpyxl.load_workbook(files["xlsx"])["changes"].values)) == len(document["changes"]) + 1


def test_the_page_shows_the_verdict(result, tmp_path):
    page = tmp_path / "c.html"
    done = compare(result("a", 1), result("b", 2, scale=1.12), "--html", page)
    assert done.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert done.stdout.splitlines()[-1].rstrip(".").split(" (")[0] in text


def test_several_runs_of_each_side(result):
    a = [result(f"a{seed}", seed) for seed in (1, 2, 3)]
    b = [result(f"b{seed}", seed, scale=1.3) for seed in (4, 5, 6)]
    options = [word for path in a for word in ("--baseline", path)]
    done = compare(*options, *b, "--json")
    assert json.loads(done.stdout)["verdict"] == "worse"
    assert [row["side"] for row in json.loads(done.stdout)["runs"]] == ["A"] * 3 + ["B"] * 3
    candidates = [word for path in b for word in ("--candidate", path)]
    assert compare(*options, *candidates, "--json").stdout == compare(*a, *candidates, "--json").stdout == done.stdout


def test_different_configurations_are_named(result):
    done = compare(
        result("a", 1, plan={"concurrency": 8, "workload": [{"op": "get", "size": None}], "target": "mem://a/"}),
        result("b", 2, plan={"concurrency": 16, "workload": [{"op": "get", "size": 9}], "target": "mem://b/"},
               status="interrupted"),
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line.startswith("differs")] == [
        "differs: status: done in A, interrupted in B",
        "differs: concurrency: 8 in A, 16 in B",
        "differs: workload[0].size: none in A, 9 in B",
    ]


def test_an_operation_on_one_side_only(result):
    done = compare(result("a", 1), result("b", 2, operation="PUT"))
    assert "differs: only A has GET" in done.stdout
    assert "differs: only B has PUT" in done.stdout
    assert "no operation in common" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("same", ["a", "a/", "a/result.json", "../{parent}/a", "link"])
def test_a_run_and_itself_are_refused(result, tmp_path, same):
    path = result("a", 1)
    (tmp_path / "link").symlink_to(path)
    done = compare(path, tmp_path / same.format(parent=tmp_path.name))
    assert done.exit_code == 2
    assert "A and B are the same" in done.stderr


def test_a_result_and_its_own_log_are_refused(result, tmp_path):
    path = result("a", 1)
    log = write_log(tmp_path / "a" / "op-log.tsv.zst", 1)
    done = compare(path, log)
    assert (done.exit_code, "A and B are the same" in done.stderr) == (2, True)


def test_a_result_and_a_log(result, tmp_path):
    done = compare(result("a", 1), write_log(tmp_path / "b.tsv", 1))
    assert done.exit_code == 0
    assert "note: results and logs are compared: " in done.stdout
    done = compare(write_log(tmp_path / "a.tsv", 1), write_log(tmp_path / "c.tsv", 2, scale=1.5))
    assert "results and logs" not in done.stdout
    assert "B is worse than A" in done.stdout.splitlines()[-1]


def test_short_results_point_to_their_logs(result, tmp_path):
    paths = [result(name, seed, intervals=3) for name, seed in (("a", 1), ("b", 2))]
    log = write_log(tmp_path / "b" / "op-log.tsv.zst", 1)
    lines = compare(*paths).stdout.splitlines()
    assert f"note: {paths[1]} has an op-log, whose intervals are shorter: compare {log}" in lines
    assert not any(line.startswith(f"note: {paths[0]} has an op-log") for line in lines)


def test_a_copy_is_told(result):
    done = compare(result("a", 1), result("b", 1))
    assert done.stdout.splitlines()[-1].startswith("A and B hold the very same calls")


def test_wrong_input(result, tmp_path):
    a, b = result("a", 1), result("b", 2)
    wrong = {
        (): "name two runs",
        (a,): "name two runs",
        (a, b, b): "name two runs",
        ("--baseline", a): "name the runs of the other side too",
        ("--baseline", a, "--candidate", b, tmp_path / "c"): "belongs to neither side",
        ("--baseline", a, "--baseline", a, b): "is given twice for A",
        (a, tmp_path / "none"): "No such file",
        (a, tmp_path): "holds no result.json",
        (a, b, "--fail-if", "p99 worse"): "is no condition",
        (a, b, "--fail-if", "STAT.p99 > +10%"): "do not both have that figure",
        (a, b, "--skip", "5s"): "need a log",
        (a, b, "--size", "5MiB"): "no size bucket has that name",
        (a, b, "--op", "GETT"): "no operation is called GETT",
        (a, b, "--op", "PUT"): "has no call that was selected",
        (a, b, "--from", "noon"): "write a time with its zone",
        (a, b, "--json", "--tsv", "-"): "both want standard output",
        (a, b, "--tsv", f"{a}/result.json/x"): "is no directory",
        (a, b, "--tsv", tmp_path): "is a directory",
        (a, b, "--tsv", "x", "--xlsx", "x"): "would be lost",
        (a, b, "--confidence", "30"): "50<=x<=99.9",
    }
    for arguments, words in wrong.items():
        done = compare(*arguments)
        assert (done.exit_code, words in done.stderr) == (2, True), (arguments, done.stderr)
    assert not (tmp_path / "x").exists()


def test_chosen_operations_of_results(result):
    done = compare(result("a", 1), result("b", 2), "--op", "get", "--json")
    assert {row["operation"] for row in json.loads(done.stdout)["changes"]} == {"GET"}


def test_help_says_how_to_give_several_runs():
    text = " ".join(compare("--help").stdout.split())
    assert "penstock compare --baseline A1 --baseline A2 B1 B2" in text
    assert "4 a condition holds" in text
