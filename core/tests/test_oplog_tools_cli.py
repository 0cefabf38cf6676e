"""``penstock oplog sort``, ``merge``, ``convert``, ``validate`` and ``anonymize``."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.oplog import COLUMNS, Row, read

SECOND = 10**9


def row(idx, start, file="k", **further):
    return Row(idx, 1, "GET", "", 1, 7, "s3://", file, "", start, None, start + 5, 5, **further)


def write(path, rows, columns=COLUMNS):
    text = "".join("\t".join(cells) + "\n" for cells in [columns, *(each.texts(columns) for each in rows)])
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "a.tsv", [row(0, 3 * SECOND, "c"), row(1, SECOND, "a"), row(2, 2 * SECOND, "b")])


def oplog(*arguments):
    return CliRunner().invoke(main, ["oplog", *map(str, arguments)])


def files(path):
    return [each.file for each in read(path)]


def test_help_names_every_command():
    text = oplog("--help").stdout
    for name in ("anonymize", "convert", "head", "merge", "sort", "validate"):
        assert f"\n  {name} " in text


def test_sort(log, tmp_path):
    result = oplog("sort", log, tmp_path / "b.tsv.zst", "--rows-in-memory", 1, "--temp-dir", tmp_path, "--level", 19)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{tmp_path}/b.tsv.zst: 3 rows\n"
    assert files(tmp_path / "b.tsv.zst") == ["a", "b", "c"]
    assert oplog("sort", log, log).exit_code == 0
    assert files(log) == ["a", "b", "c"]


def test_what_was_left_out_is_said(log):
    text = log.read_text().replace("1970-01-01T00:00:01.000000000Z", "now")
    log.write_text(text[:-5])
    result = oplog("sort", log, log.with_name("b.tsv"))
    assert result.exit_code == 2
    assert f"{log}:3: 'now' is not a time" in result.stderr
    for command in ("sort", "merge", "convert", "anonymize"):
        log.with_name("b.tsv").unlink(missing_ok=True)
        result = oplog(command, log, log.with_name("b.tsv"), "--skip-bad-rows")
        assert result.exit_code == 0
        assert "a.tsv is cut off; its whole rows were read" in result.stderr
        assert "1 malformed row was left out" in result.stderr
        assert "b.tsv: 1 rows" in result.stderr


def test_merge(log, tmp_path):
    other = write(tmp_path / "host2.tsv.zst", [row(0, SECOND, "x")])
    result = oplog(
        "merge", log, other, tmp_path / "all.tsv", "--clock-offset", f"{other}=+1.5s", "--client-id-from-name"
    )
    assert result.exit_code == 0
    found = list(read(tmp_path / "all.tsv"))
    assert [(each.file, each.client_id, each.start_ns) for each in found] == [
        ("a", "a", SECOND),
        ("b", "a", 2 * SECOND),
        ("x", "host2", 2_500_000_000),
        ("c", "a", 3 * SECOND),
    ]
    result = oplog("merge", "--sorted", log, other, tmp_path / "none.tsv")
    assert result.exit_code == 2
    assert "a.tsv: row 2 started before the one above it; merge without --sorted" in result.stderr
    oplog("sort", log, log)
    assert (
        oplog("merge", "--sorted", log, other, tmp_path / "all.csv", "--clock-offset", f"{log}=-250us").exit_code == 0
    )
    assert files(tmp_path / "all.csv") == ["a", "x", "b", "c"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("x.tsv=1s",), "x.tsv is none of the logs"),
        (("{log}",), "write LOG=+1.5s"),
        (("{log}=soon",), "'soon' is not a duration"),
        (("{log}=1s", "{log}=2s"), "has an offset already"),
    ],
)
def test_wrong_clock_offsets(log, tmp_path, options, problem):
    given = [text for option in options for text in ("--clock-offset", option.format(log=log))]
    result = oplog("merge", log, tmp_path / "b.tsv", *given)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert os.listdir(tmp_path) == ["a.tsv"]


def test_merge_replaces_no_log_by_mistake(log, tmp_path):
    other = write(tmp_path / "b.tsv", [row(0, SECOND, "x")])
    before = other.read_bytes()
    result = oplog("merge", log, other)
    assert result.exit_code == 2
    assert "b.tsv is the target, for it stands last" in result.stderr
    assert other.read_bytes() == before
    assert oplog("merge", log, other, "--overwrite").exit_code == 0
    assert sorted(files(other)) == sorted(files(log))


def test_merge_without_a_log(tmp_path):
    result = oplog("merge", tmp_path / "b.tsv")
    assert result.exit_code == 2
    assert "name the logs to merge" in result.stderr


def test_convert(log, tmp_path):
    oplog("convert", log, tmp_path / "b.csv.zst", "--columns", "15")
    oplog("convert", tmp_path / "b.csv.zst", tmp_path / "c.jsonl")
    with read(tmp_path / "c.jsonl") as reader:
        assert {"last_byte", "cat"} <= set(reader.columns)
        assert [each.category for each in reader] == ["0"] * 3
    oplog("convert", tmp_path / "c.jsonl", tmp_path / "d.tsv", "--columns", "13")
    assert (tmp_path / "d.tsv").read_bytes() == log.read_bytes()
    result = oplog("convert", log, tmp_path / "d.txt")
    assert result.exit_code == 2
    assert "name the log *.tsv, *.csv or *.jsonl" in result.stderr


def test_validate(log):
    result = oplog("validate", log)
    assert result.exit_code == 1
    assert "order" in result.stdout
    assert f"{log}:3: order: started 2000000000 ns before the row above it" in result.stdout
    assert result.stdout.endswith("a.tsv: 3 rows, 1 problems\n")
    value = json.loads(oplog("validate", log, "--json").stdout)
    assert (value["good"], value["rows"], value["counts"]) == (False, 3, {"order": 1})
    assert value["findings"] == [{"kind": "order", "line": 3, "text": "started 2000000000 ns before the row above it"}]
    assert json.loads(oplog("validate", log, "--json", "-n", 0).stdout)["findings"] == []
    for options in (("--any-order",), ("--any-order", "--json")):
        assert oplog("validate", log, *options).exit_code == 0
    oplog("sort", log, log)
    result = oplog("validate", log)
    assert (result.exit_code, result.stdout) == (0, f"{log}: 3 rows, nothing is wrong\n")


def test_validate_prints_no_control_characters(log):
    log.write_text(log.read_text() + "0\x1b[31m\udcff\n", errors="surrogateescape")
    with log.open("ab") as file:
        file.write(b"FR\x1b\xffOB\n")
    for option in ("-n3", "--json"):
        result = oplog("validate", log, option)
        assert result.exit_code == 1
        assert "\x1b" not in result.stdout


def test_anonymize(log, tmp_path):
    key = tmp_path / "key"
    key.write_text("correct horse battery\n")
    for name, options in [
        ("1", ("--key-file", key)),
        ("2", ("--key-file", key)),
        ("3", ()),
        ("4", ("--keep-suffixes",)),
    ]:
        assert oplog("anonymize", log, tmp_path / f"{name}.tsv", *options).exit_code == 0
    found = [files(tmp_path / f"{name}.tsv") for name in range(1, 5)]
    assert found[0] == found[1]
    assert len({*found[0], *found[2], *found[3]}) == 9
    result = oplog("anonymize", log, tmp_path / "5.tsv", "--key-file", tmp_path / "absent")
    assert result.exit_code == 2
    assert "absent can't be read: No such file" in result.stderr
    key.write_text("x")
    result = oplog("anonymize", log, tmp_path / "5.tsv", "--key-file", key)
    assert result.exit_code == 2
    assert "a key of 1 bytes can be guessed" in result.stderr


def test_columns_of_the_authors_own_are_shown(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"op": "GET", "file": "k", "start": "1970-01-01T00:00:01Z", "duration_ns": 1, "own": "x\\ud800"}\n'
    )
    assert json.loads(oplog("head", path, "--json").stdout)["extra"] == {"own": "x\\ud800"}


def test_head_shows_the_text_of_every_column(tmp_path):
    columns = (*COLUMNS[:11], "last_byte", *COLUMNS[11:], "cat", "own")
    path = write(tmp_path / "a.tsv", [row(0, 1, last_byte_ns=3, category="2", extra=(("own", "x\ty"),))], columns)
    assert oplog("head", path, "--tsv").stdout == path.read_text()
