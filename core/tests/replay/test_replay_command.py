"""``penstock replay`` as its user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from penstock.analysis.analyzing import analyze
from penstock.cli import main
from penstock.engine.watch import Watched
from penstock.oplog import read
from penstock.oplog.columns import parse_time
from penstock.replay.settings import Backpressure, Settings
from penstock.replay.watching import ReplayObserver
from penstock.report.live import open_view
from penstock.report.results import read_result
from penstock.stats.buckets import bucket_of
from penstock.stats.tally import Tally


@pytest.fixture
def replay(tmp_path):
    """Runs the command with a result directory of its own; returns the exit code, both streams and the results."""

    def run(*arguments):
        results = tmp_path / "results"
        called = CliRunner().invoke(main, ["replay", *map(str, arguments), "--results-dir", str(results)])
        directories = sorted(results.iterdir()) if results.exists() else []
        return called, (directories[-1] if directories else None)

    return run


def mixed(row, *, count=60, gap=0.004):
    """A log of two threads that write, read, look and delete, and read what is not there."""
    rows = []
    for number in range(count):
        at, key, thread = number * 10 * gap, f"b/dir-{number % 3}/{number:03d}", number % 2
        size = [0, 1, 8192, 8193, 70_000][number % 5]
        steps = [
            row("PUT", key, nbytes=size, took=0.0003 + number * 1e-6),
            row("GET", key, nbytes=size, took=0.0002 + number * 1e-6, first=0.0001),
            row("GET_RANGE", key, nbytes=min(size, 100), took=0.0001),
            row("STAT", key, took=0.00005),
            row("GET", "b/absent", took=0.00004, error="ObjectNotFoundError: no such object"),
        ]
        if number % 4 == 0:
            steps.append(row("DELETE", key, took=0.0001))
        for step, each in enumerate(steps):
            rows.append(row_at(each, at + step * gap, thread))
    return rows


def row_at(each, seconds, thread):
    shift = round(seconds * 1e9)
    first = None if each.first_byte_ns is None else each.first_byte_ns + shift
    return attrs.evolve(
        each, start_ns=each.start_ns + shift, end_ns=each.end_ns + shift, first_byte_ns=first, thread=thread
    )


def calls(path):
    return Counter((each.op, each.file.rpartition("/t/")[2], each.nbytes) for each in read(path))


def ns(text):
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return round(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(fraction)


@pytest.mark.parametrize(
    "speed", ["0.5", pytest.param("1", marks=pytest.mark.slow), pytest.param("10", marks=pytest.mark.slow), "100"]
)
def test_every_operation_is_replayed_no_earlier_than_it_is_due(log, row, begin, replay, tmp_path, speed):
    # Each operation has its own key, so that none depends on another having ended.
    rows = [row("PUT", f"b/{number}", at=number * 0.003, nbytes=number) for number in range(80)]
    path, again = log(rows), tmp_path / "again.tsv"
    called, _ = replay(
        path, "--target", f"file://{tmp_path}/t", "--speed", speed, "--op-log", again, "--json", "--prometheus", "0"
    )
    assert called.exit_code == 0, called.stderr
    result = json.loads(called.stdout)
    assert (result["status"], result["operations"]["PUT"]["count"]) == ("done", 80)
    assert result["operations"]["PUT"]["lag_us"]["min"] >= 0
    assert result["replay"]["speed"] == float(speed)
    # Starts are wall-clock times of another process; its anchor and this window's are a few microseconds apart.
    opened = ns(result["window"]["from"])
    for each in read(again):
        recorded = rows[int(each.file.rpartition("/")[2])]
        assert each.start_ns - opened >= (recorded.start_ns - begin) / float(speed) - 1_000_000
    assert {int(each.name): each.stat().st_size for each in (tmp_path / "t").iterdir()} == {n: n for n in range(80)}


def test_the_result_is_whole_and_holds_what_was_recorded(log, row, replay, tmp_path):
    rows = mixed(row)
    path, again = log(rows), tmp_path / "again.tsv"
    called, directory = replay(path, "--target", f"file://{tmp_path}/t", "--as-fast-as-possible", "--op-log", again)
    assert called.exit_code == 0, called.stderr
    wanted = {
        "config.yaml",
        "plan.json",
        "result.json",
        "results.tsv",
        "perf_log.tsv",
        "histograms.hlog",
        "report.html",
    }
    assert wanted <= {each.name for each in directory.iterdir()}
    outcome = read_result(directory).outcome
    assert outcome.replay is not None
    assert agrees(outcome.replay.recorded, rows)
    assert outcome.replay.recorded == analyze([path], workers=0).tally
    analysed = analyze([again], workers=0).tally
    for place, cell in outcome.totals.cells.items():
        assert (cell.service, cell.first_byte) == (analysed.cells[place].service, analysed.cells[place].first_byte)
    assert agrees(outcome.totals, list(read(again)))
    counts = outcome.replay.counts
    assert (counts["rows"], counts["selected"], counts["replayed"], counts["left_out"]) == (len(rows),) * 3 + (0,)
    assert (counts["failed_as_recorded"], counts["failed_anew"], outcome.totals.errors) == (60, 0, 60)
    assert outcome.replay.recorded_seconds == pytest.approx(
        (max(each.end_ns for each in rows) - min(each.start_ns for each in rows)) / 1e9
    )
    assert calls(again) == Counter((each.op, each.file.removeprefix("b/"), each.nbytes) for each in rows)
    assert "note: replayed otherwise: 60 ranges whose offset the log does not hold" in called.stdout


def agrees(tally: Tally, rows) -> bool:
    """Whether a tally says what one counts in rows: counts, errors, bytes, and percentiles to three digits."""
    for op in {each.op for each in rows}:
        own = [each for each in rows if each.op == op]
        good = [each for each in own if not each.error]
        cell = tally.operation(op)
        assert (cell.count, cell.errors) == (len(good), len(own) - len(good))
        assert cell.nbytes == sum(each.nbytes for each in good)
        for bucket in range(9):
            durations = sorted(each.duration_ns for each in good if bucket_of([each.nbytes])[0] == bucket)
            if durations:
                service = tally.cells[op, bucket].service
                assert service.count == len(durations)
                for percent in (50, 90, 99):
                    exact = durations[-(-len(durations) * percent // 100) - 1]
                    assert service.percentile(percent) == pytest.approx(exact, rel=0.001)
    return True


def test_two_processes_do_what_one_does(log, row, replay, tmp_path):
    rows = [row("PUT", f"b/{number}", at=number * 0.001, nbytes=100) for number in range(200)]
    path, seen = log(rows), []
    for processes in (1, 2):
        again = tmp_path / f"{processes}.tsv"
        called, directory = replay(
            path, "--target", f"file://{tmp_path}/{processes}/t", "--processes", processes, "--op-log", again,
            "--op-log-due",
        )  # fmt: skip
        assert called.exit_code == 0, called.stderr
        due = sorted(parse_time(dict(each.extra)["due"]) - each.start_ns for each in read(again))
        assert len(due) == 200
        # Each was due before it started, at its offset in the log.
        assert due[-1] <= 0
        moments = sorted(parse_time(dict(each.extra)["due"]) for each in read(again))
        assert [round((each - moments[0]) / 1e6) for each in moments] == list(range(200))
        seen.append(calls(again))
        assert len(read_result(directory).outcome.workers) == processes
    assert seen[0] == seen[1]
    assert sum(seen[1].values()) == 200


def test_prepare_replay_and_cleanup_leave_nothing(log, row, replay, tmp_path):
    target = tmp_path / "t"
    target.mkdir()
    (target / "mine").write_bytes(b"123")
    rows = [row("GET", "b/sub/read", nbytes=5000, at=0), row("GET", "b/mine", nbytes=3, at=0.01)]
    rows += [row("PUT", "b/sub/new", nbytes=5, at=0.02), row("COPY", "b/copy/of", nbytes=5, at=0.03)]
    called, _ = replay(log(rows), "--target", f"file://{target}", "--prepare", "--cleanup", "--json")
    assert called.exit_code == 0, called.stderr
    result = json.loads(called.stdout)
    phases = {phase["name"]: phase for phase in result["phases"]}
    assert (phases["prepare"]["objects_made"], phases["prepare"]["objects_found"]) == (1, 1)
    assert result["operations"]["GET"]["bytes"] == 5003
    assert [each.name for each in target.iterdir()] == ["mine"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(log, row, replay, tmp_path):
    path = log(mixed(row))
    called, directory = replay(path, "--target", f"file://{tmp_path}/t", "--dry-run", "--speed", "2")
    assert called.exit_code == 0, called.stderr
    for text in (
        "315 rows, sorted",
        "GET        120",
        "ALL        315",
        "at speed 2, about 1 calls at once",
        "file://",
    ):
        assert text in called.stdout
    called, directory = replay(path, "--target", f"file://{tmp_path}/t", "--dry-run", "--json", "--ops", "GET")
    found = json.loads(called.stdout)
    assert (found["count"], found["operations"], found["threads"]) == (120, {"GET": 120}, 2)
    assert found["samples"][0] == {
        "operation": "GET",
        "recorded": "mem://b/dir-0/000",
        "replayed": f"file://{tmp_path}/t/dir-0/000",
    }
    assert directory is None
    assert not (tmp_path / "t").exists()


def test_rules_spread_names_over_places(log, row, replay, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"rules:\n  - match: {{bucket: b, prefix: x/}}\n    map_to_many: {{targets: ['file://{tmp_path}/one', "
        f"'file://{tmp_path}/two']}}\n  - regex: 'mem://(b)/'\n    replace: 'file://{tmp_path}/by-$1/'\n"
    )
    rows = [row("PUT", f"b/x/{number}", nbytes=1, at=number * 0.001) for number in range(10)]
    called, _ = replay(log([*rows, row("PUT", "b/y", at=1)]), "--remap", rules, "--speed", "10")
    assert called.exit_code == 0, called.stderr
    assert sorted(each.name for each in (tmp_path / "one").iterdir()) == list("02468")
    assert sorted(each.name for each in (tmp_path / "two").iterdir()) == list("13579")
    assert (tmp_path / "by-b" / "y").exists()


def test_in_place_uses_the_recorded_names(log, row, replay, tmp_path):
    rows = [row("PUT", f"{tmp_path}/t/k", nbytes=9, endpoint="file://")]
    called, _ = replay(log(rows), "--in-place")
    assert called.exit_code == 0, called.stderr
    assert (tmp_path / "t" / "k").stat().st_size == 9


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "say where to: --target URI, --remap RULES.yaml, or --in-place"),
        (["--target", "nope://x"], 2, "unknown scheme nope://"),
        (["--target", "mem://t", "--in-place"], 2, "--in-place has no meaning"),
        (["--target", "mem://t", "--speed", "0"], 2, "'0' is not a speed; write a number above 0"),
        (["--target", "mem://t", "--speed", "1", "--as-fast-as-possible"], 2, "write one of them"),
        (["--target", "mem://t", "--ops", "GRAB"], 2, "--ops: no operation is called GRAB"),
        (["--target", "mem://t", "--from", "1h"], 2, "none of its 2 operations is selected"),
        (["--target", "mem://t", "--from", "yesterday"], 2, "--from yesterday: write a time"),
        (["--target", "mem://t", "--processes", "2"], 2, "objects of mem:// live in one process; write 1"),
        (["--target", "mem://t", "--processes", "0"], 2, "write auto, or a number of 1 or more"),
        (["--target", "mem://t", "-O", "colour=red"], 2, "-O colour: no store here has this option"),
        (["--target", "mem://t", "--fill", "ones"], 2, "--fill: no payload named ones"),
        (["--target", "mem://t", "--dedup-factor", "0.5"], 2, "--dedup-factor 0.5: it is a number from 1 on"),
        (["--target", "mem://t", "--fill", "zero", "--dedup-factor", "2"], 2, "--fill zero repeats itself already"),
        (["--target", "mem://t", "--stop-on-error", "--max-errors", "3"], 2, "--stop-on-error stops at the first one"),
        (["--target", "mem://t", "--recovery-threshold", "9s"], 2, "the recovery threshold, 9 s, is above"),
        (["--target", "mem://t", "--remap", "/nowhere.yaml"], 2, "/nowhere.yaml: can't be read"),
        (["--target", "mem://t", "--op-log", "log.txt"], 2, "name the log *.tsv.zst"),
        (["--target", "mem://t", "--op-log-due"], 2, "--op-log-due is about the log that --op-log writes"),
        (["--target", "mem://t", "--sort-rows", "1"], 2, "sort it first: penstock oplog sort"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_started(log, row, replay, arguments, code, message):
    path = log([row("PUT", "b/a", at=2), row("PUT", "b/b", at=1)] if "--sort-rows" not in arguments else disorder(row))
    called, directory = replay(path, *arguments)
    assert called.exit_code == code
    assert message in called.stderr
    assert directory is None


def test_the_log_that_is_replayed_is_not_written_over(log, row, replay):
    path = log([row("PUT", "b/a")])
    before = Path(path).read_bytes()
    called, directory = replay(path, "--target", "mem://t", "--op-log", path)
    assert (called.exit_code, directory) == (2, None)
    assert "is the log that is replayed, which would be lost" in called.stderr
    assert Path(path).read_bytes() == before


def disorder(row):
    return [row("PUT", "b/k", at=at) for at in (3, 2, 1)]


def test_a_log_that_is_none_is_refused(replay, tmp_path, log):
    called, directory = replay(tmp_path / "none.tsv", "--target", "mem://t")
    assert (called.exit_code, directory) == (2, None)
    assert "can't be read" in called.stderr
    called, directory = replay(log([]), "--target", "mem://t")
    assert (called.exit_code, directory) == (2, None)
    assert "holds no operation to replay" in called.stderr


def test_errors_go_on_unless_that_is_said(log, row, replay):
    path = log([row("STAT", "b/k", at=number * 0.001) for number in range(30)])
    called, directory = replay(path, "--target", "mem://t", "--concurrency", "1")
    outcome = read_result(directory).outcome
    assert (called.exit_code, outcome.reason) == (3, "each of the 30 operations failed")
    assert outcome.totals.errors == 30
    called, directory = replay(path, "--target", "mem://t", "--concurrency", "1", "--stop-on-error")
    assert (called.exit_code, read_result(directory).outcome.status) == (3, "errors")
    assert "more than 0 operations failed" in called.stderr


def test_falling_behind_is_reported_and_nothing_is_dropped(log, row, replay):
    # Two thousand at the same moment, one after the other: the last ones are late by more than a millisecond.
    path = log([row("PUT", f"b/{number}", nbytes=10_000) for number in range(2000)])
    called, directory = replay(
        path, "--target", "mem://t", "--concurrency", "1", "--lag-threshold", "1ms", "--recovery-threshold", "0"
    )
    assert called.exit_code == 0, called.stderr
    outcome = read_result(directory).outcome
    assert outcome.totals.count == 2000
    cell = outcome.totals.operation("PUT")
    assert cell.lag.maximum > 1_000_000
    assert cell.response.maximum >= cell.lag.maximum
    assert "behind the schedule by more than 0.001 s" in called.stderr
    assert outcome.replay is not None
    assert len(outcome.replay.settings["behind"]) >= 1


def test_too_many_flaps_stop_the_replay():
    class Handle:
        rank = 0

    pressure = Backpressure(max_flaps_per_minute=2)
    observer = ReplayObserver(Settings(log="log", backpressure=pressure), open_view(quiet=True))
    snapshot = {"recorded": Tally().to_message(), "started": 0, "recorded_from": None, "recorded_to": None}
    worker = Watched(Handle(), 1)
    assert observer.saw(worker, snapshot | {"changes": [[1, True], [2, False]]}) == ""
    assert "more than 2 times within a minute" in observer.saw(worker, snapshot | {"changes": [[3, True]]})


@pytest.mark.parametrize("kill", [False, True])
def test_an_interrupt_reports_what_was_measured(log, row, tmp_path, kill):
    rows = [row("PUT", f"b/{number}", nbytes=10, at=number * 0.01) for number in range(20)]
    path = log([*rows, row("PUT", "b/late", at=3600), row("PUT", "b/later", at=3600)])
    command = [sys.executable, "-m", "penstock", "replay", path, "--target", f"file://{tmp_path}/t"]
    command += ["--processes", "2", "--live-interval", "100ms", "--results-dir", str(tmp_path / "r"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(list((tmp_path / "t").glob("*"))) == 20)
        if kill:
            os.kill(children(process.pid)[0], signal.SIGKILL)
            wait_for(lambda: "was lost: killed by SIGKILL" in console(tmp_path / "r"))
        # What has ended is known to the coordinator with the next interval.
        wait_for(lambda: "PUT" in console(tmp_path / "r"))
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    finally:
        process.kill()
        process.wait()
    (directory,) = (tmp_path / "r").iterdir()
    outcome = read_result(directory).outcome
    assert outcome.status == "interrupted"
    assert len(outcome.lost_workers) == kill
    assert 0 < outcome.totals.count <= 20
    assert kill or outcome.totals.count == 20


def console(results: Path) -> str:
    return "".join(each.read_text() for each in results.glob("*/console.log"))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition) -> None:
    """Wait for something to become true; five minutes are for a hang."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
