"""``penstock analyze``: against a plain count of the rows that were written."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys

import attrs
import openpyxl
import pytest
import zstandard
from click.testing import CliRunner

from penstock.cli import main
from penstock.oplog import COLUMNS, Row

SECOND = 10**9
BEGIN = 1_800_000_000 * SECOND  # 2027-01-15T08:00:00Z
KIB = 1024


def make_rows(seed=1, count=2000, begin=BEGIN, seconds=20):
    generator = random.Random(seed)
    rows = []
    for place in range(count):
        op = generator.choice(("GET", "GET", "GET_RANGE", "PUT", "STAT", "LIST", "DELETE"))
        nbytes = generator.choice((0, 8 * KIB, 8 * KIB + 1, 10 << 20)) if op in ("GET", "GET_RANGE", "PUT") else 0
        start = begin + place * seconds * SECOND // count
        took = int(generator.lognormvariate(14, 1))
        error = "" if generator.random() > 0.02 else f"refused x/{place}"
        first = start + took // 3 if op.startswith("GET") and not error else None
        client, endpoint = (
            generator.choice(("", "node-1", "node-2")),
            generator.choice(("http://10.0.0.5:9000", "s3://")),
        )
        rows.append(
            Row(place, generator.randrange(4), op, client, 1, 0 if error else nbytes, endpoint, f"x/{place}", error,
                start, first, start + took, took)
        )  # fmt: skip
    return rows


def text_of(rows):
    return "".join("\t".join(cells) + "\n" for cells in [COLUMNS, *(row.texts() for row in rows)]).encode()


ROWS = make_rows()
TITLES = {
    "p50 µs": "p50_us",
    "p99.9 µs": "p999_us",
    "stdev µs": "stdev_us",
    "TTFB p99 µs": "ttfb_p99_us",
    "ops/s": "ops_per_sec",
    "MiB/s": "throughput_mibps",
}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "a.tsv.zst"
    path.write_bytes(zstandard.compress(text_of(ROWS)))
    return str(path)


def analyze(*arguments, columns=None):
    environment = {} if columns is None else {"COLUMNS": str(columns)}
    done = CliRunner(env=environment).invoke(main, ["analyze", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def document(*arguments):
    done = analyze(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def whole(found):
    (row,) = (row for row in found["operations"] if row["operation"] == "ALL")
    return row


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def is_in(row, operation, size):
    low, high = {"zero": (0, 0), "1B-8KiB": (1, 8 * KIB), "8KiB-64KiB": (8 * KIB + 1, 64 * KIB),
                 "4MiB-32MiB": ((4 << 20) + 1, 32 << 20)}[size]  # fmt: skip
    return row.op == operation and low <= row.nbytes <= high


def test_each_row_is_that_of_a_plain_count(log):
    found = document(log)
    seconds = (max(row.end_ns for row in ROWS) - min(row.start_ns for row in ROWS)) / SECOND
    assert found["window"]["seconds"] == pytest.approx(seconds)
    rows = [row for row in found["operations"] if row["size_bucket"] != "ALL"]
    assert sum(row["count"] + row["errors"] for row in rows) == len(ROWS)
    for row in rows:
        own = [each for each in ROWS if is_in(each, row["operation"], row["size_bucket"])]
        good = [each for each in own if not each.error]
        assert (row["count"], row["errors"]) == (len(good), len(own) - len(good))
        assert row["bytes"] == sum(each.nbytes for each in good)
        assert row["ops_per_sec"] == pytest.approx(len(good) / seconds, abs=0.001)
        assert row["threads"] == len({(each.client_id, each.thread) for each in own})
        took = [each.duration_ns / 1000 for each in good]
        for name, percent in (("p50_us", 50), ("p90_us", 90), ("p95_us", 95), ("p99_us", 99)):
            assert row[name] == pytest.approx(percentile(took, percent), rel=0.001)
        assert (row["min_us"], row["max_us"]) == (min(took), max(took))
        if row["operation"].startswith("GET"):
            first = [(each.first_byte_ns - each.start_ns) / 1000 for each in good]
            assert row["ttfb_p50_us"] == pytest.approx(percentile(first, 50), rel=0.001)
        else:
            assert row["ttfb_p50_us"] is None
    assert sum(row["count"] for row in found["errors"]) == sum(bool(each.error) for each in ROWS)


def table_of(text, *keys):
    """The rows of the printed tables whose head begins with these words, by the text in their first columns."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    titles: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        if tuple(cells[: len(keys)]) == keys:
            titles = cells
        elif titles and len(cells) == len(titles):
            found.setdefault(tuple(cells[: len(keys)]), {}).update(zip(titles, cells, strict=True))
        elif not line.startswith("-"):
            titles = []
    return found


