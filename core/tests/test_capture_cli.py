"""``penstock capture``: a program is run, and its calls are in one log; and the environment in storage commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest
from click.testing import CliRunner

from penstock import oplog
from penstock.cli import main
from penstock.errors import OpLogError

PROGRAM = """
import multiprocessing, os, signal, sys
import penstock

def work(key):
    penstock.put(f"file://{os.getcwd()}/data/{key}", b"1")

if __name__ == "__main__":
    work("own")
    for method in ("fork", "spawn"):
        child = multiprocessing.get_context(method).Process(target=work, args=(method,))
        child.start()
        child.join()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def penstock(*args, environ=None, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *args],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize(("given", "seen"), [({}, "None"), ({"OPENBLAS_NUM_THREADS": "1"}, "1")])
def test_a_program_sees_the_environment_as_it_was(here, monkeypatch, given, seen):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    ask = "import os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    done = penstock("capture", "log.tsv.zst", "--", sys.executable, "-c", ask, environ=given)
    assert done.stdout == f"{seen}\n"


def keys_of(path):
    return Counter(row.file.rpartition("/")[2] for row in oplog.read(path))


def test_a_job_in_one_log(here):
    done = penstock(
        "capture", "log.tsv.zst", "--sort", "--client-id", "c", "--", sys.executable, "program.py", "--flag"
    )
    assert "op-log log.tsv.zst: 3 rows of 3 processes" in done.stderr
    found = list(oplog.read("log.tsv.zst"))
    assert [row.file.rpartition("/")[2] for row in found] == ["own", "fork", "spawn"]
    assert {row.client_id for row in found} == {"c"}
    assert {row.thread for row in found} == {0, 1, 2}
    assert sorted(os.listdir()) == ["data", "log.tsv.zst", "program.py"]


def test_its_options_reach_the_program(here):
    code = "import os; print(*sorted(f'{k}={v}' for k, v in os.environ.items() if k.startswith('PENSTOCK_OPLOG')))"
    options = ("--level", "3", "--buffer", "17", "--best-effort", "--clock-offset-ns", "-5", "--client-id", "w")
    done = penstock("capture", "log.tsv", *options, "--", sys.executable, "-c", code)
    assert done.stdout.split() == [
        f"PENSTOCK_OPLOG={here}/log.tsv",
        "PENSTOCK_OPLOG_BUF=17",
        "PENSTOCK_OPLOG_CLIENT_ID=w",
        "PENSTOCK_OPLOG_CLOCK_OFFSET_NS=-5",
        "PENSTOCK_OPLOG_LEVEL=3",
        "PENSTOCK_OPLOG_LOSSLESS=False",
        "PENSTOCK_OPLOG_SORT=",
    ]
    assert "0 rows of 0 processes" in done.stderr
    assert list(oplog.read("log.tsv")) == []


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(5)", 5), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("1 / 0", 1)]
)
def test_the_exit_code_is_the_programs(here, ending, code):
    with open("program.py", "a") as file:
        file.write(textwrap.indent(ending, "    "))
    done = penstock("capture", "log.tsv.zst", "--", sys.executable, "program.py", code=code)
    assert ("cut off" in done.stderr) == (code == 137)
    assert {"fork", "spawn"} <= set(keys_of("log.tsv.zst"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_outlives_what_ends_the_program(here, number):
    (here / "program.py").write_text(PROGRAM + "    print('ready', flush=True)\n    sys.stdin.read()\n")
    command = [sys.executable, "-m", "penstock", "capture", "log.tsv.zst", "--", sys.executable, "program.py"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    try:
        assert process.stdout.readline() == "ready\n"
        # The terminal sends its signal to all of a group, others go to one process.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "op-log log.tsv.zst: " in err
    assert {"fork", "spawn"} <= set(keys_of("log.tsv.zst"))


@pytest.mark.parametrize(("ending", "code"), [("0", 1), ("5", 5)])
def test_parts_that_are_still_written_are_left(here, ending, code):
    head, _, _ = PROGRAM.partition("if __name__")
    (here / "program.py").write_text(
        head
        + f"""
work("own")
ready, done = os.pipe()
if not os.fork():
    work("outliving")
    os.close(1)
    os.close(2)
    os.write(done, b"x")
    import time
    while not os.path.exists("stop"):
        time.sleep(0.01)
    sys.exit()
os.read(ready, 1)
sys.exit({ending})
"""
    )
    try:
        done = penstock("capture", "log.tsv.zst", "--", sys.executable, "program.py", code=code)
        assert "is still being written" in done.stderr
        assert len(oplog.part_paths("log.tsv.zst")) == 2
    finally:
        (here / "stop").touch()
    for _ in range(3000):
        try:
            assert oplog.collect("log.tsv.zst").cut_off == ()
            break
        except OpLogError:
            time.sleep(0.01)
    assert keys_of("log.tsv.zst") == {"own": 1, "outliving": 1}


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["log.zst", "--", "true"], 2, "*.tsv.zst"),
        (["no/log.tsv", "--", "true"], 2, "no directory that can be written"),
        (["log.tsv", "--", "./nothing-here"], 2, "./nothing-here can't be run"),
        (["log.tsv"], 2, "COMMAND"),
    ],
)
def test_what_can_not_be(here, args, code, text):
    done = CliRunner().invoke(main, ["capture", *args])
    assert done.exit_code == code
    assert text in done.stderr
    assert os.listdir() == ["program.py"]


def test_parts_that_were_left(here):
    (here / "log.part-7.tsv").write_text("")
    done = CliRunner().invoke(main, ["capture", "log.tsv", "--", "touch", "ran"])
    assert done.exit_code == 2
    assert "log.part-7.tsv was left by an earlier capture" in done.stderr
    assert not (here / "ran").exists()


@pytest.mark.parametrize("source", ["environment", "file"])
def test_storage_commands_follow_the_environment(here, source):
    (here / "vars").write_text(f"PENSTOCK_OPLOG={here}/job.tsv\n")
    if source == "file":
        penstock("--env-file", "vars", "cp", "program.py", "copy.py")
    else:
        penstock("cp", "program.py", "copy.py", environ={"PENSTOCK_OPLOG": "job.tsv"})
    (part,) = oplog.part_paths("job.tsv")
    assert "COPY" in {row.op for row in oplog.read(part)}


def test_a_log_that_is_asked_for_goes_before_that_of_the_environment(here):
    penstock("cp", "program.py", "copy.py", "--op-log", "own.tsv", environ={"PENSTOCK_OPLOG": "job.tsv"})
    assert oplog.part_paths("job.tsv") == []
    assert set(keys_of("own.tsv")) >= {"program.py", "copy.py"}
