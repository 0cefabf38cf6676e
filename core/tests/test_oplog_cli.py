"""``penstock oplog head``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.clocks import Anchor
from penstock.oplog import COLUMNS, OpLogWriter
from penstock.records import Endpoint, Op, RecordBuffer, Recorder

SECOND = 10**9


@pytest.fixture
def log(tmp_path):
    buffer = RecordBuffer(100)
    recorder = Recorder(2, lambda filled: buffer)
    for number in range(30):
        recorder.add(Op.GET, f"k{number}", SECOND, SECOND + 2000, SECOND + 5000, 7 * number)
    recorder.add(Op.PUT, "tab\t\x1b[31m\\", SECOND, 0, 2 * SECOND, 3, 1, "StoreError: a\nb")
    path = tmp_path / "oplog.tsv.zst"
    with OpLogWriter(path, endpoints=[Endpoint("mem://m/", "mem://m")], anchor=Anchor(0)) as writer:
        writer.write(buffer, 0, 15)
        writer.write(buffer, 15, 31)
    return path


def head(*arguments, stdin=None):
    return CliRunner().invoke(main, ["oplog", "head", *map(str, arguments)], input=stdin)


def test_a_table_of_the_first_ten_rows(log):
    result = head(log)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 11
    assert lines[0].split() == [
        *("idx", "thread", "op", "n_objects", "bytes", "endpoint", "file"),
        *("start", "first_byte", "duration", "error"),
    ]
    assert lines[4].split() == [
        *("3", "2", "GET", "1", "21", "mem://m", "m/k3", "1970-01-01T00:00:01.000000000Z"),
        *("2.00", "µs", "5.00", "µs"),
    ]
    assert len({line.index("mem://m") for line in lines[1:]}) == 1


def test_control_characters_do_not_reach_the_terminal(log):
    result = head(log, "-n", "100")
    last = result.stdout.splitlines()[-1]
    assert r"m/tab\t\x1b[31m\\" in last
    assert r"StoreError: a\nb" in last
    assert "1.00 s" in last


def test_tsv_is_the_text_of_the_log(log):
    result = head(log, "--tsv", "-n", "2")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == list(COLUMNS)
    assert [line[:8] for line in lines[1:]] == [
        ["0", "2", "GET", "", "1", "0", "mem://m", "m/k0"],
        ["1", "2", "GET", "", "1", "7", "mem://m", "m/k1"],
    ]


def test_json(log):
    result = head(log, "--json", "-n", "31")
    values = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(values) == 31
    assert values[-1]["file"] == "m/tab\t\x1b[31m\\"
    assert (values[-1]["start_ns"], values[-1]["first_byte_ns"], values[-1]["op"]) == (SECOND, None, "PUT")


def test_no_rows_are_no_failure(log):
    assert len(head(log, "-n", "0").stdout.splitlines()) == 1


def test_standard_input(log):
    result = head("-", "-n", "1", "--tsv", stdin=log.read_bytes())
    assert result.stdout.splitlines()[1].startswith("0\t2\tGET")


def test_a_log_that_was_cut_off_prints_what_is_whole(log):
    data = log.read_bytes()
    log.write_bytes(data[:-10])
    result = head(log, "-n", "100", "--tsv")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 16
    assert "is cut off; its 15 whole rows were read" in result.stderr
    log.write_bytes(data[:20])
    result = head(log)
    assert result.exit_code == 2
    assert "no complete header" in result.stderr


def test_a_malformed_row(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("op\tfile\tstart\tend\nGET\tk\tnow\tnow\nGET\tk\t1970-01-01T00:00:00Z\t1970-01-01T00:00:00Z\n")
    result = head(path)
    assert result.exit_code == 2
    assert ":2: 'now' is not a time" in result.stderr
    result = head(path, "--skip-bad-rows")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert "1 malformed row was skipped" in result.stderr


def test_names_that_are_no_utf8(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"op\tfile\tstart\tend\nGET\tk\xff\t1970-01-01T00:00:00Z\t1970-01-01T00:00:00Z\n")
    for option in ("--tsv", "--json", "-n1"):
        result = head(path, option)
        assert result.exit_code == 0
        assert "udcff" in result.stdout


def test_a_file_that_is_not_there_and_wrong_usage(tmp_path, log):
    result = head(tmp_path / "absent")
    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert head(log, "--tsv", "--json").exit_code == 2
    assert head(log, "-n", "-1").exit_code == 2