@pytest.mark.parametrize("columns", [None, 80])
def test_the_table_says_the_same_at_any_width(log, columns, monkeypatch):
    if columns is not None:
        monkeypatch.setattr("penstock.cli.analyze_view.plain_width", lambda stream: columns)
    text = analyze(log, columns=columns).stdout
    shown = table_of(text, "operation", "size")
    for row in document(log)["operations"]:
        size = "all" if row["size_bucket"] == "ALL" else row["size_bucket"]
        if (row["operation"], size) not in shown:
            assert row["size_bucket"] == "ALL"  # a roll-up of one row
            continue
        cells = shown[row["operation"], size]
        assert cells["calls"] == f"{row['count']:,}"
        assert cells["errors"] == f"{row['errors']:,}"
        for title, name in TITLES.items():
            if row[name]:
                assert float(cells[title].replace(",", "")) == pytest.approx(row[name], rel=0.006, abs=0.0051)
            else:
                assert cells[title] == "-"
    if columns is not None:
        assert max(map(len, text.splitlines()[2:-20])) <= columns


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ((), lambda row: True),
        (("--op", "get"), lambda row: row.op == "GET"),
        (("--op", "HEAD", "--op", "list"), lambda row: row.op in ("STAT", "LIST")),
        (("--size", "1b-8kib"), lambda row: 0 < row.nbytes <= 8 * KIB),
        (("--client", "node-*"), lambda row: row.client_id.startswith("node-")),
        (("--client", "node-2", "--client", ""), lambda row: row.client_id in ("node-2", "")),
        (("--endpoint", "http://10.0.0.*:9000"), lambda row: row.endpoint.startswith("http")),
        (("--skip", "5s"), lambda row: row.start_ns >= BEGIN + 5 * SECOND),
        (("--from", "2s", "--to", "1m"), lambda row: row.start_ns >= BEGIN + 2 * SECOND),
        (("--from", "2027-01-15T09:00:03+01:00"), lambda row: row.start_ns >= BEGIN + 3 * SECOND),
        (("--to", "2027-01-15T08:00:10.5Z"), lambda row: row.start_ns < BEGIN + 10 * SECOND + SECOND // 2),
        (("--op", "GET", "--to", "4s"), lambda row: row.op == "GET" and row.start_ns < BEGIN + 4 * SECOND),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_chosen(log, options, chosen):
    found = document(log, *options)
    own = [row for row in ROWS if chosen(row)]
    rows = [row for row in found["operations"] if row["size_bucket"] != "ALL"]
    assert sum(row["count"] for row in rows) == sum(not row.error for row in own)
    assert sum(row["errors"] for row in rows) == sum(bool(row.error) for row in own)
    assert sum(row["bytes"] for row in rows) == sum(row.nbytes for row in own)
    assert found["logs"][0]["selected"] == len(own)


def test_every_form_has_the_same_rows(log, tmp_path):
    files = {name: tmp_path / f"a.{name}" for name in ("json", "tsv", "xlsx")}
    options = ("--per-client", "--per-endpoint", "--segments")
    done = analyze(log, *options, "--json-file", files["json"], "--tsv", files["tsv"], "--xlsx", files["xlsx"])
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [f"written: {path}" for path in files.values()]
    for title in ("by client", "by endpoint", "segments: "):
        assert f"\n{title}" in done.stdout
    found = json.loads(files["json"].read_text())
    assert found == document(log, *options)
    assert files["tsv"].read_bytes() == analyze(log, *options, "--tsv", "-").stdout_bytes
    rows = list(csv.DictReader(io.StringIO(files["tsv"].read_text()), delimiter="\t"))
    assert len(rows) == sum(len(found[title]) for title in ("operations", "clients", "endpoints"))
    for row, expected in zip(rows, found["operations"], strict=False):
        for name, value in expected.items():
            read = None if row[name] == "" else row[name] if isinstance(value, str) else float(row[name])
            assert read == value
    book = openpyxl.load_workbook(files["xlsx"])
    for title in ("operations", "clients", "endpoints", "segments", "errors", "logs"):
        head, *lines = book[title].values
        assert [dict(zip(head, line, strict=True)) for line in lines] == found[title]


def test_the_page_has_the_counts(log, tmp_path):
    page = tmp_path / "a.html"
    assert analyze(log, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    calls = whole(document(log))["count"]
    assert f"{calls:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") in text


def test_per_client_and_endpoint(log):
    found = document(log, "--per-client", "--per-endpoint")
    for title, word, key in (("clients", "client", "client_id"), ("endpoints", "endpoint", "endpoint")):
        sums = {row[word]: row for row in found[title] if row["operation"] == "ALL"}
        assert set(sums) == {getattr(row, key) for row in ROWS}
        for name, row in sums.items():
            own = [each for each in ROWS if getattr(each, key) == name]
            assert (row["count"], row["errors"]) == (
                sum(not each.error for each in own),
                sum(bool(each.error) for each in own),
            )
    assert "clients" not in document(log)


def test_errors_are_shown_without_what_a_terminal_would_obey(tmp_path):
    row = ROWS[0]
    bad = Row(0, 0, "GET", "\x1b[31m", 1, 0, "s3://", "a\x1b[2J", "no\x1b[2J way", row.start_ns, None, row.end_ns,
              row.duration_ns)  # fmt: skip
    path = tmp_path / "a.tsv"
    path.write_bytes(text_of([bad]))
    done = analyze(path, "--per-client", "--per-endpoint")
    assert "\x1b" not in done.stdout
    assert "errors: 1 call failed" in done.stdout
    assert "1 GET: no\\x1b[2J way" in done.stdout


def test_several_logs_over_the_time_that_all_cover(log, tmp_path):
    second = make_rows(2, begin=BEGIN + 10 * SECOND)
    path = tmp_path / "b.tsv"
    path.write_bytes(text_of(second))
    found = document(log, path)
    begin, end = BEGIN + 10 * SECOND, max(row.end_ns for row in ROWS)
    own = [row for row in (*ROWS, *second) if begin <= row.start_ns < end]
    assert whole(found)["count"] == sum(not row.error for row in own)
    assert 30 < found["window"]["overlap_pct"] < 36
    text = analyze(log, path).stdout
    assert "2 logs: the time that all logs cover" in text
    assert "50 % of its time" in text or "50.1 % of its time" in text
    united = document(log, path, "--union")
    assert whole(united)["count"] == sum(not row.error for row in (*ROWS, *second))
    assert "2 logs: all time that any log covers" in analyze(log, path, "--union").stdout


def test_logs_without_a_time_in_common(log, tmp_path):
    path = tmp_path / "b.tsv"
    path.write_bytes(text_of(make_rows(2, begin=BEGIN + 3600 * SECOND)))
    done = analyze(log, path)
    assert (done.exit_code, "have no time in common" in done.stderr) == (2, True)
    assert "--union" in done.stderr
    assert whole(document(log, path, "--union"))["count"] > 3000


def test_bad_rows(tmp_path):
    path = tmp_path / "a.tsv"
    lines = text_of(ROWS[:50]).split(b"\n")
    lines[7] = b"nonsense"
    path.write_bytes(b"\n".join(lines))
    done = analyze(path)
    assert (done.exit_code, f"{path}:8: " in done.stderr) == (2, True)
    done = analyze(path, "--skip-bad-rows")
    assert done.exit_code == 0
    assert f"{path}: 1 malformed row was skipped" in done.stderr
    assert document(path, "--skip-bad-rows")["logs"][0]["bad_rows"] == 1


def test_a_log_that_was_cut_off(log, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(text_of(ROWS[:50])[:-20])
    done = analyze(path)
    assert done.exit_code == 0
    assert f"{path} is cut off; its 49 whole rows were read" in done.stderr


def test_standard_input(log):
    with open(log, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "analyze", "-", "--json"], stdin=file, capture_output=True, check=True
        )
    assert json.loads(done.stdout)["operations"] == document(log)["operations"]


def test_a_result_directory_stands_for_its_log(log, tmp_path):
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"op_log": None}))
    done = analyze(folder)
    assert done.exit_code == 2
    assert "holds no op-log and was measured without one; measure with op_log: true" in done.stderr
    (folder / "result.json").write_text(json.dumps({"op_log": {"path": log}}))
    assert whole(document(folder)) == whole(document(log))
    (folder / "result.json").write_text(json.dumps({"op_log": {"path": "/nowhere/log.tsv"}}))
    assert "its op-log /nowhere/log.tsv is gone" in analyze(folder).stderr
    for number in (1, 2):
        (folder / f"op-log.part-{number}.tsv.zst").write_bytes(zstandard.compress(text_of(ROWS[number::2])))
    assert len(document(folder, "--union")["logs"]) == 2
    (folder / "op-log.tsv.zst").write_bytes(zstandard.compress(text_of(ROWS[:9])))
    assert document(folder)["logs"][0]["rows"] == 9
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is a directory without an op-log and no result of penstock" in analyze(empty).stderr


