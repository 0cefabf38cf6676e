"""What only a terminal shows: bars, questions; and what -v and --op-log add."""

import csv
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

import penstock
from penstock import oplog
from penstock.cli import main
from penstock.errors import ThrottledError
from penstock.memory import MemoryStore


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def at_terminal(*args, typed=b""):
    """Run the command with standard input and error at a terminal; return code, stdout and what was shown."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen(
        [sys.executable, "-m", "penstock", *args], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=env
    )
    os.close(theirs)
    os.write(ours, typed)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:
            break
    out, _ = child.communicate(timeout=30)
    os.close(ours)
    return child.returncode, out, shown.decode()


def test_a_bar_is_shown_at_a_terminal_and_nowhere_else():
    for name in ("a", "b"):
        penstock.put(f"d/{name}", bytes(1 << 20))
    code, out, shown = at_terminal("cp", "-r", "d", "e")
    assert (code, out) == (0, b"")
    assert "copying" in shown
    assert "MiB/s" in shown
    assert "copied 2 objects, 2.00 MiB" in shown
    done = CliRunner().invoke(main, ["cp", "-r", "d", "f"])
    assert "copying" not in done.output
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("typed", "code", "left"), [(b"n\n", 1, ["a"]), (b"y\n", 0, [])])
def test_removing_everything_asks(here, typed, code, left):
    penstock.put("a", b"1")
    result, _, shown = at_terminal("rm", "-r", ".", typed=typed)
    assert "Remove everything in file://./?" in shown
    assert result == code
    assert os.listdir(here) == left


def test_verbose_names_the_stores_and_what_was_repeated(monkeypatch):
    penstock.put("mem://test-verbose/a", b"1")
    failures = [ThrottledError("slow down")]
    inner = MemoryStore.stat

    def stat(self, key):
        if failures:
            raise failures.pop()
        return inner(self, key)

    monkeypatch.setattr(MemoryStore, "stat", stat)
    done = CliRunner().invoke(main, ["stat", "-v", "mem://test-verbose/a"])
    assert done.exit_code == 0
    assert "base=mem://test-verbose/" in done.stderr
    assert "slow down" in done.stderr
    assert "attempt=1" in done.stderr


def rows(path):
    return [(row.op, row.file, row.error.partition(":")[0]) for row in oplog.read(path)]


def test_every_call_of_a_command_is_in_its_log():
    for number in range(40):
        penstock.put(f"mem://test-log/t/{number}", b"12345")
    done = CliRunner().invoke(main, ["download", "-j", "24", "mem://test-log/t", "out", "--op-log", "a.tsv.zst"])
    assert done.exit_code == 0, done.output
    found = rows("a.tsv.zst")
    for number in range(40):
        assert found.count(("GET", f"test-log/t/{number}", "")) == 1
        assert found.count(("PUT", f"./out/{number}", "")) == 1
    assert {op for op, _, _ in found} == {"GET", "PUT", "LIST", "STAT"}


def test_a_command_that_fails_leaves_a_whole_log():
    done = CliRunner().invoke(main, ["cat", "mem://test-log-2/nope", "--op-log", "b.tsv"])
    assert done.exit_code == 1
    with open("b.tsv") as file:
        (row, *_) = csv.DictReader(file, delimiter="\t")
    assert row["op"] == "GET"
    assert row["file"] == "test-log-2/nope"
    assert row["error"].startswith("ObjectNotFoundError: ")


def test_a_log_that_cannot_be_written_is_said():
    done = CliRunner().invoke(main, ["ls", "mem://x/", "--op-log", "no/such/dir/a.tsv"])
    assert done.exit_code == 2
    assert "no/such/dir" in done.stderr
