"""What validating a log finds, and where."""

from __future__ import annotations

import re

import pytest

from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, Row
from penstock.oplog.columns import COLUMNS_15
from penstock.oplog.validating import PROBLEMS, validate_log


def row(idx, start=None, *, op="GET", took=5, duration=5, first=None, last=None):
    start = 10_000 * (idx if start is None else start)
    return Row(idx, 1, op, "", 1, 7, "s3://", "k", "", start, first, start + took, duration, last)


def validate(path, rows, columns=COLUMNS, **options):
    text = "".join("\t".join(cells) + "\n" for cells in [columns, *(each.texts(columns) for each in rows)])
    path.write_text(text)
    return validate_log(path, **options)


def test_a_good_log(tmp_path):
    rows = [row(0), row(1, first=10_005), row(2, 1), row(3, took=0, duration=999), row(4, op="HEAD", last=40_001)]
    for columns in (COLUMNS, COLUMNS_15, [name for name in COLUMNS if name not in ("idx", "duration_ns")]):
        verdict = validate(tmp_path / "a.tsv", rows, columns)
        assert (verdict.rows, verdict.counts, verdict.findings) == (5, {}, ())
        assert verdict.is_good
        assert verdict.columns == tuple(columns)


@pytest.mark.parametrize(
    ("rows", "kind", "line", "count", "text"),
    [
        ([row(0, 2), row(1, 3), row(2, 2)], "order", 4, 1, "started 10000 ns before"),
        ([row(0), row(3), row(4)], "gap", 3, 2, "idx is 3 where 1 was due"),
        ([row(1)], "gap", 2, 1, "idx is 1 where 0 was due"),
        ([row(0), row(1), row(1), row(2)], "repeat", 4, 1, "idx is 1 where 2 was due"),
        ([row(0), row(1, took=-3, duration=-3)], "end_before_start", 3, 1, "ended 3 ns before it started"),
        ([row(0, took=2000, duration=999)], "duration", 2, 1, "duration_ns is 999, .* 2000 ns"),
        ([row(0, duration=-1)], "duration", 2, 1, "duration_ns is -1"),
        ([row(0, first=1006)], "first_byte", 2, 1, "first_byte is 1006 ns after"),
        ([row(0, op="FROB"), row(1)], "unknown_operation", 2, 1, "unknown operation 'FROB'"),
    ],
)
def test_what_is_wrong(tmp_path, rows, kind, line, count, text):
    verdict = validate(tmp_path / "a.tsv", rows)
    assert verdict.counts == {kind: count}
    (finding,) = verdict.findings
    assert (finding.kind, finding.line) == (kind, line)
    assert re.search(text, finding.text)
    assert not verdict.is_good
    assert kind in PROBLEMS


def test_a_last_byte_out_of_the_call(tmp_path):
    assert validate(tmp_path / "a.tsv", [row(0, last=-1001)], COLUMNS_15).counts == {"first_byte": 1}


def test_any_order(tmp_path):
    assert validate(tmp_path / "a.tsv", [row(0, 2), row(1, 1)], any_order=True).is_good


def test_malformed_rows_are_all_counted_and_a_few_listed(tmp_path):
    path = tmp_path / "a.tsv"
    validate(path, [row(idx) for idx in range(100)])
    lines = path.read_text().splitlines()
    lines[5:95] = ["x"] * 90
    path.write_text("\n".join(lines) + "\n")
    verdict = validate_log(path, most=3)
    assert (verdict.rows, verdict.counts) == (10, {"malformed": 90})
    assert [finding.line for finding in verdict.findings] == [6, 7, 8]
    assert "1 columns where the header has 13" in verdict.findings[0].text


def test_a_log_that_was_cut_off(tmp_path):
    path = tmp_path / "a.tsv"
    validate(path, [row(0), row(1)])
    path.write_text(path.read_text()[:-9])
    verdict = validate_log(path)
    assert (verdict.rows, verdict.counts, verdict.findings[0].line) == (1, {"cut_off": 1}, 3)


def test_what_is_no_log(tmp_path):
    (tmp_path / "a.tsv").write_text("hello\n")
    with pytest.raises(OpLogError, match="not the header of a log"):
        validate_log(tmp_path / "a.tsv")
