"""TSV, JSON and XLSX, read back by others and compared with the tallies they come from."""

from __future__ import annotations

import csv
import io
import json
import sys

import attrs
import openpyxl
import pytest

from penstock.analysis.comparing import compare
from penstock.analysis.comparing_values import Side, run_of
from penstock.analysis.exporting.files import check_xlsx, json_text, save, tsv_lines, xlsx_bytes
from penstock.analysis.exporting.tables import ROLL_UPS, Table, analysis_tables, comparison_tables, one_table
from penstock.errors import UsageError
from penstock.oplog.columns import parse_time, unescape
from penstock.stats.buckets import LABELS
from penstock.stats.tally import ALL

NASTY = "=1+1\t\n\\\udc80é\x07"


@pytest.fixture
def analysis(building):
    calls = [
        building.call(
            operation,
            place * 0.01,
            1000 + 37 * place,
            nbytes,
            thread=place % 3,
            client=("", "node-1", NASTY)[place % 3],
            endpoint=("mem://", "http://10.0.0.5:9000")[place % 2],
            first_us=500 + place if operation == "GET" else None,
            error="" if place % 50 else f"refused {NASTY}",
        )
        for place, (operation, nbytes) in enumerate([("GET", 8192), ("GET", 8193), ("PUT", 1 << 20), ("STAT", 0)] * 75)
    ]
    return building.analysis_of(calls)