def test_wrong_input(log, tmp_path):
    empty = tmp_path / "empty.tsv"
    empty.write_bytes(text_of([]))
    wrong = {
        (): "Missing argument",
        (log, log): "is given twice",
        (log, "--op", "GETT"): "no operation is called GETT",
        (log, "--size", "big"): "no size bucket has that name",
        (log, "--skip", "a while"): "is not a duration",
        (log, "--from", "9s", "--to", "5s"): "is not before",
        (log, "--from", "2027-01-15T08:00:00"): "write a time with its zone",
        (log, "--to", "today"): "write a time with its zone",
        (log, "--client", "nobody"): "none of 2,000 rows was selected",
        (log, "--skip", "1h"): "none of 2,000 rows was selected",
        (log, "--tsv", log): "which would be lost",
        (log, "--json", "--tsv", "-"): "both want standard output",
        (log, "--html", tmp_path / "no" / "x.html"): "is no directory",
        (log, "--workers", "0"): "1<=x<=256",
        (empty,): "there is no call in it",
    }
    for arguments, words in wrong.items():
        done = analyze(*arguments)
        assert (done.exit_code, words in done.stderr) == (2, True), (arguments, done.stderr)
    done = analyze(tmp_path / "none.tsv")
    assert (done.exit_code, "can't be read: No such file" in done.stderr) == (2, True)


def test_without_xlsxwriter_nothing_is_read(log, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    done = analyze(tmp_path / "none.tsv", "--xlsx", tmp_path / "a.xlsx")
    assert (done.exit_code, "pip install 'penstock[xlsx]'" in done.stderr) == (2, True)


def test_several_workers_find_the_same(log):
    assert document(log, "--workers", "2") == document(log, "--workers", "1")


def test_compare_takes_logs_and_chooses_from_them(log, tmp_path):
    slower = tmp_path / "b.tsv"
    rows = [
        attrs.evolve(row, duration_ns=row.duration_ns * 3 // 2, end_ns=row.start_ns + row.duration_ns * 3 // 2)
        for row in ROWS
    ]
    slower.write_bytes(text_of(rows))
    done = CliRunner().invoke(main, ["compare", log, str(slower), "--op", "GET", "--skip", "1s", "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["operation"] for row in found["changes"]} == {"GET"}
    p50 = next(row for row in found["changes"] if row["metric"] == "p50" and row["size_bucket"] == "ALL")
    assert p50["low"] < 50 < p50["high"]
    assert p50["verdict"] == "worse"