def as_dicts(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def check_row(row, cell, seconds):
    """Numbers may be text, as in TSV."""
    service, first = cell.service, cell.first_byte
    expected = {
        "count": cell.count,
        "errors": cell.errors,
        "bytes": cell.nbytes,
        "ops_per_sec": cell.count / seconds,
        "throughput_mibps": cell.nbytes / seconds / 1048576,
        "avg_bytes": cell.nbytes / cell.count if cell.count else 0,
        "mean_us": service.mean / 1000,
        "min_us": service.minimum / 1000,
        "p50_us": service.percentile(50) / 1000,
        "p90_us": service.percentile(90) / 1000,
        "p95_us": service.percentile(95) / 1000,
        "p99_us": service.percentile(99) / 1000,
        "p999_us": service.percentile(99.9) / 1000,
        "max_us": service.maximum / 1000,
        "stdev_us": service.stdev / 1000,
        "ttfb_p50_us": first.percentile(50) / 1000 if first.count else None,
        "ttfb_p99_us": first.percentile(99) / 1000 if first.count else None,
    }
    for name, value in expected.items():
        if value is None or (name.endswith("_us") and not cell.count):
            assert row[name] in (None, ""), name
        else:
            assert float(row[name]) == pytest.approx(value, abs=0.0006), name


def cell_of(tally, row):
    if row["size_bucket"] != ALL:
        assert LABELS[int(row["bucket_idx"])] == row["size_bucket"]
        return tally.cells[row["operation"], int(row["bucket_idx"])]
    return tally.roll_up(row["operation"]) if row["operation"] in dict(ROLL_UPS) else tally.operation(row["operation"])


def test_the_rows_of_operations(analysis):
    (operations, *_) = analysis_tables(analysis)
    rows = as_dicts(operations)
    assert [(row["operation"], row["size_bucket"]) for row in rows] == [
        ("GET", "zero"),
        ("GET", "1B-8KiB"),
        ("GET", "8KiB-64KiB"),
        ("PUT", "zero"),
        ("PUT", "512KiB-4MiB"),
        ("STAT", "zero"),
        ("META", ALL),
        ("GET", ALL),
        ("PUT", ALL),
        ("ALL", ALL),
    ]
    assert [row["bucket_idx"] for row in rows[-4:]] == [97, 98, 99, 100]
    for row in rows:
        check_row(row, cell_of(analysis.tally, row), analysis.window.seconds)
        assert row["threads"] == (3 if row["size_bucket"] != "zero" or row["operation"] == "STAT" else row["threads"])
        assert parse_time(row["first_start"]) <= parse_time(row["last_end"])
    assert parse_time(rows[-1]["first_start"]) == min(span.first_start_ns for span in analysis.spans.values())


def test_tsv_has_every_scope_and_is_read_by_csv(analysis):
    tables = analysis_tables(analysis, per_client=True, per_endpoint=True)
    text = "".join(tsv_lines(one_table(tables)))
    rows = list(csv.DictReader(io.StringIO(text, newline="\n"), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == 10 + 3 * 4 + 2 * 3
    tallies = {("all", ""): analysis.tally}
    tallies |= {("client", name): tally for name, tally in analysis.by_client.items()}
    tallies |= {("endpoint", name): tally for name, tally in analysis.by_endpoint.items()}
    seen = set()
    for row in rows:
        scope = row["scope"], unescape(row["name"])
        seen.add(scope)
        found = tallies[scope]
        cell = (
            cell_of(found, row) if scope[0] == "all" or row["operation"] == ALL else found.operation(row["operation"])
        )
        check_row(row, cell, analysis.window.seconds)
    assert seen == set(tallies)


def test_json_is_one_document_of_the_same_tables(analysis):
    tables = analysis_tables(analysis, per_client=True, segments=True)
    text = json_text({"schema": "penstock.analysis/1", "what": NASTY}, tables)
    found = json.loads(text)
    assert text.encode()  # no lone surrogate is left
    assert found["what"] == NASTY.replace("\udc80", "\\udc80")
    assert list(found)[2:] == ["operations", "clients", "segments", "errors", "logs"]
    for table in tables:
        assert [list(row) for row in found[table.title]] == [list(table.columns)] * len(table.rows)
    assert found["operations"] == as_dicts(tables[0])
    assert sum(row["count"] for row in found["errors"]) == analysis.tally.errors == 6
    assert {row["segment"] for row in found["segments"]} == {"fastest", "median", "slowest"}
    assert {row["operation"] for row in found["segments"]} == {"GET", "PUT", "STAT", "ALL"}
    assert found["logs"] == [
        {
            "log": "a.tsv",
            "rows": 300,
            "bad_rows": 0,
            "selected": 300,
            "cut_off": "no",
            "overlap_pct": 100.0,
            "first_start": found["logs"][0]["first_start"],
            "last_end": found["logs"][0]["last_end"],
            "columns": "idx op",
        }
    ]


def test_segments_are_those_of_the_analysis(analysis):
    rows = as_dicts(next(table for table in analysis_tables(analysis, segments=True) if table.title == "segments"))
    for row in rows:
        segments = analysis.segments(("GET", "PUT", "STAT") if row["operation"] == ALL else (row["operation"],))
        one = getattr(segments, row["segment"])
        cell = one.tally.roll_up(ALL) if row["operation"] == ALL else one.tally.operation(row["operation"])
        assert (row["count"], row["errors"], row["start"]) == (cell.count, cell.errors, row["start"])
        assert parse_time(row["start"]) == one.begin_ns
        assert row["ops_per_sec"] == pytest.approx(cell.count / one.seconds, abs=0.001)
        assert row["by"] == ("calls" if row["operation"] == "STAT" else "bytes")


def test_xlsx_is_read_by_openpyxl_with_the_same_cells(analysis):
    tables = analysis_tables(analysis, per_client=True, per_endpoint=True, segments=True)
    book = openpyxl.load_workbook(io.BytesIO(xlsx_bytes({"schema": "x", "window": {"seconds": 3}}, tables)))
    assert book.sheetnames == ["about", *(table.title for table in tables)]
    assert list(book["about"].values)[1:] == [("schema", "x"), ("window", '{"seconds": 3}')]
    for table in tables:
        head, *rows = book[table.title].values
        assert head == tuple(table.columns)
        assert len(rows) == len(table.rows)
        for row, expected in zip(rows, table.rows, strict=True):
            for cell, value in zip(row, expected, strict=True):
                if isinstance(value, str) and value:
                    # A character that XML can't hold is escaped by the format's rules, or by ours.
                    plain = value.replace("\udc80", "\\udc80").replace("\x07", "_x0007_")
                    assert str(cell).replace("\x07", "_x0007_") == plain
                else:
                    assert cell == value
        assert all(cell.data_type != "f" for line in book[table.title].iter_rows() for cell in line), "no formulas"


def test_xlsx_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(UsageError, match=r"pip install 'penstock\[xlsx\]'"):
        check_xlsx()
    with pytest.raises(UsageError, match="XlsxWriter"):
        xlsx_bytes({}, [])


def test_text_that_is_too_long_for_a_sheet_is_cut():
    book = openpyxl.load_workbook(io.BytesIO(xlsx_bytes({}, [Table("t", ("a",), [("x" * 40_000,)])])))
    assert len(book["t"]["A2"].value) == 32_767


def test_a_comparison_in_every_form(analysis, building):
    calls = [building.call("GET", place * 0.01, 1000 + place % 17, 100) for place in range(3000)]
    slower = [each | {"took_us": each["took_us"] * 1.5} for each in calls]
    sides = [Side(runs=[run_of(building.analysis_of(each), name)]) for name, each in (("a", calls), ("b", slower))]
    comparison = compare(*sides)
    tables = comparison_tables(comparison)
    rows = as_dicts(tables[0])
    assert len(rows) == len(comparison.changes)
    text = "".join(tsv_lines(tables[0]))
    read = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    book = openpyxl.load_workbook(io.BytesIO(xlsx_bytes({}, tables)))
    sheet = list(book["changes"].values)[1:]
    document = json.loads(json_text({}, tables))["changes"]
    for place, change in enumerate(comparison.changes):
        assert document[place] == rows[place]
        assert list(sheet[place]) == list(tables[0].rows[place])
        row = read[place]
        assert (row["operation"], row["metric"], row["verdict"]) == (change.operation, change.metric, change.verdict)
        assert float(row["a"]) == pytest.approx(change.a, abs=0.001)
        assert float(row["b"]) == pytest.approx(change.b, abs=0.001)
        for name in ("change", "low", "high"):
            value = getattr(change, name)
            assert row[name] == "" if value is None else float(row[name]) == pytest.approx(value, abs=0.001)
    p50 = next(row for row in document if row["metric"] == "p50")
    assert (p50["change"], p50["change_unit"], p50["unit"]) == (pytest.approx(50, abs=0.3), "%", "µs")
    assert [row["side"] for row in json.loads(json_text({}, tables))["runs"]] == ["A", "B"]


def test_nothing_selected_is_empty_tables(analysis):
    empty = attrs.evolve(
        analysis, tally=type(analysis.tally)(), spans={}, by_client={}, by_endpoint={}, series=(), logs=()
    )
    for table in analysis_tables(empty, per_client=True, per_endpoint=True, segments=True):
        if table.title != "errors":
            assert table.rows == []
    assert xlsx_bytes({}, analysis_tables(empty))


def test_save_replaces_or_says_why_not(tmp_path):
    path = tmp_path / "a.txt"
    save(str(path), "old")
    save(str(path), "new\udc80")
    assert path.read_text() == "new\\udc80"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(UsageError, match="can't be written: No such file"):
        save(str(tmp_path / "none" / "a.txt"), b"")
